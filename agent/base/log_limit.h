// Keeps a flood of bad input from becoming a flood of log lines: one line a topic (a reason, a script) and period; what
// was held back is told with the next one. One owner, one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"

namespace runnel {

class LogLimit {
 public:
  explicit LogLimit(const Clock& clock, int64_t period_ms = 10'000)
      : clock_(clock), period_ns_(period_ms * 1'000'000) {}

  // Nothing: hold it back. A number: write it, and that many like it were held back since the last one.
  std::optional<uint64_t> allow(std::string_view topic) {
    auto it = topics_.find(topic);
    if (it == topics_.end()) {
      if (topics_.size() >= kMaxTopics) topics_.clear();
      it = topics_.emplace(std::string(topic), Topic{}).first;
    } else if (clock_.mono_ns() < it->second.next_ns) {
      it->second.held++;
      return std::nullopt;
    }
    it->second.next_ns = clock_.mono_ns() + period_ns_;
    return std::exchange(it->second.held, 0);
  }

 private:
  static constexpr size_t kMaxTopics = 1024;
  struct Topic {
    int64_t next_ns = 0;
    uint64_t held = 0;
  };
  const Clock& clock_;
  int64_t period_ns_;
  std::map<std::string, Topic, std::less<>> topics_;
};

}  // namespace runnel
