// What a Log has besides its readers once it is on disk. Guarded by the log's mutex but for what belongs to its thread
// (log_writer.cc). Seen by log*.cc only.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "journal/log.h"
#include "journal/record.h"
#include "journal/segment_store.h"
#include "sketch/distribution.h"

namespace runnel {

struct Journal {
  Journal(const JournalOptions& chosen, FileSystem& fs, std::function<void()> notify)
      : options(chosen), store(fs, chosen.folder), on_decisions(std::move(notify)) {}

  const JournalOptions options;
  SegmentStore store;  // the thread's, after open
  const std::function<void()> on_decisions;

  std::condition_variable wake, decided_wake, ended_wake;
  bool stop = false, ended = false;
  bool appended = false;                  // since the start: readers that are new now begin at the end
  bool opened = false;                    // what the folder held is known
  uint64_t base = 0;                      // where numbers began when it was not
  std::map<std::string, Cursor> cursors;  // where outputs stood when it was opened

  uint64_t written = 1, synced = 1;                 // sequences before them are
  std::deque<Segment> segments;                     // by sequence; the last may be the one being written
  std::vector<std::pair<uint64_t, uint64_t>> gaps;  // sequences that were given and are nowhere, ascending

  bool ill = false;
  std::string ill_reason;
  int64_t retry_at_ns = 0;

  struct Waiting {
    uint64_t end = 0;
    Log::Decided decided;
  };
  std::deque<Waiting> waiting;
  std::vector<std::pair<Log::Decided, bool>> decisions;

  bool cursors_dirty = false, tidy = false;
  int64_t mono_at_open = 0, wall_at_open = 0;  // turns times in records into ages

  // For report.
  uint64_t bytes_written = 0, damaged = 0, refused = 0, errors = 0, syncs = 0;
  DistributionCell sync_seconds;
  Distribution sync_of_interval;
  int64_t reported_mono_ns = 0;
  uint64_t reported_bytes = 0;
  double bytes_per_s = 0;

  // The thread's.
  RecordWriter writer;
  std::string encoded, group;
  uint64_t unsynced_bytes = 0;
  int64_t unsynced_since_ns = 0, tidied_ns = 0, space_checked_ns = 0, name_checked_ns = 0;
  bool tried_again = false;
  std::thread thread;
};

}  // namespace runnel
