// What a StatsD source counts and says about what it was sent; shared by its receivers, any thread.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log_limit.h"
#include "metric/self_metrics.h"
#include "net/peer.h"

namespace runnel::statsd {

class SourceLog {
 public:
  SourceLog(const Clock& clock, std::string name);

  const std::string& name() const { return name_; }
  void accepted(uint64_t received, uint64_t accepted);
  // A line that was not taken (already counted as received). The first of a reason is told, then one every 10 s; `peer` is
  // asked only then.
  void bad(std::string_view reason, std::string_view line, const std::function<Peer()>& peer);
  void dropped(std::string_view reason, std::string_view line, const std::function<Peer()>& peer);
  // Lines that went into runnel.overflow. Told once a minute, with what fills the table (`growth` is asked only then).
  void folded(uint64_t lines, const std::function<std::string()>& growth);
  void closed(std::string_view reason, const Peer& peer);  // a connection, by us
  void report(SelfReport& report) const;

 private:
  void tell(std::string_view reason, std::string_view line, const std::function<Peer()>& peer);

  const std::string name_;
  SourceCounts counts_;
  ReasonCounts closed_;
  std::atomic<uint64_t> folded_{0};
  std::mutex mutex_;  // the limits
  LogLimit bad_limit_, growth_limit_;
};

}  // namespace runnel::statsd
