// Procfs: files below a root, kept open and read from their start once a round, however many collectors ask for them.
// Main thread. Procfs owns its files and outlives the collectors that hold references to them; the text of a file is
// valid until the next round.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"

namespace runnel {

class Round;

class ProcFile {
 public:
  ProcFile(std::vector<std::string> paths, bool optional);
  ProcFile(const ProcFile&) = delete;

  // The text as of this round: whole lines, the last one too. "" where the file cannot be read, which is said once in
  // the log and again when it is back. What is wrong with the text as such (empty, cut off) is counted in `round`.
  std::string_view read(Round& round);

  // False while poll(2) says that a mount table has not changed since the last read; only /proc has that.
  bool changed();

  void expect_long_lines() { long_lines_ = true; }  // of more than a few hundred bytes, in a file of records
  void add_user(std::string_view collector);
  const std::string& path() const { return paths_[current_]; }
  bool readable() const { return fd_.valid(); }
  // Something in the text is not what it should be: one line in the log until it has been right for a whole round.
  void complain(uint64_t round, std::string_view reason, std::string_view sample);

 private:
  int open_next(size_t from);  // 0 or errno
  int read_all();              // 0 or errno
  bool replaced() const;
  void unreadable(int64_t time_ms, int error);

  std::vector<std::string> paths_;  // in order of preference; the first that can be read is kept
  bool optional_;                   // absent from many kernels: worth a note, not a warning
  bool long_lines_ = false;
  size_t current_ = 0;
  UniqueFd fd_;
  bool on_procfs_ = false;
  dev_t device_ = 0;
  ino_t inode_ = 0;
  std::vector<char> buffer_;
  size_t size_ = 0;
  uint64_t round_ = 0;       // of the text in the buffer
  uint64_t complained_ = 0;  // round of the last complaint, 0: none
  bool missing_logged_ = false;
  int64_t failed_ms_ = 0;  // wall time of the last attempt, where missing_logged_
  std::string users_;      // "cpu, processes", for the log
};

class Procfs {
 public:
  explicit Procfs(std::string_view root);

  // The file at the first of `paths` ("proc/stat", below the root) that can be read. `collector` is named in the log.
  ProcFile& file(std::string_view collector, std::initializer_list<std::string_view> paths,
                 bool optional = false);
  // A file of /proc/net: that of process 1 where another root is asked for, because /proc/net is a link to the
  // network namespace of whoever reads it, which in a container is not the host's.
  ProcFile& net_file(std::string_view collector, std::string_view name, bool optional = false);
  const std::string& root() const { return root_; }  // without a slash at its end: "" is /

 private:
  std::string root_;
  std::vector<std::pair<std::string, std::unique_ptr<ProcFile>>> files_;
};

}  // namespace runnel
