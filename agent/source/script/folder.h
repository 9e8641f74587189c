// The folder of hooks: what lies in it and in its sub-folders named after intervals, and word when that may have
// changed. Watched by inotify, and looked at every 30 s besides, because inotify sees neither network file systems nor
// what lies behind a symbolic link. Loop thread.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "loop/loop.h"

namespace runnel::script {

// What identifies the content and the permissions of a file without reading it.
struct FileMark {
  dev_t device = 0;
  ino_t inode = 0;
  off_t size = 0;
  int64_t modified_ns = 0, changed_ns = 0;
  bool operator==(const FileMark&) const = default;
};
FileMark mark_of(const struct stat& st);

class Folder {
 public:
  static constexpr int64_t kRescanMs = 30'000;
  static constexpr int64_t kAbsentMs = 1'000;  // between looks for a folder that is not there
  static constexpr int64_t kDebounceMs = 100;
  static constexpr int64_t kSettleMs = 500;  // without a change: the writer has finished
  static constexpr size_t kMaxFiles = 1'000;

  struct File {
    std::string name;         // relative: "60/queue"
    std::string path;         // absolute
    int64_t interval_ms = 0;  // of the sub-folder, 0: in the top folder
    struct stat st {};        // of what it resolves to
    bool settled = false;     // not changed for kSettleMs
  };
  struct Listing {
    std::vector<File> files;              // in name order; editors' leftovers and folders are not among them
    std::vector<std::string> complaints;  // what cannot be used: folders, links to nowhere
    bool settled = true;                  // all of them
  };

  Folder(Loop& loop, const Clock& clock, std::string dir, std::function<void()> on_change);
  Result<Listing> list();  // also renews the watches, and comes back by itself where files have not settled
  void stop();
  const std::string& dir() const { return dir_; }

 private:
  struct Watch {
    dev_t device = 0;
    ino_t inode = 0;
    std::unique_ptr<PathWatch> watch;
  };
  struct Seen {
    FileMark mark;
    int64_t since_ms = 0;  // monotonic
  };
  void look_again_in(int64_t ms);
  void watch_dir(const std::string& path, const struct stat& st, std::map<std::string, Watch>& watches);
  Status add_files(const std::string& dir, const std::string& prefix, int64_t interval_ms, Listing& listing,
                   std::map<std::string, Watch>& watches, std::map<std::string, Seen>& seen);

  Loop& loop_;
  const Clock& clock_;
  std::string dir_;
  std::function<void()> on_change_;
  Timer timer_;
  int64_t due_ms_ = 0;  // when timer_ fires, monotonic; 0: it is not set
  std::map<std::string, Watch> watches_;
  std::map<std::string, Seen> seen_;
};

}  // namespace runnel::script
