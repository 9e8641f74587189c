// A StatsD source: its listeners and the receivers that read them. All listeners of a source share one table of series, so
// several of them make one sample a series and interval.
//
// Threads: every method belongs to the loop's thread. Batches come from the receivers through the loop into `inlet`.
// Ownership: the source owns its receivers; stop() or the destructor joins them.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log_limit.h"
#include "base/result.h"
#include "config/config.h"
#include "loop/aligned_timer.h"
#include "loop/loop.h"
#include "metric/batch.h"
#include "metric/self_metrics.h"
#include "net/listener.h"
#include "source/statsd/receiver.h"
#include "source/statsd/repeater.h"
#include "source/statsd/source_log.h"

namespace runnel::statsd {

class StatsdSource {
 public:
  // Binds all listeners, then starts the receivers. With `optional_ports` (built-in defaults) a listener that cannot be
  // bound is a warning in the log; otherwise the error names address and position.
  static Result<std::unique_ptr<StatsdSource>> open(Loop& loop, const Clock& clock,
                                                    const StatsdConfig& config, Inlet inlet,
                                                    bool optional_ports, bool share_ports = false);
  ~StatsdSource();
  StatsdSource(const StatsdSource&) = delete;

  // A reload: listeners that stay are not touched, series are kept. On error nothing has changed.
  Status reconfigure(const StatsdConfig& config);  // while share_ports(true)
  // While true, another socket of ours may be bound where one of this source is: a reload that moves listeners binds the
  // new ones before it closes the old ones, whichever source they belong to.
  void share_ports(bool share);
  // Ends the interval: the batches arrive in the inlet a moment later.
  void flush(const Tick& tick);
  // The same, with all that the kernel holds now; afterwards the source goes on. For an end that listeners live on beyond.
  void flush_before_end(const Tick& tick);
  bool flushed() const;  // the inlet has got all that the flushes so far had for it
  // Reads what the kernel still holds, flushes the last interval into the inlet, joins. After flush_before_end only what
  // has come since: that series have gone on idle has been told by then.
  void stop(const Tick& last);
  void report(SelfReport& report) const;
  const StatsdConfig& config() const { return config_; }
  std::vector<std::string> addresses() const;  // as bound: ports are numbers

 private:
  using Listeners = std::vector<std::shared_ptr<Listener>>;
  using Targets = std::vector<std::shared_ptr<Repeater::Counts>>;

  StatsdSource(Loop& loop, const Clock& clock, const StatsdConfig& config, Inlet inlet, bool optional_ports);
  Result<Listeners> bind_all(const StatsdConfig& config, const Listeners& kept, bool share) const;
  Result<std::vector<ReceiverSettings>> settings_for(const StatsdConfig& config, const Listeners& listeners,
                                                     const Targets& targets) const;
  static Targets targets_for(const StatsdConfig& config, const Targets& kept);
  void start_receiver(ReceiverSettings settings);
  void tell_followers();
  void tell_losses();
  void deliver();  // outbox into the inlet

  const Clock& clock_;
  StatsdConfig config_;
  Inlet inlet_;
  const bool optional_ports_;
  SourceLog log_;
  LogLimit loss_limit_;
  bool ending_ = false;  // flush_before_end
  uint64_t told_drops_ = 0, told_repeat_drops_ = 0;
  uint64_t retired_drops_ = 0;  // the kernel's drops at sockets that are closed
  Listeners listeners_;
  Targets targets_;

  mutable std::mutex mutex_;
  std::vector<Batch> outbox_;  // under mutex_
  Wakeup wakeup_;
  std::vector<std::unique_ptr<Receiver>> retired_;    // stopped by a reload; the leader may still name them
  std::vector<std::unique_ptr<Receiver>> receivers_;  // the first one leads
};

}  // namespace runnel::statsd
