#include "log_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstdlib>

#include "sink_support.h"

namespace runnel_plugin {

int LogFile::open() {
  if (is_open()) return 0;
  // O_NONBLOCK: opening a FIFO without a reader must not hang; for a regular file it means nothing.
  const int fd =
      ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, mode_);
  if (fd < 0) return errno == ENXIO ? ENOTSUP : errno;  // ENXIO: a FIFO that nobody reads, a socket
  struct stat status {};
  int error = fstat(fd, &status) != 0 ? errno : 0;
  if (error == 0 && !S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode)) error = ENOTSUP;
  if (error == 0 && S_ISREG(status.st_mode) && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno != ENOTSUP &&
      errno != ENOLCK)
    error = errno;
  if (error != 0) {
    ::close(fd);
    return error;
  }
  fd_ = fd;
  // Rotated files stay beside the file itself and not beside a symbolic link to it, which stays in place.
  char* real = realpath(path_.c_str(), nullptr);
  real_path_ = real ? real : path_;
  free(real);
  regular_ = S_ISREG(status.st_mode);
  cut_pending_ = false;
  size_ = last_start_ = regular_ ? static_cast<uint64_t>(status.st_size) : 0;
  opened_ns_ = monotonic_ns();
  age_at_open_ms_ = 0;
  // statx knows when most file systems made the file; where one does not, its age counts from now.
  struct statx times {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &times) == 0 && (times.stx_mask & STATX_BTIME) != 0) {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t age = (static_cast<int64_t>(now.tv_sec) - times.stx_btime.tv_sec) * 1000;
    age_at_open_ms_ = std::max<int64_t>(age, 0);
  }
  return 0;
}

void LogFile::close() {
  if (is_open()) ::close(fd_);
  fd_ = -1;
}

int64_t LogFile::age_ms() const {
  return age_at_open_ms_ + static_cast<int64_t>((monotonic_ns() - opened_ns_) / 1'000'000u);
}

int LogFile::cut_to(uint64_t size) {
  if (!regular_) return 0;
  if (ftruncate(fd_, static_cast<off_t>(size)) != 0) return errno;
  cut_pending_ = false;
  size_ = size;
  return 0;
}

int LogFile::append(std::string_view bytes) {
  if (cut_pending_)
    if (const int error = cut_to(size_)) return error;
  if (regular_) {
    struct stat status {};
    if (fstat(fd_, &status) != 0) return errno;
    size_ = static_cast<uint64_t>(status.st_size);  // logrotate's copytruncate may have emptied it
  }
  last_start_ = size_;
  size_t written = 0;
  int error = 0;
  while (written < bytes.size()) {
    const ssize_t count = ::write(fd_, bytes.data() + written, bytes.size() - written);
    if (count > 0) {
      written += static_cast<size_t>(count);
    } else if (count == 0 || errno != EINTR) {
      error = count == 0 ? EIO : errno;
      break;
    }
  }
  if (error == 0) {
    size_ += bytes.size();
    return 0;
  }
  if (written > 0 && cut_to(last_start_) != 0) cut_pending_ = true;
  return error;
}

void LogFile::undo_last_append() {
  size_ = last_start_;
  if (cut_to(last_start_) != 0) cut_pending_ = true;
}

int LogFile::sync() {
  if (!regular_) return 0;
  return fdatasync(fd_) == 0 ? 0 : errno;
}

int LogFile::sync_directory() const {
  const size_t slash = real_path_.rfind('/');
  const std::string directory =
      slash == std::string::npos ? "." : real_path_.substr(0, std::max<size_t>(slash, 1));
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int error = fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  return error;
}

int LogFile::rotate(int keep) {
  const auto name = [&](int number) {
    return number == 0 ? real_path_ : real_path_ + "." + std::to_string(number);
  };
  if (keep == 0) {
    if (unlink(real_path_.c_str()) != 0 && errno != ENOENT) return errno;
  } else {
    // From the oldest: a crash in between leaves a gap in the numbers and loses nothing.
    for (int number = keep - 1; number >= 0; --number)
      if (rename(name(number).c_str(), name(number + 1).c_str()) != 0 && errno != ENOENT) return errno;
  }
  close();
  return 0;
}

}  // namespace runnel_plugin
