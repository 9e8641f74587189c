// Cuts the bytes of a stream into payloads: newline-terminated lines (tcp://), or frames of a u32 little-endian length and
// as many bytes (unix://, as DogStatsD). Pure: no descriptor, no clock; memory grows only with bytes that have come.
// Whatever way the bytes are split into feeds, the same lines come out.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace runnel::statsd {

class StreamFramer {
 public:
  enum class Framing { lines, frames };
  static constexpr size_t kMaxLine = 65536;  // without its newline; a longer one is refused and skipped
  static constexpr size_t kMaxFrame =
      1 << 20;  // a longer one ends the connection: what follows cannot be trusted

  struct Out {
    // Whole lines, several at a time where they came so (a frame's last line may lack its newline). Valid during the call.
    std::function<void(std::string_view payload)> take;
    // One refused line or frame; `bytes` is its beginning.
    std::function<void(std::string_view reason, std::string_view bytes)> refuse;
  };

  explicit StreamFramer(Framing framing) : framing_(framing) {}

  // False: the stream is broken (said by refuse) and must be closed.
  bool feed(std::string_view bytes, const Out& out);
  // The peer has closed: an unterminated tail is a refused line.
  void finish(const Out& out);
  size_t held_bytes() const { return held_.capacity(); }

 private:
  bool feed_lines(std::string_view bytes, const Out& out);
  bool feed_frames(std::string_view bytes, const Out& out);

  Framing framing_;
  std::string held_;       // the beginning of a line or frame whose end has not come
  bool skipping_ = false;  // inside a line that was refused for its length
};

}  // namespace runnel::statsd
