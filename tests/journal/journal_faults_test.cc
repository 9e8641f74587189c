// Faults (shared/reference of the project: delivery promises): killed at every call, power cut, damage, disk trouble. The
// oracle in each: every acknowledged id arrives, the account balances, a fresh event is delivered afterwards.
#include <fmt/format.h>
#include <sys/stat.h>

#include "journal/journal_rig.h"
#include "journal/record.h"

using namespace runnel;
using test::FaultFs;
using test::JournalRig;

namespace {

// Some life: several segments, acknowledged and other batches, deliveries in between.
void live(JournalRig& rig) {
  for (int i = 0; i < 12; i++) {
    if (i % 3 == 2) {
      rig.append(4);
    } else {
      rig.append_acked(4);
    }
    if (i % 2 == 1) rig.deliver_one(200);
  }
}

void configure_small(JournalRig& rig) {
  rig.options.segment_bytes = 600;
  rig.options.tail_bytes = 1;
}

std::string with_flipped_bit(std::string bytes, size_t bit) {
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  return bytes;
}

void write(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

}  // namespace

TEST_CASE("killed at every call to the kernel: nothing acknowledged is lost") {
  bool ended = false;
  int64_t n = 1;
  for (; !ended && n < 2000; n++) {
    JournalRig rig;
    configure_small(rig);
    rig.fs->die_at = n;
    (void)rig.open();
    live(rig);
    ended = !rig.fs->dead();
    rig.crash();
    INFO("killed at call " << n);
    REQUIRE(rig.open().ok());
    CHECK(rig.balanced());
    rig.deliver_all();
    REQUIRE(rig.missing().empty());
    CHECK(rig.duplicates() <= 4);  // the batch in flight
    rig.check_alive();
  }
  CHECK(ended);
  CHECK(n > 40);
}

TEST_CASE("the power goes at every call: nothing acknowledged is lost") {
  bool ended = false;
  for (int64_t n = 1; !ended && n < 2000; n++) {
    JournalRig rig;
    configure_small(rig);
    rig.options.sync_ms = 100'000;  // what nobody waits for is not synced by itself
    rig.fs->die_at = n;
    (void)rig.open();
    live(rig);
    ended = !rig.fs->dead();
    std::unique_ptr<FaultFs> cut = std::move(rig.fs);
    rig.fs = std::make_unique<FaultFs>();
    if (!cut->dead()) cut->die_at = cut->calls() + 1;
    rig.log.reset();
    if (std::filesystem::exists(rig.options.folder)) cut->forget_unsynced(rig.options.folder);
    INFO("power gone at call " << n);
    REQUIRE(rig.open().ok());
    CHECK(rig.balanced());
    rig.deliver_all();
    REQUIRE(rig.missing().empty());
    rig.check_alive();
  }
  CHECK(ended);
}

TEST_CASE("every bit of a small journal flipped: it costs the record that was hit, and is counted") {
  JournalRig first;
  first.options.tail_bytes = 1;
  REQUIRE(first.open().ok());
  for (int i = 0; i < 3; i++) REQUIRE(first.append_acked(4));
  first.stop();
  REQUIRE(first.segments().size() == 1);
  std::string sound = FaultFs::content(first.segments()[0]);
  for (size_t bit = 0; bit < sound.size() * 8; bit++) {
    JournalRig rig;
    std::filesystem::create_directories(rig.options.folder);
    write(rig.options.folder + "/00000000000000000001.seg", with_flipped_bit(sound, bit));
    INFO("bit " << bit);
    REQUIRE(rig.open().ok());
    rig.next_id = 12;
    ReaderSnapshot found = rig.reader->snapshot();
    rig.deliver_all();
    REQUIRE(rig.received.size() >= 8);
    REQUIRE(rig.received.size() == found.queued);
    for (int64_t id : rig.received) REQUIRE((id >= 0 && id < 12));
    REQUIRE(rig.duplicates() == 0);
    if (bit % 97 == 0) rig.check_alive();
  }
}

TEST_CASE("a segment cut, zeroed, doubled or overwritten: the rest is delivered, once") {
  JournalRig first;
  REQUIRE(first.open().ok());
  for (int i = 0; i < 5; i++) REQUIRE(first.append_acked(4));
  first.stop();
  std::string path = first.segments()[0], sound = FaultFs::content(path);
  auto start = [&](JournalRig& rig, const std::string& bytes) {
    std::filesystem::create_directories(rig.options.folder);
    write(rig.options.folder + "/00000000000000000001.seg", bytes);
  };
  for (size_t size = 0; size <= sound.size(); size += 3) {
    JournalRig rig;
    start(rig, sound.substr(0, size));
    INFO("cut to " << size);
    REQUIRE(rig.open().ok());
    rig.deliver_all();
    CHECK(rig.received.size() <= 20);
    CHECK(rig.received.size() % 4 == 0);
    int64_t expected = 0;
    for (int64_t id : rig.received) REQUIRE(id == expected++);
  }
  for (size_t from = 0; from < sound.size(); from += 41) {
    JournalRig rig;
    std::string bytes = sound;
    for (size_t i = from; i < std::min(from + 60, bytes.size()); i++) bytes[i] = 0;
    start(rig, bytes);
    REQUIRE(rig.open().ok());
    rig.deliver_all();
    CHECK(rig.received.size() >= 12);  // 60 bytes hit two records at most
    CHECK(rig.duplicates() == 0);
    CHECK(rig.balanced());
  }
  SECTION("copies, rubbish, and things that are no files") {
    JournalRig rig;
    start(rig, sound);
    std::filesystem::copy(rig.options.folder + "/00000000000000000001.seg",
                          rig.options.folder + "/00000000000000000099.seg");
    write(rig.options.folder + "/00000000000000000050.seg",
          std::string(5000, 'r') + "rnR1" + std::string(100, '\xff'));
    write(rig.options.folder + "/00000000000000000051.seg", "");
    write(rig.options.folder + "/notes.txt", "mine");
    std::filesystem::create_directory(rig.options.folder + "/00000000000000000052.seg");
    std::filesystem::create_symlink("/etc/passwd", rig.options.folder + "/00000000000000000053.seg");
    REQUIRE(::mkfifo((rig.options.folder + "/00000000000000000054.seg").c_str(), 0600) == 0);
    REQUIRE(rig.open().ok());
    rig.deliver_all();
    CHECK(rig.received.size() == 20);
    CHECK(rig.duplicates() == 0);
    CHECK(std::filesystem::exists(rig.options.folder + "/notes.txt"));
    rig.next_id = 20;
    rig.check_alive();
  }
}

TEST_CASE("a cursor with any bit flipped, cut or gone costs duplicates and never data") {
  JournalRig first;
  REQUIRE(first.open().ok());
  for (int i = 0; i < 4; i++) REQUIRE(first.append_acked(2));
  for (int i = 0; i < 2; i++) REQUIRE(first.deliver_one(1000));
  first.stop();
  std::string cursor = FaultFs::content(first.options.folder + "/main.cursor");
  std::string segment = FaultFs::content(first.segments()[0]);
  auto check = [&](const std::optional<std::string>& bytes) {
    JournalRig rig;
    std::filesystem::create_directories(rig.options.folder);
    write(rig.options.folder + "/00000000000000000001.seg", segment);
    if (bytes) write(rig.options.folder + "/main.cursor", *bytes);
    REQUIRE(rig.open().ok());
    rig.deliver_all();
    for (int64_t id = 4; id < 8; id++) REQUIRE(rig.received.contains(id));
    CHECK(rig.duplicates() == 0);
    CHECK(rig.balanced());
  };
  check(std::nullopt);
  for (size_t bit = 0; bit < 512 * 8; bit += 5) check(with_flipped_bit(cursor, bit));
  for (size_t bit = 4096 * 8; bit < cursor.size() * 8; bit += 5) check(with_flipped_bit(cursor, bit));
  for (size_t size = 0; size < cursor.size(); size += 97) check(cursor.substr(0, size));
}

TEST_CASE("short writes and EINTR everywhere change nothing") {
  JournalRig rig;
  configure_small(rig);
  rig.fs->short_writes = true;
  REQUIRE(rig.open().ok());
  live(rig);
  rig.stop();
  REQUIRE(rig.open().ok());
  rig.deliver_all();
  CHECK(rig.received.size() == 48);
  CHECK(rig.missing().empty());
  rig.check_alive();
}

TEST_CASE(
    "a sync that fails once: written to a new segment and acknowledged, the old one never touched again") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  REQUIRE(rig.append_acked(2));
  std::atomic<int> failures{1};
  rig.fs->fail = [&](const char* call, const std::string& path) {
    return std::string(call) == "fdatasync" && path.ends_with(".seg") && failures.fetch_sub(1) > 0 ? -EIO : 0;
  };
  REQUIRE(rig.append_acked(2));
  CHECK_FALSE(rig.fs->sync_after_failure);
  CHECK(rig.segments().size() == 2);
  rig.stop();
  rig.fs = std::make_unique<FaultFs>();
  REQUIRE(rig.open().ok());
  rig.deliver_all();
  CHECK(rig.received.size() == 4);
  CHECK(rig.duplicates() == 0);
  rig.check_alive();
}

TEST_CASE("a disk that is full or fails: who waits is refused, readers go on, and it heals by itself") {
  struct Row {
    const char* call;
    int error;
  };
  for (Row row : {Row{"write", -ENOSPC},
                  {"write", -EIO},
                  {"fdatasync", -EIO},
                  {"open", -EROFS},
                  {"open", -EACCES},
                  {"sync_folder", -EIO},
                  {"write", -EDQUOT}}) {
    INFO(row.call << " " << row.error);
    JournalRig rig;
    REQUIRE(rig.open().ok());
    REQUIRE(rig.append_acked(2));
    std::atomic<bool> bad{true};
    rig.fs->fail = [&](const char* call, const std::string& path) {
      return bad && std::string(call) == row.call && !path.ends_with(".cursor") ? row.error : 0;
    };
    bool refused = false;
    // A segment that is open goes on until it must be written: then the first answer is a refusal.
    for (int i = 0; i < 3 && !refused; i++) {
      refused = !rig.append_acked(2);
      if (!refused) rig.options.segment_bytes = 1;
    }
    if (std::string(row.call) == "write" || std::string(row.call) == "fdatasync") CHECK(refused);
    if (refused) {
      rig.append(3);  // StatsD's data, which cannot be told
      REQUIRE(rig.eventually([&] { return rig.deliver_one(), rig.received.contains(rig.next_id - 1); }));
      CHECK_FALSE(rig.append_acked(1));
    }
    bad = false;
    CHECK(rig.eventually([&] { return rig.append_acked(1); }, 5000));
    CHECK_FALSE(rig.fs->sync_after_failure);
    rig.deliver_all();
    CHECK(rig.missing().empty());
    rig.check_alive();
  }
}

TEST_CASE("a disk that is ill for long: memory is bounded, and what it cost is counted") {
  JournalRig rig;
  rig.options.max_memory = 64 << 10;
  REQUIRE(rig.open().ok());
  std::atomic<bool> bad{true};
  rig.fs->fail = [&](const char* call, const std::string& path) {
    return bad && path.ends_with(".seg") && std::string(call) != "unlink" ? -ENOSPC : 0;
  };
  REQUIRE_FALSE(rig.append_acked(1));
  for (int i = 0; i < 200; i++) rig.append(20);
  ReaderSnapshot s = rig.reader->snapshot();
  CHECK(s.dropped["disk_error"] > 0);
  CHECK(s.queued < 4000);
  CHECK(rig.balanced());
  bad = false;
  REQUIRE(rig.eventually([&] { return rig.append_acked(1); }));
  rig.deliver_all();
  CHECK(rig.missing().empty());
  rig.crash();
  REQUIRE(rig.open().ok());  // the numbers that were dropped are no damage
  CHECK(rig.reader->snapshot().dropped.empty());
  rig.check_alive();
}

TEST_CASE("on_disk_error = drop keeps nothing in memory that the disk does not take") {
  JournalRig rig;
  rig.options.memory_on_disk_error = false;
  REQUIRE(rig.open().ok());
  rig.fs->fail = [](const char* call, const std::string& path) {
    return path.ends_with(".seg") && std::string(call) != "unlink" ? -ENOSPC : 0;
  };
  REQUIRE_FALSE(rig.append_acked(1));
  rig.append(7);
  CHECK(rig.reader->snapshot().dropped["disk_error"] == 7);
  CHECK(rig.balanced());
}

TEST_CASE("the folder is taken away while it is written, and the journal makes it anew") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  REQUIRE(rig.append_acked(2));
  rig.deliver_all();
  std::filesystem::remove_all(rig.options.folder);
  // The look at the name comes once a second.
  REQUIRE(rig.eventually([&] {
    rig.append_acked(1);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return std::filesystem::exists(rig.options.folder) && !rig.segments().empty();
  }));
  REQUIRE(rig.append_acked(3));
  rig.crash();
  REQUIRE(rig.open().ok());
  rig.deliver_all();
  CHECK(rig.received.contains(rig.next_id - 1));
  rig.check_alive();
}

TEST_CASE("something in place of the folder at the start: memory, then the journal, with what it holds") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  for (int i = 0; i < 5; i++) REQUIRE(rig.append_acked(2));
  REQUIRE(rig.deliver_one(1000));
  rig.stop();
  std::filesystem::rename(rig.options.folder, rig.folder.path + "/elsewhere");
  write(rig.options.folder, "a file");
  CHECK_FALSE(rig.open().ok());
  rig.append(3);
  REQUIRE(rig.deliver_one(1000));
  CHECK_FALSE(rig.append_acked(1));
  std::filesystem::remove(rig.options.folder);
  std::filesystem::rename(rig.folder.path + "/elsewhere", rig.options.folder);
  REQUIRE(rig.eventually([&] { return rig.append_acked(1); }));
  rig.deliver_all();
  CHECK(rig.missing().empty());
  CHECK(rig.duplicates() == 0);
  CHECK(rig.balanced());
  rig.stop();
  REQUIRE(rig.open().ok());
  rig.deliver_all();
  CHECK(rig.missing().empty());
  CHECK(rig.duplicates() == 0);
  rig.check_alive();
}

TEST_CASE("the clock set ten years forward and back: nothing is lost, and no id comes twice") {
  constexpr int64_t kTenYears = int64_t{3653} * 24 * 3600 * 1000;
  JournalRig rig;
  uint64_t epoch = 0;
  for (int64_t offset : {int64_t{0}, kTenYears, -kTenYears, int64_t{0}}) {
    rig.clock.offset_ms = offset;
    REQUIRE(rig.open().ok());
    REQUIRE(rig.append_acked(3));
    auto entry = rig.take(*rig.reader, 1000);
    REQUIRE(entry);
    rig.reader->give_back(*entry);
    rig.clock.offset_ms = -offset;  // also while it runs
    REQUIRE(rig.append_acked(3));
    CHECK(rig.reader->snapshot().lag_s >= 0);
    rig.crash();
    REQUIRE(rig.open().ok());
    REQUIRE(rig.append_acked(1));
    rig.deliver_all();
    REQUIRE(rig.append_acked(1));
    auto last = rig.take(*rig.reader, 1000);
    REQUIRE(last);
    CHECK(last->epoch > epoch);  // of the start; every start has one of its own
    epoch = last->epoch;
    rig.reader->give_back(*last);
    rig.crash();
  }
  REQUIRE(rig.open().ok());
  rig.deliver_all();
  CHECK(rig.missing().empty());
  rig.check_alive();
}

TEST_CASE("segments of a newer version stay, and their numbers are not given again") {
  JournalRig rig;
  REQUIRE(rig.open().ok());
  for (int i = 0; i < 3; i++) REQUIRE(rig.append_acked(2));
  rig.stop();
  std::string path = rig.segments()[0], newer = FaultFs::content(path);
  std::string head;
  append_segment_head(head, {kJournalVersion + 1, 1, 1, 1, 1});
  newer.replace(0, head.size(), head);
  write(path, newer);
  std::filesystem::remove(rig.options.folder + "/main.cursor");
  REQUIRE(rig.open().ok());
  REQUIRE(rig.append_acked(1));
  auto entry = rig.take(*rig.reader, 1000);
  REQUIRE(entry);
  CHECK(entry->first > 1'000'000'000);
  CHECK(FaultFs::content(path) == newer);
}

TEST_CASE("less free than min_free is a full disk") {
  JournalRig rig;
  rig.options.min_free_bytes = INT64_MAX;
  REQUIRE(rig.open().ok());
  CHECK_FALSE(rig.append_acked(1));
  rig.append(1);
  CHECK(rig.deliver_one(1000));
}
