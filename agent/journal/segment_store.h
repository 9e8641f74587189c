// The folder of segment files: recovery at the start, the segment that is being written, removal. It keeps no account of
// who needs what; that is the Log's. One thread at a time: the one that opens it, then the journal's.
//
//   FOLDER/lock                     held while the agent lives: two agents must not write one journal
//   FOLDER/00000000000000000042.seg segments, numbered in the order they were made
//   FOLDER/OUTPUT.cursor            where each output stands (cursor.h)
//
// Errors are -errno. After a failed write or sync the segment is never written again (a kernel may have dropped the pages
// that a failed fsync could not write, and says so once): abandon(), and what was not synced goes to a new one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "journal/file_system.h"

namespace runnel {

struct Segment {
  uint64_t number = 0;
  uint64_t first = 0, end = 0;  // sequences of its records: [first, end)
  int64_t bytes = 0;
  int64_t first_time_ms = 0;  // when its first record was appended
};

// What a start finds in the folder.
struct Recovered {
  std::vector<Segment> segments;                    // by sequence, not overlapping, none empty
  std::vector<std::pair<uint64_t, uint64_t>> gaps;  // sequences [from, to) between them that are not there
  uint64_t end = 1;                                 // the sequence behind the last
  uint64_t last_epoch = 0;
  uint64_t records = 0;
  bool foreign = false;          // segments of another version: left alone, their numbers are not known
  uint64_t damaged_records = 0;  // that damage has cost, where their number is known
  uint64_t damaged_regions = 0;
  int64_t bytes = 0;
};

class SegmentStore {
 public:
  SegmentStore(FileSystem& fs, std::string folder) : fs_(fs), folder_(std::move(folder)) {}

  // Makes the folder, takes the lock, scans what is there. Damage is told in the log by file and bytes and costs no more
  // than it has hit; only a folder that cannot be used is an error.
  Result<Recovered> open();
  int make_usable();  // the folder and the lock, again, after trouble; 0 where they are there

  // The segment being written; none until begin.
  int begin(uint64_t epoch, uint64_t first, int64_t now_ms);
  bool writing() const { return file_.valid(); }
  uint64_t number() const { return number_; }  // of the one being written, or of the last
  int64_t bytes() const { return bytes_; }
  int append(
      std::string_view records);  // on error what was written of it is cut off again, if that is possible
  int sync();
  void finish() { file_.reset(); }  // synced, and full
  void abandon() { file_.reset(); }
  bool there(uint64_t number);  // a name leads to it: the folder was not removed or mounted over

  void remove(uint64_t number);  // and its name, lasting with the next sync_folder
  void sync_folder();
  int space(FileSpace& space) { return fs_.space(folder_, space); }

  std::string path_of(uint64_t number) const;
  const std::string& folder() const { return folder_; }
  FileSystem& file_system() { return fs_; }

 private:
  int take_lock();
  struct Gap {
    uint64_t from, to, number;  // in the segment of that number
  };
  bool scan(uint64_t number, Recovered& into, std::vector<Gap>& gaps);

  FileSystem& fs_;
  const std::string folder_;
  File lock_, file_;
  uint64_t number_ = 0;
  int64_t bytes_ = 0;
};

}  // namespace runnel
