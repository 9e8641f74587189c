// HostCollectors: what the host itself says, from files below a root and statvfs. Asked once an interval by the
// composition root; one call is one round of all enabled collectors into one batch. Main thread; it starts helper threads
// only where remote file systems are mounted. The SourceCounts must outlive it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "metric/batch.h"
#include "metric/self_metrics.h"

namespace runnel {

struct CollectorInfo {
  std::string_view name, help;
  bool by_default;
};
std::vector<CollectorInfo> list_collectors();  // in the order of the table and of a round
std::vector<std::string> collector_names();

// The names that `collectors` of a configuration means, in the order of the table: names, "default", "all" and "-name",
// taken in order. Error: a name that does not exist, with the nearest; nothing left.
Result<std::vector<std::string>> select_collectors(const std::vector<std::string>& words);

struct HostProbe;

class HostCollectors {
 public:
  // An invalid list of collectors, which `check` refuses, is logged and the default collected.
  HostCollectors(const HostConfig& config, SourceCounts& counts);
  HostCollectors(const HostConfig& config, SourceCounts& counts,
                 const HostProbe& probe);  // collectors.h, for tests
  ~HostCollectors();
  HostCollectors(const HostCollectors&) = delete;

  // Adds this round's samples with `time_ms`. Never blocks for more than a few ms, whatever is mounted.
  void collect(Batch& out, int64_t time_ms);
  void report(SelfReport& report) const;  // series of the last round; the counts are their owner's to report

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace runnel
