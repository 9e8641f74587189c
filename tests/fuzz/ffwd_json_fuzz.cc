// Whatever the bytes, as a line and as a body: a line is one point or one refusal, a body is taken or refused with a reason,
// and a decoder that has refused something takes what comes next.
#include <cstdint>

#include "fuzz/ffwd_check.h"
#include "source/ffwd/json.h"

using namespace runnel;
using namespace runnel::ffwd;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static JsonDecoder decoder;
  std::string copy(reinterpret_cast<const char*>(data), size);
  Points points;
  decoder.line(copy, points);
  FUZZ_CHECK(points.received() == 1);
  fuzz::check_points(points);
  fuzz::check_body(decoder, copy);
  return 0;
}
