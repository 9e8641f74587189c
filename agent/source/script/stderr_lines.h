// What a hook complains about, as lines for the log: at most kLines in kPeriodMs over all its runs, each cut to
// kLineBytes. The rest is counted, and the count told at the end of a run, once in kPeriodMs. Loop thread. Header only.
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
  static constexpr int64_t kPeriodMs = 60'000;
  static constexpr size_t kLineBytes = 500;

  // Times are monotonic.
  template <class Log>
  void feed(std::string_view bytes, int64_t now_ms, Log log) {
    while (!bytes.empty()) {
      size_t end = bytes.find('\n');
      if (partial_.size() <= kLineBytes) partial_.append(bytes.substr(0, end).substr(0, kLineBytes + 1));
      if (end == std::string_view::npos) return;
      bytes.remove_prefix(end + 1);
      line(now_ms, log);
    }
  }
  template <class Log>
  void finish(int64_t now_ms, Log log) {
    line(now_ms, log);
    if (held_ == 0 || now_ms < next_told_ms_) return;
    log(fmt::format("{} more lines", held_));
    held_ = 0;
    next_told_ms_ = now_ms + kPeriodMs;
  }
  // Another file: somebody is working on it and wants to see what it says. What was held back stays counted.
  void renew() { period_end_ms_ = next_told_ms_ = INT64_MIN; }

 private:
  template <class Log>
  void line(int64_t now_ms, Log log) {
    std::string text(trim(partial_));
    partial_.clear();
    if (text.empty()) return;
    if (now_ms >= period_end_ms_) {
      period_end_ms_ = now_ms + kPeriodMs;
      lines_ = 0;
    }
    if (++lines_ > kLines) {
      held_++;
    } else {
      log(text.size() > kLineBytes ? text.substr(0, kLineBytes) + "…" : text);
    }
  }
  std::string partial_;
  int64_t period_end_ms_ = INT64_MIN, next_told_ms_ = INT64_MIN;
  uint64_t lines_ = 0;  // of this period
  uint64_t held_ = 0;   // not told yet
};

}  // namespace runnel::script
