// Whatever the bytes: they are refused, or what is made of them is a distribution: finite, min ≤ percentiles in their order ≤ max,
// a count that is one. Each also as base64 there and back.
#include <cmath>
#include <cstdint>
#include <string>

#include "fuzz/check.h"
#include "source/ffwd/base64.h"
#include "source/ffwd/digest.h"

using namespace runnel;
using namespace runnel::ffwd;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::vector<double> percentiles{0.01, 1, 25, 50, 75, 90, 99, 99.99, 100};
  std::string bytes(reinterpret_cast<const char*>(data), size), text, back;
  append_base64(text, bytes);
  FUZZ_CHECK(read_base64(text, back) && back == bytes);
  if (read_base64(bytes, back)) {
    text.clear();
    append_base64(text, back);
    FUZZ_CHECK(text == bytes);
  }
  auto d = read_digest(bytes, percentiles);
  if (!d) return 0;
  if (d->count == 0) {
    FUZZ_CHECK(d->sum == 0 && d->percentiles.empty());
    return 0;
  }
  FUZZ_CHECK(d->count >= 1 && std::isfinite(d->count) && std::isfinite(d->sum) && std::isfinite(d->stddev) &&
             d->stddev >= 0);
  FUZZ_CHECK(d->min <= d->mean && d->mean <= d->max && d->percentiles.size() == percentiles.size());
  double last = d->min;
  for (auto [p, value] : d->percentiles) {
    FUZZ_CHECK(last <= value);
    last = value;
  }
  FUZZ_CHECK(last == d->max);
  return 0;
}
