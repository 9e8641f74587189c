// The agent's log: lines to stderr, `LEVEL component: text key=value …`. Under journald (JOURNAL_STREAM names our
// stderr, systemd.exec(5)) the `<n>` priority prefix of sd-daemon(3) stands in place of the time stamp.
// Process-wide because libuv and sink callbacks have no other way to reach it; safe from any thread; a line is one
// write(2). Control characters in the text are escaped, so that hostile input cannot forge lines.
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace runnel::log {

enum class Level { debug, info, warning, error };

void set_level(Level level);
bool enabled(Level level);
void write(Level level, std::string_view component, std::string_view text);

template <class... Args>
void debug(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::debug)) write(Level::debug, component, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::info)) write(Level::info, component, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warning(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::warning))
    write(Level::warning, component, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(std::string_view component, fmt::format_string<Args...> format, Args&&... args) {
  write(Level::error, component, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace runnel::log
