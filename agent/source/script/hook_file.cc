#include "source/script/hook_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace runnel::script {
namespace {

constexpr int kHeaderLines = 20;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

Result<int64_t> bounded_duration(std::string_view text, int64_t least, int64_t most) {
  auto ms = parse_duration_ms(text);
  if (!ms) return ms;
  if (*ms < least || *ms > most)
    return Error{
        fmt::format("{} is not between {} and {}", text, format_duration(least), format_duration(most))};
  return ms;
}

Status read_option(std::string_view word, HookOptions& options) {
  size_t equals = word.find('=');
  if (equals == std::string_view::npos)
    return Error{fmt::format("\"{}\" is not option=value (for instance interval=60s)", excerpt(word))};
  std::string_view name = word.substr(0, equals), value = word.substr(equals + 1);
  if (name == "interval" || name == "timeout") {
    bool interval = name == "interval";
    auto ms = interval ? bounded_duration(value, kMinIntervalMs, kMaxIntervalMs)
                       : bounded_duration(value, kMinTimeoutMs, kMaxTimeoutMs);
    if (!ms) return Error{fmt::format("{}: {}", name, ms.error())};
    (interval ? options.interval_ms : options.timeout_ms) = *ms;
    return {};
  }
  if (name == "format") {
    options.format = format_of(value);
    if (options.format) return {};
    std::string known;
    for (Format format : kFormats)
      known += fmt::format("{}{}", known.empty() ? "" : ", ", format_name(format));
    return Error{fmt::format("format \"{}\" is none of {}", excerpt(value), known)};
  }
  std::string near = nearest(name, {"interval", "timeout", "format"});
  return Error{
      fmt::format("unknown option \"{}\" ({})", excerpt(name),
                  near.empty() ? "there are interval, timeout and format" : fmt::format("is it {}?", near))};
}

}  // namespace

bool ignored_name(std::string_view name) {
  return name.empty() || name[0] == '.' || name.ends_with('~') || (name[0] == '#' && name.ends_with('#')) ||
         name.find(".dpkg-") != std::string_view::npos || name.find(".rpm") != std::string_view::npos;
}

bool safe_name(std::string_view name) {
  return !name.empty() && name[0] != '.' && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '.' ||
           c == '-';
  });
}

Result<std::optional<int64_t>> interval_of_folder(std::string_view name) {
  if (name.empty() ||
      !std::all_of(name.begin(), name.end(), [](char c) { return is_digit(c) || (c >= 'a' && c <= 'z'); }))
    return std::optional<int64_t>{};
  std::string text(name);
  if (is_digit(text.back())) text += 's';
  if (!is_digit(text[0]) || !parse_duration_ms(text)) return std::optional<int64_t>{};
  auto ms = bounded_duration(text, kMinIntervalMs, kMaxIntervalMs);
  if (!ms) return Error{ms.error()};
  return std::optional<int64_t>{*ms};
}

std::optional<int64_t> interval_of_file(std::string_view name) {
  auto parts = split(name, '.');
  for (size_t i = 1; i < parts.size(); i++) {
    std::string_view part = parts[i];
    if (part.empty() || !is_digit(part[0]) || is_digit(part.back())) continue;
    auto ms = bounded_duration(part, kMinIntervalMs, kMaxIntervalMs);
    if (ms) return *ms;
  }
  return std::nullopt;
}

Result<HookOptions> read_header(std::string_view text, HookOptions options) {
  // A program without #! is a binary: its first "lines" mean nothing.
  if (!text.starts_with("#!")) return options;
  for (int number = 1; number <= kHeaderLines && !text.empty(); number++) {
    size_t end = text.find('\n');
    std::string_view line = trim(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (!line.starts_with('#')) continue;
    line = trim(line.substr(1));
    if (!line.starts_with("runnel:")) continue;
    line.remove_prefix(7);
    for (std::string_view word; !(line = trim(line)).empty(); line.remove_prefix(word.size())) {
      word = line.substr(0, line.find_first_of(" \t"));
      if (Status status = read_option(word, options); !status)
        return Error{fmt::format("line {}: {}", number, status.error())};
    }
  }
  return options;
}

}  // namespace runnel::script
