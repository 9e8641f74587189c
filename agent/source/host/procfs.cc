#include "source/host/procfs.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "base/log.h"
#include "base/text.h"
#include "source/host/collector.h"

namespace runnel {
namespace {

// /proc/stat of 4,096 CPUs with their interrupts has about 1 MB; a file beyond this is not one of the kernel's.
constexpr size_t kMaxFile = size_t{16} << 20;
constexpr size_t kFirstBuffer = 4096;

// A file of records (net/dev, diskstats, vmstat) comes in pieces of up to a page, each of which ends where the next
// record does not fit (fs/seq_file.c), so a short read is no end of file. Where a piece has less than half a page,
// though, no record of at most a few hundred bytes can have been kept back, and the read that would only return 0 is
// saved: one of two for most files. Lines of a mount table may be as long as a page: those are read until the 0.
constexpr size_t kSurelyWhole = 2048;

// Looking for a file that is not there costs 35 µs with cold caches, as much as reading /proc/stat, and most kernels
// have no pressure/irq. So not in each round of a fast agent; at the default interval of 10 s it is in each.
constexpr int64_t kRetryMs = 5000;

}  // namespace

ProcFile::ProcFile(std::vector<std::string> paths, bool optional)
    : paths_(std::move(paths)), optional_(optional) {}

void ProcFile::add_user(std::string_view collector) {
  if (collector.empty()) return;
  if (!users_.empty()) users_ += ", ";
  users_ += collector;
}

int ProcFile::open_next(size_t from) {
  int error = ENOENT;
  for (size_t i = from; i < paths_.size(); i++) {
    // O_NONBLOCK: opening a pipe that somebody put there must not wait for its writer.
    fd_.reset(::open(paths_[i].c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd_.valid()) {
      error = errno;
      continue;
    }
    struct stat st {};
    if (::fstat(fd_.get(), &st) == 0) device_ = st.st_dev, inode_ = st.st_ino;
    struct statfs fs {};
    on_procfs_ = ::fstatfs(fd_.get(), &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
    current_ = i;
    return 0;
  }
  return error;
}

// Files of the kernel's own are never replaced, which saves a stat(2) a round; others (a captured tree, lxcfs) may be.
bool ProcFile::replaced() const {
  if (on_procfs_) return false;
  struct stat st {};
  return ::stat(path().c_str(), &st) != 0 || st.st_dev != device_ || st.st_ino != inode_;
}

int ProcFile::read_all() {
  if (buffer_.empty()) buffer_.resize(kFirstBuffer);
  size_ = 0;
  for (;;) {
    if (size_ == buffer_.size()) {
      if (buffer_.size() >= kMaxFile) return EFBIG;
      buffer_.resize(buffer_.size() * 2);
    }
    size_t room = buffer_.size() - size_;
    ssize_t n = ::pread(fd_.get(), buffer_.data() + size_, room, static_cast<off_t>(size_));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    size_ += static_cast<size_t>(n);
    if (n == 0) return 0;
    size_t piece = static_cast<size_t>(n);
    if (!long_lines_ && piece < room && piece < kSurelyWhole && buffer_[size_ - 1] == '\n') return 0;
  }
}

void ProcFile::unreadable(int64_t time_ms, int error) {
  fd_.reset();
  size_ = 0;
  failed_ms_ = time_ms;
  if (missing_logged_) return;
  missing_logged_ = true;
  bool usual = optional_ &&
               (error == ENOENT || error == EOPNOTSUPP);  // psi=0 on the kernel's command line: the latter
  log::Level level = usual ? log::Level::info : log::Level::warning;
  if (!log::enabled(level)) return;
  log::write(level, "host",
             fmt::format("{}: cannot read {}: {} (left out until it can be read)", users_, paths_[0],
                         errno_text(error)));
}

std::string_view ProcFile::read(Round& round) {
  if (round_ == round.number()) return {buffer_.data(), size_};
  round_ = round.number();
  if (complained_ != 0 && complained_ + 1 < round_) complained_ = 0;
  size_ = 0;
  if (missing_logged_ && round.time_ms() >= failed_ms_ && round.time_ms() < failed_ms_ + kRetryMs) return {};
  if (fd_.valid() && replaced()) fd_.reset();

  // One that was open and fails (ESTALE, ENOTCONN of a FUSE, ESRCH of a process that is gone) is opened anew; one that
  // opens and cannot be read gives way to the next path.
  int error = fd_.valid() ? read_all() : -1;
  for (size_t next = 0; error != 0 && next < paths_.size(); next = current_ + 1) {
    if (int open_error = open_next(next); open_error != 0) {
      if (error < 0) error = open_error;
      break;
    }
    error = read_all();
  }
  if (error != 0) {
    unreadable(round.time_ms(), error);
    return {};
  }
  if (missing_logged_) {
    missing_logged_ = false;
    log::info("host", "{}: {} can be read again", users_, path());
  }
  if (size_ == 0) {
    round.bad(*this, "empty");
  } else if (buffer_[size_ - 1] != '\n') {
    size_t whole = size_;
    while (whole > 0 && buffer_[whole - 1] != '\n') whole--;
    round.bad(*this, "truncated", {buffer_.data() + whole, size_ - whole});
    size_ = whole;
  }
  return {buffer_.data(), size_};
}

bool ProcFile::changed() {
  if (!fd_.valid() || !on_procfs_ || round_ == 0) return true;
  pollfd request{fd_.get(), POLLPRI, 0};
  // proc(5), /proc/PID/mounts: a change of the mount table shows as POLLERR | POLLPRI.
  return ::poll(&request, 1, 0) != 0;
}

void ProcFile::complain(uint64_t round, std::string_view reason, std::string_view sample) {
  bool first = complained_ == 0;
  complained_ = round;
  if (!first) return;
  log::warning("host", "{}: {} in {}{}", users_, reason, path(),
               sample.empty() ? std::string() : ": \"" + excerpt(sample) + "\"");
}

Procfs::Procfs(std::string_view root) : root_(root) {
  while (!root_.empty() && root_.back() == '/') root_.pop_back();
}

ProcFile& Procfs::file(std::string_view collector, std::initializer_list<std::string_view> paths,
                       bool optional) {
  std::string key(*paths.begin());
  for (auto& [name, file] : files_) {
    if (name != key) continue;
    file->add_user(collector);
    return *file;
  }
  std::vector<std::string> full;
  for (std::string_view path : paths) full.push_back(root_ + "/" + std::string(path));
  files_.emplace_back(key, std::make_unique<ProcFile>(std::move(full), optional));
  files_.back().second->add_user(collector);
  return *files_.back().second;
}

ProcFile& Procfs::net_file(std::string_view collector, std::string_view name, bool optional) {
  std::string own = "proc/net/" + std::string(name), first = "proc/1/net/" + std::string(name);
  if (root_.empty()) return file(collector, {own}, optional);
  return file(collector, {first, own}, optional);
}

}  // namespace runnel
