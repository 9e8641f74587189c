// When hooks run, apart from the wall clock's multiples that AlignedTimer gives. Pure, header only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/text.h"

namespace runnel::script {

// A delay fixed by the hook's name, within a tenth of its interval and 5 s, so that fifty hooks of 10 s are not
// started in the same millisecond.
inline int64_t splay_ms(std::string_view name, int64_t interval_ms) {
  int64_t range = std::min<int64_t>(interval_ms / 10, 5'000);
  return range <= 0 ? 0 : static_cast<int64_t>(hash_bytes(name) % static_cast<uint64_t>(range));
}

// Back-off of one hook: from the third failure in a row its runs are twice as far apart each time, up to ten intervals
// or ten minutes, whichever is less (and never less than the interval). A success or a new file ends it.
class FailureBackoff {
 public:
  static constexpr int kPatience = 3;

  void succeeded() { *this = {}; }
  // Returns the pause until the next run, 0: none but the interval.
  int64_t failed(int64_t interval_ms, int64_t mono_ms) {
    failures_++;
    if (failures_ < kPatience) return 0;
    int64_t cap = std::max(interval_ms, std::min<int64_t>(10 * interval_ms, 600'000));
    int64_t pause = std::min(cap, interval_ms << std::min(failures_ - kPatience + 1, 20));
    // Half an interval early: the run due at the end of the pause must not be missed by a few milliseconds.
    not_before_ms_ = mono_ms + pause - interval_ms / 2;
    return pause;
  }
  bool waiting(int64_t mono_ms) const { return mono_ms < not_before_ms_; }
  int failures() const { return failures_; }

 private:
  int failures_ = 0;
  int64_t not_before_ms_ = INT64_MIN;
};

}  // namespace runnel::script
