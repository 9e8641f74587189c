// Whatever the bytes: each frame is a point or more, or a refusal, and all texts of what is taken lie within the bytes.
#include <cstdint>

#include "fuzz/ffwd_check.h"
#include "source/ffwd/protobuf.h"

using namespace runnel;
using namespace runnel::ffwd;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string copy(reinterpret_cast<const char*>(data), size);
  Points points;
  decode_protobuf(copy, points);
  FUZZ_CHECK(points.received() > 0);
  fuzz::check_points(points);
  auto within = [&](std::string_view text) {
    FUZZ_CHECK(text.empty() ||
               (text.data() >= copy.data() && text.data() + text.size() <= copy.data() + copy.size()));
  };
  for (const Point& point : points.points)
    for (std::string_view text :
         {point.key, point.host, point.proc, point.state, point.description, point.opaque})
      within(text);
  for (std::string_view tag : points.tags) within(tag);
  for (const Tag& pair : points.pairs) {
    within(pair.key);
    within(pair.value);
  }
  return 0;
}
