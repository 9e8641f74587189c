// Numbers of StatsD lines. Plain integers of up to 18 digits and decimals of up to 15 are read by hand, because they are
// nearly all values and std::from_chars costs four times as much; everything else goes to from_chars. Both are exact: the
// decimals are an integer below 2^53 divided by a power of ten that a double holds, which rounds once (Clinger 1990).
#pragma once

#include <cstdint>
#include <string_view>

#include "base/text.h"
#include "metric/batch.h"

namespace runnel::statsd {

// Reads a number without exponent that begins at `p`; returns where it ends, or nullptr where there is none or it is one
// for read_number().
[[gnu::always_inline]] inline const char* scan_number(const char* p, const char* end, Number& number) {
  static constexpr double kPowers[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                       1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
  bool negative = false;
  if (p < end && (*p == '-' || *p == '+')) negative = *p++ == '-';
  const char* first = p;
  uint64_t value = 0;
  unsigned digit = 0;
  for (; p < end && (digit = static_cast<unsigned char>(*p) - unsigned{'0'}) <= 9; p++)
    value = value * 10 + digit;
  auto whole = p - first;
  if (p == end || *p != '.') {
    if (whole == 0 || whole > 18) return nullptr;
    auto integer = static_cast<int64_t>(value);
    number = Number::integer(negative ? -integer : integer);
    return p;
  }
  const char* point = p++;
  for (; p < end && (digit = static_cast<unsigned char>(*p) - unsigned{'0'}) <= 9; p++)
    value = value * 10 + digit;
  auto places = p - point - 1;
  if (whole + places == 0 || whole + places > 15) return nullptr;
  double decimal = static_cast<double>(value) / kPowers[places];
  number = Number(negative ? -decimal : decimal);
  return p;
}

// The whole text is a finite number; also "+5", "1e3", "9223372036854775807".
inline bool read_number(std::string_view text, Number& number) {
  if (scan_number(text.data(), text.data() + text.size(), number) == text.data() + text.size()) return true;
  bool plus = text.size() > 1 && text[0] == '+' && text[1] != '-';
  std::string_view digits = plus ? text.substr(1) : text;
  if (auto whole = parse_int(digits)) {
    number = Number::integer(*whole);
    return true;
  }
  auto value = parse_double(text);
  if (!value) return false;
  number = Number(*value);
  return true;
}

}  // namespace runnel::statsd
