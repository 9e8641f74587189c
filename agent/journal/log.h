// The log between pipeline and outputs: frozen batches in the order they came, a reader for each output that moves at
// its own pace. In memory until open() gives it a folder: then it is a journal on disk (FORMAT.md), of which the newest
// part is also in memory, so that healthy outputs are served without a read.
//
// Threads: append, open, close, take_decisions, add/remove_reader from the main thread; a reader's take, settle,
// give_back, save and pause from its output's thread; snapshot, poke and close_reader from any. A thread of the log's own
// writes, syncs and removes files (log_writer.cc). One mutex a log; it is held for pointers and counts, never while
// something is encoded, written, synced or read back.
//
// Order: a batch is written, then readers get it (a payload can be built again after kill -9), then synced, then
// acknowledged. Where the disk is slow (1 s) or ill, readers get it all the same, from memory.
//
// Bound: a reader may lag by at most max_bytes: of batches in memory, or of segments on disk. Readers that lag together
// cost it once. A full reader follows its own rule and harms no other.
//
// Conservation, in records (samples and events), for each reader and at any moment under the mutex:
//     appended = delivered + filtered + dropped{reason} + quarantined + queued + in flight
// What a start finds in the journal counts as appended.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "journal/file_system.h"
#include "journal/log_reader.h"
#include "metric/batch.h"
#include "metric/self_metrics.h"

namespace runnel {

enum class Durability { memory, written, synced };

struct JournalOptions {
  std::string folder;
  Durability durability = Durability::synced;  // what `safe` means: see append
  int64_t max_bytes = 256 << 20;
  int64_t max_memory = 32 << 20;  // of batches that are in memory only, because the disk does not take them
  double min_free_share = 0.05;   // of the file system, left alone
  int64_t min_free_bytes = 0;     // the larger of both
  bool memory_on_disk_error = true;  // false: what the disk does not take is dropped
  // What tests shorten.
  int64_t segment_bytes = 8 << 20;  // at most an eighth of max_bytes
  int64_t tail_bytes = 4 << 20;  // of synced batches that stay in memory for readers that are a little behind
  int64_t sync_ms = 1000;        // for batches that nobody waits for
  int64_t retry_ms = 1000;       // while the disk is ill
};

// A batch that is in memory.
struct LogSlot {
  uint64_t first = 0;
  uint32_t records = 0;
  int64_t appended_mono_ns = 0, time_ms = 0;
  size_t bytes = 0;
  std::shared_ptr<const Batch> batch;
  uint64_t end() const { return first + records; }
};

struct Journal;  // journal_state.h

class Log {
 public:
  // Called from the main thread, within append or take_decisions: true once the batch is as safe as the durability says,
  // false when it will not be and the sender should send it again.
  using Decided = std::function<void(bool safe)>;

  Log(const Clock& clock, int64_t max_bytes);
  ~Log();
  Log(const Log&) = delete;

  // Makes it a journal, with what the folder holds; once, before readers are added. An error is for the operator to
  // mend: the log goes on in memory, as after a disk error, and tries the folder again. `on_decisions` is called from the
  // log's thread: have take_decisions called.
  Status open(const JournalOptions& options, FileSystem& fs, std::function<void()> on_decisions);
  void take_decisions();
  // At the end, when the loop does not turn any more between what a source reads last and the close of its connections:
  // waits (at most 2 s) for the decisions that are out, and lets each append from now on do so.
  void decide_at_once();
  // No append follows. Writes and syncs what is there; false: not within that time, the disk hangs.
  bool close(int64_t wait_ms);

  // Freezes the batch and hands it to every reader; returns the sequence of its first record. With `decided`, and a disk
  // that is ill, nothing is appended (0): the sender is told to send it again.
  uint64_t append(Batch batch, const Decided& decided = {});

  // True while a reader with WhenFull::block is full: sources that can wait should. What is appended all the same is
  // taken, so that what a source has already read is not lost.
  bool blocked() const;

  // A new reader starts with the next batch, at the start of the agent with what the journal holds for it; one of that
  // name that exists goes on where it stands, open again.
  LogReader& add_reader(const std::string& name, WhenFull when_full);
  LogReader* find_reader(const std::string& name);
  void close_reader(const std::string& name);   // it gets no further batches, and delivers what it has
  void remove_reader(const std::string& name);  // its thread has ended; what it had not delivered is gone

  void set_max_bytes(int64_t max_bytes);
  void report(SelfReport& report);  // of the journal; once an interval
  bool on_disk() const { return journal_ != nullptr; }
  // Whether what is appended now outlives the process: a journal whose disk is well.
  bool outlives_process() const;

 private:
  friend class LogReader;
  friend struct JournalThread;

  // log.cc; all of them under the mutex
  LogSlot* find_slot(uint64_t sequence);
  uint64_t count(const LogReader& reader, uint64_t from, uint64_t to) const;
  void move_on(LogReader& reader, uint64_t to, const char* reason);
  void make_room_in_memory(LogReader& reader, size_t bytes);
  bool ready(const LogSlot& slot) const;
  bool needs(const LogReader& reader, uint64_t first, uint64_t end) const;
  void evict();
  int64_t held_on_disk(const LogReader& reader) const;
  bool room_on_disk(const LogReader& reader) const;
  bool ill() const;
  void await_decisions();
  void adopt(const struct Recovered& found, const std::map<std::string, Cursor>& cursors);  // log_writer.cc

  const Clock& clock_;
  mutable std::mutex mutex_;
  int64_t max_bytes_;
  uint64_t next_ = 1;
  uint64_t epoch_ = 0;  // of what is appended now
  std::deque<LogSlot> tail_;
  size_t tail_bytes_ = 0;
  std::map<std::string, std::unique_ptr<LogReader>> readers_;
  std::unique_ptr<Journal> journal_;
  bool decide_at_once_ = false;  // the main thread's
};

}  // namespace runnel
