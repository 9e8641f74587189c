// Writer: the scratch memory an encoder formats one record in, before it is appended to the payload in one
// piece. Raw pointers instead of std::string::append, because a record is some thirty appends of a few bytes,
// where bounds and terminator would cost more than the bytes. Owned by one encoder, one thread. Views
// returned live until the next call that writes.
#pragma once

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

#include "metric/batch.h"

namespace runnel {

class Writer {
 public:
  void clear() { at_ = begin_.get(); }
  std::string_view view() const { return {begin_.get(), static_cast<size_t>(at_ - begin_.get())}; }
  size_t size() const { return static_cast<size_t>(at_ - begin_.get()); }
  void drop_last() { at_--; }  // a separator too many

  void put(char c) { *room(1) = c, at_++; }
  void text(std::string_view s) {
    if (s.empty()) return;
    std::memcpy(room(s.size()), s.data(), s.size());
    at_ += s.size();
  }
  template <size_t N>
  void literal(const char (&s)[N]) {  // the size is known to the compiler: one or two moves
    std::memcpy(room(N), s, N - 1);
    at_ += N - 1;
  }
  void integer(int64_t value) {
    char* to = room(24);
    at_ = std::to_chars(to, to + 24, value).ptr;
  }
  // Shortest digits that read back as the same value. Whole numbers below 2^53 without a point, others and −0
  // with one or with an exponent: "-0" and "36893488147419103232" are integers to many readers. The value is
  // finite.
  void number(double value);
  void number(const Number& value) {
    if (value.is_integer()) {
      integer(value.as_integer());
    } else {
      number(value.as_double());
    }
  }
  void number_float(float value);  // shortest for a float: 0.1f is 0.1

  // Contents of a JSON string (RFC 8259): quotes, backslashes and control characters escaped, bytes that are
  // not UTF-8 as U+FFFD.
  void json_text(std::string_view s) {
    size_t plain = copy_plain<&needs_json_escape, kJson>(s);
    if (plain != s.size()) json_slow(s.substr(plain));
  }
  // A tag key or tag value of the line protocol; a measurement, where the equals sign is an ordinary
  // character.
  void influx_text(std::string_view s, bool measurement = false) {
    size_t plain = copy_plain<&needs_influx_escape, kInflux>(s);
    if (plain != s.size()) influx_slow(s.substr(plain), measurement);
  }
  // Contents of a quoted string field of the line protocol.
  void influx_string(std::string_view s);
  // For a terminal: whatever could move the cursor or reorder the line is escaped (C0, DEL, C1, line and
  // paragraph separators, bidirectional overrides), bytes that are not UTF-8 too.
  void terminal_text(std::string_view s);

 private:
  static constexpr uint8_t kJson = 1, kInflux = 2;
  static constexpr std::array<uint8_t, 256> escape_table() {
    std::array<uint8_t, 256> table{};
    for (size_t c = 0; c < 256; c++) {
      bool always = c < 0x20 || c >= 0x7f || c == '\\';
      table[c] = static_cast<uint8_t>((always || c == '"' ? kJson : 0) |
                                      (always || c == ' ' || c == ',' || c == '=' ? kInflux : 0));
    }
    return table;
  }

  static constexpr uint64_t repeat(uint8_t byte) { return 0x0101010101010101u * byte; }
  // Does any of eight bytes …? The usual carry tricks; exact as a test for "any".
  static bool any_below(uint64_t w, uint8_t limit) { return ((w - repeat(limit)) & ~w & repeat(0x80)) != 0; }
  static bool any_equal(uint64_t w, char c) { return any_below(w ^ repeat(static_cast<uint8_t>(c)), 1); }
  static bool any_del_or_high(uint64_t w) { return ((w | (w + repeat(1))) & repeat(0x80)) != 0; }
  static bool needs_json_escape(uint64_t w) {
    return any_below(w, 0x20) | any_equal(w, '"') | any_equal(w, '\\') | any_del_or_high(w);
  }
  static bool needs_influx_escape(uint64_t w) {
    return any_below(w, 0x21) | any_equal(w, ',') | any_equal(w, '=') | any_equal(w, '\\') |
           any_del_or_high(w);
  }

  // Copies the part at the front that needs no escape, eight bytes at a time, and says how long it was.
  template <bool (*needs)(uint64_t), uint8_t kind>
  size_t copy_plain(std::string_view s) {
    char* to = room(s.size());
    size_t i = 0;
    for (; i + 8 <= s.size(); i += 8) {
      uint64_t word;
      std::memcpy(&word, s.data() + i, 8);
      if (needs(word)) break;
      std::memcpy(to + i, &word, 8);
    }
    static constexpr std::array<uint8_t, 256> kEscapes = escape_table();
    for (; i < s.size() && !(kEscapes[static_cast<uint8_t>(s[i])] & kind); i++) to[i] = s[i];
    at_ += i;
    return i;
  }
  char* room(size_t n) {
    if (static_cast<size_t>(end_ - at_) < n) grow(n);
    return at_;
  }
  void grow(size_t n);
  void json_slow(std::string_view s);
  void influx_slow(std::string_view s, bool measurement);
  void replacement() { literal("\xef\xbf\xbd"); }  // U+FFFD
  void escaped_byte(uint8_t byte);                 // \n, \x1b

  std::unique_ptr<char[]> begin_;
  char *at_ = nullptr, *end_ = nullptr;
};

// What every encoder asks of a record, with indices of a batch that are out of range made harmless.
const Origin& origin_of(const Batch& batch, uint32_t index);
const Distribution* distribution_of(const Batch& batch, const Sample& sample);  // null: not one
// Calls f(name, value) for count, sum, min, max, mean, stddev and each percentile ("p99"), where finite.
template <class F>
void for_each_statistic(const Distribution& d, F f) {
  const std::pair<std::string_view, double> fixed[] = {{"count", d.count}, {"sum", d.sum},
                                                       {"min", d.min},     {"max", d.max},
                                                       {"mean", d.mean},   {"stddev", d.stddev}};
  for (auto [name, value] : fixed)
    if (std::isfinite(value)) f(name, value);
  for (auto [p, value] : d.percentiles) {
    if (!std::isfinite(value) || !std::isfinite(p)) continue;
    char name[40] = "p";
    char* end = std::to_chars(name + 1, name + sizeof name, p).ptr;
    f(std::string_view(name, static_cast<size_t>(end - name)), value);
  }
}

}  // namespace runnel
