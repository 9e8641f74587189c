#include "base/text.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL  // header-only: no shared object for one function
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace runnel {
namespace {

// Length of the UTF-8 sequence at the front of `s`, 0 where it is not one (RFC 3629: no overlong forms, no
// surrogates, nothing above U+10FFFF).
size_t utf8_sequence(std::string_view s) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  auto tail = [&](size_t i) { return i < s.size() && (byte(i) & 0xc0) == 0x80; };
  unsigned char c = byte(0);
  if (c < 0x80) return 1;
  if (c < 0xc2) return 0;
  if (c < 0xe0) return tail(1) ? 2 : 0;
  if (c < 0xf0) {
    if (!tail(1) || !tail(2)) return 0;
    if (c == 0xe0 && byte(1) < 0xa0) return 0;
    if (c == 0xed && byte(1) > 0x9f) return 0;
    return 3;
  }
  if (c < 0xf5) {
    if (!tail(1) || !tail(2) || !tail(3)) return 0;
    if (c == 0xf0 && byte(1) < 0x90) return 0;
    if (c == 0xf4 && byte(1) > 0x8f) return 0;
    return 4;
  }
  return 0;
}

struct Unit {
  std::string_view name;
  int64_t factor;
};
constexpr Unit kDurations[] = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}};
constexpr Unit kSizes[] = {{"B", 1},
                           {"KiB", int64_t{1} << 10},
                           {"MiB", int64_t{1} << 20},
                           {"GiB", int64_t{1} << 30},
                           {"TiB", int64_t{1} << 40},
                           {"kB", 1000},
                           {"MB", 1'000'000},
                           {"GB", 1'000'000'000}};

template <size_t N>
Result<int64_t> parse_with_unit(std::string_view text, const Unit (&units)[N], bool bare_allowed,
                                const char* expected) {
  size_t digits = 0;
  while (digits < text.size() && ((text[digits] >= '0' && text[digits] <= '9') || text[digits] == '.'))
    digits++;
  auto number = parse_double(text.substr(0, digits));
  std::string_view unit = trim(text.substr(digits));
  if (!number) return Error{fmt::format("\"{}\" is not {}", excerpt(text), expected)};
  if (unit.empty() && (bare_allowed || *number == 0)) unit = units[0].name;  // 0 is 0 in any unit
  for (const Unit& u : units) {
    if (u.name != unit) continue;
    double scaled = *number * static_cast<double>(u.factor);
    if (scaled > 9e15) return Error{fmt::format("\"{}\" is too large", excerpt(text))};
    return std::llround(scaled);
  }
  return Error{fmt::format("\"{}\" is not {}", excerpt(text), expected)};
}

template <size_t N>
std::string format_with_unit(int64_t value, const Unit (&units)[N], std::string_view base) {
  std::string_view name = base;
  int64_t factor = 1;
  for (const Unit& u : units)
    if (value != 0 && value % u.factor == 0 && u.factor >= factor) name = u.name, factor = u.factor;
  return fmt::format("{}{}", value / factor, name);
}

// Insertions, deletions, replacements and swaps of neighbours (optimal string alignment): "agnet" is one slip of the hand.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); j++) row[j] = j;
  for (size_t i = 1; i <= a.size(); i++) {
    std::swap(before, last);
    std::swap(last, row);
    row[0] = i;
    for (size_t j = 1; j <= b.size(); j++) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
  }
  return row[b.size()];
}

}  // namespace

// Of a UTF-8 sequence: C1 controls, line separators, and marks that turn the direction of the text around it. Terminals
// act on the first, readers are deceived by the others (Unicode TR 36).
bool deceives(std::string_view sequence) {
  if (sequence.size() == 2) return sequence[0] == '\xc2' && static_cast<unsigned char>(sequence[1]) < 0xa0;
  if (sequence.size() != 3 || sequence[0] != '\xe2') return false;
  auto second = static_cast<unsigned char>(sequence[1]), third = static_cast<unsigned char>(sequence[2]);
  if (second == 0x80) return third == 0x8e || third == 0x8f || (third >= 0xa8 && third <= 0xae);
  return second == 0x81 && third >= 0xa6 && third <= 0xa9;
}

std::string escape_control(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    unsigned char c = static_cast<unsigned char>(text[0]);
    size_t n = utf8_sequence(text);
    if (n == 0 || c < 0x20 || c == 0x7f) {
      if (c == '\n') {
        out += "\\n";
      } else if (c == '\t') {
        out += "\\t";
      } else if (c == '\r') {
        out += "\\r";
      } else {
        fmt::format_to(std::back_inserter(out), "\\x{:02x}", c);
      }
      n = 1;
    } else if (n > 1 && deceives(text.substr(0, n))) {
      for (char byte : text.substr(0, n))
        fmt::format_to(std::back_inserter(out), "\\x{:02x}", static_cast<unsigned char>(byte));
    } else {
      out.append(text.substr(0, n));
    }
    text.remove_prefix(n);
  }
  return out;
}

std::string excerpt(std::string_view text, size_t limit) {
  std::string quoted;
  for (char c : text.substr(0, limit)) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return escape_control(quoted) + (text.size() > limit ? "…" : "");
}

bool valid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (static_cast<unsigned char>(text[i]) < 0x80) {
      i++;
      continue;
    }
    size_t n = utf8_sequence(text.substr(i));
    if (n == 0) return false;
    i += n;
  }
  return true;
}

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::vector<std::string_view> split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  for (;;) {
    size_t at = text.find(by);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::optional<int64_t> parse_int(std::string_view text) {
  int64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<uint64_t> parse_uint(std::string_view text) {
  uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_double(std::string_view text) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  // from_chars says out of range for 1e400 and for 1e-400 alike; the latter is a 0 that nobody misses.
  if (error == std::errc::result_out_of_range) {
    bool negative_exponent = text.find("e-") != std::string_view::npos ||
                             text.find("E-") != std::string_view::npos ||
                             text.find_first_of("eE") == std::string_view::npos;
    return negative_exponent && text.find_first_of("eE") != std::string_view::npos
               ? std::optional<double>(0.0)
               : std::nullopt;
  }
  if (error != std::errc{} || !std::isfinite(value)) return std::nullopt;
  return value;
}

Result<int64_t> parse_duration_ms(std::string_view text) {
  return parse_with_unit(text, kDurations, false, "a duration such as \"500ms\", \"10s\", \"5m\"");
}
std::string format_duration(int64_t ms) {
  return ms == 0 ? "0s" : format_with_unit(ms, kDurations, "ms");
}

Result<int64_t> parse_size(std::string_view text) {
  return parse_with_unit(text, kSizes, true, "a size such as \"64KiB\" or \"8MiB\"");
}
std::string format_size(int64_t bytes) {
  if (bytes == 0) return "0";
  for (auto [name, factor] :
       {Unit{"GiB", int64_t{1} << 30}, Unit{"MiB", int64_t{1} << 20}, Unit{"KiB", int64_t{1} << 10}})
    if (bytes % factor == 0) return fmt::format("{}{}", bytes / factor, name);
  return fmt::format("{}", bytes);
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    size_t distance = edit_distance(word, candidate);
    if (distance < best_distance) best = candidate, best_distance = distance;
  }
  return best;
}

void append_double(std::string& out, double value) {
  std::array<char, 32> buffer;
  // Integers below 2^53 in full digits: what a person wrote as 1000000 should not come back as 1e+06.
  if (value == std::trunc(value) && std::fabs(value) < 9007199254740992.0) {
    auto [end, error] =
        std::to_chars(buffer.data(), buffer.data() + buffer.size(), static_cast<int64_t>(value));
    out.append(buffer.data(), end);
    return;
  }
  auto [end, error] = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  out.append(buffer.data(), end);
}

uint64_t hash_bytes(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

}  // namespace runnel
