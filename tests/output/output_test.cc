#include "output/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <set>
#include <thread>

#include "base/text.h"
#include "support/catch.h"

using namespace runnel;

namespace {

struct Call {
  std::string text, id;
  uint32_t samples = 0, attempt = 0;
};

// The other side: answers each write through `answer`; what it answered with DELIVERED has arrived.
struct FakePeer {
  std::mutex mutex;
  std::vector<Call> calls;
  std::multiset<std::string> arrived;  // lines
  std::function<runnel_outcome(const Call&, runnel_answer&)> answer = [](const Call&, runnel_answer&) {
    return RUNNEL_DELIVERED;
  };
  std::atomic<bool> interrupted{false}, block{false};
  std::atomic<int> reopened{0};

  size_t count() {
    std::lock_guard lock(mutex);
    return calls.size();
  }
};
FakePeer* g_peer = nullptr;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::string_view line : split(text, '\n'))
    if (!line.empty()) lines.emplace_back(line);
  return lines;
}

runnel_outcome fake_write(void*, const runnel_payload* payload, uint64_t, runnel_answer* answer) {
  FakePeer& peer = *g_peer;
  while (peer.block && !peer.interrupted) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  if (peer.interrupted) return RUNNEL_RETRY;
  Call call{std::string(payload->bytes.data, payload->bytes.size),
            std::string(payload->id.data, payload->id.size), payload->sample_count, payload->attempt};
  std::lock_guard lock(peer.mutex);
  runnel_outcome outcome = peer.answer(call, *answer);
  peer.calls.push_back(call);
  auto lines = lines_of(call.text);
  for (size_t i = 0; i < lines.size(); i++) {
    uint8_t own = answer->samples != nullptr ? answer->samples[i] : 0;
    if ((own != 0 ? own : static_cast<uint8_t>(outcome)) == RUNNEL_DELIVERED) peer.arrived.insert(lines[i]);
  }
  return outcome;
}

runnel_sink fake_sink(uint32_t capabilities = 0) {
  runnel_sink sink{};
  sink.abi_version = RUNNEL_SINK_ABI;
  sink.struct_size = sizeof sink;
  sink.option_size = sizeof(runnel_option);
  sink.capabilities = capabilities;
  sink.name = "fake";
  sink.help = "for tests";
  sink.create = [](const runnel_host*, const runnel_value*, char*, size_t) -> void* { return g_peer; };
  sink.write = fake_write;
  sink.interrupt = [](void*) { g_peer->interrupted = true; };
  sink.reopen = [](void*) {
    g_peer->reopened++;
    g_peer->interrupted = false;
  };
  sink.destroy = [](void*) {};
  return sink;
}

struct Rig {
  explicit Rig(uint32_t capabilities = 0) : descriptor(fake_sink(capabilities)) {
    g_peer = &peer;
    config.name = "main";
    config.sink = "fake";
    config.batch.max_age_ms = 5;
    times.backoff_base_ms = 1;
    times.backoff_cap_ms = 5;
    times.hold_ms = 20;
  }
  void start() {
    auto made = Output::create(reader, clock, config, descriptor, {"main", "0", "id"}, "id-1", "host", times);
    INFO((made.ok() ? "" : made.error()));
    REQUIRE(made.ok());
    output = std::move(*made);
    output->start();
  }
  void append(int first, int n) {
    Batch batch("test");
    for (int i = first; i < first + n; i++) {
      Sample sample;
      sample.series = batch.series(fmt::format("k{}", i), {});
      sample.time_ms = 1;
      sample.value = Number::integer(i);
      batch.add(sample);
    }
    log.append(std::move(batch));
    appended += n;
  }
  template <class Condition>
  bool eventually(Condition condition, int ms = 10'000) {
    for (int i = 0; i < ms && !condition(); i++) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return condition();
  }
  void drain() {
    output->drain();
    REQUIRE(output->join_for(10'000));
  }
  void check_balance() {
    ReaderSnapshot s = reader.snapshot();
    uint64_t dropped = 0;
    for (auto& [reason, n] : s.dropped) dropped += n;
    CHECK(s.appended == static_cast<uint64_t>(appended));
    CHECK(s.appended == s.delivered + s.filtered + s.quarantined + dropped + s.queued + s.in_flight);
    CHECK(s.delivered == peer.arrived.size());
    if (s.queued + s.in_flight == 0) CHECK(s.bytes == 0);
    // Nothing arrives twice.
    CHECK(std::set<std::string>(peer.arrived.begin(), peer.arrived.end()).size() == peer.arrived.size());
  }

  FakePeer peer;
  SystemClock clock;
  Log log{clock, 64 << 20};
  LogReader& reader = log.add_reader("main", WhenFull::drop_oldest);
  OutputConfig config;
  OutputTimes times;
  runnel_sink descriptor;
  int appended = 0;
  std::unique_ptr<Output> output;
};

}  // namespace

TEST_CASE("all that is appended arrives, in payloads within the limits") {
  Rig rig;
  rig.config.batch.max_events = 7;
  rig.start();
  for (int i = 0; i < 10; i++) rig.append(i * 10, 10);
  rig.drain();
  rig.check_balance();
  CHECK(rig.peer.arrived.size() == 100);
  std::set<std::string> ids;
  for (const Call& call : rig.peer.calls) {
    CHECK(call.samples <= 7);
    CHECK(ids.insert(call.id).second);
    CHECK(call.id.starts_with("id-1-"));
  }
  CHECK(rig.peer.calls[0].id.ends_with("-1-7"));  // between them the epoch
}

TEST_CASE("bytes limit a payload too, and one large record goes alone") {
  Rig rig;
  rig.config.batch.max_bytes = 100;
  rig.start();
  rig.append(0, 20);
  Batch batch("test");
  Sample sample;
  sample.series = batch.series(std::string(500, 'x'), {});
  batch.add(sample);
  rig.log.append(std::move(batch));
  rig.appended++;
  rig.append(20, 1);
  rig.drain();
  rig.check_balance();
  for (const Call& call : rig.peer.calls) CHECK((call.text.size() < 250 || call.samples <= 2));
}

TEST_CASE("a retry carries the same bytes and the same id") {
  Rig rig;
  rig.peer.answer = [n = 0](const Call&, runnel_answer&) mutable {
    return ++n < 4 ? RUNNEL_RETRY : RUNNEL_DELIVERED;
  };
  rig.start();
  rig.append(0, 5);
  rig.drain();
  rig.check_balance();
  REQUIRE(rig.peer.calls.size() == 4);
  for (uint32_t i = 0; i < 4; i++) {
    CHECK(rig.peer.calls[i].text == rig.peer.calls[0].text);
    CHECK(rig.peer.calls[i].id == rig.peer.calls[0].id);
    CHECK(rig.peer.calls[i].attempt == i + 1);
  }
}

TEST_CASE("what the filter keeps back is counted and never sent") {
  Rig rig;
  rig.config.filter = "key = k3 or key = k4";
  rig.start();
  rig.append(0, 10);
  rig.append(10, 10);  // nothing of it passes
  rig.drain();
  rig.check_balance();
  CHECK(rig.reader.snapshot().filtered == 18);
  CHECK(rig.reader.snapshot().delivered == 2);
}

TEST_CASE("one poison record in a thousand costs itself and at most 32 requests") {
  for (int poison : {0, 1, 499, 999}) {
    Rig rig;
    std::string needle = fmt::format("\"k{}\"", poison);
    rig.peer.answer = [&](const Call& call, runnel_answer&) {
      return call.text.find(needle) != std::string::npos ? RUNNEL_REJECT : RUNNEL_DELIVERED;
    };
    rig.start();
    rig.append(0, 1000);
    rig.drain();
    rig.check_balance();
    CHECK(rig.reader.snapshot().dropped.at("rejected") == 1);
    CHECK(rig.peer.arrived.size() == 999);
    CHECK(rig.peer.calls.size() <= 32);
  }
}

TEST_CASE("when nothing passes the output holds, and goes on when the other side is well") {
  Rig rig;
  std::atomic<bool> sick{true};
  rig.peer.answer = [&](const Call&, runnel_answer&) { return sick ? RUNNEL_REJECT : RUNNEL_DELIVERED; };
  rig.start();
  rig.append(0, 50);
  REQUIRE(rig.eventually([&] { return rig.peer.count() > 70; }));  // more than one round of at most 32
  CHECK(rig.reader.snapshot().dropped.empty());
  rig.append(50, 50);
  sick = false;
  REQUIRE(rig.eventually([&] { return rig.reader.snapshot().delivered == 100; }));
  rig.drain();
  rig.check_balance();
  CHECK(rig.peer.arrived.size() == 100);
}

TEST_CASE("too large is split; a single record that is too large is dropped") {
  Rig rig;
  rig.peer.answer = [&](const Call& call, runnel_answer&) {
    if (call.text.find("\"k13\"") != std::string::npos && call.samples == 1) return RUNNEL_SPLIT;
    return call.samples > 8                                 ? RUNNEL_SPLIT
           : call.text.find("\"k13\"") != std::string::npos ? RUNNEL_SPLIT
                                                            : RUNNEL_DELIVERED;
  };
  rig.start();
  rig.append(0, 100);
  rig.drain();
  rig.check_balance();
  CHECK(rig.reader.snapshot().dropped.at("too_large") == 1);
  CHECK(rig.peer.arrived.size() == 99);
}

TEST_CASE("batches grow back after one answer that they are too large") {
  Rig rig;
  rig.config.batch.max_events = 1000;
  std::atomic<bool> mood{true};
  rig.peer.answer = [&](const Call&, runnel_answer&) {
    return mood.exchange(false) ? RUNNEL_SPLIT : RUNNEL_DELIVERED;
  };
  rig.start();
  rig.append(0, 1000);
  REQUIRE(rig.eventually([&] { return rig.reader.snapshot().delivered == 1000; }));
  for (int i = 1; i < 400; i++) rig.append(i * 1000, 1000);
  rig.drain();
  rig.check_balance();
  CHECK(std::any_of(rig.peer.calls.end() - 50, rig.peer.calls.end(),
                    [](const Call& call) { return call.samples == 1000; }));
}

TEST_CASE("a sink that answers for each sample gets exactly the others again") {
  Rig rig(RUNNEL_SINK_WANTS_RECORDS | RUNNEL_SINK_ANSWERS_RECORDS);
  int round = 0;
  rig.peer.answer = [&](const Call& call, runnel_answer& answer) {
    auto lines = lines_of(call.text);
    if (answer.samples == nullptr || lines.size() != call.samples)
      return RUNNEL_HOLD;  // ends in a time-out below
    for (size_t i = 0; i < lines.size(); i++) {
      bool odd = (lines[i].find("1\",") != std::string::npos) && round < 3;
      if (lines[i].find("\"k7\"") != std::string::npos) answer.samples[i] = RUNNEL_REJECT;
      if (odd) answer.samples[i] = round == 0 ? 77 : RUNNEL_RETRY;  // 77: nonsense, so not delivered
    }
    round++;
    return RUNNEL_DELIVERED;
  };
  rig.start();
  rig.append(0, 100);
  rig.drain();
  rig.check_balance();
  CHECK(rig.peer.arrived.size() == 99);
  CHECK(rig.reader.snapshot().dropped.at("rejected") == 1);
  std::set<std::string> ids;
  for (const Call& call : rig.peer.calls) ids.insert(call.id);
  CHECK(ids.size() == rig.peer.calls.size());
}

TEST_CASE("a hold ends with a reopen") {
  Rig rig;
  rig.times.hold_ms = 3'600'000;
  std::atomic<bool> wrong_password{true};
  rig.peer.answer = [&](const Call&, runnel_answer&) {
    return wrong_password ? RUNNEL_HOLD : RUNNEL_DELIVERED;
  };
  rig.start();
  rig.append(0, 5);
  REQUIRE(rig.eventually([&] { return rig.peer.count() == 1; }));
  wrong_password = false;
  rig.output->reopen();
  REQUIRE(rig.eventually([&] { return rig.reader.snapshot().delivered == 5; }));
  CHECK(rig.peer.reopened == 1);
  rig.drain();
  rig.check_balance();
}

TEST_CASE("Retry-After is obeyed, and capped") {
  Rig rig;
  rig.times.retry_after_cap_ms = 30;
  rig.peer.answer = [n = 0](const Call&, runnel_answer& answer) mutable {
    answer.retry_after_ms = UINT32_MAX;
    return ++n < 2 ? RUNNEL_RETRY : RUNNEL_DELIVERED;
  };
  rig.start();
  auto start = std::chrono::steady_clock::now();
  rig.append(0, 1);
  REQUIRE(rig.eventually([&] { return rig.reader.snapshot().delivered == 1; }));
  CHECK(std::chrono::steady_clock::now() - start >= std::chrono::milliseconds(25));
  CHECK(rig.peer.count() == 2);
  rig.drain();  // would have cut the wait short
}

TEST_CASE("drained twice: what has come since the first time") {
  Rig rig;
  rig.start();
  rig.append(0, 3);
  rig.drain();
  CHECK(rig.reader.snapshot().delivered == 3);
  rig.append(3, 4);
  CHECK(rig.reader.snapshot().queued == 4);
  rig.drain();
  CHECK(rig.reader.snapshot().delivered == 7);
  rig.check_balance();
}

TEST_CASE("an output that is replaced gives back what it has not settled") {
  Rig rig;
  rig.config.batch.max_events = 10;
  rig.peer.answer = [n = 0](const Call&, runnel_answer&) mutable {
    return ++n == 1 ? RUNNEL_DELIVERED : RUNNEL_RETRY;
  };
  rig.times.backoff_base_ms = rig.times.backoff_cap_ms = 100'000;
  rig.start();
  rig.append(0, 25);
  rig.append(25, 5);
  REQUIRE(rig.eventually([&] { return rig.peer.count() >= 2; }));
  rig.output->abandon();
  REQUIRE(rig.output->join_for(10'000));
  ReaderSnapshot s = rig.reader.snapshot();
  CHECK(s.in_flight == 0);
  CHECK(s.queued == 20);
  rig.check_balance();
  // The new one finds them, in order.
  rig.peer.interrupted = false;
  rig.peer.answer = [](const Call&, runnel_answer&) { return RUNNEL_DELIVERED; };
  rig.start();
  rig.drain();
  rig.check_balance();
  CHECK(rig.peer.arrived.size() == 30);
}

TEST_CASE("a write that blocks is interrupted, and its records are not lost from the books") {
  Rig rig;
  rig.peer.block = true;
  rig.start();
  rig.append(0, 5);
  REQUIRE(rig.eventually([&] { return rig.reader.snapshot().in_flight == 5; }));
  rig.output->drain();
  CHECK_FALSE(rig.output->join_for(50));
  rig.output->abandon();
  CHECK(rig.output->join_for(5'000));
  CHECK(rig.reader.snapshot().queued == 5);
  rig.check_balance();
}

TEST_CASE("one dead output delays no other") {
  Rig rig;
  SystemClock clock;
  LogReader& other = rig.log.add_reader("other", WhenFull::drop_oldest);
  rig.peer.block = true;
  rig.start();
  for (int i = 0; i < 100; i++) rig.append(i * 10, 10);
  uint64_t taken = 0;
  while (auto entry = other.take(0)) taken += entry->records();
  CHECK(taken == 1000);
}

TEST_CASE("a record carries its series with and without host, and one number for all its tries") {
  Batch batch("test");
  uint32_t origin = batch.origin({"web-1", {{"build", "1"}}});
  for (auto& tags : {std::vector<Tag>{{"a", "1"}, {"z", "2"}}, {{"host", "own"}}, {}}) {
    Sample sample;
    sample.series = batch.series("k", tags.data(), tags.size());
    sample.origin = origin;
    batch.add(sample);
  }
  batch.samples.back().origin = 0;  // whose host is not known
  LogEntry entry{.first = 41, .batch = std::make_shared<const Batch>(std::move(batch)), .ranges = {{0, 3}}};
  PayloadBuilder::Parts parts;
  parts.encoder = find_encoder("json")->make();
  parts.want_records = true;
  parts.id_prefix = "id-1";
  PayloadBuilder builder(std::move(parts));
  builder.begin();
  REQUIRE(builder.add(entry, {0, 3}, 10, 1 << 20) == 3);
  REQUIRE(builder.finish("").ok());
  struct Row {
    const char *series, *on_host;
    uint64_t sequence;
  };
  auto check = [&](std::vector<Row> rows) {
    REQUIRE(builder.payload().record_count == rows.size());
    REQUIRE(builder.payload().record_size == sizeof(runnel_record));
    for (size_t i = 0; i < rows.size(); i++) {
      const runnel_record& record = builder.payload().records[i];
      CHECK(std::string(record.series.data, record.series.size) == rows[i].series);
      CHECK(std::string(record.series_on_host.data, record.series_on_host.size) == rows[i].on_host);
      CHECK(record.sequence == rows[i].sequence);
    }
  };
  check({{"k,a=1,z=2", "k,a=1,host=web-1,z=2", 41}, {"k,host=own", "k,host=own", 42}, {"k", "k", 43}});
  Selection rest = builder.select([](size_t i) { return i != 1; });
  builder.begin();
  builder.add(rest);
  REQUIRE(builder.finish("r1").ok());
  check({{"k,a=1,z=2", "k,a=1,host=web-1,z=2", 41}, {"k", "k", 43}});
}
