#include "base/log.h"

#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <ctime>
#include <string>

#include "base/fd.h"
#include "base/text.h"

namespace runnel::log {
namespace {

std::atomic<Level> g_level{Level::info};

// systemd.exec(5): JOURNAL_STREAM is "device:inode" of the journal's socket.
bool stderr_is_journal() {
  const char* stream = std::getenv("JOURNAL_STREAM");
  struct stat st {};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &st) != 0) return false;
  return fmt::format("{}:{}", st.st_dev, st.st_ino) == stream;
}

struct Name {
  const char* word;
  int priority;  // syslog(3)
};
constexpr Name kNames[] = {{"DEBUG", 7}, {"INFO", 6}, {"WARNING", 4}, {"ERROR", 3}};

// A reader of stderr that has stopped reading (a pager, a full pipe) must not stop the agent: what does not go out
// within kPatienceMs is dropped and counted, and while it stays so, further lines are dropped at once. A pipe that polls
// as writable takes at least PIPE_BUF bytes without blocking (pipe(7)), so longer lines are cut.
constexpr int kPatienceMs = 50;
constexpr size_t kMaxLine = PIPE_BUF;
std::atomic<uint64_t> g_lost{0};

void write_line(std::string_view line) {
  pollfd ready{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&ready, 1, g_lost.load() > 0 ? 0 : kPatienceMs) != 1 || (ready.revents & POLLOUT) == 0) {
    g_lost++;
    return;
  }
  if (uint64_t lost = g_lost.exchange(0); lost > 0) {
    std::string told = fmt::format("WARNING log: lines={} were lost, because nobody read stderr\n", lost);
    (void)write_all(STDERR_FILENO, told);
    if (::poll(&ready, 1, 0) != 1) {
      g_lost++;
      return;
    }
  }
  std::string cut;
  if (line.size() > kMaxLine) {
    cut = std::string(line.substr(0, kMaxLine - 5)) + "…\n";
    line = cut;
  }
  // A log that cannot be written has nowhere to complain to.
  (void)write_all(STDERR_FILENO, line);
}

}  // namespace

void set_level(Level level) {
  g_level.store(level, std::memory_order_relaxed);
}
bool enabled(Level level) {
  return level >= g_level.load(std::memory_order_relaxed);
}

void write(Level level, std::string_view component, std::string_view text) {
  static const bool journal = stderr_is_journal();
  const Name& name = kNames[static_cast<int>(level)];
  fmt::memory_buffer line;
  auto out = fmt::appender(line);
  if (journal) {
    fmt::format_to(out, "<{}>", name.priority);
  } else {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    tm parts{};
    gmtime_r(&now.tv_sec, &parts);
    fmt::format_to(out, "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z ", parts.tm_year + 1900, parts.tm_mon + 1,
                   parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, now.tv_nsec / 1'000'000);
  }
  fmt::format_to(out, "{} {}: {}\n", name.word, component, escape_control(text));
  write_line({line.data(), line.size()});
}

}  // namespace runnel::log
