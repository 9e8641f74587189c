#include "payload_writer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <tuple>
#include <utility>

#include "sink_support.h"

namespace runnel_kafka {

using runnel_plugin::answer_with;
using runnel_plugin::monotonic_ns;
using runnel_plugin::view;

namespace {

constexpr uint64_t kMs = 1'000'000u;
constexpr int kPollMs = 100;          // how long an interrupt may be overlooked
constexpr int kAskMs = 500;           // one question about a topic
constexpr uint64_t kPurgeMs = 1'000;  // for the reports of what was taken back
constexpr int kIsolationRounds = 32;  // as the host's own search for a culprit
// A topic that is not there may be about to be: the broker makes it, or has just started. For one that is made of tags
// the others of the payload do not wait longer than this.
constexpr uint64_t kPatienceMs = 5'000, kPatienceForFieldsMs = 1'000;
constexpr size_t kHeaderRoom = 256;  // of max_message_bytes, for key, headers and framing

struct Free {
  void operator()(char* memory) const { free(memory); }
};

void append_number(std::string& out, uint64_t number) {
  char text[20];
  out.append(text, std::to_chars(text, text + sizeof text, number).ptr);
}

}  // namespace

Stop PayloadWriter::deliver(Producer& producer, const runnel_payload& payload) {
  producer_ = &producer;
  payload_ = &payload;
  began_ns_ = monotonic_ns();
  pending_ = 0;
  is_isolating_ = false;
  messages_.clear();
  states_.assign(payload.record_count, State{});
  first_error_.clear();
  route_error_.clear();
  topics_.make_room(began_ns_);
  route_all();
  Stop stopped = ask_for_topics();
  std::vector<uint32_t> records;
  for (uint32_t i = 0; i < states_.size(); ++i)
    if (states_[i].topic && !states_[i].is_reported) records.push_back(i);
  if (stopped == Stop::kNo) stopped = round(records);
  if (stopped == Stop::kNo) {
    reroute_refused(records);
    if (!records.empty()) {
      stopped = ask_for_topics();
      if (stopped == Stop::kNo) stopped = round(records);
    }
  }
  return stopped == Stop::kNo ? isolate_rejected() : stopped;
}

void PayloadWriter::refuse(uint32_t i, const std::string& why) {
  State& state = states_[i];
  state.topic = nullptr;
  state.is_unroutable = state.is_reported = true;
  if (route_error_.empty()) route_error_ = "no topic for " + std::string(view(record(i).series)) + ": " + why;
}

void PayloadWriter::route_all() {
  const uint64_t now = monotonic_ns();
  std::string why;
  for (uint32_t i = 0; i < states_.size(); ++i) {
    states_[i].topic = topics_.route(record(i), now, why);
    if (!states_[i].topic) refuse(i, why);
  }
}

// Each topic of the payload that has to be asked for. Records of one that is refused move on to topic_default.
Stop PayloadWriter::ask_for_topics() {
  const uint64_t since = monotonic_ns();
  for (uint32_t i = 0; i < states_.size(); ++i) {
    State& state = states_[i];
    while (state.topic && !state.is_reported && topics_.must_ask(*state.topic, since)) {
      Topic& topic = *state.topic;
      if (topic.refused_until_ns <= since)
        if (const Stop stopped = ask_for_topic(topic, since); stopped != Stop::kNo) return stopped;
      if (topic.refused_until_ns <= since) break;
      if (!topic.from_fields) {
        state.error = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
        state.is_reported = true;
        note(state, topic.refusal);
      } else if (Topic* other = topics_.fallback(record(i)); other && other != &topic) {
        state.topic = other;
      } else {
        refuse(i, topic.refusal);
      }
    }
  }
  return Stop::kNo;
}

Stop PayloadWriter::ask_for_topic(Topic& topic, uint64_t since_ns) {
  const uint64_t patience = (topic.from_fields ? kPatienceForFieldsMs : kPatienceMs) * kMs;
  for (;;) {
    bool of_topic = false;
    const rd_kafka_resp_err_t error = topics_.ask(*producer_, topic, kAskMs, monotonic_ns(), of_topic);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return Stop::kNo;
    const bool missing =
        error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC;
    // Brokers that make topics may have more against one: a policy, too few of them for its replicas.
    const bool refused =
        verdict_of(error) == Verdict::kTopic || (of_topic && error != RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
    if (refused && (!missing || monotonic_ns() - since_ns >= patience)) {
      topics_.refuse(topic, "topic " + topic.name + ": " + rd_kafka_err2str(error), monotonic_ns());
      return Stop::kNo;
    }
    producer_->poll(missing ? kPollMs : 10);
    Stop stopped = check_.stop();
    if (stopped == Stop::kNo &&
        monotonic_ns() - since_ns >= static_cast<uint64_t>(settings_.timeout_ms) * kMs)
      stopped = Stop::kDeadline;
    if (stopped != Stop::kNo) {
      first_error_ = "topic " + topic.name + " cannot be asked for: " + rd_kafka_err2str(error);
      return stopped;
    }
  }
}

int32_t PayloadWriter::partition_of(const Topic& topic, std::string_view key) const {
  // The library's partitioner chooses; also where the topic has just been forgotten.
  if (key.empty() || topic.partitions <= 0) return RD_KAFKA_PARTITION_UA;
  const std::string& name = settings_.partitioner;
  // The library's own functions, which only look at the key and the count.
  const auto partition = name.starts_with("murmur2")      ? rd_kafka_msg_partitioner_murmur2
                         : name.starts_with("consistent") ? rd_kafka_msg_partitioner_consistent
                         : name.starts_with("fnv1a")      ? rd_kafka_msg_partitioner_fnv1a
                                                          : nullptr;
  if (!partition) return RD_KAFKA_PARTITION_UA;
  return partition(topic.handle, key.data(), key.size(), topic.partitions, nullptr, nullptr);
}

void PayloadWriter::make_messages(const std::vector<uint32_t>& records) {
  messages_.clear();
  if (!settings_.batch_messages) {
    order_ = records;
    for (uint32_t n = 0; n < order_.size(); ++n)
      messages_.push_back({states_[order_[n]].topic, RD_KAFKA_PARTITION_UA,
                           settings_.key.of(record(order_[n])), n, n + 1, 0});
    return;
  }
  // The same records make the same messages at each try, so that a consumer can tell a repetition.
  std::map<std::tuple<const Topic*, int32_t, std::string_view>, uint32_t> open;
  const size_t limit = static_cast<size_t>(settings_.max_message_bytes) - kHeaderRoom;
  std::vector<uint32_t> message_of;
  message_of.reserve(records.size());
  for (const uint32_t i : records) {
    Topic* topic = states_[i].topic;
    const std::string_view key = settings_.key.of(record(i));
    const size_t size = record(i).size + 1;
    const int32_t partition = partition_of(*topic, key);
    // While a culprit is looked for, a message for each key: those of several have none, which may be why.
    const auto [place, is_new] =
        open.try_emplace({topic, partition, is_isolating_ ? key : std::string_view()}, 0);
    if (is_new || messages_[place->second].bytes + size + messages_[place->second].key.size() > limit) {
      place->second = static_cast<uint32_t>(messages_.size());
      messages_.push_back({topic, partition, key, 0, 0, 0});
    }
    Message& message = messages_[place->second];
    if (message.key != key) message.key = {};  // of several there is none
    message.bytes += size;
    ++message.last;  // for now how many there are
    message_of.push_back(place->second);
  }
  uint32_t first = 0;
  for (Message& message : messages_) {
    message.first = std::exchange(first, first + message.last);
    message.last = message.first;
  }
  order_.resize(records.size());
  for (size_t n = 0; n < records.size(); ++n) order_[messages_[message_of[n]].last++] = records[n];
}

Stop PayloadWriter::produce(size_t token) {
  const Message& message = messages_[token];
  if (!message.topic->handle) {  // refused since it was asked for
    ++pending_;
    on_report(token, RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, message.topic->refusal);
    return Stop::kNo;
  }
  const uint32_t i = order_[message.first];
  const runnel_record& first = record(i);
  std::string_view value = bytes_of(first);
  std::string number;
  append_number(number, first.sequence);
  std::unique_ptr<char, Free> joined;  // the library's from when it has taken the message
  if (settings_.batch_messages) {
    joined.reset(static_cast<char*>(malloc(message.bytes)));
    if (!joined) throw std::bad_alloc();
    char* at = joined.get();
    for (uint32_t n = message.first; n < message.last; ++n) {
      const std::string_view bytes = bytes_of(record(order_[n]));
      at = std::copy(bytes.begin(), bytes.end(), at);
      *at++ = '\n';
    }
    value = {joined.get(), message.bytes};
    number += '-';
    append_number(number, record(order_[message.last - 1]).sequence);
  } else {
    // Several messages of one sample: a distribution as one a statistic.
    uint32_t part = 0;
    while (part < i && record(i - part - 1).sample == first.sample) ++part;
    if (part > 0 || (i + 1 < states_.size() && record(i + 1).sample == first.sample)) {
      number += '.';
      append_number(number, part);
    }
  }
  for (;;) {
    rd_kafka_vu_t all[8] = {};
    size_t count = 0;
    const auto next = [&](rd_kafka_vtype_t type) -> rd_kafka_vu_t& {
      all[count].vtype = type;
      return all[count++];
    };
    const auto header = [&](const char* name, std::string_view text) {
      auto& to = next(RD_KAFKA_VTYPE_HEADER).u.header;
      to.name = name;
      to.val = text.data();
      to.size = static_cast<ssize_t>(text.size());
    };
    next(RD_KAFKA_VTYPE_RKT).u.rkt = message.topic->handle;
    next(RD_KAFKA_VTYPE_PARTITION).u.i32 = message.partition;
    // Never our own bytes: a purged message may still be on its way out.
    next(RD_KAFKA_VTYPE_MSGFLAGS).u.i = joined ? RD_KAFKA_MSG_F_FREE : RD_KAFKA_MSG_F_COPY;
    auto& body = next(RD_KAFKA_VTYPE_VALUE).u.mem;
    body.ptr = const_cast<char*>(value.data());
    body.size = value.size();
    next(RD_KAFKA_VTYPE_OPAQUE).u.ptr = reinterpret_cast<void*>(token);
    header("runnel-id", view(payload_->id));
    header("runnel-record", number);
    if (!message.key.empty()) {
      auto& key = next(RD_KAFKA_VTYPE_KEY).u.mem;
      key.ptr = const_cast<char*>(message.key.data());
      key.size = message.key.size();
    }
    rd_kafka_error_t* failure = rd_kafka_produceva(producer_->handle(), all, count);
    if (!failure) {
      [[maybe_unused]] char* const taken = joined.release();
      ++pending_;
      return Stop::kNo;
    }
    const rd_kafka_resp_err_t error = rd_kafka_error_code(failure);
    const std::string text = rd_kafka_error_string(failure);
    rd_kafka_error_destroy(failure);
    if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
      ++pending_;
      on_report(token, error, text);
      return Stop::kNo;
    }
    producer_->poll(kPollMs);
    if (const Stop stopped = check_.stop(); stopped != Stop::kNo) return stopped;
  }
}

Stop PayloadWriter::round(const std::vector<uint32_t>& records) {
  for (const uint32_t i : records) states_[i].is_reported = false;
  make_messages(records);
  Stop stopped = Stop::kNo;
  for (size_t token = 0; token < messages_.size() && stopped == Stop::kNo; ++token) stopped = produce(token);
  while (pending_ > 0 && stopped == Stop::kNo) {
    producer_->poll(kPollMs);
    stopped = check_.stop();
  }
  if (pending_ == 0) return stopped;
  producer_->purge();
  const uint64_t end = monotonic_ns() + kPurgeMs * kMs;
  while (pending_ > 0 && monotonic_ns() < end) producer_->poll(20);
  return stopped;
}

void PayloadWriter::on_report(size_t token, rd_kafka_resp_err_t error, std::string_view text) noexcept {
  if (token >= messages_.size() || pending_ == 0) return;
  --pending_;
  const Message& message = messages_[token];
  for (uint32_t n = message.first; n < message.last; ++n) {
    states_[order_[n]].error = error;
    states_[order_[n]].is_reported = true;
  }
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) return;
  // It may be another topic of the same name by now, with other partitions: it is asked for before the next record.
  if (verdict_of(error) == Verdict::kRetry) message.topic->partitions = 0;
  note(states_[order_[message.first]], text);
}

void PayloadWriter::note(const State& state, std::string_view text) {
  const bool purged =
      state.error == RD_KAFKA_RESP_ERR__PURGE_QUEUE || state.error == RD_KAFKA_RESP_ERR__PURGE_INFLIGHT;
  if (!first_error_.empty() || purged) return;
  first_error_ = text.starts_with("topic ") ? std::string(text)
                                            : "topic " + state.topic->name + ": " + std::string(text);
}

// Leaves in `records` those that go to topic_default instead.
void PayloadWriter::reroute_refused(std::vector<uint32_t>& records) {
  const uint64_t now = monotonic_ns();
  std::erase_if(records, [&](uint32_t i) {
    State& state = states_[i];
    if (!state.topic || !state.is_reported || verdict_of(state.error) != Verdict::kTopic) return true;
    Topic& topic = *state.topic;
    const std::string why = "topic " + topic.name + ": " + rd_kafka_err2str(state.error);
    topics_.refuse(topic, why, now);
    if (!topic.from_fields) return true;
    Topic* other = topics_.fallback(record(i));
    if (!other || other == &topic) {
      refuse(i, why);
      return true;
    }
    state.topic = other;
    state.is_reported = false;
    return false;
  });
}

// Brokers refuse the whole of what the library has packed together for one record that they do not want. A compacted
// topic refuses what has no key, and that is nearly always why, so records with a key and those without are told apart
// first: culprits that stand among many good ones would use up the rounds. Then the culprits are looked for in halves
// where anything has passed; where nothing has, the host does the same and then holds.
Stop PayloadWriter::isolate_rejected() {
  std::vector<uint32_t> rejected;
  bool some_passed = false;
  for (uint32_t i = 0; i < states_.size(); ++i) {
    if (!states_[i].is_reported || states_[i].is_unroutable) continue;
    some_passed |= states_[i].error == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (verdict_of(states_[i].error) == Verdict::kReject) rejected.push_back(i);
  }
  if (rejected.size() < 2) return Stop::kNo;
  using Part = std::vector<uint32_t>;
  std::vector<Part> work, doubtful;
  const auto divide = [&](const Part& whole, Part::const_iterator middle) {
    work.emplace_back(middle, whole.cend());
    work.emplace_back(whole.cbegin(), middle);
  };
  const auto halve = [&](const Part& whole) {
    divide(whole, whole.cbegin() + static_cast<std::ptrdiff_t>(whole.size() / 2));
  };
  const auto keyless = std::stable_partition(
      rejected.begin(), rejected.end(), [&](uint32_t i) { return !settings_.key.of(record(i)).empty(); });
  if (keyless != rejected.begin() && keyless != rejected.end()) {
    divide(rejected, keyless);
  } else if (settings_.batch_messages && keyless != rejected.begin()) {
    work.push_back(rejected);  // a batch of several keys has none
  } else if (some_passed) {
    halve(rejected);
  }
  Stop stopped = Stop::kNo;
  is_isolating_ = true;
  for (int rounds = 0; rounds < kIsolationRounds; ++rounds) {
    if (work.empty() && some_passed && !doubtful.empty()) {
      halve(doubtful.back());
      doubtful.pop_back();
    }
    if (work.empty()) break;
    Part part = std::move(work.back());
    work.pop_back();
    stopped = round(part);
    if (stopped != Stop::kNo) break;
    bool still = false;
    for (const uint32_t i : part) {
      some_passed |= states_[i].error == RD_KAFKA_RESP_ERR_NO_ERROR;
      still |= verdict_of(states_[i].error) == Verdict::kReject;
    }
    if (!still || part.size() == 1) continue;
    if (some_passed) {
      halve(part);
    } else {
      doubtful.push_back(std::move(part));
    }
  }
  is_isolating_ = false;
  // Nobody has looked at those yet: they are not given up for the company they were in.
  if (stopped != Stop::kNo)
    for (const Part& part : work)
      for (const uint32_t i : part) states_[i].is_reported = false;
  return stopped;
}

runnel_outcome PayloadWriter::outcome_of(size_t i, Stop stopped) const {
  const State& state = states_[i];
  if (state.is_unroutable) return RUNNEL_REJECT;
  if (!state.is_reported) return stopped == Stop::kOperator ? RUNNEL_HOLD : RUNNEL_RETRY;
  switch (verdict_of(state.error)) {
    case Verdict::kDelivered:
      return RUNNEL_DELIVERED;
    case Verdict::kTopic:
    case Verdict::kHold:
      return RUNNEL_HOLD;
    case Verdict::kSplit:
      return RUNNEL_SPLIT;
    case Verdict::kReject:
      return RUNNEL_REJECT;
    case Verdict::kRetry:
      break;
  }
  return stopped == Stop::kOperator ? RUNNEL_HOLD : RUNNEL_RETRY;
}

runnel_outcome PayloadWriter::answer(Stop stopped, const std::string& trouble, runnel_answer* answer) {
  // Of a sample with several records the first of these that one of them has.
  const auto rank = [](runnel_outcome outcome) {
    constexpr runnel_outcome kOrder[] = {RUNNEL_HOLD, RUNNEL_RETRY, RUNNEL_SPLIT, RUNNEL_REJECT,
                                         RUNNEL_DELIVERED};
    return std::find(std::begin(kOrder), std::end(kOrder), outcome) - std::begin(kOrder);
  };
  outcomes_.assign(payload_->sample_count, RUNNEL_DELIVERED);
  bool unroutable = false;
  for (size_t i = 0; i < states_.size(); ++i) {
    runnel_outcome& of_sample = outcomes_[record(i).sample];
    const runnel_outcome own = outcome_of(i, stopped);
    if (rank(own) < rank(of_sample)) of_sample = own;
    unroutable |= states_[i].is_unroutable;
  }
  const size_t failed = outcomes_.size() -
                        static_cast<size_t>(std::count(outcomes_.begin(), outcomes_.end(), RUNNEL_DELIVERED));
  if (failed == 0) return RUNNEL_DELIVERED;

  std::string text = first_error_.empty() ? route_error_ : first_error_;
  if (text.empty())
    text = stopped == Stop::kInterrupted ? "interrupted"
           : stopped == Stop::kDeadline  ? "no answer within the deadline"
                                         : "not delivered";
  if (!trouble.empty()) text += " (" + trouble + ")";
  if (failed < outcomes_.size())
    text = std::to_string(failed) + " of " + std::to_string(outcomes_.size()) + " records: " + text;

  const runnel_outcome first = outcomes_.front();
  const bool all_alike =
      std::all_of(outcomes_.begin(), outcomes_.end(), [&](runnel_outcome o) { return o == first; });
  // A whole payload that is rejected makes the host look for a culprit and hold where it finds none. That a record has
  // no topic is certain, so it is said of each one: only they are given up.
  // A write that has waited for a broker need not be waited for again; one that failed at once backs off.
  const bool waited = monotonic_ns() - began_ns_ > 1'000 * kMs || payload_->attempt < 2;
  const uint32_t again_ms = waited && stopped != Stop::kInterrupted ? 100 : 0;
  if (all_alike && !(first == RUNNEL_REJECT && unroutable))
    return answer_with(answer, first, text, first == RUNNEL_RETRY ? again_ms : 0);
  if (!answer->samples) return answer_with(answer, RUNNEL_RETRY, text, again_ms);
  for (size_t i = 0; i < outcomes_.size(); ++i) answer->samples[i] = static_cast<uint8_t>(outcomes_[i]);
  return answer_with(answer, RUNNEL_RETRY, text, again_ms);
}

}  // namespace runnel_kafka
