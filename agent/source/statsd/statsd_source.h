// StatsD over UDP: one receiver thread that owns the sockets and the aggregation table of a source; all listeners of a
// source share the table, so several of them make one sample a series and interval.
//
// Threads: every method belongs to the loop's thread. The receiver sleeps in poll(2) while nothing comes; it is woken
// through an eventfd to flush, to change its sockets and to stop. Batches come back through the loop, into `inlet`.
// Ownership: the source owns its thread; stop() or the destructor joins it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log_limit.h"
#include "base/result.h"
#include "config/config.h"
#include "loop/aligned_timer.h"
#include "loop/loop.h"
#include "metric/batch.h"
#include "metric/self_metrics.h"
#include "source/statsd/aggregator.h"

namespace runnel::statsd {

class StatsdSource {
 public:
  // Binds all listeners, then starts the thread. With `optional_ports` (built-in defaults) a listener that cannot be
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
  // Ends the interval: the batch arrives in the inlet a moment later.
  void flush(const Tick& tick);
  // Reads what the kernel still holds, flushes the last interval into the inlet, joins.
  void stop(const Tick& last);
  void report(SelfReport& report) const;
  const StatsdConfig& config() const { return config_; }
  std::vector<std::string> addresses() const;  // as bound: ports are numbers

 private:
  struct Socket {
    UniqueFd fd;
    std::string wanted, bound;  // URLs: as configured, as bound
    int64_t buffer_bytes = 0;   // SO_RCVBUF as the kernel has it
  };
  using Sockets = std::vector<std::shared_ptr<Socket>>;

  StatsdSource(Loop& loop, const Clock& clock, const StatsdConfig& config, Inlet inlet, bool optional_ports);
  Result<Sockets> bind_all(const StatsdConfig& config, const Sockets& kept, bool share) const;
  static Result<std::shared_ptr<Socket>> bind_one(const std::string& url, int64_t receive_buffer, bool share);

  void run();  // the receiver thread
  size_t receive_some(Socket& socket, int rounds);
  size_t receive(Socket& socket);
  void take(std::string_view datagram, const void* peer);
  void tell_bad(std::string_view reason, std::string_view line, const void* peer);
  void deliver();  // loop thread: outbox into the inlet

  const Clock& clock_;
  StatsdConfig config_;
  Inlet inlet_;
  const bool optional_ports_;
  SourceCounts counts_;
  uint64_t retired_drops_ = 0;  // the kernel's drops at sockets that are closed

  // Shared with the receiver.
  mutable std::mutex mutex_;
  Sockets sockets_;
  bool sockets_changed_ = false, stopping_ = false;
  std::optional<Tick> flush_wanted_;
  std::vector<Batch> outbox_;
  std::atomic<uint64_t> series_{0};
  UniqueFd wake_fd_;
  Wakeup wakeup_;

  // The receiver's own, until it has been joined.
  struct Buffers;
  std::unique_ptr<Buffers> buffers_;
  Aggregator aggregator_;
  LogLimit bad_limit_;
  std::thread thread_;
};

}  // namespace runnel::statsd
