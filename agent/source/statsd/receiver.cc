#include "source/statsd/receiver.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace runnel::statsd {
namespace {

constexpr int kRoundsBeforeLook =
    16;  // recvmmsg calls on a busy socket before the others and commands are looked at
constexpr int kRoundsAtEnd =
    4096;  // the same for a socket that is being closed: a flood must not keep it open
constexpr size_t kStreamBudget = 1 << 20;  // bytes a turn
constexpr size_t kStreamBusy = 32 << 10;   // a turn that brings as much is followed by the next one at once

// Cells a slice of a flush: some 0.3 ms of counters, well within a socket buffer's patience; timers cost more.
constexpr size_t kFlushSlice = 2048;
constexpr size_t kBatchRecords = 8192;  // a flush of many series leaves in batches of about that size
constexpr int64_t kDirectDelayNs = 200'000'000;  // what is not aggregated waits that long for company
constexpr size_t kDirectEnough = 4096;           // or for that many
constexpr size_t kGaugeBytesHeld = 64 << 10;     // of a follower, before it hands them over without a flush
constexpr size_t kMaxGaugeBytes = 8 << 20;       // that wait for the leader

// Gathering. On a real host datagrams arrive singly, and a wake-up costs more (3–6 µs) than taking in a dozen of them. So
// while traffic flows the receiver sleeps on after a short batch and lets the socket fill, from 1 ms up to 20 ms, towards
// kGatherGoal datagrams a wake-up; never longer than a sudden 200,000 datagrams/s of 1 KiB (with the kernel's overhead)
// would need to fill the receive buffer. Commands still wake it at once, and an idle one sleeps without a timer. Unix
// datagram sockets hold a handful of datagrams and then stop their senders, so those wake it as ever.
constexpr int64_t kGatherMinNs = 1'000'000, kGatherMaxNs = 20'000'000;
constexpr size_t kGatherGoal = 32;
constexpr size_t kFull = 2 * DatagramReader::kDatagrams;  // so many in a turn: the next one follows at once
constexpr int kEmptyGathers =
    3;  // in a row before it counts as idle: senders with a beat of their own leave gaps
constexpr int64_t kBurstBytesPerMs = 200 * 1024;

}  // namespace

bool Receiver::Mailbox::empty() const {
  return !settings && !followers && !flush && !shard_wanted_ms && !stop && gauges.empty() && shards.empty();
}

Receiver::Receiver(const Clock& clock, SourceLog& log, std::function<void(Batch&&)> deliver, Receiver* leader,
                   ReceiverSettings settings)
    : clock_(clock),
      log_(log),
      deliver_(std::move(deliver)),
      leader_(leader),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      aggregator_(settings.aggregation),
      streams_(
          clock,
          line_streams({[this](std::string_view payload, const Peer& peer) {
                          if (settings_.repeater) settings_.repeater->add_lines(payload);
                          take(payload, [&] { return peer; });
                          if (settings_.repeater) settings_.repeater->send();
                        },
                        [this](std::string_view reason, std::string_view bytes, const Peer& peer) {
                          log_.accepted(1, 0);
                          log_.bad(reason, bytes, [&] { return peer; });
                        },
                        [this](std::string_view reason, const Peer& peer) { log_.closed(reason, peer); }})),
      batch_(log.name()) {
  judged_ = [this](const Aggregator::Judgement& judgement, std::string_view line) {
    switch (judgement.verdict) {
      case Aggregator::Verdict::accepted:
        break;
      case Aggregator::Verdict::bad:
        log_.bad(judgement.reason, line, *peer_);
        break;
      case Aggregator::Verdict::dropped:
        log_.dropped(judgement.reason, line, *peer_);
        if (judgement.reason == "max_series")
          log_.folded(0, [this] { return aggregator_.describe_growth(); });
        break;
      case Aggregator::Verdict::forwarded:
        if (gauge_bytes_ + line.size() > kMaxGaugeBytes) {
          log_.accepted(1, 0);
          log_.dropped("queue_full", line, *peer_);
          break;
        }
        if (!std::exchange(gauges_open_, true)) {
          gauges_.push_back({(*peer_)(), {}});
          gauge_bytes_ += sizeof(GaugeLines);
        }
        gauges_.back().lines.append(line).append("\n");
        gauge_bytes_ += line.size() + 1;
        break;
    }
  };
  mailbox_.settings = std::move(settings);
  eventfd_write(wake_fd_.get(), 1);  // there is mail already
  // Signals are the loop's business.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Receiver::~Receiver() {
  stop();
}

// ---- mail: what others want ----------------------------------------------------------------------------------------

void Receiver::post(const std::function<void(Mailbox&)>& write, bool wake) {
  {
    std::lock_guard lock(mutex_);
    write(mailbox_);
  }
  if (wake) eventfd_write(wake_fd_.get(), 1);
}

void Receiver::configure(ReceiverSettings settings) {
  post(
      [&](Mailbox& mail) {
        // Settings that were never applied: what their sockets hold is read all the same.
        if (mail.settings)
          for (const auto& listener : mail.settings->listeners) mail.closing.push_back(listener);
        mail.settings = std::move(settings);
      },
      true);
}

void Receiver::follow_with(std::vector<Receiver*> followers) {
  post([&](Mailbox& mail) { mail.followers = std::move(followers); }, true);
}

void Receiver::flush(const Tick& tick, bool read_first) {
  post(
      [&](Mailbox& mail) {
        // Asked twice before the receiver came round: one longer interval.
        Tick wanted = tick;
        if (mail.flush) wanted.interval_ms += mail.flush->interval_ms;
        mail.flush = wanted;
        mail.read_first |= read_first;
        flushing_ = true;
      },
      true);
}

void Receiver::stop() {
  if (!thread_.joinable()) return;
  post([](Mailbox& mail) { mail.stop = true; }, true);
  thread_.join();
}

bool Receiver::flushing() const {
  std::lock_guard lock(mutex_);
  return flushing_;
}

void Receiver::want_shard(int64_t interval_ms, bool read_first) {
  post(
      [&](Mailbox& mail) {
        mail.shard_wanted_ms = interval_ms;
        mail.read_first |= read_first;
      },
      true);
}

bool Receiver::hand_over(std::vector<GaugeLines>& gauges) {
  size_t bytes = 0;
  for (const GaugeLines& g : gauges) bytes += sizeof g + g.lines.size();
  std::lock_guard lock(mutex_);
  if (mailbox_.gauge_bytes + bytes > kMaxGaugeBytes) return false;
  for (GaugeLines& g : gauges) mailbox_.gauges.push_back(std::move(g));
  mailbox_.gauge_bytes += bytes;
  if (mailbox_.gauge_bytes > kGaugeBytesHeld) eventfd_write(wake_fd_.get(), 1);
  return true;
}

void Receiver::hand_over(Receiver* from, Shard shard) {
  post([&](Mailbox& mail) { mail.shards.emplace_back(from, std::move(shard)); }, true);
}

std::vector<TopNames::Entry> Receiver::top() const {
  std::lock_guard lock(mutex_);
  return top_;
}

void Receiver::open_mail(Mailbox mail) {
  for (const auto& listener : mail.closing)
    if (!listener->is_stream()) read_socket(*listener, kRoundsAtEnd);
  if (mail.settings) apply(std::move(*mail.settings));
  if (mail.followers) {
    followers_ = std::move(*mail.followers);
    // Whoever has gone has handed over all it had.
    std::erase_if(awaited_, [&](Receiver* r) {
      return std::find(followers_.begin(), followers_.end(), r) == followers_.end();
    });
  }
  for (const GaugeLines& gauges : mail.gauges) take(gauges.lines, [&] { return gauges.peer; });
  for (auto& [from, shard] : mail.shards) {
    awaited_.erase(from);
    shards_.push_back(std::move(shard));
  }
  if (mail.flush) {
    if (next_flush_) mail.flush->interval_ms += next_flush_->interval_ms;
    next_flush_ = mail.flush;
  }
  if (mail.shard_wanted_ms) shard_interval_ms_ = mail.shard_wanted_ms;
  if (mail.read_first) read_all();
  read_first_ |= mail.read_first;
  stopping_ |= mail.stop;
}

void Receiver::apply(ReceiverSettings settings) {
  // What a closing listener holds was sent in good faith.
  read_datagrams(kRoundsAtEnd);
  settings_ = std::move(settings);
  aggregator_.set_options(settings_.aggregation);
  std::vector<std::shared_ptr<Listener>> stream_listeners;
  for (const auto& listener : settings_.listeners)
    if (listener->is_stream()) stream_listeners.push_back(listener);
  streams_.configure(stream_listeners, settings_.streams);
  has_streams_ |= !stream_listeners.empty();  // connections outlive their listener
  gather_limit_ns_ = kGatherMaxNs;
  for (const auto& listener : settings_.listeners)
    if (listener->scheme() == ListenAddress::Scheme::udp)
      gather_limit_ns_ = std::min(gather_limit_ns_, 1'000'000 * listener->buffer_bytes() / kBurstBytesPerMs);
  gather_limit_ns_ = std::max(gather_limit_ns_, kGatherMinNs);
}

// ---- the thread ----------------------------------------------------------------------------------------------------

void Receiver::run() {
  pthread_setname_np(pthread_self(), "receiver");
  while (!stopping_) {
    wait();
    Mailbox mail;
    {
      std::lock_guard lock(mutex_);
      if (!mailbox_.empty()) std::swap(mail, mailbox_);
    }
    open_mail(std::move(mail));
    if (stopping_) break;
    size_t most = read_datagrams(kRoundsBeforeLook);
    size_t stream_bytes = has_streams_ ? streams_.service(kStreamBudget) : 0;
    plan_gathering(most, stream_bytes);
    tell_counts();
    flush_step();
    deliver_direct(false);
    series_.store(aggregator_.series(), std::memory_order_relaxed);
    connections_.store(streams_.connections(), std::memory_order_relaxed);
  }
  finish();
}

void Receiver::wait() {
  polls_.assign(1, {wake_fd_.get(), POLLIN, 0});
  for (const auto& listener : settings_.listeners)
    if (!listener->is_stream() && (!gathering_ || listener->scheme() != ListenAddress::Scheme::udp))
      polls_.push_back({listener->fd(), POLLIN, 0});
  if (has_streams_ && !gathering_) polls_.push_back({streams_.poll_fd(), POLLIN, 0});

  int64_t wait_ns = gathering_ ? gather_ns_ : INT64_MAX;
  auto until = [&](int64_t deadline_ns) {
    wait_ns = std::min(wait_ns, std::max<int64_t>(deadline_ns - clock_.mono_ns(), 0));
  };
  if (int64_t deadline = streams_.next_deadline_ns(); deadline >= 0) until(deadline);
  if (direct_at_ns_ != 0) until(direct_at_ns_);
  if (busy_ || shard_interval_ms_ || phase_ == Phase::flushing || !shards_.empty() ||
      (phase_ == Phase::idle && next_flush_))
    wait_ns = 0;
  timespec wait{wait_ns / 1'000'000'000, wait_ns % 1'000'000'000};
  ::ppoll(polls_.data(), polls_.size(), wait_ns == INT64_MAX ? nullptr : &wait, nullptr);
  if ((polls_[0].revents & POLLIN) != 0) {
    eventfd_t ignored;
    eventfd_read(wake_fd_.get(), &ignored);
  }
}

// While gathering, neither UDP sockets nor streams wake us; they are read when the time is over, whether or not they have
// data.
void Receiver::plan_gathering(size_t most, size_t stream_bytes) {
  bool any = most > 0 || stream_bytes > 0;
  busy_ = most >= kFull || stream_bytes >= kStreamBusy;
  empty_gathers_ = any ? 0 : empty_gathers_ + 1;
  gathering_ = !busy_ && (any || (gathering_ && empty_gathers_ <= kEmptyGathers));
  if (!gathering_ && !any) gather_ns_ = kGatherMinNs;
  if (most > 2 * kGatherGoal || stream_bytes > 0) gather_ns_ = std::max(gather_ns_ / 2, kGatherMinNs);
  if (most > 0 && most < kGatherGoal)
    gather_ns_ = std::min(std::max(gather_ns_, kGatherMinNs) * 2, gather_limit_ns_);
}

// The most that a UDP socket had.
size_t Receiver::read_datagrams(int rounds) {
  size_t most = 0;
  for (const auto& listener : settings_.listeners) {
    if (listener->is_stream()) continue;
    size_t n = read_socket(*listener, rounds);
    if (listener->scheme() == ListenAddress::Scheme::udp) most = std::max(most, n);
  }
  return most;
}

// Until the socket is empty or `rounds` full batches have come; returns how many datagrams.
size_t Receiver::read_socket(const Listener& listener, int rounds) {
  size_t total = 0;
  for (int round = 0; round < rounds; round++) {
    size_t n = reader_.receive(listener);
    if (settings_.repeater) {
      for (size_t i = 0; i < n; i++) settings_.repeater->add(reader_.payload(i));
      settings_.repeater->send();
    }
    for (size_t i = 0; i < n; i++) {
      std::string_view payload = reader_.payload(i);
      auto peer = [&] { return reader_.peer(i); };
      if (reader_.truncated(i)) [[unlikely]] {
        size_t whole = payload.rfind('\n') + 1;  // 0 where there is none
        log_.accepted(1, 0);
        log_.bad(bad::kTooLong, payload.substr(whole), peer);
        payload = payload.substr(0, whole);
      }
      take(payload, peer);
    }
    total += n;
    if (n < DatagramReader::kDatagrams) break;
  }
  return total;
}

void Receiver::take(std::string_view payload, const std::function<Peer()>& peer) {
  peer_ = &peer;
  gauges_open_ = false;
  Aggregator::Counts counts = aggregator_.add_lines(payload, judged_);
  counts_.received += counts.received;
  counts_.accepted += counts.accepted;
  if (!gauges_.empty() && !gauges_.back().lines.empty())
    gauges_.push_back({});  // the next payload has its own peer
  if (uint64_t now = aggregator_.folded(); now != folded_) [[unlikely]]
    log_.folded(now - std::exchange(folded_, now), [this] { return aggregator_.describe_growth(); });
}

// Once a turn: the counters are shared by the receivers of a source.
void Receiver::tell_counts() {
  log_.accepted(counts_.received, counts_.accepted);
  counts_ = {};
}

// ---- the end of an interval ----------------------------------------------------------------------------------------

void Receiver::flush_step() {
  leader_ == nullptr ? lead_step() : follow_step();
}

void Receiver::lead_step() {
  if (phase_ == Phase::idle && next_flush_) {
    tick_ = *std::exchange(next_flush_, std::nullopt);
    awaited_.insert(followers_.begin(), followers_.end());
    bool read_first = std::exchange(read_first_, false);
    for (Receiver* follower : followers_) follower->want_shard(tick_.interval_ms, read_first);
    phase_ = Phase::waiting;
  }
  if (!shards_.empty() && phase_ != Phase::flushing) {
    if (!aggregator_.merge_some(shards_.front(), merge_at_, kFlushSlice)) return;
    shards_.erase(shards_.begin());
    merge_at_ = 0;
  }
  if (phase_ == Phase::waiting && awaited_.empty() && shards_.empty()) phase_ = Phase::flushing;
  if (phase_ != Phase::flushing) return;
  bool done = aggregator_.flush_some(batch_, tick_.time_ms, tick_.interval_ms, kFlushSlice);
  if (done || batch_.records() >= kBatchRecords) deliver_batch();
  if (!done) return;
  phase_ = Phase::idle;
  auto top = aggregator_.top().top(kTopNames);
  uint64_t total = aggregator_.top().total();
  std::erase_if(top, [&](const TopNames::Entry& e) { return e.lines * 100 < total; });
  std::lock_guard lock(mutex_);
  top_ = std::move(top);
  flushing_ = mailbox_.flush || next_flush_;
}

void Receiver::follow_step() {
  hand_over_gauges(false);
  if (!shard_interval_ms_) return;
  if (!aggregator_.take_shard_some(shard_, *shard_interval_ms_, kFlushSlice)) return;
  shard_interval_ms_.reset();
  hand_over_gauges(true);
  folded_ = aggregator_.folded();
  leader_->hand_over(this, std::exchange(shard_, {}));
}

void Receiver::hand_over_gauges(bool at_once) {
  if (gauges_.empty() || (!at_once && gauge_bytes_ < kGaugeBytesHeld)) return;
  if (!leader_->hand_over(gauges_)) return;  // kept; judged_ drops what finds no room here either
  gauges_.clear();
  gauge_bytes_ = 0;
  gauges_open_ = false;
}

// What the kernel holds, and what waits here for company.
void Receiver::read_all() {
  read_datagrams(kRoundsAtEnd);
  if (has_streams_) streams_.service(kStreamBudget);
  deliver_direct(true);
}

void Receiver::deliver_batch() {
  if (!batch_.empty()) deliver_(std::exchange(batch_, Batch(log_.name())));
}

// Events and values with a time of their own.
void Receiver::deliver_direct(bool at_once) {
  Batch& direct = aggregator_.direct();
  if (direct.empty()) return;
  int64_t now = clock_.mono_ns();
  if (direct_at_ns_ == 0) direct_at_ns_ = now + kDirectDelayNs;
  if (!at_once && now < direct_at_ns_ && direct.records() < kDirectEnough) return;
  direct_at_ns_ = 0;
  deliver_(std::exchange(direct, Batch(log_.name())));
}

// Asked to stop: what the kernel still holds is read; an interval that was being flushed ends as it began.
void Receiver::finish() {
  read_datagrams(kRoundsAtEnd);
  settings_.listeners.clear();  // a socket that stayed open would be given datagrams that nobody reads
  streams_.stop();
  connections_.store(0, std::memory_order_relaxed);
  if (leader_ != nullptr) {
    // A walk that was under way has passed cells that have counted since: it ends, then comes a whole one.
    for (int walks = shard_interval_ms_ ? 2 : 1; walks > 0; walks--)
      while (!aggregator_.take_shard_some(shard_, shard_interval_ms_.value_or(1), SIZE_MAX / 2)) {
      }
    for (int tries = 0; !gauges_.empty() && tries < 1000; tries++) {
      hand_over_gauges(true);
      if (!gauges_.empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    leader_->hand_over(this, std::exchange(shard_, {}));
  } else {
    while (phase_ != Phase::idle || next_flush_ || !shards_.empty()) {
      awaited_.clear();  // the followers have stopped before
      lead_step();
    }
  }
  tell_counts();
  deliver_direct(true);
}

void Receiver::flush_rest(const Tick& tick, bool idle_too) {
  Mailbox mail = std::exchange(mailbox_, {});
  open_mail(std::move(mail));
  for (Shard& shard : shards_)
    for (size_t at = 0; !aggregator_.merge_some(shard, at, SIZE_MAX / 2);) {
    }
  shards_.clear();
  tell_counts();
  deliver_direct(true);
  idle_too ? aggregator_.flush(batch_, tick.time_ms, tick.interval_ms)
           : aggregator_.flush_changed(batch_, tick.time_ms, tick.interval_ms);
  deliver_batch();
}

}  // namespace runnel::statsd
