#include "journal/file_system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <functional>
#include <utility>

namespace runnel {
namespace {

template <class T>
T or_errno(T result) {
  return result < 0 ? static_cast<T>(-errno) : result;
}

// `step` handles what is left from `done` on; 0 bytes are an error for a writer and the end for a reader.
ssize_t repeat(size_t size, const std::function<ssize_t(size_t done)>& step) {
  size_t done = 0;
  while (done < size) {
    ssize_t n = step(done);
    if (n == -EINTR) continue;
    if (n < 0) return n;
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  return static_cast<ssize_t>(done);
}

int all_or_error(ssize_t n, size_t size) {
  if (n < 0) return static_cast<int>(n);
  return static_cast<size_t>(n) == size ? 0 : -EIO;
}

}  // namespace

int RealFileSystem::open(const std::string& path, int flags, unsigned mode) {
  return or_errno(::open(path.c_str(), flags | O_CLOEXEC, mode));
}

void RealFileSystem::close(int fd) {
  ::close(fd);
}

ssize_t RealFileSystem::write(int fd, const void* bytes, size_t size) {
  return or_errno(::write(fd, bytes, size));
}

ssize_t RealFileSystem::pwrite(int fd, const void* bytes, size_t size, int64_t offset) {
  return or_errno(::pwrite(fd, bytes, size, offset));
}

ssize_t RealFileSystem::pread(int fd, void* bytes, size_t size, int64_t offset) {
  return or_errno(::pread(fd, bytes, size, offset));
}

int RealFileSystem::truncate(int fd, int64_t size) {
  return or_errno(::ftruncate(fd, size));
}

int RealFileSystem::fdatasync(int fd) {
  return or_errno(::fdatasync(fd));
}

int64_t RealFileSystem::regular_file_size(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return -errno;
  return S_ISREG(st.st_mode) ? static_cast<int64_t>(st.st_size) : -EINVAL;
}

int RealFileSystem::sync_folder(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -errno;
  int result = or_errno(::fsync(fd));
  ::close(fd);
  return result;
}

int RealFileSystem::make_folder(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) == 0) return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
  size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0)
    if (int error = make_folder(path.substr(0, slash)); error != 0) return error;
  int result = or_errno(::mkdir(path.c_str(), 0750));
  return result == -EEXIST ? 0 : result;
}

int RealFileSystem::rename(const std::string& from, const std::string& to) {
  return or_errno(::rename(from.c_str(), to.c_str()));
}

int RealFileSystem::unlink(const std::string& path) {
  return or_errno(::unlink(path.c_str()));
}

int RealFileSystem::list(const std::string& path, std::vector<std::string>& names) {
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) return -errno;
  while (const dirent* entry = ::readdir(folder))
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  ::closedir(folder);
  return 0;
}

int RealFileSystem::space(const std::string& path, FileSpace& space) {
  struct statvfs st {};
  if (::statvfs(path.c_str(), &st) != 0) return -errno;
  space.total = static_cast<int64_t>(st.f_blocks) * static_cast<int64_t>(st.f_frsize);
  space.available = static_cast<int64_t>(st.f_bavail) * static_cast<int64_t>(st.f_frsize);
  return 0;
}

int RealFileSystem::lock(int fd) {
  return or_errno(::flock(fd, LOCK_EX | LOCK_NB));
}

File::File(File&& other) noexcept
    : fs_(std::exchange(other.fs_, nullptr)), fd_(std::exchange(other.fd_, -1)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    reset();
    fs_ = std::exchange(other.fs_, nullptr);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void File::reset() {
  if (fd_ >= 0) fs_->close(fd_);
  fd_ = -1;
}

int write_whole(FileSystem& fs, int fd, std::string_view bytes) {
  ssize_t n = repeat(bytes.size(),
                     [&](size_t done) { return fs.write(fd, bytes.data() + done, bytes.size() - done); });
  return all_or_error(n, bytes.size());
}

int pwrite_whole(FileSystem& fs, int fd, std::string_view bytes, int64_t offset) {
  ssize_t n = repeat(bytes.size(), [&](size_t done) {
    return fs.pwrite(fd, bytes.data() + done, bytes.size() - done, offset + static_cast<int64_t>(done));
  });
  return all_or_error(n, bytes.size());
}

ssize_t pread_whole(FileSystem& fs, int fd, char* bytes, size_t size, int64_t offset) {
  return repeat(size, [&](size_t done) {
    return fs.pread(fd, bytes + done, size - done, offset + static_cast<int64_t>(done));
  });
}

}  // namespace runnel
