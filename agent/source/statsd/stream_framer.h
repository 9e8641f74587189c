// Cuts the bytes of a stream into payloads: newline-terminated lines (tcp://), or frames of a u32 little-endian length and
// as many bytes (unix://, as DogStatsD). Pure: no descriptor, no clock; memory grows only with bytes that have come, and
// is given back when a burst is over. Whatever way the bytes are split into feeds, the same lines come out and the same
// refusals, in the same order.
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
  static constexpr size_t kMaxFrame = 1
                                      << 20;  // a longer one ends the stream: what follows cannot be trusted
  static constexpr size_t kMaxShown = 256;    // bytes of a refused line that refuse() is told
  static constexpr size_t kKeep = 512;        // bytes of memory that a stream at rest may keep

  struct Out {
    // Whole lines, several at a time where they came so (a frame's last line may lack its newline). Valid during the call,
    // as are `bytes` of refuse. Neither may call the framer.
    std::function<void(std::string_view payload)> take;
    // One refused line or frame; `bytes` is its beginning (of a frame behind its length, unless the length is what is bad).
    std::function<void(std::string_view reason, std::string_view bytes)> refuse;
  };

  explicit StreamFramer(Framing framing) : framing_(framing) {}

  // False: the stream is broken (said by refuse, once) and must be closed.
  bool feed(std::string_view bytes, const Out& out);
  // The peer has closed: an unterminated tail is a refused line.
  void finish(const Out& out);
  size_t held_bytes() const { return held_.capacity(); }

 private:
  void feed_lines(std::string_view bytes, const Out& out);
  bool feed_frames(std::string_view bytes, const Out& out);
  void take_lines(std::string_view lines, const Out& out);
  void hold_line(std::string_view tail, const Out& out);
  void release();

  Framing framing_;
  bool skipping_ = false;  // inside a line that was refused for its length; of frames: the stream is broken
  std::string held_;       // the beginning of a line, or of a frame with its length, whose end has not come
};

}  // namespace runnel::statsd
