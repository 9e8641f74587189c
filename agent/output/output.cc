#include "output/output.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <map>

#include "base/log.h"
#include "base/text.h"

namespace runnel {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kForever = int64_t{3600} * 1000 * kMs;  // a poke or data ends every wait for data
constexpr int kRejectRequests = 32;
constexpr int64_t kMinPayload = 1024;
constexpr int64_t kTickNs = 1000 * kMs - 50 * kMs;  // a wait for data of a second is one

}  // namespace

Result<std::unique_ptr<Output>> Output::create(LogReader& reader, const Clock& clock,
                                               const OutputConfig& config, const runnel_sink& descriptor,
                                               const SinkIdentity& identity, const std::string& id_prefix,
                                               const std::string& host, const OutputTimes& times,
                                               Quarantine* quarantine) {
  auto wrong = [&](const std::string& text) {
    return Error{fmt::format("{}: error: output {}: {}", to_string(config.position), config.name, text)};
  };
  auto sink = Sink::create(descriptor, config.options, identity);
  if (!sink.ok()) return wrong(sink.error());
  PayloadBuilder::Parts parts;
  const EncoderInfo* encoder = find_encoder(config.encoding);
  if (encoder == nullptr) return wrong(fmt::format("no encoding \"{}\"", config.encoding));
  parts.encoder = encoder->make(config.schema);
  bool by_host = (descriptor.capabilities & (RUNNEL_SINK_WANTS_RECORDS | RUNNEL_SINK_COMPRESSES_ITSELF)) == 0;
  auto compressor =
      Compressor::create(by_host ? config.compression : "none", by_host ? config.compression_level : 0);
  if (!compressor.ok()) return wrong(compressor.error());
  parts.compressor = std::move(*compressor);
  auto filter = Filter::compile(config.filter);
  if (!filter.ok()) return wrong(filter.error());
  parts.filter = std::move(*filter);
  parts.want_records = (*sink)->wants_records();
  parts.id_prefix = id_prefix;
  return std::unique_ptr<Output>(new Output(reader, clock, config, std::move(*sink),
                                            PayloadBuilder(std::move(parts)), host, times, quarantine));
}

void Output::start() {
  // Signals are the loop's business.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Output::Output(LogReader& reader, const Clock& clock, const OutputConfig& config, std::unique_ptr<Sink> sink,
               PayloadBuilder builder, const std::string& host, const OutputTimes& times,
               Quarantine* quarantine)
    : reader_(reader),
      clock_(clock),
      config_(config),
      times_(times),
      sink_(std::move(sink)),
      splay_ms_(config.splay_ms > 0
                    ? static_cast<int64_t>(hash_bytes(host) % static_cast<uint64_t>(config.splay_ms))
                    : 0),
      quarantine_(quarantine),
      builder_(std::move(builder)),
      backoff_(times.backoff_base_ms, times.backoff_cap_ms, hash_bytes(host + config.name)),
      limit_(clock, 60'000),
      max_bytes_(config.batch.max_bytes) {}

Output::~Output() {
  if (!thread_.joinable()) return;
  abandon();
  thread_.join();
}

void Output::reopen() {
  reopen_ = true;
  reader_.poke();
}

void Output::drain() {
  reader_.end_here();
  draining_ = true;
  if (!join_for(0)) {
    reader_.poke();
  } else if (!abandoned_) {
    ended_ = false;
    start();
  }
}

void Output::abandon() {
  abandoned_ = true;
  sink_->interrupt();
  reader_.poke();
}

bool Output::join_for(int64_t ms) {
  {
    std::unique_lock lock(ended_mutex_);
    if (!ended_wake_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return ended_; })) return false;
  }
  if (thread_.joinable()) thread_.join();
  return true;
}

void Output::leak() {
  thread_.detach();
}

void Output::report(SelfReport& report) const {
  auto whole = [](uint64_t n) { return Number::integer(static_cast<int64_t>(n)); };
  ReaderSnapshot s = reader_.snapshot();
  std::string_view name = config_.name;
  report.add(self::kOutputAppended, {{"output", name}}, whole(s.appended));
  report.add(self::kOutputDelivered, {{"output", name}}, whole(s.delivered));
  report.add(self::kOutputFiltered, {{"output", name}}, whole(s.filtered));
  report.add(self::kOutputQuarantined, {{"output", name}}, whole(s.quarantined));
  report.add(self::kOutputQueued, {{"output", name}}, whole(s.queued));
  report.add(self::kOutputInFlight, {{"output", name}}, whole(s.in_flight));
  for (const auto& [reason, n] : s.dropped)
    report.add(self::kOutputDropped, {{"output", name}, {"reason", reason}}, whole(n));
  report.add(self::kOutputLag, {{"output", name}}, Number(s.lag_s));
  report.add(self::kOutputRetries, {{"output", name}}, whole(retries_.load()));
  report.add(self::kOutputBytes, {{"output", name}}, whole(bytes_.load()));
  sink_->report(report);
}

void Output::run() {
  pthread_setname_np(pthread_self(), ("out-" + config_.name).substr(0, 15).c_str());
  resumed_ = reader_.in_flight();
  while (!abandoned_) {
    Selection whole = gather();
    if (whole.portions.empty()) {
      if (draining_ && taken_.empty() && !carry_) break;
      continue;
    }
    deliver(std::move(whole));
  }
  std::vector<Item> nothing;
  give_back(nothing, {});
  std::lock_guard lock(ended_mutex_);
  ended_ = true;
  ended_wake_.notify_all();
}

// Entries until the payload is full or old enough; empty when there was nothing to send.
Selection Output::gather() {
  builder_.begin();
  taken_.clear();
  int64_t deadline = 0;
  bool full = false;
  std::optional<InFlight> again = std::exchange(resumed_, std::nullopt);
  while (!full && !abandoned_) {
    if (reopen_.exchange(false)) reopen_now();
    tick_when_due();
    std::optional<LogEntry> entry = std::exchange(carry_, std::nullopt);
    if (!entry) {
      int64_t wait_ns = taken_.empty() ? (sink_->has_tick() ? 1000 * kMs : kForever)
                                       : std::max<int64_t>(0, deadline - clock_.mono_ns());
      bool draining = draining_;  // as it was before the look: the last data comes before drain()
      entry = reader_.take(draining ? 0 : wait_ns);
      if (!entry) {
        if (!draining && draining_) continue;
        if (taken_.empty() || draining_ || clock_.mono_ns() >= deadline) break;
        continue;
      }
    }
    if (taken_.empty()) {
      deadline = clock_.mono_ns() + (config_.batch.max_age_ms + splay_ms_) * kMs;
      // Gone meanwhile (the log was full, damage): then there is nothing to be sent again.
      if (again && (entry->epoch != again->epoch || entry->first + entry->ranges.front().first > again->last))
        again.reset();
    } else if (entry->epoch != taken_.back().epoch) {
      carry_ = std::move(entry);  // a payload is of one epoch: its id has but one
      break;
    }
    taken_.push_back(*entry);
    LogEntry rest = *entry;
    rest.ranges.clear();
    for (RecordRange range : entry->ranges) {
      uint32_t n = 0;
      if (!again) {
        n = builder_.add(*entry, range, config_.batch.max_events, max_bytes_);
      } else if (entry->first + range.first <= again->last) {
        RecordRange inside = range;
        inside.last = static_cast<uint32_t>(std::min<uint64_t>(range.last, again->last + 1 - entry->first));
        n = builder_.add(*entry, inside, INT64_MAX, INT64_MAX);
      }
      if (n < range.size()) rest.ranges.push_back({range.first + n, range.last});
    }
    bool whole = again && entry->first + entry->ranges.back().last > again->last;
    if (!rest.ranges.empty()) carry_ = std::move(rest);
    full = carry_ || whole ||
           (!again && (static_cast<int64_t>(builder_.encoded()) >= config_.batch.max_events ||
                       static_cast<int64_t>(builder_.bytes()) >= max_bytes_));
  }
  Settlement met;
  met.filtered = builder_.filtered();
  if (builder_.unencodable() > 0) met.dropped["unencodable"] = builder_.unencodable();
  if (met.sum() > 0) reader_.settle(met, {});
  Selection whole = builder_.select([](size_t) { return true; });
  if (again) whole.path = again->path;
  if (whole.portions.empty() && !taken_.empty()) {
    // All of it was filtered: let go of the entries (but for one that is carried on).
    std::vector<Item> nothing;
    give_back(nothing, {});
    save_after();
  }
  return whole;
}

void Output::deliver(Selection whole) {
  std::vector<Item> work;
  Selection rejected;
  std::string rejection;
  int requests = 0;
  uint64_t all = whole.records();
  uint64_t settled_before = reader_.snapshot().delivered;
  auto some_passed = [&] { return reader_.snapshot().delivered > settled_before; };
  // Refused before anything had passed: was it the data, or was the back end not well yet? Asked once more when
  // something has passed.
  std::vector<Item> doubtful;
  bool asked_again = false;
  work.push_back({std::move(whole), 0, true});
  while (!work.empty() || (!doubtful.empty() && !asked_again && some_passed())) {
    if (work.empty()) {
      asked_again = true;
      for (Item& item : doubtful) item.selection.path += "t";
      work.swap(doubtful);
    }
    Item item = std::move(work.back());
    work.pop_back();
    Verdict verdict = Verdict::abandoned;
    if (wait(item.wait_ms)) {
      save_before(item, work, doubtful, rejected);
      verdict = send(item, work);
    }
    switch (verdict) {
      case Verdict::done:
        break;
      case Verdict::abandoned:
        work.push_back(std::move(item));
        work.insert(work.end(), std::make_move_iterator(doubtful.begin()),
                    std::make_move_iterator(doubtful.end()));
        give_back(work, rejected);
        return;
      case Verdict::split:
        if (item.selection.records() == 1) {
          put_aside(item.selection, "too_large", last_message_);
        } else {
          auto [first, second] = item.selection.halves();
          work.push_back({std::move(second), 0, false, item.whole});
          work.push_back({std::move(first), 0, false, item.whole});
        }
        break;
      case Verdict::reject:
        requests++;
        rejection = last_message_;
        if (item.selection.records() > 1 && requests < kRejectRequests) {
          auto [first, second] = item.selection.halves();
          work.push_back({std::move(second), 0, false, item.whole});
          work.push_back({std::move(first), 0, false, item.whole});
        } else if (!asked_again && !some_passed()) {
          doubtful.push_back({std::move(item.selection), 0, false, item.whole});
        } else {
          rejected.portions.insert(rejected.portions.end(), item.selection.portions.begin(),
                                   item.selection.portions.end());
        }
        break;
    }
  }
  for (const Item& item : doubtful)
    rejected.portions.insert(rejected.portions.end(), item.selection.portions.begin(),
                             item.selection.portions.end());
  if (!rejected.portions.empty()) {
    if (some_passed()) {
      put_aside(rejected, "rejected", rejection);
    } else {
      failures_++;
      log::error(config_.name,
                 "held: none of {} records is accepted, so the back end is at fault, not the data; trying "
                 "again every {} and on reload message=\"{}\"",
                 all, format_duration(times_.hold_ms), excerpt(rejection, 300));
      retries_++;
      std::vector<Item> nothing;
      give_back(nothing,
                rejected);  // with what has come until then: a poison record alone cannot hold for ever
      if (draining_) {
        abandoned_ = true;  // nothing more comes, and nobody will act within the time that a stop has
      } else {
        wait(times_.hold_ms);
      }
      return;
    }
  }
  std::vector<Item> nothing;
  give_back(nothing, {});
  save_after();
}

// Before it is sent: the item as what is in flight, and everything before the first open record as settled. A part that
// is not a run (single samples of a payload, to be sent again) counts as the run that it was cut out of.
void Output::save_before(Item& item, const std::vector<Item>& work, const std::vector<Item>& doubtful,
                         const Selection& rejected) {
  const Selection& part = item.selection;
  if (part.path.find_first_not_of("01t") == std::string::npos || item.whole.first == 0)
    item.whole = {part.portions.front().entry.epoch, part.first(), part.last(), part.path};
  uint64_t position = item.whole.first;
  for (const auto* items : {&work, &doubtful})
    for (const Item& other : *items)
      position = std::min(position, other.whole.first != 0 ? other.whole.first : other.selection.first());
  for (const Portion& portion : rejected.portions)
    position = std::min(position, portion.entry.first + portion.entry.ranges.front().first);
  reader_.save(position, item.whole);
}

void Output::save_after() {
  if (carry_) {
    reader_.save(carry_->first + carry_->ranges.front().first, std::nullopt);
  } else {
    reader_.save_at_rest();
  }
}

// Sends until the sink has decided. What it answered for single samples becomes further work.
Output::Verdict Output::send(Item& item, std::vector<Item>& work) {
  if (!item.built) {
    builder_.begin();
    builder_.add(item.selection);
  }
  if (Status finished = builder_.finish(item.selection.path); !finished.ok()) {
    drop(item.selection, "unencodable", finished.error());
    return Verdict::done;
  }
  std::vector<uint8_t> samples;
  runnel_payload payload = builder_.payload();
  for (uint32_t attempt = 1;; attempt++) {
    if (abandoned_) return Verdict::abandoned;
    if (reopen_.exchange(false)) reopen_now();
    payload.attempt = attempt;
    runnel_answer answer{};
    answer.struct_size = sizeof answer;
    if (sink_->answers_records()) {
      samples.assign(payload.sample_count, 0);
      answer.samples = samples.data();
    }
    bytes_ += payload.bytes.size;
    runnel_outcome outcome =
        sink_->write(payload, static_cast<uint64_t>(clock_.mono_ns() + times_.write_ms * kMs), answer);
    last_message_ = answer.message;
    bool mixed =
        std::any_of(samples.begin(), samples.end(), [&](uint8_t s) { return s != 0 && s != outcome; });
    if (mixed) {
      bool too_large =
          std::any_of(samples.begin(), samples.end(), [](uint8_t s) { return s == RUNNEL_SPLIT; });
      if (too_large && item.selection.path.empty()) shrink();
      by_sample(answer, outcome, item.whole, work);
      return Verdict::done;
    }
    switch (outcome) {
      case RUNNEL_DELIVERED: {
        Settlement done;
        done.delivered = builder_.encoded();
        reader_.settle(done, {});
        tell_delivered();
        return Verdict::done;
      }
      case RUNNEL_SPLIT:
        if (item.selection.path.empty()) shrink();
        if (limit_.allow("split"))
          log::warning(config_.name,
                       "payload of {} bytes is too large for the other side: split, and smaller from now "
                       "on limit={} message=\"{}\"",
                       payload.bytes.size, max_bytes_, excerpt(last_message_, 300));
        return Verdict::split;
      case RUNNEL_REJECT:
        return Verdict::reject;
      case RUNNEL_HOLD: {
        retries_++;
        if (draining_) {
          // Nobody will act within the time that a stop has.
          tell_failure("held, an operator must act: not waited for at the end", 0, last_message_);
          abandoned_ = true;
          return Verdict::abandoned;
        }
        tell_failure("held, an operator must act", times_.hold_ms, last_message_);
        if (!wait(times_.hold_ms)) return Verdict::abandoned;
        break;
      }
      case RUNNEL_RETRY:
      default: {
        if (abandoned_) return Verdict::abandoned;  // the interrupt's own answer is no failure
        retries_++;
        int64_t wait_ms = answer.retry_after_ms > 0
                              ? std::min<int64_t>(answer.retry_after_ms, times_.retry_after_cap_ms)
                              : backoff_.next_ms();
        tell_failure("not delivered, trying again", wait_ms, last_message_);
        if (!wait(wait_ms)) return Verdict::abandoned;
        break;
      }
    }
  }
}

void Output::by_sample(const runnel_answer& answer, runnel_outcome whole, const InFlight& whole_run,
                       std::vector<Item>& work) {
  auto outcome_of = [&](size_t i) {
    int outcome = answer.samples[i] != 0 ? answer.samples[i] : static_cast<int>(whole);
    // A sink that answers nonsense has not said that it delivered.
    return outcome >= RUNNEL_DELIVERED && outcome <= RUNNEL_REJECT ? outcome : static_cast<int>(RUNNEL_RETRY);
  };
  auto chosen = [&](runnel_outcome outcome) {
    return builder_.select([&](size_t i) { return outcome_of(i) == outcome; });
  };
  Settlement done;
  done.delivered = chosen(RUNNEL_DELIVERED).records();
  if (done.delivered > 0) reader_.settle(done, {});
  if (Selection rejected = chosen(RUNNEL_REJECT); !rejected.portions.empty())
    put_aside(rejected, "rejected", answer.message);
  // Each group is a payload of its own, with an id of its own.
  struct {
    runnel_outcome outcome;
    const char* path;
    int64_t wait_ms;
  } groups[] = {
      {RUNNEL_HOLD, "h", times_.hold_ms},
      {RUNNEL_RETRY, "r",
       answer.retry_after_ms > 0 ? std::min<int64_t>(answer.retry_after_ms, times_.retry_after_cap_ms)
                                 : backoff_.next_ms()},
      {RUNNEL_SPLIT, "s", 0},
  };
  for (auto& group : groups) {
    Selection rest = chosen(group.outcome);
    if (rest.portions.empty()) continue;
    if (group.outcome == RUNNEL_SPLIT) {
      if (rest.records() == 1) {
        put_aside(rest, "too_large", answer.message);
        continue;
      }
      auto [first, second] = rest.halves();
      work.push_back({std::move(second), 0, false, whole_run});
      work.push_back({std::move(first), 0, false, whole_run});
      continue;
    }
    retries_++;
    tell_failure("not delivered in part, trying again", group.wait_ms, answer.message);
    rest.path = fmt::format("{}{}", group.path, ++parts_sent_);
    work.push_back({std::move(rest), group.wait_ms, false, whole_run});
  }
}

// By time and not by idleness: entries may come all the while, and all of them be filtered.
void Output::tick_when_due() {
  if (!sink_->has_tick() || draining_ || !taken_.empty()) return;
  int64_t now = clock_.mono_ns();
  if (now - ticked_ns_ < kTickNs) return;
  ticked_ns_ = now;
  sink_->tick();
}

// Once a payload, not for each of its parts: one answer says one thing about the limit.
void Output::shrink() {
  max_bytes_ =
      std::max<int64_t>(kMinPayload, std::min(max_bytes_, static_cast<int64_t>(builder_.bytes() / 2)));
}

void Output::reopen_now() {
  sink_->reopen();
  max_bytes_ = config_.batch.max_bytes;
}

bool Output::wait(int64_t ms) {
  if (ms > 0 && !abandoned_) reader_.pause(ms * kMs);
  return !abandoned_;
}

// Lets go of the entries of the payload under way: those with unsettled records go back to the reader, newest first,
// the others are freed. Called at the end of every payload; then only a carried entry is left over, and it stays here
// unless the thread ends.
void Output::give_back(std::vector<Item>& work, const Selection& rejected) {
  std::map<uint64_t, LogEntry> open;
  auto keep = [&](const LogEntry& entry) {
    auto [it, fresh] = open.try_emplace(entry.first, entry);
    if (!fresh) it->second.ranges.insert(it->second.ranges.end(), entry.ranges.begin(), entry.ranges.end());
  };
  for (const Item& item : work)
    for (const Portion& portion : item.selection.portions) keep(portion.entry);
  for (const Portion& portion : rejected.portions) keep(portion.entry);
  bool keep_carry = open.empty() && !abandoned_;
  if (carry_ && !keep_carry) keep(*std::exchange(carry_, std::nullopt));
  Freed freed;
  for (const LogEntry& entry : taken_) {
    if (open.contains(entry.first) || (carry_ && carry_->first == entry.first)) continue;
    freed.entries++;
    freed.bytes += entry.bytes;
  }
  taken_.clear();
  if (freed.entries > 0) reader_.settle({}, freed);
  for (auto it = open.rbegin(); it != open.rend(); ++it) {
    auto& ranges = it->second.ranges;
    std::sort(ranges.begin(), ranges.end(), [](RecordRange a, RecordRange b) { return a.first < b.first; });
    reader_.give_back(std::move(it->second));
  }
}

// What the other side will not take: to quarantine, where an operator finds it with the answer.
void Output::put_aside(const Selection& selection, const char* reason, const std::string& message) {
  if (quarantine_ != nullptr) {
    Status put = quarantine_->put(config_.name, selection, reason, message);
    if (put.ok()) return drop(selection, reason, message, true);
    if (limit_.allow("quarantine")) log::error(config_.name, "quarantine: {}: dropped instead", put.error());
  }
  drop(selection, reason, message);
}

void Output::drop(const Selection& selection, const char* reason, const std::string& message,
                  bool quarantined) {
  Settlement done;
  (quarantined ? done.quarantined : done.dropped[reason]) = selection.records();
  reader_.settle(done, {});
  auto held = limit_.allow(reason);
  if (!held) return;
  const LogEntry& entry = selection.portions.front().entry;
  const Batch& batch = *entry.batch;
  uint32_t index = entry.ranges.front().first;
  SeriesRef series = index < batch.samples.size() ? batch.samples[index].series
                                                  : batch.events[index - batch.samples.size()].series;
  std::string key;
  append_series_key(key, batch.view(series));
  log::error(config_.name, "{} records={} reason={} source={} first=\"{}\" message=\"{}\"{}",
             quarantined ? "quarantined" : "dropped", selection.records(), reason, batch.source(),
             excerpt(key, 200), excerpt(message, 300), *held > 0 ? fmt::format(" like_it={}", *held) : "");
}

void Output::tell_failure(const char* what, int64_t wait_ms, const std::string& message) {
  failures_++;
  if (failures_ > 1 && !limit_.allow("failure")) return;
  log::warning(config_.name, "{} in={} failures={} message=\"{}\"", what, format_duration(wait_ms), failures_,
               excerpt(message, 300));
}

void Output::tell_delivered() {
  if (failures_ > 0) log::info(config_.name, "delivering again after failures={}", failures_);
  failures_ = 0;
  backoff_.reset();
  // Back up slowly from what was once too large: the limit may have been a proxy's mood.
  max_bytes_ = std::min(config_.batch.max_bytes, max_bytes_ + max_bytes_ / 32 + kMinPayload);
}

}  // namespace runnel
