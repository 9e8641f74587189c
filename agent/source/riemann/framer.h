// Cuts a stream into messages: u32 big-endian length, then that many bytes. Pure over the bytes it is fed; one a
// connection. What is held grows with the bytes that came, whatever length was announced; a message that lies in one
// piece of the input is handed on where it is, without a copy.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace runnel::riemann {

namespace framing {
inline constexpr std::string_view kEmpty =
    "empty_frame";  // a length of 0: not even an empty answer would fit
inline constexpr std::string_view kTooLarge =
    "frame_too_large";  // beyond max_frame, such as text of another protocol
}  // namespace framing

class Framer {
 public:
  static constexpr size_t kKeep =
      4096;  // bytes of memory that stay with a connection between messages, at most

  // "" or, where the stream cannot be followed any longer, why; nothing may be fed after that. `take` is called for each
  // message that is complete, with a view that is valid during the call.
  std::string_view feed(std::string_view bytes, size_t max_frame,
                        const std::function<void(std::string_view message)>& take);
  bool partial() const { return !held_.empty(); }  // bytes of a message whose end has not come
  size_t held_bytes() const;

 private:
  std::string held_;  // header and what came of the message
};

}  // namespace runnel::riemann
