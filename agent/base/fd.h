// File descriptors that close themselves, and the few whole-file operations that the agent needs.
// Every descriptor is opened with O_CLOEXEC: hooks must not inherit ours.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"

namespace runnel {

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(std::exchange(other.fd_, -1));
    return *this;
  }
  ~UniqueFd() { reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() { return std::exchange(fd_, -1); }
  void reset(int fd = -1);

 private:
  int fd_ = -1;
};

// Writes all of it, through short writes and EINTR. The descriptor is a blocking one.
Status write_all(int fd, std::string_view bytes);

// The whole file, an error when it is larger than `limit` bytes.
Result<std::string> read_file(const std::string& path, size_t limit);

// Writes PATH.tmp.PID beside it and renames it, so that a reader sees the old text or the new one.
Status write_file_atomically(const std::string& path, std::string_view text, unsigned mode);

// "No such file or directory": strerror, thread-safe.
std::string errno_text(int error);

}  // namespace runnel
