// Pure functions over text and numbers. No function here keeps a view of its argument, except where it returns a
// part of it. Any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace runnel {

// Control characters (C1 and marks that reorder text as well) and bytes that are not UTF-8 as \n, \t, \xNN: for log
// lines and messages.
std::string escape_control(std::string_view text);
// The same for samples of bad input that stand between quotes: quotes and
// backslashes with a backslash, cut to `limit` bytes with "…" behind it.
std::string excerpt(std::string_view text, size_t limit = 80);

bool valid_utf8(std::string_view text);
bool has_control(std::string_view text);  // any byte below 0x20, or 0x7f

std::string_view trim(std::string_view text);  // spaces, tabs, CR, LF on both sides
std::vector<std::string_view> split(std::string_view text,
                                    char by);  // parts may be empty; never an empty vector

// Whole text or nothing; std::from_chars underneath, so the locale does not matter. No leading '+' or space.
std::optional<int64_t> parse_int(std::string_view text);
std::optional<uint64_t> parse_uint(std::string_view text);
// Finite numbers only: "nan", "inf" and 1e400 are refused. One leading '+' is taken.
std::optional<double> parse_double(std::string_view text);

// "500ms", "10s", "5m", "2h", "1d" → milliseconds; "0" needs no unit. Error: says what was expected.
Result<int64_t> parse_duration_ms(std::string_view text);
std::string format_duration(int64_t ms);  // the shortest exact spelling: 90000 → "90s"
// "512", "64KiB", "8MiB", "1GiB", also kB/MB/GB (powers of ten) → bytes.
Result<int64_t> parse_size(std::string_view text);
std::string format_size(int64_t bytes);

// The candidate with the smallest edit distance to `word`, "" where none is near enough to be a slip of the hand.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

// Shortest decimal text that reads back as the same double ("0.1", "1e+300"); integral values without a point.
void append_double(std::string& out, double value);

// 64-bit hash for tables and splay; not for untrusted-collision guarantees across processes.
uint64_t hash_bytes(std::string_view bytes);

}  // namespace runnel
