// What a hook complains about, as lines for the log: at most kLines of a run, each cut to kLineBytes; the rest is
// counted. Loop thread. Header only.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "base/text.h"

namespace runnel::script {

class StderrLines {
 public:
  static constexpr uint64_t kLines = 20;
  static constexpr size_t kLineBytes = 500;

  template <class Log>
  void feed(std::string_view bytes, Log log) {
    while (!bytes.empty()) {
      size_t end = bytes.find('\n');
      if (partial_.size() <= kLineBytes) partial_.append(bytes.substr(0, end).substr(0, kLineBytes + 1));
      if (end == std::string_view::npos) return;
      bytes.remove_prefix(end + 1);
      line(log);
    }
  }
  template <class Log>
  void finish(Log log) {
    line(log);
    if (lines_ > kLines) log(fmt::format("{} more lines", lines_ - kLines));
    lines_ = 0;
  }

 private:
  template <class Log>
  void line(Log log) {
    std::string_view text = trim(partial_);
    if (!text.empty() && ++lines_ <= kLines)
      log(text.size() > kLineBytes ? std::string_view(std::string(text.substr(0, kLineBytes)) + "…") : text);
    partial_.clear();
  }
  std::string partial_;
  uint64_t lines_ = 0;
};

}  // namespace runnel::script
