// A journal in a folder of its own, and the books of a test: which ids were acknowledged, refused and received.
#pragma once

#include <chrono>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "journal/fault_fs.h"
#include "journal/log.h"
#include "support/catch.h"
#include "support/sockets.h"

namespace runnel::test {

// Wall time that an operator sets; the monotonic clock is the real one.
struct JumpingClock final : Clock {
  int64_t offset_ms = 0;
  int64_t wall_ms() const override { return SystemClock().wall_ms() + offset_ms; }
  int64_t mono_ns() const override { return SystemClock().mono_ns(); }
};

struct JournalRig {
  TestFolder folder{std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp"};  // a sync there costs no time
  JumpingClock clock;
  JournalOptions options;
  std::unique_ptr<FaultFs> fs = std::make_unique<FaultFs>();
  std::unique_ptr<Log> log;
  LogReader* reader = nullptr;
  int64_t next_id = 0;
  std::multiset<int64_t> received;
  std::set<int64_t> acked, refused;
  WhenFull when_full = WhenFull::drop_oldest;

  JournalRig() {
    options.folder = folder.path + "/journal";
    options.sync_ms = 20;
    options.retry_ms = 20;
    options.min_free_share = 0;
  }
  ~JournalRig() { log.reset(); }

  Status open() {
    log = std::make_unique<Log>(clock, options.max_bytes);
    Status status = log->open(options, *fs, [] {});
    reader = &log->add_reader("main", when_full);
    return status;
  }
  // The process ends as it is: nothing more reaches the disk.
  void crash() {
    if (!fs->dead()) fs->die_at = fs->calls() + 1;
    log.reset();
    fs = std::make_unique<FaultFs>();
  }
  void stop() {
    REQUIRE(log->close(10'000));
    log.reset();
  }

  Batch batch(size_t records, const std::string& name = "series") {
    Batch b("test");
    for (size_t i = 0; i < records; i++) {
      Sample sample;
      sample.series = b.series(name, {{"id", "x"}});
      sample.time_ms = 1;
      sample.value = Number::integer(next_id++);
      b.add(sample);
    }
    return b;
  }
  void append(size_t records) { log->append(batch(records)); }
  // Waits for the answer; false: refused.
  bool append_acked(size_t records) {
    int64_t from = next_id;
    bool done = false, safe = false;
    log->append(batch(records), [&](bool answer) { done = true, safe = answer; });
    eventually([&] { return log->take_decisions(), done; });
    REQUIRE(done);
    for (int64_t id = from; id < next_id; id++) (safe ? acked : refused).insert(id);
    return safe;
  }
  template <class Condition>
  static bool eventually(Condition condition, int ms = 10'000) {
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (!condition() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    return condition();
  }

  std::optional<LogEntry> take(LogReader& from, int64_t wait_ms) { return from.take(wait_ms * 1'000'000); }
  // Takes one entry and delivers it.
  bool deliver_one(int64_t wait_ms = 0) {
    if (reader->snapshot().queued == 0) wait_ms = 0;
    auto entry = take(*reader, wait_ms);
    if (!entry) return false;
    reader->save(entry->first + entry->ranges.front().first,
                 InFlight{entry->epoch, entry->first + entry->ranges.front().first,
                          entry->first + entry->ranges.back().last - 1, ""});
    if (fs->dead()) return false;  // killed before it was sent
    for (RecordRange range : entry->ranges)
      for (uint32_t i = range.first; i < range.last; i++)
        received.insert(entry->batch->samples[i].value.as_integer());
    Settlement done;
    done.delivered = entry->records();
    reader->settle(done, {1, entry->bytes});
    reader->save_at_rest();
    return true;
  }
  void deliver_all() {
    // The first may still be on its way to the disk.
    while (deliver_one(reader->snapshot().queued > 0 ? 5000 : 0)) {
    }
  }

  static uint64_t residual(const ReaderSnapshot& s) {
    uint64_t dropped = 0;
    for (const auto& [reason, n] : s.dropped) dropped += n;
    return s.appended - s.delivered - s.filtered - s.quarantined - dropped - s.queued - s.in_flight;
  }
  int64_t written() {
    SelfReport report;
    log->report(report);
    for (const SelfReport::Row& row : report.rows())
      if (row.metric.name == self::kJournalWritten.name) return row.value.as_integer();
    return 0;
  }
  bool balanced() const { return residual(reader->snapshot()) == 0; }
  std::vector<int64_t> missing() const {
    std::vector<int64_t> lost;
    for (int64_t id : acked)
      if (!received.contains(id)) lost.push_back(id);
    return lost;
  }
  size_t duplicates() const {
    std::set<int64_t> once(received.begin(), received.end());
    return received.size() - once.size();
  }
  // After everything: a fresh event is acknowledged and arrives.
  void check_alive() {
    REQUIRE(append_acked(1));
    deliver_all();
    CHECK(received.contains(next_id - 1));
    CHECK(balanced());
  }
  std::vector<std::string> segments() const {
    std::vector<std::string> paths;
    for (const auto& entry : std::filesystem::directory_iterator(options.folder))
      if (entry.path().extension() == ".seg") paths.push_back(entry.path().string());
    std::sort(paths.begin(), paths.end());
    return paths;
  }
};

}  // namespace runnel::test
