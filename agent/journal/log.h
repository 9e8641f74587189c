// The log between pipeline and outputs: frozen batches in the order they came, a reader for each output that moves at
// its own pace. In memory: `[journal] durability = "memory"`. The on-disk journal keeps this interface.
//
// Threads: append, add/remove_reader from the main thread; a reader's take, settle, give_back and pause from its
// output's thread; snapshot, poke and close from any. One mutex a log; it is held for pointers and counts, never
// while something is encoded or written.
//
// Bound: a reader may lag by at most max_bytes of batches (what it has taken and not settled included). Batches are
// shared, so readers that lag together cost the memory once. A full reader follows its own rule and harms no other.
//
// Conservation, in records (samples and events), for each reader and at any moment under the mutex:
//     appended = delivered + filtered + dropped{reason} + queued + in flight
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "metric/batch.h"

namespace runnel {

enum class WhenFull { drop_oldest, drop_newest, block };

// Records [first, last) of a batch: indices, samples before events.
struct RecordRange {
  uint32_t first = 0, last = 0;
  uint32_t size() const { return last - first; }
};

// A frozen batch with the sequence number of its first record; the others follow. Numbers start at 1 and have no gaps.
struct LogEntry {
  uint64_t first = 0;
  int64_t appended_mono_ns = 0;
  size_t bytes = 0;
  std::shared_ptr<const Batch> batch;
  std::vector<RecordRange> ranges;  // what the reader has still to settle, ascending; at first all of it
  uint64_t records() const;         // in `ranges`
};

// What became of records that were taken. Their sum is how many leave "in flight".
struct Settlement {
  uint64_t delivered = 0, filtered = 0;
  std::map<std::string, uint64_t> dropped;  // by reason
  uint64_t sum() const;
};

// Entries of which a settlement was the last of all records: the reader lets go of their memory.
struct Freed {
  size_t entries = 0, bytes = 0;
};

struct ReaderSnapshot {
  uint64_t appended = 0, delivered = 0, filtered = 0, queued = 0, in_flight = 0;
  std::map<std::string, uint64_t> dropped;
  size_t bytes = 0;
  double lag_s = 0;  // age of the oldest record that is not settled; 0: none
};

class Log;

class LogReader {
 public:
  // The next entry, in flight from now on; nothing when `wait_ns` have passed, on poke and on close. wait 0: no wait.
  std::optional<LogEntry> take(int64_t wait_ns);
  // Records of entries that were taken, in any portions and order. Entries are freed in the order they were taken.
  void settle(const Settlement& done, const Freed& freed);
  // Puts back a taken entry, its `ranges` cut to what is not settled; newest first, so that the next take returns the
  // oldest. For outputs that are replaced on reload.
  void give_back(LogEntry entry);
  // Sleeps until `wait_ns` have passed or somebody pokes: back-off that a reload or a stop cuts short. True: poked.
  bool pause(int64_t wait_ns);
  void poke();

  ReaderSnapshot snapshot() const;
  const std::string& name() const { return name_; }
  void set_when_full(WhenFull when_full);

 private:
  friend class Log;
  LogReader(Log& log, std::string name, WhenFull when_full)
      : log_(log), name_(std::move(name)), when_full_(when_full) {}
  void drop_front(const char* reason);

  Log& log_;
  const std::string name_;
  WhenFull when_full_;
  std::condition_variable wake_;
  bool poked_ = false;
  bool closed_ = false;
  std::deque<LogEntry> queue_;
  std::deque<int64_t> taken_ages_;  // appended_mono_ns of entries in flight, oldest first
  uint64_t appended_ = 0, delivered_ = 0, filtered_ = 0, queued_ = 0, in_flight_ = 0;
  std::map<std::string, uint64_t> dropped_;
  size_t queued_bytes_ = 0, in_flight_bytes_ = 0;
};

class Log {
 public:
  Log(const Clock& clock, int64_t max_bytes) : clock_(clock), max_bytes_(max_bytes) {}
  Log(const Log&) = delete;

  // Freezes the batch and hands it to every reader. `on_accepted` is called (here, or later from the main thread) when
  // the log has made the batch as safe as its durability says: what a source that acknowledges waits for.
  uint64_t append(Batch batch, const std::function<void()>& on_accepted = {});

  // True while a reader with WhenFull::block is full: sources that can wait should. What is appended all the same is
  // taken, so that what a source has already read is not lost.
  bool blocked() const;

  // A new reader starts with the next batch; one of that name that exists goes on where it stands, open again.
  LogReader& add_reader(const std::string& name, WhenFull when_full);
  LogReader* find_reader(const std::string& name);
  void close_reader(const std::string& name);   // it gets no further batches, and delivers what it has
  void remove_reader(const std::string& name);  // its thread has ended; what it had not delivered is gone

  void set_max_bytes(int64_t max_bytes);

 private:
  friend class LogReader;
  const Clock& clock_;
  mutable std::mutex mutex_;
  int64_t max_bytes_;
  uint64_t next_ = 1;
  std::map<std::string, std::unique_ptr<LogReader>> readers_;
};

}  // namespace runnel
