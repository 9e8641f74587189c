// What one receiver's shard counted in an interval, on its way to the shard that leads. Plain values; passed by move.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sketch/distribution.h"
#include "source/statsd/parser.h"

namespace runnel::statsd {

// The part of a counter's sum that is not in its 64-bit integer: fractions, with Neumaier's compensation, and how often the
// integer has wrapped.
struct Remainder {
  double sum = 0, error = 0;
  int64_t carry = 0;     // in units of 2^64
  int64_t start_ms = 0;  // where counters come out as totals: when this one began at 0
  void add(double value) {
    double t = sum + value;
    double larger = sum < 0 ? -sum : sum, smaller = value < 0 ? -value : value;
    error += larger >= smaller ? (sum - t) + value : (value - t) + sum;
    sum = t;
  }
  void add(const Remainder& other) {
    add(other.sum);
    add(other.error);
    carry += other.carry;
    if (other.start_ms != 0 && (start_ms == 0 || other.start_ms < start_ms)) start_ms = other.start_ms;
  }
};

struct Shard {
  struct Series {
    uint32_t key = 0;  // in `keys`: the canonical name, then tags
    uint16_t name_size = 0, tags_size = 0;
    Type type = Type::counter;
    bool milliseconds = false, escaped = false;
    uint32_t lines = 0;
    int64_t whole = 0;   // of a counter
    uint32_t index = 0;  // of a timer or set; of a counter: in `rests` + 1, 0: none
  };
  std::vector<Series> series;
  std::string keys;
  std::vector<Remainder> rests;
  std::vector<DistributionCell> timers;
  std::vector<SetCell> sets;
};

}  // namespace runnel::statsd
