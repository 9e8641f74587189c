#include "loop/aligned_timer.h"

#include <algorithm>
#include <cstdlib>

namespace runnel {
namespace {

// NTP slews by at most 500 ppm (adjtimex(2)), 5 ms in 10 s; timers are late by scheduling noise. Both clocks are read
// at the same moment, so what remains beyond this is somebody setting the clock.
constexpr int64_t kStepMs = 100;
// A late timer must not make 10000 into 10003: within this much of the nominal length the nominal one is reported.
constexpr int64_t kJitterMs = 50;

int64_t boundary_after(int64_t wall_ms, int64_t interval_ms, int64_t offset_ms) {
  int64_t since = (wall_ms - offset_ms) % interval_ms;
  if (since < 0) since += interval_ms;
  return wall_ms - since + interval_ms;
}

}  // namespace

Cadence::Cadence(int64_t interval_ms, int64_t offset_ms, int64_t wall_ms, int64_t mono_ns)
    : interval_ms_(std::max<int64_t>(1, interval_ms)),
      offset_ms_(offset_ms % interval_ms_),
      last_wall_ms_(wall_ms),
      last_mono_ns_(mono_ns),
      next_boundary_ms_(boundary_after(wall_ms, interval_ms_, offset_ms_)) {}

int64_t Cadence::delay_ms(int64_t wall_ms) const {
  return std::clamp<int64_t>(next_boundary_ms_ - wall_ms, 1, interval_ms_);
}

bool Cadence::due(int64_t wall_ms, int64_t mono_ns) const {
  // By the wall, or by the monotonic clock when the wall was set back.
  return wall_ms >= next_boundary_ms_ || (mono_ns - last_mono_ns_) / 1'000'000 >= interval_ms_;
}

Tick Cadence::tick(int64_t wall_ms, int64_t mono_ns) {
  // The boundary that has just passed; after a sleep or a step forward that may be a later one than was planned.
  int64_t stamp = std::max(boundary_after(wall_ms, interval_ms_, offset_ms_) - interval_ms_, int64_t{0});
  return close(stamp, wall_ms, mono_ns);
}

Tick Cadence::cut(int64_t wall_ms, int64_t mono_ns) {
  return close(wall_ms, wall_ms, mono_ns);
}

Tick Cadence::close(int64_t stamp_ms, int64_t wall_ms, int64_t mono_ns) {
  Tick tick;
  int64_t length_ms = (mono_ns - last_mono_ns_) / 1'000'000;
  int64_t drift_ms = (wall_ms - last_wall_ms_) - length_ms;
  if (std::llabs(drift_ms) >= kStepMs) tick.step_ms = drift_ms;
  if (stamp_ms + nudge_ms_ <= highest_stamp_ms_) {
    if (tick.step_ms < 0) {
      nudge_ms_++;
    } else if (highest_stamp_ms_ - stamp_ms < interval_ms_) {
      // Not a step: a tick close behind a cut, or a clock that creeps back below the threshold.
      stamp_ms = highest_stamp_ms_ + 1 - nudge_ms_;
    }
  }
  tick.time_ms = stamp_ms + nudge_ms_;
  tick.interval_ms = std::llabs(length_ms - interval_ms_) <= std::min(kJitterMs, interval_ms_ / 10)
                         ? interval_ms_
                         : std::max<int64_t>(1, length_ms);
  highest_stamp_ms_ = std::max(highest_stamp_ms_, tick.time_ms);
  last_wall_ms_ = wall_ms;
  last_mono_ns_ = mono_ns;
  next_boundary_ms_ = boundary_after(wall_ms, interval_ms_, offset_ms_);
  return tick;
}

AlignedTimer::AlignedTimer(Loop& loop, const Clock& clock, int64_t interval_ms, int64_t offset_ms,
                           std::function<void(const Tick&)> on_tick)
    : clock_(clock),
      cadence_(interval_ms, offset_ms, clock.wall_ms(), clock.mono_ns()),
      on_tick_(std::move(on_tick)),
      timer_(loop, [this] { fired(); }) {}

void AlignedTimer::start() {
  arm();
}
void AlignedTimer::stop() {
  timer_.stop();
}
Tick AlignedTimer::cut() {
  return cadence_.cut(clock_.wall_ms(), clock_.mono_ns());
}
void AlignedTimer::arm() {
  timer_.start(cadence_.delay_ms(clock_.wall_ms()));
}

void AlignedTimer::fired() {
  int64_t wall = clock_.wall_ms(), mono = clock_.mono_ns();
  if (!cadence_.due(wall, mono)) {
    arm();
    return;
  }
  Tick tick = cadence_.tick(wall, mono);
  arm();
  on_tick_(tick);  // last: it may destroy this timer
}

}  // namespace runnel
