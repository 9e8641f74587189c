// For any bytes and any way to split them a stream gives the same messages and the same end, and never holds more than
// what came. The first byte is the size of the pieces (0: each is one larger than the last).
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/check.h"
#include "source/riemann/framer.h"

using runnel::riemann::Framer;

namespace {

constexpr size_t kMaxFrame = 300;

std::vector<std::string> run(std::string_view bytes, size_t piece, size_t growth) {
  std::vector<std::string> seen;
  Framer framer;
  size_t came = 0;
  for (; !bytes.empty(); piece += growth) {
    std::string copy(bytes.substr(0, piece));  // its own memory: a view kept too long is found
    bytes.remove_prefix(copy.size());
    came += copy.size();
    std::string_view wrong = framer.feed(copy, kMaxFrame, [&](std::string_view message) {
      FUZZ_CHECK(!message.empty() && message.size() <= kMaxFrame);
      seen.emplace_back(message);
    });
    FUZZ_CHECK(framer.held_bytes() <= 2 * came + Framer::kKeep);
    if (!wrong.empty()) {
      seen.push_back("closed: " + std::string(wrong));
      return seen;
    }
  }
  seen.emplace_back(framer.partial() ? "partial" : "");
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  size_t piece = data[0] == 0 ? 1 : data[0];
  FUZZ_CHECK(run(bytes, piece, data[0] == 0 ? 1 : 0) == run(bytes, bytes.size() + 1, 0));
  return 0;
}
