#include "journal/log.h"

#include <thread>

#include "support/catch.h"

using namespace runnel;

namespace {

Batch batch_of(size_t records, const std::string& name = "x") {
  Batch batch("test");
  for (size_t i = 0; i < records; i++) {
    Sample sample;
    sample.series = batch.series(name, {});
    batch.add(sample);
  }
  return batch;
}

uint64_t residual(const ReaderSnapshot& s) {
  uint64_t dropped = 0;
  for (const auto& [reason, n] : s.dropped) dropped += n;
  return s.appended - s.delivered - s.filtered - dropped - s.queued - s.in_flight;
}

Settlement delivered(uint64_t n) {
  Settlement s;
  s.delivered = n;
  return s;
}

}  // namespace

TEST_CASE("sequence numbers count records and each reader sees all of them once") {
  ManualClock clock;
  Log log(clock, 1 << 20);
  LogReader& a = log.add_reader("a", WhenFull::drop_oldest);
  LogReader& b = log.add_reader("b", WhenFull::drop_oldest);
  CHECK(log.append(batch_of(3)) == 1);
  CHECK(log.append(batch_of(2)) == 4);
  auto first = a.take(0), second = a.take(0);
  REQUIRE(first);
  REQUIRE(second);
  CHECK_FALSE(a.take(0));
  CHECK(second->first == 4);
  CHECK(b.snapshot().queued == 5);
  clock.advance_ms(1500);
  CHECK(a.snapshot().lag_s == Approx(1.5));
  Settlement done = delivered(3);
  done.filtered = 1;
  done.dropped["rejected"] = 1;
  a.settle(done, {2, first->bytes + second->bytes});
  ReaderSnapshot s = a.snapshot();
  CHECK(s.delivered == 3);
  CHECK(s.in_flight == 0);
  CHECK(s.bytes == 0);
  CHECK(s.lag_s == 0);
  CHECK(residual(s) == 0);
}

TEST_CASE("each rule for a full reader harms that reader alone") {
  ManualClock clock;
  size_t one = [&] {
    Log probe(clock, 1 << 20);
    LogReader& r = probe.add_reader("r", WhenFull::drop_oldest);
    probe.append(batch_of(10));
    return r.snapshot().bytes;
  }();
  Log log(clock, static_cast<int64_t>(3 * one + one / 2));
  LogReader& oldest = log.add_reader("oldest", WhenFull::drop_oldest);
  LogReader& newest = log.add_reader("newest", WhenFull::drop_newest);
  LogReader& block = log.add_reader("block", WhenFull::block);
  LogReader& healthy = log.add_reader("healthy", WhenFull::drop_oldest);
  for (int i = 0; i < 5; i++) {
    log.append(batch_of(10));
    auto entry = healthy.take(0);
    REQUIRE(entry);
    healthy.settle(delivered(10), {1, entry->bytes});
  }
  CHECK(healthy.snapshot().delivered == 50);
  CHECK(oldest.snapshot().dropped.at("log_full") == 20);
  CHECK(oldest.take(0)->first == 21);
  CHECK(newest.snapshot().dropped.at("log_full") == 20);
  CHECK(newest.take(0)->first == 1);
  CHECK(block.snapshot().dropped.empty());
  CHECK(block.snapshot().queued == 50);
  CHECK(log.blocked());
  for (LogReader* r : {&oldest, &newest, &block, &healthy}) CHECK(residual(r->snapshot()) == 0);
  std::vector<LogEntry> taken;
  for (int i = 0; i < 3; i++) taken.push_back(*block.take(0));
  for (auto& entry : taken) block.settle(delivered(10), {1, entry.bytes});
  CHECK_FALSE(log.blocked());
}

TEST_CASE("what is in flight is never dropped, and what is given back comes first") {
  ManualClock clock;
  Log log(clock, 1);  // room for nothing
  LogReader& r = log.add_reader("r", WhenFull::drop_oldest);
  log.append(batch_of(4));
  auto entry = r.take(0);
  REQUIRE(entry);
  log.append(batch_of(1));
  log.append(batch_of(1));
  CHECK(r.snapshot().in_flight == 4);
  CHECK(r.snapshot().dropped.at("log_full") == 1);
  r.settle(delivered(3), {});
  entry->ranges = {{2, 3}};
  r.give_back(*entry);
  auto again = r.take(0);
  REQUIRE(again);
  CHECK(again->first == 1);
  CHECK(again->ranges[0].first == 2);
  CHECK(again->records() == 1);
  CHECK(residual(r.snapshot()) == 0);
}

TEST_CASE("a reader that waits is woken by data and by a poke") {
  SystemClock clock;
  Log log(clock, 1 << 20);
  LogReader& r = log.add_reader("r", WhenFull::drop_oldest);
  constexpr int64_t kLong = 20'000'000'000;
  std::optional<LogEntry> got;
  std::thread taker([&] { got = r.take(kLong); });
  log.append(batch_of(1));
  taker.join();
  CHECK(got.has_value());
  bool poked = false;
  std::thread sleeper([&] { poked = r.pause(kLong); });
  r.poke();
  sleeper.join();
  CHECK(poked);
  CHECK_FALSE(r.pause(1));
}

TEST_CASE("a source that waits is told when the log has accepted") {
  ManualClock clock;
  Log log(clock, 1 << 20);
  int accepted = 0;
  log.append(batch_of(1), [&](bool safe) { accepted += safe ? 1 : 0; });
  CHECK(accepted == 1);
}
