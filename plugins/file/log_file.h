// One file that grows by whole payloads: open, append or leave as it was, sync, rotate. Everything on the
// thread that calls; owns its descriptor. Expected failures come back as errno values.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace runnel_plugin {

class LogFile {
 public:
  LogFile(std::string path, mode_t mode) : path_(std::move(path)), mode_(mode) {}
  ~LogFile() { close(); }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  // Opens the path where it is not open, and takes the lock on it that keeps a second writer from cutting off
  // what we have written. 0 or errno (EWOULDBLOCK: another process has the lock, ENOTSUP: neither file nor
  // character device).
  int open();
  void close();
  bool is_open() const { return fd_ >= 0; }

  // All of `bytes` or nothing: what was written of them before a failure is cut off again. 0 or errno.
  int append(std::string_view bytes);
  int sync();                  // fdatasync; 0 or errno
  int sync_directory() const;  // the name of a file that is new; 0 or errno
  void undo_last_append();     // after a sync that has failed

  // PATH → PATH.1 → … → PATH.keep, and the oldest away; the next open makes PATH anew. 0, or errno with
  // everything where it can still be found under one of these names and the file still open for appending.
  int rotate(int keep);

  uint64_t size() const { return size_; }
  bool can_rotate() const { return is_open() && regular_; }
  int64_t age_ms() const;  // since the file was made, as far as the file system remembers

 private:
  int cut_to(uint64_t size);

  std::string path_;
  std::string real_path_;  // what path_ led to when it was opened
  mode_t mode_;
  int fd_ = -1;
  bool regular_ = false;
  bool cut_pending_ = false;  // a failed append could not be cut off yet: nothing is appended before it is
  uint64_t size_ = 0;         // after the last whole payload
  uint64_t last_start_ = 0;   // before it
  uint64_t opened_ns_ = 0;    // monotonic
  int64_t age_at_open_ms_ = 0;
};

}  // namespace runnel_plugin
