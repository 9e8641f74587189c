// One receiver: a thread that owns its sockets' reading, a parser and a shard of the aggregation table. A source has one, or
// several that share the load (`receivers`): the first leads (aggregator.h), the others hand it their gauge lines and, at a
// flush, what they counted.
//
//     flush(tick) → leader asks the others → each hands over its shard, in slices → the leader merges, emits, in slices
//
// Threads: the constructor, configure, flush and stop belong to the loop's thread; hand_over to another receiver's; run is
// the receiver's own. Everything that passes between them is in Mailbox, under one mutex, with an eventfd to wake the
// receiver. It sleeps in ppoll(2) while nothing comes.
#pragma once

#include <poll.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "loop/aligned_timer.h"
#include "metric/batch.h"
#include "net/datagram_reader.h"
#include "net/listener.h"
#include "source/statsd/aggregator.h"
#include "source/statsd/repeater.h"
#include "source/statsd/shard.h"
#include "source/statsd/source_log.h"
#include "source/statsd/stream_lines.h"

namespace runnel::statsd {

struct ReceiverSettings {
  AggregatorOptions aggregation;
  StreamLimits streams;
  std::vector<std::shared_ptr<Listener>> listeners;
  std::unique_ptr<Repeater> repeater;  // may be null
};

// Lines of gauges from one payload, for the receiver that leads.
struct GaugeLines {
  Peer peer;
  std::string lines;
};

class Receiver {
 public:
  static constexpr size_t kTopNames = 10;  // that top() tells, where each has at least 1 % of the lines

  // `log` counts and tells; `deliver` takes finished batches: both from the receiver's thread. `leader`: null, this one leads.
  Receiver(const Clock& clock, SourceLog& log, std::function<void(Batch&&)> deliver, Receiver* leader,
           ReceiverSettings settings);
  ~Receiver();
  Receiver(const Receiver&) = delete;

  void configure(ReceiverSettings settings);
  void follow_with(std::vector<Receiver*> followers);  // of a leader: who is asked from the next flush on
  // Of a leader. With `read_first` all that the kernel holds at its receivers belongs to this interval.
  void flush(const Tick& tick, bool read_first);
  bool flushing() const;  // of a leader: what a flush has asked for has not all been given to `deliver`
  // Reads what the kernel still holds, then joins. A follower hands over the rest of its shard.
  void stop();
  // Of a leader that was stopped: what came after its last flush; and with `idle_too` the series that have gone on idle.
  void flush_rest(const Tick& tick, bool idle_too);

  size_t series() const { return series_.load(std::memory_order_relaxed); }
  size_t connections() const { return connections_.load(std::memory_order_relaxed); }
  std::vector<TopNames::Entry> top() const;  // of the interval flushed last

 private:
  // What others want of this receiver. Under `mutex_`.
  struct Mailbox {
    std::optional<ReceiverSettings> settings;
    std::vector<std::shared_ptr<Listener>>
        closing;  // of settings that were replaced before they were applied
    std::optional<std::vector<Receiver*>> followers;
    std::optional<Tick> flush;
    std::optional<int64_t> shard_wanted_ms;  // by the leader: the length of the interval
    bool read_first = false;                 // before that flush, or that shard
    bool stop = false;
    std::vector<GaugeLines> gauges;
    size_t gauge_bytes = 0;
    std::vector<std::pair<Receiver*, Shard>> shards;
    bool empty() const;
  };
  enum class Phase { idle, waiting, flushing };  // of a leader's flush

  void post(const std::function<void(Mailbox&)>& write, bool wake);
  void want_shard(int64_t interval_ms, bool read_first);
  bool hand_over(std::vector<GaugeLines>& gauges);  // false: the mailbox is full
  void hand_over(Receiver* from, Shard shard);

  void run();
  void wait();
  void open_mail(Mailbox mail);
  void apply(ReceiverSettings settings);
  size_t read_datagrams(int rounds);
  size_t read_socket(const Listener& listener, int rounds);
  void plan_gathering(size_t most, size_t stream_bytes);
  void take(std::string_view payload, const std::function<Peer()>& peer);
  void tell_counts();
  void hand_over_gauges(bool at_once);
  void flush_step();
  void lead_step();
  void follow_step();
  void finish();
  void read_all();
  void deliver_batch();
  void deliver_direct(bool at_once);

  const Clock& clock_;
  SourceLog& log_;
  std::function<void(Batch&&)> deliver_;
  Receiver* const leader_;

  mutable std::mutex mutex_;
  Mailbox mailbox_;
  std::vector<TopNames::Entry> top_;  // under mutex_
  bool flushing_ = false;             // under mutex_
  UniqueFd wake_fd_;
  std::atomic<size_t> series_{0}, connections_{0};

  // The receiver's own, until it has been joined.
  ReceiverSettings settings_;
  Aggregator aggregator_;
  DatagramReader reader_;
  Streams streams_;
  Aggregator::Judged judged_;
  const std::function<Peer()>* peer_ = nullptr;  // of the payload that is being taken
  Aggregator::Counts counts_;                    // not told yet
  std::vector<pollfd> polls_;
  uint64_t folded_ = 0;  // of the aggregator's, how many have been told
  bool stopping_ = false;

  // Gathering (receiver.cc).
  int64_t gather_ns_ = 0, gather_limit_ns_ = 0;
  bool gathering_ = false, busy_ = false, has_streams_ = false;
  int empty_gathers_ = 0;

  // A flush under way.
  Phase phase_ = Phase::idle;
  std::optional<Tick> next_flush_;
  bool read_first_ = false;
  Tick tick_;
  std::vector<Receiver*> followers_;
  std::set<Receiver*> awaited_;
  std::vector<Shard> shards_;
  size_t merge_at_ = 0;
  Batch batch_;
  int64_t direct_at_ns_ = 0;

  // Of a follower.
  std::optional<int64_t> shard_interval_ms_;
  Shard shard_;
  std::vector<GaugeLines> gauges_;
  size_t gauge_bytes_ = 0;
  bool gauges_open_ = false;  // the last of them is of the payload that is being taken

  std::thread thread_;
};

}  // namespace runnel::statsd
