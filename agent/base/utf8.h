// valid_utf8 (base/text.h) for the texts of messages, of which most are short and ASCII: eight bytes at a time, and only
// what has others is looked at closely. Inline, for decoders that look at ten of them an event. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/text.h"

namespace runnel {

inline bool is_utf8(std::string_view text) {
  uint64_t all = 0;
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t eight;
    std::memcpy(&eight, text.data() + i, 8);
    all |= eight;
  }
  for (; i < text.size(); i++) all |= static_cast<unsigned char>(text[i]);
  return (all & 0x8080808080808080U) == 0 || valid_utf8(text);
}

}  // namespace runnel
