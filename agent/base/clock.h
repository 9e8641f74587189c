// Time, behind an interface so that tests own it. Wall time is data only (stamps on samples); every
// duration and timer uses the monotonic clock, because operators and NTP set the wall clock back and forth.
// Implementations are safe from any thread.
#pragma once

#include <cstdint>

namespace runnel {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t wall_ms() const = 0;  // milliseconds since 1970, UTC (CLOCK_REALTIME)
  virtual int64_t mono_ns() const = 0;  // nanoseconds since some fixed point (CLOCK_MONOTONIC)
};

class SystemClock final : public Clock {
 public:
  int64_t wall_ms() const override;
  int64_t mono_ns() const override;
};

// For tests: stands still until told.
class ManualClock final : public Clock {
 public:
  int64_t wall_ms() const override { return wall; }
  int64_t mono_ns() const override { return mono; }
  void advance_ms(int64_t ms) { wall += ms, mono += ms * 1'000'000; }
  int64_t wall = 1'763'769'600'000;
  int64_t mono = 1'000'000'000;
};

}  // namespace runnel
