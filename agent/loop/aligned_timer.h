// A timer that fires at multiples of its interval on the wall clock (plus an offset), so that the samples of a fleet
// line up, while lengths are measured by the monotonic clock. Loop thread.
//
// When the wall clock is set, the timer notices at its next tick (it never sleeps longer than its interval), realigns,
// and keeps two promises: the stamps of one timer never repeat, and `interval_ms` is the true length. After the n-th
// step back the stamps carry n milliseconds more (multiples of the interval + n), so that an hour lived twice, or any
// other whole number of intervals, does not collide with its first life.
#pragma once

#include <cstdint>
#include <functional>

#include "base/clock.h"
#include "loop/loop.h"

namespace runnel {

struct Tick {
  int64_t time_ms = 0;      // the stamp: the end of the interval
  int64_t interval_ms = 0;  // true length, monotonic; the nominal one where they differ by timer jitter only
  int64_t step_ms = 0;      // by how much the wall clock was set since the tick before; 0: it was not
};

// The pure part: what stamps and delays follow from clock readings. AlignedTimer wraps it; tests drive it directly.
class Cadence {
 public:
  // The first stretch begins at the readings given here.
  Cadence(int64_t interval_ms, int64_t offset_ms, int64_t wall_ms, int64_t mono_ns);

  int64_t delay_ms(int64_t wall_ms) const;           // from now until the next boundary; at least 1
  bool due(int64_t wall_ms, int64_t mono_ns) const;  // false: the timer came too early, wait delay_ms() more
  Tick tick(int64_t wall_ms, int64_t mono_ns);  // closes the stretch at the boundary that has just passed
  Tick cut(int64_t wall_ms, int64_t mono_ns);   // closes it here and now: the last, partial interval

 private:
  Tick close(int64_t stamp_ms, int64_t wall_ms, int64_t mono_ns);
  int64_t interval_ms_, offset_ms_;
  int64_t last_wall_ms_, last_mono_ns_;
  int64_t next_boundary_ms_;      // wall time at which the open stretch should end
  int64_t highest_stamp_ms_ = 0;  // of all stamps given out
  int64_t nudge_ms_ = 0;          // steps back so far
};

class AlignedTimer {
 public:
  AlignedTimer(Loop& loop, const Clock& clock, int64_t interval_ms, int64_t offset_ms,
               std::function<void(const Tick&)> on_tick);
  void start();
  void stop();
  Tick cut();

 private:
  void arm();
  void fired();
  const Clock& clock_;
  Cadence cadence_;
  std::function<void(const Tick&)> on_tick_;
  Timer timer_;
};

}  // namespace runnel
