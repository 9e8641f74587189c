// Whatever the bytes of a line: it is a point, a refusal, or blank; and what stood before it stays.
#include <cstdint>

#include "fuzz/ffwd_check.h"
#include "source/ffwd/carbon.h"

using namespace runnel;
using namespace runnel::ffwd;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string copy(reinterpret_cast<const char*>(data), size);
  Points points;
  decode_carbon("before;k=v 1", points);
  decode_carbon(copy, points);
  FUZZ_CHECK(points.received() <= 2 && points.points[0].attribute_count == 1);
  bool blank = copy.find_first_not_of(" \t\r") == std::string::npos;
  FUZZ_CHECK(blank == (points.received() == 1));
  fuzz::check_points(points);
  return 0;
}
