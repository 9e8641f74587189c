// What a collector sees: the round it takes part in, and the interface it implements. Main thread. A Round lives for one
// round; collectors live as long as their HostCollectors.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "metric/batch.h"
#include "metric/self_metrics.h"

namespace runnel {

class ProcFile;

// One row of a collector's table of metrics.
struct HostMetric {
  std::string_view name, unit;
  Kind kind = Kind::gauge;
  bool since_boot = false;  // a total that was 0 when the host booted
};

class Round {
 public:
  Round(Batch& batch, SourceCounts& counts, uint64_t number, int64_t time_ms)
      : number_(number), batch_(batch), counts_(counts), time_ms_(time_ms) {}

  // Tags must come sorted by key: then nothing is allocated for them.
  void add(const HostMetric& metric, std::initializer_list<Tag> tags, Number value);
  // A line, value or file that is not what it should be: counted as received and bad, and said once in the log.
  void bad(ProcFile& file, std::string_view reason, std::string_view sample = {});

  void set_boot(int64_t ms) { boot_ms_ = ms; }  // start of the totals that began at boot; 0: not known
  uint64_t number() const { return number_; }   // from 1
  int64_t time_ms() const { return time_ms_; }
  uint64_t accepted() const { return accepted_; }

 private:
  uint64_t number_;
  Batch& batch_;
  SourceCounts& counts_;
  int64_t time_ms_, boot_ms_ = 0;
  uint64_t accepted_ = 0;
};

class Collector {
 public:
  virtual ~Collector() = default;
  virtual void collect(Round& round) = 0;
};

}  // namespace runnel
