// Full-jitter exponential back-off: after the n-th failure a random wait in [0, min(cap, base · 2ⁿ)], so that a fleet
// does not come back in step. One owner, one thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>

namespace runnel {

class Backoff {
 public:
  Backoff(int64_t base_ms, int64_t cap_ms, uint64_t seed)
      : base_ms_(base_ms), cap_ms_(cap_ms), random_(seed) {}

  int64_t next_ms() {
    int64_t ceiling = std::min(cap_ms_, base_ms_ << std::min(failures_, 20));
    failures_++;
    return std::uniform_int_distribution<int64_t>(0, ceiling)(random_);
  }
  void reset() { failures_ = 0; }
  int failures() const { return failures_; }

 private:
  int64_t base_ms_, cap_ms_;
  int failures_ = 0;
  std::minstd_rand random_;
};

}  // namespace runnel
