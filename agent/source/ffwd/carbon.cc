#include "source/ffwd/carbon.h"

#include <charconv>
#include <cmath>

#include "base/utf8.h"

namespace runnel::ffwd {
namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

// The next word, which is taken off `line`; "" at its end.
std::string_view next_word(std::string_view& line) {
  size_t from = 0;
  while (from < line.size() && is_blank(line[from])) from++;
  size_t end = from;
  while (end < line.size() && !is_blank(line[end])) end++;
  std::string_view word = line.substr(from, end - from);
  line.remove_prefix(end);
  return word;
}

template <class T>
bool whole_number(std::string_view text, T& out) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size();
}

std::string_view read_value(std::string_view word, Point& point) {
  if (word.starts_with('+')) word.remove_prefix(1);
  int64_t integer;
  if (whole_number(word, integer)) {
    point.value = Number::integer(integer);
    return {};
  }
  double number;
  if (!whole_number(word, number)) return bad::kValue;  // out of range, too
  if (!std::isfinite(number)) return bad::kNotFinite;
  point.value = number;
  return {};
}

std::string_view read_time(std::string_view word, Point& point) {
  if (word.empty() || word == "-1" || word == "N") return {};
  int64_t integer;
  double number;
  auto ms = whole_number(word, integer)  ? time_from(integer)
            : whole_number(word, number) ? time_from(number)
                                         : std::nullopt;
  if (!ms) return bad::kTime;
  point.time_ms = *ms;
  return {};
}

std::string_view read_path(std::string_view path, Point& point, Points& out) {
  size_t semicolon = path.find(';');
  point.key = path.substr(0, semicolon);
  if (point.key.empty()) return bad::kNoKey;
  if (point.key.size() > kMaxKey || path.size() > Batch::kMaxText) return bad::kTooLong;
  size_t from = out.pairs.size();
  point.attributes = static_cast<uint32_t>(from);
  while (semicolon != std::string_view::npos) {
    path.remove_prefix(semicolon + 1);
    semicolon = path.find(';');
    std::string_view tag = path.substr(0, semicolon);
    size_t equals = tag.find('=');
    if (equals == std::string_view::npos || equals == 0 || equals + 1 == tag.size()) return bad::kTags;
    out.pairs.push_back({tag.substr(0, equals), tag.substr(equals + 1)});
    if (out.pairs.size() - from > kMaxTags) return bad::kTooManyTags;
  }
  if (!sort_pairs(out.pairs, from)) return bad::kDuplicate;
  point.attribute_count = static_cast<uint32_t>(out.pairs.size() - from);
  return {};
}

std::string_view read_line(std::string_view path, std::string_view rest, Points& out) {
  std::string_view value = next_word(rest), time = next_word(rest);
  if (value.empty() || !next_word(rest).empty()) return bad::kFields;
  Point point;
  std::string_view wrong = read_path(path, point, out);
  if (wrong.empty()) wrong = read_value(value, point);
  if (wrong.empty()) wrong = read_time(time, point);
  if (wrong.empty() && !is_utf8(path)) wrong = bad::kUtf8;
  if (wrong.empty()) out.points.push_back(point);
  return wrong;
}

}  // namespace

void decode_carbon(std::string_view line, Points& out) {
  std::string_view path = next_word(line);
  if (path.empty()) return;
  size_t pairs = out.pairs.size();
  std::string_view wrong = read_line(path, line, out);
  if (wrong.empty()) return;
  out.pairs.resize(pairs);
  out.refused.push_back(wrong);
}

}  // namespace runnel::ffwd
