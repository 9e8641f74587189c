// Keeps a series that comes too often from filling everything behind: of one series a point is taken, what lies nearer to the
// last one that was taken than the interval is not. It goes by the times of the points, as their senders said them, so
// that what was held up on the way and comes in a burst is not thinned. One thread.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "source/ffwd/point.h"

namespace runnel::ffwd {

class Thinner {
 public:
  // Series that are remembered; beyond that all are forgotten, and of each one point more is taken.
  static constexpr size_t kMaxSeries = 200'000;

  void configure(int64_t min_interval_ms);  // 0: nothing is thinned
  // Takes out what comes too soon; how many. Events stay. `now_ms` is the time of points that have none.
  size_t thin(Points& points, int64_t now_ms);
  // What was taken has been lost and will be sent again.
  void forget() { last_ms_.clear(); }

 private:
  int64_t min_interval_ms_ = 0;
  std::unordered_map<uint64_t, int64_t> last_ms_;  // by a hash of series and host
};

}  // namespace runnel::ffwd
