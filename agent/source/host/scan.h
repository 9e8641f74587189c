// Hand-written scanning of /proc text: no copies, no allocation, no locale. Pure functions over bytes; the views returned
// point into the argument. Any thread.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>

#include "metric/batch.h"

namespace runnel {

// Takes the next line (without its end) off the front of `text`; false at the end.
inline bool next_line(std::string_view& text, std::string_view& line) {
  if (text.empty()) return false;
  const void* end = std::memchr(text.data(), '\n', text.size());
  size_t size =
      end == nullptr ? text.size() : static_cast<size_t>(static_cast<const char*>(end) - text.data());
  line = text.substr(0, size);
  text.remove_prefix(size < text.size() ? size + 1 : size);
  return true;
}

// Takes the next run of bytes that are neither space nor tab; "" at the end.
inline std::string_view next_word(std::string_view& text) {
  size_t at = 0;
  while (at < text.size() && (text[at] == ' ' || text[at] == '\t')) at++;
  size_t from = at;
  while (at < text.size() && text[at] != ' ' && text[at] != '\t') at++;
  std::string_view word = text.substr(from, at - from);
  text.remove_prefix(at);
  return word;
}

// Takes the next unsigned integer, which a space, a tab or the end must follow. False, and nothing is taken, where
// there is none or it is larger than 64 bits hold.
inline bool next_number(std::string_view& text, uint64_t& value) {
  const char* at = text.data();
  const char* end = at + text.size();
  while (at < end && (*at == ' ' || *at == '\t')) at++;
  const char* first = at;
  uint64_t n = 0;
  for (; at < end; at++) {
    unsigned digit = static_cast<unsigned>(static_cast<unsigned char>(*at)) - '0';
    if (digit > 9) break;
    // Nineteen digits cannot overflow; only the twentieth and later need the check.
    if (at - first >= 19 && (n > std::numeric_limits<uint64_t>::max() / 10 ||
                             n * 10 > std::numeric_limits<uint64_t>::max() - digit))
      return false;
    n = n * 10 + digit;
  }
  if (at == first || (at < end && *at != ' ' && *at != '\t')) return false;
  value = n;
  text.remove_prefix(static_cast<size_t>(at - text.data()));
  return true;
}

// Takes the next word as a decimal without sign and exponent, "0.25", as the kernel prints averages. Up to 15 digits
// divided by a power of ten are rounded once, so this is the double that strtod finds.
inline bool next_decimal(std::string_view& text, double& value) {
  std::string_view rest = text, word = next_word(rest);
  uint64_t n = 0;
  double divisor = 1;
  size_t digits = 0;
  bool point = false;
  for (char c : word) {
    if (c == '.' && !point && digits > 0) {
      point = true;
      continue;
    }
    if (c < '0' || c > '9' || ++digits > 15) return false;
    n = n * 10 + static_cast<uint64_t>(c - '0');
    if (point) divisor *= 10;
  }
  if (digits == 0) return false;
  value = static_cast<double>(n) / divisor;
  text = rest;
  return true;
}

// `count` numbers in a row; what follows them is left.
inline bool next_numbers(std::string_view& text, uint64_t* values, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (!next_number(text, values[i])) return false;
  return true;
}

// Kernel counters have 64 bits without a sign; what an int64_t cannot hold is better a rounded number than a negative.
inline Number count_number(uint64_t value) {
  constexpr uint64_t kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return value <= kMax ? Number::integer(static_cast<int64_t>(value)) : Number(static_cast<double>(value));
}
inline Number scaled_number(uint64_t value, uint64_t factor) {
  constexpr uint64_t kMax = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return value <= kMax / factor ? Number::integer(static_cast<int64_t>(value * factor))
                                : Number(static_cast<double>(value) * static_cast<double>(factor));
}
// Ticks of 1/`per_second` as seconds. The division, unlike a product with 0.01, gives the shortest decimal.
inline Number seconds(uint64_t value, double per_second) {
  return Number(static_cast<double>(value) / per_second);
}

// a - b of two counters that the kernel read one after the other; never below 0.
inline uint64_t difference(uint64_t a, uint64_t b) {
  return a > b ? a - b : 0;
}

}  // namespace runnel
