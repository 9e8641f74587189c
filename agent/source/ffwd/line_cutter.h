// Cuts a stream into lines. Pure; one a connection. A line that came in one piece is handed on where it is, without a copy;
// what is held grows with the bytes that came and is given back when the line is over.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace runnel::ffwd {

class LineCutter {
 public:
  static constexpr size_t kMaxLine = 65'536;  // without its newline; of a longer one the rest is skipped
  static constexpr size_t kKeep = 512;        // bytes of memory that stay between lines

  struct Out {
    std::function<void(std::string_view line)> take;  // valid during the call
    std::function<void()> too_long;                   // once a line
  };
  // True: a line has ended.
  bool feed(std::string_view bytes, const Out& out);
  bool partial() const { return !held_.empty(); }  // the beginning of a line whose end has not come
  size_t held_bytes() const;

 private:
  void release();

  std::string held_;
  bool skipping_ = false;  // inside of a line that was too long
};

}  // namespace runnel::ffwd
