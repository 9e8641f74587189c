#include "source/riemann/framer.h"

#include <algorithm>
#include <cstdint>

namespace runnel::riemann {
namespace {

constexpr size_t kHeader = 4;

size_t length_of(std::string_view header) {
  uint32_t length = 0;
  for (size_t i = 0; i < kHeader; i++) length = length << 8 | static_cast<unsigned char>(header[i]);
  return length;
}

std::string_view judge(size_t length, size_t max_frame) {
  if (length == 0) return framing::kEmpty;
  return length > max_frame ? framing::kTooLarge : std::string_view{};
}

}  // namespace

size_t Framer::held_bytes() const {
  return held_.capacity() > std::string().capacity() ? held_.capacity() : 0;
}

std::string_view Framer::feed(std::string_view bytes, size_t max_frame,
                              const std::function<void(std::string_view)>& take) {
  if (!held_.empty()) {
    if (held_.size() < kHeader) {
      size_t part = std::min(kHeader - held_.size(), bytes.size());
      held_ += bytes.substr(0, part);
      bytes.remove_prefix(part);
      if (held_.size() < kHeader) return {};
    }
    size_t length = length_of(held_);
    if (std::string_view wrong = judge(length, max_frame); !wrong.empty()) return wrong;
    size_t part = std::min(kHeader + length - held_.size(), bytes.size());
    held_ += bytes.substr(0, part);
    bytes.remove_prefix(part);
    if (held_.size() < kHeader + length) return {};
    take(std::string_view(held_).substr(kHeader));
    held_.clear();
    if (held_.capacity() > kKeep) std::string().swap(held_);  // assigning an empty one keeps the memory
  }
  while (bytes.size() >= kHeader) {
    size_t length = length_of(bytes);
    if (std::string_view wrong = judge(length, max_frame); !wrong.empty()) return wrong;
    if (bytes.size() - kHeader < length) break;
    take(bytes.substr(kHeader, length));
    bytes.remove_prefix(kHeader + length);
  }
  held_ = bytes;
  return {};
}

}  // namespace runnel::riemann
