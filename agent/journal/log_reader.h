// What an output sees of the log: the next entries for it, and where it stands. Threads and accounts: log.h.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "journal/cursor.h"
#include "metric/batch.h"

namespace runnel {

enum class WhenFull { drop_oldest, drop_newest, block };

// Records [first, last) of a batch: indices, samples before events.
struct RecordRange {
  uint32_t first = 0, last = 0;
  uint32_t size() const { return last - first; }
};

// A frozen batch with the sequence number of its first record; the others follow. Numbers start at 1 and never come
// again; what is missing between them was lost with a crash before it was safe, and never acknowledged.
struct LogEntry {
  uint64_t first = 0;
  uint64_t epoch = 0;  // the start of the agent that has numbered it
  int64_t appended_mono_ns = 0;
  size_t bytes = 0;
  std::shared_ptr<const Batch> batch;
  std::vector<RecordRange> ranges;  // what the reader has still to settle, ascending
  uint64_t records() const;         // in `ranges`
};

// What became of records that were taken. Their sum is how many leave "in flight".
struct Settlement {
  uint64_t delivered = 0, filtered = 0, quarantined = 0;
  std::map<std::string, uint64_t> dropped;  // by reason
  uint64_t sum() const;
};

// Entries of which a settlement was the last of all records: the reader lets go of their memory.
struct Freed {
  size_t entries = 0, bytes = 0;
};

struct ReaderSnapshot {
  uint64_t appended = 0, delivered = 0, filtered = 0, quarantined = 0, queued = 0, in_flight = 0;
  std::map<std::string, uint64_t> dropped;
  size_t bytes = 0;  // in memory, or of the segments that are kept for it
  double lag_s = 0;  // age of the oldest record that is not settled; 0: none
};

class Log;
class SegmentScanner;

class LogReader {
 public:
  ~LogReader();
  // The next entry, in flight from now on; nothing when `wait_ns` have passed, on poke and on close. wait 0: no wait,
  // not even for the disk.
  std::optional<LogEntry> take(int64_t wait_ns);
  // Records of entries that were taken, in any portions and order. Entries are freed in the order they were taken.
  void settle(const Settlement& done, const Freed& freed);
  // Puts back a taken entry, its `ranges` cut to what is not settled; newest first, so that the next take returns the
  // oldest. For outputs that are replaced on reload.
  void give_back(LogEntry entry);

  // Where the output stands: everything before `position` is settled, `in_flight` is what it sends next. To the kernel
  // before the call returns, to the disk within a second.
  void save(uint64_t position, const std::optional<InFlight>& in_flight);
  void save_at_rest();  // nothing is in flight: everything that was taken is settled, or was given back
  // Take returns nothing that is appended from now on: it is for the next start. From any thread.
  void end_here();
  // What was in flight when the output, or the agent, ended: to be sent again as it was.
  std::optional<InFlight> in_flight() const;

  // Sleeps until `wait_ns` have passed or somebody pokes: back-off that a reload or a stop cuts short. True: poked.
  bool pause(int64_t wait_ns);
  void poke();

  ReaderSnapshot snapshot() const;
  const std::string& name() const { return name_; }
  void set_when_full(WhenFull when_full);

 private:
  friend class Log;
  friend struct JournalThread;
  // The journal's thread syncs what the output's thread has saved.
  struct SharedCursor {
    SharedCursor(FileSystem& fs, std::string path) : file(fs, std::move(path)) {}
    std::mutex mutex;
    CursorFile file;
    bool dirty = false;
  };
  LogReader(Log& log, std::string name, WhenFull when_full);
  void start(uint64_t end);
  LogEntry take_slot(const struct LogSlot& slot);
  std::optional<LogEntry> take_from_disk(std::unique_lock<std::mutex>& lock);
  std::optional<LogEntry> read_segment(uint64_t number, uint64_t want, int& error);
  void count_taken(const LogEntry& entry);
  void store(uint64_t position, const std::optional<InFlight>& in_flight, std::unique_lock<std::mutex>& lock);

  Log& log_;
  const std::string name_;
  WhenFull when_full_;
  std::condition_variable wake_;
  bool poked_ = false;
  uint64_t next_ = 1;            // to be taken
  uint64_t floor_ = 1;           // not settled yet: on disk it is kept from here on
  uint64_t limit_ = UINT64_MAX;  // closed: nothing from here on
  uint64_t end_ = UINT64_MAX;    // what follows is the reader's, but not taken by this process
  std::vector<std::pair<uint64_t, uint64_t>> skips_;  // [from, to) beyond floor_ that are not for this reader
  bool skipping_ = false;                             // full, and when_full is drop_newest
  std::deque<LogEntry> returned_;                     // given back
  std::deque<int64_t> taken_ages_;                    // appended_mono_ns of entries in flight, oldest first
  uint64_t appended_ = 0, delivered_ = 0, filtered_ = 0, quarantined_ = 0, queued_ = 0, in_flight_ = 0;
  std::map<std::string, uint64_t> dropped_;
  size_t queued_bytes_ = 0, in_flight_bytes_ = 0;  // of batches, without a journal
  std::optional<InFlight> saved_in_flight_;
  std::shared_ptr<SharedCursor> cursor_;

  // The output's thread only.
  std::unique_ptr<SegmentScanner> scanner_;
  uint64_t scanner_number_ = 0, scanner_next_ = 0;
  int read_failures_ = 0;
};

}  // namespace runnel
