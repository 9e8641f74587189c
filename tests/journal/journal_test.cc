// The journal when nothing is wrong: what a restart finds, how far readers may lag, what is kept on disk.
#include <fmt/format.h>

#include "journal/journal_rig.h"

using namespace runnel;
using test::JournalRig;

TEST_CASE("what was not delivered is there after a restart, what was delivered is not") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  for (int i = 0; i < 10; i++) REQUIRE(rig.append_acked(3));
  for (int i = 0; i < 4; i++) REQUIRE(rig.deliver_one(1000));
  rig.stop();
  REQUIRE(rig.open().ok());
  CHECK(rig.reader->snapshot().appended == 18);
  rig.deliver_all();
  CHECK(rig.missing().empty());
  CHECK(rig.duplicates() == 0);
  CHECK(rig.received.size() == 30);
  rig.check_alive();
}

TEST_CASE("what nobody waits for is written at once and synced within the time") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  rig.append(5);
  CHECK(rig.eventually([&] { return rig.reader->snapshot().queued == 5 && !rig.segments().empty(); }));
  REQUIRE(rig.deliver_one(1000));  // readers get what is written
  int64_t before = rig.written();
  rig.append(5);
  REQUIRE(rig.eventually([&] { return rig.written() > before; }));
  rig.crash();  // kill -9: the kernel has it
  REQUIRE(rig.open().ok());
  rig.deliver_all();
  CHECK(rig.received.size() == 10);
}

TEST_CASE(
    "a backlog is read back in order, once, from many segments, and its files go when it is delivered") {
  JournalRig rig;
  rig.options.max_bytes = 4 << 20;
  rig.options.segment_bytes = 4096;
  rig.options.tail_bytes = 1;
  REQUIRE(rig.open().ok());
  for (int i = 0; i < 300; i++) REQUIRE(rig.append_acked(20));
  CHECK(rig.segments().size() > 5);
  int64_t last = -1;
  while (auto entry = rig.take(*rig.reader, rig.reader->snapshot().queued > 0 ? 5000 : 0)) {
    for (const Sample& sample : entry->batch->samples) {
      REQUIRE(sample.value.as_integer() == last + 1);
      last++;
    }
    Settlement done;
    done.delivered = entry->records();
    rig.reader->settle(done, {1, entry->bytes});
    rig.reader->save_at_rest();
  }
  CHECK(last == 5999);
  CHECK(rig.balanced());
  CHECK(rig.eventually([&] { return rig.segments().size() <= 1; }));
}

TEST_CASE("a full journal: each reader by its own rule, counted to the record") {
  JournalRig rig;
  rig.options.max_bytes = 64 << 10;
  rig.options.tail_bytes = 1;
  REQUIRE(rig.open().ok());
  LogReader& newest = rig.log->add_reader("newest", WhenFull::drop_newest);
  LogReader& block = rig.log->add_reader("block", WhenFull::block);
  LogReader& healthy = rig.log->add_reader("healthy", WhenFull::drop_oldest);
  uint64_t healthy_got = 0;
  // Values that zstd makes nothing of.
  for (int i = 0; i < 400; i++) {
    Batch b("test");
    for (int k = 0; k < 20; k++) {
      Sample sample;
      sample.series = b.series(fmt::format("{:x}", std::hash<std::string>{}(fmt::format("{}-{}", i, k))), {});
      sample.value = Number(static_cast<double>(i * 20 + k) * 1.1);
      b.add(sample);
    }
    rig.log->append(std::move(b));
    while (auto entry = rig.take(healthy, 1000)) {
      healthy_got += entry->records();
      Settlement done;
      done.delivered = entry->records();
      healthy.settle(done, {1, entry->bytes});
      healthy.save_at_rest();
      if (healthy_got == static_cast<uint64_t>(i + 1) * 20) break;
    }
  }
  CHECK(healthy_got == 8000);
  CHECK(rig.log->blocked());
  auto drain = [&](LogReader& reader) {
    std::vector<double> values;
    while (auto entry = rig.take(reader, reader.snapshot().queued > 0 ? 5000 : 0)) {
      for (RecordRange range : entry->ranges)
        for (uint32_t i = range.first; i < range.last; i++)
          values.push_back(entry->batch->samples[i].value.as_double());
      Settlement done;
      done.delivered = entry->records();
      reader.settle(done, {1, entry->bytes});
      reader.save_at_rest();
    }
    ReaderSnapshot s = reader.snapshot();
    CHECK(JournalRig::residual(s) == 0);
    CHECK(s.queued == 0);
    uint64_t dropped = 0;
    for (const auto& [reason, n] : s.dropped) {
      CHECK(reason == "log_full");
      dropped += n;
    }
    CHECK(values.size() + dropped == 8000);
    return values;
  };
  std::vector<double> old_gone = drain(*rig.reader), new_gone = drain(newest), all = drain(block);
  CHECK(all.size() == 8000);
  CHECK(old_gone.size() < 8000);
  CHECK(old_gone.back() == Approx(7999 * 1.1));
  CHECK(new_gone.size() < 8000);
  CHECK(new_gone.front() == 0);
  CHECK(rig.eventually([&] { return !rig.log->blocked(); }));
  rig.check_alive();
}

TEST_CASE("what was in flight comes back to be sent as it was") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  REQUIRE(rig.append_acked(10));
  auto entry = rig.take(*rig.reader, 1000);
  REQUIRE(entry);
  InFlight half{entry->epoch, entry->first + 5, entry->first + 9, "1"};
  rig.reader->save(entry->first + 5, half);
  rig.crash();
  REQUIRE(rig.open().ok());
  CHECK(rig.reader->in_flight() == half);
  auto again = rig.take(*rig.reader, 1000);
  REQUIRE(again);
  CHECK(again->epoch == half.epoch);
  CHECK(again->first + again->ranges.front().first == half.first);
  CHECK(again->records() == 5);
  // What is appended now has another epoch, so that its ids are others.
  REQUIRE(rig.append_acked(1));
  auto fresh = rig.take(*rig.reader, 1000);
  REQUIRE(fresh);
  CHECK(fresh->epoch > again->epoch);
}

TEST_CASE("an output that is new begins with what comes, and one that was removed leaves nothing behind") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  REQUIRE(rig.append_acked(3));
  LogReader& late = rig.log->add_reader("late", WhenFull::drop_oldest);
  CHECK(late.snapshot().queued == 0);
  REQUIRE(rig.append_acked(2));
  CHECK(late.snapshot().queued == 2);
  auto entry = rig.take(late, 1000);
  REQUIRE(entry);
  late.give_back(*entry);
  late.save(entry->first, std::nullopt);
  rig.log->remove_reader("late");
  CHECK_FALSE(std::filesystem::exists(rig.options.folder + "/late.cursor"));
  rig.stop();
  REQUIRE(rig.open().ok());
  CHECK(rig.reader->snapshot().queued == 5);
}

TEST_CASE("a closed reader gets no more, and one that is opened again misses what came meanwhile") {
  JournalRig rig;
  rig.options.tail_bytes = 1;
  REQUIRE(rig.open().ok());
  REQUIRE(rig.append_acked(2));
  rig.log->close_reader("main");
  REQUIRE(rig.append_acked(2));
  CHECK(rig.reader->snapshot().appended == 2);
  rig.log->add_reader("main", WhenFull::drop_oldest);
  REQUIRE(rig.append_acked(2));
  rig.deliver_all();
  CHECK(rig.received == std::multiset<int64_t>{0, 1, 4, 5});
  CHECK(rig.balanced());
}

TEST_CASE("two agents do not write one journal") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  RealFileSystem fs;
  Log other(rig.clock, rig.options.max_bytes);
  Status second = other.open(rig.options, fs, [] {});
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().find("another agent uses it") != std::string::npos);
  LogReader& reader = other.add_reader("main", WhenFull::drop_oldest);
  other.append(rig.batch(4));
  auto entry = reader.take(1'000'000'000);
  REQUIRE(entry);
  Settlement done;
  done.delivered = 4;
  reader.settle(done, {1, entry->bytes});
  reader.save_at_rest();  // must not touch the cursor of the first
  REQUIRE(rig.append_acked(1));
  rig.stop();
  // The first has gone: the other one takes over, with what the folder holds for its reader.
  bool safe = false;
  CHECK(rig.eventually([&] {
    other.append(rig.batch(1), [&](bool answer) { safe = answer; });
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    other.take_decisions();
    return safe;
  }));
  CHECK(reader.snapshot().queued >= 2);
  CHECK(JournalRig::residual(reader.snapshot()) == 0);
  REQUIRE(other.close(10'000));
}

TEST_CASE("at the end a decision does not wait for the loop") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  int answers = 0;
  rig.log->append(rig.batch(1), [&](bool safe) { answers += safe ? 1 : 100; });
  rig.log->decide_at_once();
  CHECK(answers == 1);
  rig.log->append(rig.batch(2), [&](bool safe) { answers += safe ? 1 : 100; });
  CHECK(answers == 2);
}
