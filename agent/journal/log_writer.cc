// The journal's thread: takes what is not written yet, writes it, syncs it, tells who waits; follows the readers with
// the removal of segments; and when the disk is ill, tries it again.
//
//   written  at once, in groups of what has come meanwhile
//   synced   at once when a sender waits (what comes during a sync is the next group), else a second after the first
//            unsynced byte or at 4 MiB; a full segment before the next begins
//   ill      what was not synced is written once more, to a new segment, at once; if that fails as well, those who wait
//            are refused, readers are served from memory, and a new segment is tried every second
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <chrono>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "journal/batch_codec.h"
#include "journal/journal_state.h"
#include "journal/log.h"

namespace runnel {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr size_t kGroupBytes = 1 << 20;       // of batches, in one write
constexpr uint64_t kUnsyncedBytes = 4 << 20;  // of the file
constexpr int64_t kLookNs = 1000 * kMs;       // between looks at the free space and at the name of the file

}  // namespace

std::map<std::string, Cursor> load_cursors(SegmentStore& store);

struct JournalThread {
  Log& log;
  Journal& j;
  using Lock = std::unique_lock<std::mutex>;

  int64_t now() const { return log.clock_.mono_ns(); }
  int64_t sync_ns() const { return j.options.sync_ms * kMs; }

  void run() {
    Lock lock(log.mutex_);
    for (;;) {
      if (j.ill && (now() >= j.retry_at_ns || j.stop)) {
        probe(lock);
        if (j.ill && j.stop) break;
      } else if (!j.ill && sync_due()) {
        sync(lock);
      } else if (!j.ill && j.written < log.next_) {
        write_group(lock);
      } else if (j.tidy || (j.cursors_dirty && (j.stop || now() - j.tidied_ns >= sync_ns()))) {
        tidy(lock);
      } else if (j.stop) {
        break;
      } else {
        wait(lock);
      }
    }
    j.ended = true;
    j.ended_wake.notify_all();
  }

  // Without work it sleeps until somebody wakes it: an idle journal costs nothing.
  void wait(Lock& lock) {
    int64_t at = INT64_MAX;
    if (j.ill) at = j.retry_at_ns;
    if (!j.ill && j.synced < j.written) at = std::min(at, j.unsynced_since_ns + sync_ns());
    if (j.cursors_dirty) at = std::min(at, j.tidied_ns + sync_ns());
    if (at == INT64_MAX) {
      j.wake.wait(lock);
    } else {
      j.wake.wait_for(lock, std::chrono::nanoseconds(std::max<int64_t>(at - now(), kMs)));
    }
  }

  bool full() const { return j.store.writing() && j.store.bytes() >= j.options.segment_bytes; }

  bool sync_due() const {
    if (j.synced >= j.written) return false;
    bool waited_for = j.options.durability == Durability::synced && !j.waiting.empty() &&
                      j.waiting.front().end <= j.written;
    return waited_for || full() || j.unsynced_bytes >= kUnsyncedBytes ||
           now() - j.unsynced_since_ns >= sync_ns() || (j.stop && j.written == log.next_);
  }

  // ---- disk -----------------------------------------------------------------------------------------------------

  int check_space() {
    if (now() - j.space_checked_ns < kLookNs && j.space_checked_ns != 0) return 0;
    FileSpace space;
    if (int error = j.store.space(space); error != 0) return error;
    auto least = static_cast<int64_t>(static_cast<double>(space.total) * j.options.min_free_share);
    if (space.available < std::max(least, j.options.min_free_bytes)) return -ENOSPC;
    j.space_checked_ns = now();
    return 0;
  }

  // What a write needs, without the lock. `sealed`: the segment was full and all of it is synced.
  int prepare(uint64_t first, bool& sealed) {
    if (!j.store.writing()) {  // before its space is looked at: the folder may have been removed
      if (int error = j.store.make_usable(); error != 0) return error;
    }
    if (int error = check_space(); error != 0) return error;
    if (full()) {
      if (int error = j.store.sync(); error != 0) return error;
      j.store.finish();
      sealed = true;
    }
    if (!j.store.writing()) {
      if (int error = j.store.make_usable(); error != 0) return error;
      return j.store.begin(log.epoch_, first, log.clock_.wall_ms());
    }
    return 0;
  }

  void write_group(Lock& lock) {
    std::vector<LogSlot> group;
    size_t bytes = 0;
    for (uint64_t at = j.written; bytes < kGroupBytes;) {
      const LogSlot* slot = log.find_slot(at);
      if (slot == nullptr) break;
      group.push_back(*slot);
      bytes += slot->bytes;
      at = slot->end();
    }
    if (group.empty()) {  // dropped while the disk was ill
      j.written = j.synced = log.tail_.empty() ? log.next_ : std::max(j.written, log.tail_.front().first);
      return;
    }
    lock.unlock();
    j.group.clear();
    for (const LogSlot& slot : group) {
      if (slot.bytes > kMaxBatch) continue;  // no source makes such; its readers have it from memory
      j.encoded.clear();
      size_t values = encode_batch(*slot.batch, j.encoded);
      RecordHead head;
      head.first = slot.first;
      head.records = slot.records;
      head.epoch = log.epoch_;
      head.time_ms = slot.time_ms;
      j.writer.append(j.group, head, j.encoded, values);
    }
    bool fresh = full() || !j.store.writing(), sealed = false;
    int error = prepare(group.front().first, sealed);
    if (error == 0) error = j.store.append(j.group);
    lock.lock();
    if (sealed) j.synced = std::max(j.synced, j.written);
    if (error != 0) return fail(lock, error, "written");
    if (j.synced >= j.written) j.unsynced_since_ns = now();
    j.unsynced_bytes += j.group.size();
    j.bytes_written += j.group.size();
    if (fresh)
      j.segments.push_back(
          {j.store.number(), group.front().first, group.front().first, 0, group.front().time_ms});
    Segment& segment = j.segments.back();
    segment.end = std::max(segment.end, group.back().end());
    segment.bytes = j.store.bytes();
    j.written = std::max(j.written, group.back().end());
    if (j.options.durability == Durability::written) decide(j.written);
    keep_quota();
    log.evict();
    for (auto& [name, reader] : log.readers_) reader->wake_.notify_all();
    if (j.group.capacity() > (size_t{8} << 20)) std::string().swap(j.group);
    if (j.encoded.capacity() > (size_t{8} << 20)) std::string().swap(j.encoded);
  }

  void sync(Lock& lock) {
    uint64_t target = j.written;
    lock.unlock();
    int64_t began = now();
    int error = j.store.sync();
    if (error == 0 && began - j.name_checked_ns >= kLookNs) {
      // A folder that was removed or mounted over takes writes as if nothing were amiss.
      if (!j.store.there(j.store.number())) error = -ENOENT;
      j.name_checked_ns = began;
    }
    lock.lock();
    if (error != 0) return fail(lock, error, "synced");
    j.sync_seconds.add(static_cast<double>(now() - began) / 1e9, 1);
    j.syncs++;
    j.synced = std::max(j.synced, target);
    j.unsynced_bytes = 0;
    j.unsynced_since_ns = now();
    j.tried_again = false;
    decide(j.synced);
    log.evict();
  }

  // The segment is left as it is; what was not synced stands in memory and is written again to another one.
  void fail(Lock& lock, int error, const char* what) {
    j.errors++;
    j.unsynced_bytes = 0;
    j.written = j.synced;
    bool had_segment = j.store.writing();
    j.store.abandon();
    uint64_t number = had_segment ? j.store.number() : 0, synced = j.synced;
    std::deque<Segment> left = j.segments;
    lock.unlock();
    auto gone = [&](const Segment& segment) {
      if (error == -ENOENT || error == -ENOTDIR) return !j.store.there(segment.number);
      if (segment.number != number || segment.first < synced) return false;
      j.store.remove(number);
      return true;
    };
    std::erase_if(left, gone);
    lock.lock();
    std::erase_if(j.segments, [&](const Segment& segment) {
      return std::none_of(left.begin(), left.end(),
                          [&](const Segment& s) { return s.number == segment.number; });
    });
    for (Segment& segment : j.segments)
      if (segment.number == number) segment.end = std::min(segment.end, j.synced);
    if (!j.tried_again && error != -ENOSPC) {
      j.tried_again = true;
      log::warning("journal", "{}: could not be {}: {}: once more, to a new segment", j.store.path_of(number),
                   what, reason_of(error));
      return;
    }
    become_ill(reason_of(error));
  }

  static std::string reason_of(int error) {
    return error == -ENOSPC        ? "the disk is full, or has less free than min_free"
           : error == -EWOULDBLOCK ? "another agent uses it"
                                   : errno_text(-error);
  }

  void become_ill(const std::string& reason) {
    j.retry_at_ns = now() + j.options.retry_ms * kMs;
    j.space_checked_ns = 0;
    if (!j.ill || j.ill_reason != reason)
      log::error("journal", "{}: {}: {}; senders that wait for an answer are refused, trying again every {}",
                 j.store.folder(), reason,
                 j.options.memory_on_disk_error ? "going on from memory" : "what comes is dropped",
                 format_duration(j.options.retry_ms));
    j.ill = true;
    j.ill_reason = reason;
    for (Journal::Waiting& waiting : j.waiting) j.decisions.emplace_back(std::move(waiting.decided), false);
    bool any = !j.waiting.empty();
    j.waiting.clear();
    if (any) tell_decisions();
    for (auto& [name, reader] : log.readers_) reader->wake_.notify_all();
  }

  // Is the disk well? Shown by a new segment, whose first record is the oldest that is in memory only.
  void probe(Lock& lock) {
    uint64_t first = j.written;
    lock.unlock();
    int error = j.store.make_usable();
    std::optional<Recovered> found;
    if (error == 0 && !j.opened) {
      auto recovered = j.store.open();
      if (recovered.ok()) found = std::move(*recovered);
      if (!recovered.ok()) error = -EIO;  // told by the store
    }
    std::map<std::string, Cursor> cursors;
    if (found) cursors = load_cursors(j.store);
    if (error == 0) error = check_space();
    if (error == 0) error = j.store.begin(log.epoch_, first, log.clock_.wall_ms());
    if (error == 0) error = j.store.sync();
    if (error != 0 && j.store.writing()) {
      j.store.abandon();
      j.store.remove(j.store.number());
    }
    lock.lock();
    if (found) {
      j.opened = true;
      log.adopt(*found, cursors);
    }
    if (error != 0) return become_ill(reason_of(error));
    j.ill = false;
    j.tried_again = false;
    j.segments.push_back({j.store.number(), first, first, j.store.bytes(), log.clock_.wall_ms()});
    log::info("journal", "{}: writing again", j.store.folder());
  }

  void decide(uint64_t safe) {
    bool any = false;
    for (; !j.waiting.empty() && j.waiting.front().end <= safe; any = true) {
      j.decisions.emplace_back(std::move(j.waiting.front().decided), true);
      j.waiting.pop_front();
    }
    if (any) tell_decisions();
  }

  void tell_decisions() {
    j.on_decisions();
    j.decided_wake.notify_all();
  }

  // ---- readers --------------------------------------------------------------------------------------------------

  void keep_quota() {
    for (auto& [name, reader] : log.readers_) {
      LogReader& r = *reader;
      int64_t held = log.held_on_disk(r);
      if (r.when_full_ == WhenFull::drop_oldest) {
        for (const Segment& segment : j.segments) {
          if (held <= log.max_bytes_ || &segment == &j.segments.back()) break;
          if (!log.needs(r, segment.first, segment.end)) continue;
          held -= segment.bytes;
          // The next of the segments may begin behind a gap.
          log.move_on(r, segment.end, "log_full");
          r.floor_ = std::max(r.floor_, segment.end);
          j.tidy = true;
        }
      }
      bool newest = r.when_full_ == WhenFull::drop_newest;
      if (log.room_on_disk(r)) r.skipping_ = false;
      if (newest && held > log.max_bytes_) r.skipping_ = true;
    }
  }

  // Cursors first, then the files that they have passed.
  void tidy(Lock& lock) {
    j.tidy = j.cursors_dirty = false;
    j.tidied_ns = now();
    std::vector<std::shared_ptr<LogReader::SharedCursor>> cursors;
    for (auto& [name, reader] : log.readers_)
      if (reader->cursor_) cursors.push_back(reader->cursor_);
    std::vector<uint64_t> passed;
    for (auto it = j.segments.begin(); it != j.segments.end();) {
      bool current = j.store.writing() && it->number == j.store.number();
      bool needed = current || it->end > j.synced ||
                    std::any_of(log.readers_.begin(), log.readers_.end(), [&](const auto& named) {
                      return log.needs(*named.second, it->first, it->end);
                    });
      if (!needed) passed.push_back(it->number);
      it = needed ? it + 1 : j.segments.erase(it);
    }
    uint64_t passed_by_all = log.next_;
    for (auto& [name, reader] : log.readers_)
      passed_by_all = std::min({passed_by_all, reader->floor_, reader->next_});
    std::erase_if(j.gaps, [&](const auto& gap) { return gap.second <= passed_by_all; });
    lock.unlock();
    int error = 0;
    for (auto& cursor : cursors) {
      std::lock_guard cursor_lock(cursor->mutex);
      if (!std::exchange(cursor->dirty, false)) continue;
      if (int failed = cursor->file.sync(); failed != 0) error = failed;
    }
    for (uint64_t number : passed) j.store.remove(number);
    if (!passed.empty()) j.store.sync_folder();
    lock.lock();
    if (error != 0) {
      j.errors++;
      log::warning("journal", "a cursor could not be synced: {}: after a crash its output sends twice",
                   errno_text(-error));
    }
  }
};

// Where each output of the folder stood.
std::map<std::string, Cursor> load_cursors(SegmentStore& store) {
  std::map<std::string, Cursor> cursors;
  std::vector<std::string> names;
  (void)store.file_system().list(store.folder(), names);
  constexpr std::string_view kSuffix = ".cursor";
  for (const std::string& name : names) {
    if (!name.ends_with(kSuffix)) continue;
    bool damaged = false;
    CursorFile file(store.file_system(), store.folder() + "/" + name);
    std::string output = name.substr(0, name.size() - kSuffix.size());
    if (auto cursor = file.load(damaged)) cursors[output] = *cursor;
    if (damaged)
      log::error("journal",
                 "{}/{}: damaged: the output begins at the start of the journal, what it had delivered "
                 "comes twice",
                 store.folder(), name);
  }
  return cursors;
}

// Takes over what a folder holds: at the start, or when it can be read at last.
void Log::adopt(const Recovered& found, const std::map<std::string, Cursor>& cursors) {
  Journal& j = *journal_;
  uint64_t end = found.end;
  // What outputs were given and a power cut then took from the journal: its numbers do not come again.
  for (const auto& [name, cursor] : cursors)
    end = std::max({end, cursor.position, cursor.in_flight ? cursor.in_flight->last + 1 : 0});
  bool late = !tail_.empty() || j.appended;
  if (found.foreign) end = std::max(end, epoch_ << 20);  // above theirs, for the version that can read them
  std::vector<std::pair<uint64_t, uint64_t>> gaps = found.gaps;
  if (!late) next_ = j.written = j.synced = std::max(next_, end);
  uint64_t now_first = late ? j.base : next_;
  if (found.end < now_first && !found.segments.empty()) gaps.emplace_back(found.end, now_first);
  j.gaps.insert(j.gaps.begin(), gaps.begin(), gaps.end());
  j.segments.insert(j.segments.begin(), found.segments.begin(), found.segments.end());
  j.damaged += found.damaged_records > 0 ? found.damaged_records : found.damaged_regions;
  j.cursors = cursors;
  if (!late && found.last_epoch != UINT64_MAX) epoch_ = std::max(epoch_, found.last_epoch + 1);
  if (found.records > 0 || found.damaged_regions > 0)
    log::info("journal", "{}: records={} segments={} bytes={} damaged={}", j.store.folder(), found.records,
              found.segments.size(), format_size(found.bytes), j.damaged);
  for (auto& [name, reader] : readers_) reader->start(now_first);
}

Status Log::open(const JournalOptions& options, FileSystem& fs, std::function<void()> on_decisions) {
  JournalOptions chosen = options;
  chosen.segment_bytes = std::clamp<int64_t>(options.max_bytes / 8, 1, options.segment_bytes);
  journal_ = std::make_unique<Journal>(chosen, fs, std::move(on_decisions));
  Journal& j = *journal_;
  max_bytes_ = options.max_bytes;
  j.mono_at_open = j.reported_mono_ns = clock_.mono_ns();
  j.wall_at_open = clock_.wall_ms();
  Status status;
  auto recovered = j.store.open();
  j.opened = recovered.ok();
  if (recovered.ok()) {
    adopt(*recovered, load_cursors(j.store));
  } else {
    // Its numbers are not known: ours begin above them, so that both fit together when it can be read.
    next_ = j.written = j.synced = j.base = epoch_ << 20;
    j.ill = true;
    j.ill_reason = recovered.error();
    j.retry_at_ns = clock_.mono_ns() + options.retry_ms * kMs;
    status = Error{fmt::format("{} (going on from memory until it can be used)", recovered.error())};
  }
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are the loop's business
  j.thread = std::thread([this] {
    pthread_setname_np(pthread_self(), "journal");
    JournalThread{*this, *journal_}.run();
  });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return status;
}

bool Log::close(int64_t wait_ms) {
  if (!journal_) return true;
  Journal& j = *journal_;
  {
    std::unique_lock lock(mutex_);
    j.stop = true;
    j.wake.notify_all();
    if (!j.ended_wake.wait_for(lock, std::chrono::milliseconds(wait_ms), [&] { return j.ended; }))
      return false;
  }
  if (j.thread.joinable()) j.thread.join();
  take_decisions();
  return true;
}

void Log::report(SelfReport& report) {
  if (!journal_) return;
  std::lock_guard lock(mutex_);
  Journal& j = *journal_;
  auto whole = [](uint64_t n) { return Number::integer(static_cast<int64_t>(n)); };
  int64_t bytes = 0, now = clock_.mono_ns();
  for (const Segment& segment : j.segments) bytes += segment.bytes;
  report.add(self::kJournalBytes, {}, Number::integer(bytes));
  report.add(self::kJournalSegments, {}, whole(j.segments.size()));
  report.add(self::kJournalMemory, {}, whole(tail_bytes_));
  report.add(self::kJournalDamaged, {}, whole(j.damaged));
  report.add(self::kJournalErrors, {}, whole(j.errors));
  report.add(self::kJournalRefused, {}, whole(j.refused));
  report.add(self::kJournalWritten, {}, whole(j.bytes_written));
  report.add(self::kJournalOnDisk, {}, Number::integer(j.ill ? 0 : 1));
  double elapsed = static_cast<double>(now - j.reported_mono_ns) / 1e9;
  if (elapsed >= 1) {
    j.bytes_per_s = static_cast<double>(j.bytes_written - j.reported_bytes) / elapsed;
    j.reported_bytes = j.bytes_written;
    j.reported_mono_ns = now;
    j.sync_of_interval = j.sync_seconds.empty() ? Distribution() : j.sync_seconds.result({50, 90, 99});
    j.sync_seconds.reset();
  }
  if (j.sync_of_interval.count > 0) report.add_distribution(self::kJournalSync, {}, j.sync_of_interval);
  for (const auto& [name, reader] : readers_) {
    int64_t left = std::max<int64_t>(0, max_bytes_ - held_on_disk(*reader));
    if (j.bytes_per_s > 0)
      report.add(self::kOutputTimeToFull, {{"output", name}},
                 Number(static_cast<double>(left) / j.bytes_per_s));
  }
}

}  // namespace runnel
