#include "base/fd.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace runnel {

void UniqueFd::reset(int fd) {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

std::string errno_text(int error) {
  return std::generic_category().message(error);
}

Status write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return Error{errno_text(errno)};
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

Result<std::string> read_file(const std::string& path, size_t limit) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return Error{fmt::format("{}: {}", path, errno_text(errno))};
  std::string text;
  char buffer[16384];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0) {
      if (errno == EINTR) continue;
      return Error{fmt::format("{}: {}", path, errno_text(errno))};
    }
    if (n == 0) return text;
    if (text.size() + static_cast<size_t>(n) > limit)
      return Error{fmt::format("{}: larger than {} bytes", path, limit)};
    text.append(buffer, static_cast<size_t>(n));
  }
}

Status write_file_atomically(const std::string& path, std::string_view text, unsigned mode) {
  std::string temporary = fmt::format("{}.tmp.{}", path, ::getpid());
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd.valid()) return Error{fmt::format("{}: {}", temporary, errno_text(errno))};
  Status written = write_all(fd.get(), text);
  if (written.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) written = Error{errno_text(errno)};
  if (!written.ok()) {
    ::unlink(temporary.c_str());
    return Error{fmt::format("{}: {}", path, written.error())};
  }
  return {};
}

}  // namespace runnel
