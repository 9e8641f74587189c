// The few calls that the journal makes to the kernel, behind an interface, so that tests can fail, cut short, forget or
// stop each of them (delivery.md's faults; leveldb's Env is the model). Results are as system calls give them, with
// -errno in place of -1. Any thread; implementations keep no state of a descriptor but what the kernel keeps.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace runnel {

struct FileSpace {
  int64_t total = 0, available = 0;  // bytes; available to the unprivileged (statvfs(3) f_bavail)
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  virtual int open(const std::string& path, int flags,
                   unsigned mode) = 0;  // a descriptor; O_CLOEXEC is added
  virtual void close(int fd) = 0;
  virtual ssize_t write(int fd, const void* bytes, size_t size) = 0;  // may be short, may be -EINTR
  virtual ssize_t pwrite(int fd, const void* bytes, size_t size, int64_t offset) = 0;
  virtual ssize_t pread(int fd, void* bytes, size_t size, int64_t offset) = 0;
  virtual int truncate(int fd, int64_t size) = 0;
  virtual int fdatasync(int fd) = 0;
  virtual int64_t regular_file_size(int fd) = 0;         // -EINVAL: it is something else
  virtual int sync_folder(const std::string& path) = 0;  // names made and removed in it
  virtual int make_folder(const std::string& path) = 0;  // with its parents; 0 where it exists
  virtual int rename(const std::string& from, const std::string& to) = 0;
  virtual int unlink(const std::string& path) = 0;
  virtual int list(const std::string& path, std::vector<std::string>& names) = 0;
  virtual int space(const std::string& path, FileSpace& space) = 0;
  virtual int lock(int fd) = 0;  // flock(2), exclusive, does not wait
};

// The kernel's own.
class RealFileSystem : public FileSystem {
 public:
  int open(const std::string& path, int flags, unsigned mode) override;
  void close(int fd) override;
  ssize_t write(int fd, const void* bytes, size_t size) override;
  ssize_t pwrite(int fd, const void* bytes, size_t size, int64_t offset) override;
  ssize_t pread(int fd, void* bytes, size_t size, int64_t offset) override;
  int truncate(int fd, int64_t size) override;
  int fdatasync(int fd) override;
  int64_t regular_file_size(int fd) override;
  int sync_folder(const std::string& path) override;
  int make_folder(const std::string& path) override;
  int rename(const std::string& from, const std::string& to) override;
  int unlink(const std::string& path) override;
  int list(const std::string& path, std::vector<std::string>& names) override;
  int space(const std::string& path, FileSpace& space) override;
  int lock(int fd) override;
};

// A descriptor of a FileSystem, closed at the end.
class File {
 public:
  File() = default;
  File(FileSystem& fs, int fd) : fs_(&fs), fd_(fd) {}
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File() { reset(); }
  void reset();
  bool valid() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  FileSystem* fs_ = nullptr;
  int fd_ = -1;
};

// All of it, through short writes and EINTR; 0 or -errno.
int write_whole(FileSystem& fs, int fd, std::string_view bytes);
int pwrite_whole(FileSystem& fs, int fd, std::string_view bytes, int64_t offset);
// Up to `size` bytes, less only at the end of the file; the number or -errno.
ssize_t pread_whole(FileSystem& fs, int fd, char* bytes, size_t size, int64_t offset);

}  // namespace runnel
