#include "base/log.h"

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
  // A log that cannot be written has nowhere to complain to.
  (void)write_all(STDERR_FILENO, {line.data(), line.size()});
}

}  // namespace runnel::log
