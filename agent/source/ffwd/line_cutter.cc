#include "source/ffwd/line_cutter.h"

namespace runnel::ffwd {

size_t LineCutter::held_bytes() const {
  return held_.capacity() > std::string().capacity() ? held_.capacity() : 0;
}

void LineCutter::release() {
  held_.clear();
  if (held_.capacity() > kKeep) std::string().swap(held_);  // assigning an empty one keeps the memory
}

bool LineCutter::feed(std::string_view bytes, const Out& out) {
  bool any = false;
  while (!bytes.empty()) {
    size_t end = bytes.find('\n');
    bool whole = end != std::string_view::npos;
    std::string_view part = bytes.substr(0, end);
    bytes.remove_prefix(whole ? end + 1 : bytes.size());
    any |= whole;
    if (skipping_) {
      skipping_ = !whole;
    } else if (held_.size() + part.size() > kMaxLine) {
      out.too_long();
      skipping_ = !whole;
      release();
    } else if (!whole) {
      held_ += part;
    } else if (held_.empty()) {
      out.take(part);
    } else {
      held_ += part;
      out.take(held_);
      release();
    }
  }
  return any;
}

}  // namespace runnel::ffwd
