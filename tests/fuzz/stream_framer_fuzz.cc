// For any bytes and any way to split them, a stream gives the same lines and the same refusals in the same order.
// The first byte: bit 0 chooses the framing; bits 1–3 how the bytes are split (0: each alone; n: in pieces that grow from
// n); bit 4 puts a line of just about the longest length before them, which a fuzzer would not find.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "source/statsd/stream_framer.h"

using runnel::statsd::StreamFramer;

namespace {

// Lines one by one, without empty ones, and refusals with a mark before them.
std::vector<std::string> run(StreamFramer::Framing framing, std::string_view bytes, size_t first,
                             size_t growth) {
  std::vector<std::string> seen;
  StreamFramer::Out out;
  out.take = [&](std::string_view payload) {
    while (!payload.empty()) {
      size_t end = payload.find('\n');
      if (end != 0) seen.emplace_back(payload.substr(0, end));
      payload.remove_prefix(end == std::string_view::npos ? payload.size() : end + 1);
    }
  };
  out.refuse = [&](std::string_view reason, std::string_view begin) {
    seen.push_back("\n" + std::string(reason) + " " + std::string(begin));
  };
  StreamFramer framer(framing);
  size_t came = 0;
  for (size_t piece = first; !bytes.empty(); piece += growth) {
    std::string copy(bytes.substr(0, piece));  // its own memory: a view kept too long is found
    came += copy.size();
    bool good = framer.feed(copy, out);
    if (framer.held_bytes() > 2 * came + StreamFramer::kKeep) std::abort();
    if (!good) break;
    bytes.remove_prefix(copy.size());
  }
  framer.finish(out);
  if (framer.held_bytes() > StreamFramer::kKeep) std::abort();
  return seen;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  unsigned choice = data[0];
  auto framing = (choice & 1) != 0 ? StreamFramer::Framing::frames : StreamFramer::Framing::lines;
  size_t step = choice >> 1 & 7;
  std::string bytes;
  if ((choice & 16) != 0) bytes.assign(StreamFramer::kMaxLine - 4, 'a');
  bytes.append(reinterpret_cast<const char*>(data + 1), size - 1);
  auto whole = run(framing, bytes, SIZE_MAX, 0);
  if (run(framing, bytes, step == 0 ? 1 : step, step == 0 && bytes.size() < 10'000 ? 0 : step + 1) != whole)
    std::abort();
  return 0;
}
