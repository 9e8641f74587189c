// InfluxDB line protocol, a sample a field with key `measurement.field`:
//
//     measurement[,tag=value…] field=value[,field=value…] [nanoseconds]
//
// Backslash escapes a comma, a space and (in keys and tag values) an equals sign; before anything else it is itself.
// Strings are understood and skipped: a sample is a number.
// https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
#include <deque>
#include <string>

#include "base/text.h"
#include "source/script/formats/format.h"

namespace runnel::script {
namespace {

constexpr Verdict kNoFields{bad::kNoValue, "a line is `measurement,tag=value field=number`"};
constexpr Verdict kNotKeyValue{bad::kSyntax, "a tag or field is not key=value"};

class Cursor {
 public:
  explicit Cursor(std::string_view line) : line_(line) {}
  // Unescaped text up to one of `ends`, which stays.
  std::string until(std::string_view ends) {
    std::string text;
    while (!line_.empty() && ends.find(line_[0]) == std::string_view::npos) {
      if (line_[0] == '\\' && line_.size() > 1 &&
          std::string_view(", =").find(line_[1]) != std::string_view::npos)
        line_.remove_prefix(1);
      text += line_[0];
      line_.remove_prefix(1);
    }
    return text;
  }
  bool take(char c) {
    if (line_.empty() || line_[0] != c) return false;
    line_.remove_prefix(1);
    return true;
  }
  bool skip_string() {  // behind its opening quote
    while (!line_.empty()) {
      char c = line_[0];
      line_.remove_prefix(c == '\\' && line_.size() > 1 ? 2 : 1);
      if (c == '"') return true;
    }
    return false;
  }
  std::string_view rest() const { return line_; }

 private:
  std::string_view line_;
};

// nullopt and no `why`: a good value that is not a number.
Value read_field(std::string_view text) {
  for (std::string_view word : {"t", "T", "true", "True", "TRUE"})
    if (text == word) return {Number::integer(1), {}};
  for (std::string_view word : {"f", "F", "false", "False", "FALSE"})
    if (text == word) return {Number::integer(0), {}};
  if (text.ends_with('i')) {
    if (auto value = parse_int(text.substr(0, text.size() - 1))) return {Number::integer(*value), {}};
    return {std::nullopt, "a number that ends with i is not an integer of 64 bits"};
  }
  if (text.ends_with('u')) {
    auto value = parse_uint(text.substr(0, text.size() - 1));
    if (!value) return {std::nullopt, "a number that ends with u is not an unsigned integer of 64 bits"};
    if (*value <= INT64_MAX) return {Number::integer(static_cast<int64_t>(*value)), {}};
    return {Number(static_cast<double>(*value)), {}};
  }
  return read_number(text);
}

}  // namespace

Verdict read_influx(std::string_view line, Intake& intake) {
  Cursor cursor(trim(line));
  std::string measurement = cursor.until(", ");
  if (Verdict verdict = check_name(measurement); !verdict.good()) return verdict;
  std::deque<std::string> texts;  // a deque: growing moves nothing that a tag points at
  std::vector<Tag> tags;
  while (cursor.take(',')) {
    std::string& key = texts.emplace_back(cursor.until("=, "));
    if (!cursor.take('=')) return kNotKeyValue;
    std::string& value = texts.emplace_back(cursor.until(", "));
    if (has_control(value)) return {bad::kTags, "control characters in the value of a tag"};
    tags.push_back({key, value});
  }
  if (!cursor.take(' ')) return kNoFields;
  while (cursor.take(' ')) {
  }
  struct Field {
    std::string name;
    Number value;
  };
  std::vector<Field> fields;
  do {
    std::string key = cursor.until("=, ");
    if (key.empty() && cursor.rest().empty()) return kNoFields;
    if (key.empty() || !cursor.take('=')) return kNotKeyValue;
    if (cursor.take('"')) {
      if (!cursor.skip_string()) return {bad::kSyntax, "a string without its closing quote"};
      continue;
    }
    Value value = read_field(cursor.until(", "));
    if (!value.number) return {bad::kValue, value.why};
    fields.push_back({measurement + "." + key, *value.number});
    if (Verdict verdict = check_series(fields.back().name, tags); !verdict.good()) return verdict;
  } while (cursor.take(','));
  int64_t time_ms = 0;
  if (!cursor.rest().empty() && cursor.rest()[0] != ' ')
    return {bad::kSyntax, "text behind the value of a field"};
  if (std::string_view stamp = trim(cursor.rest()); !stamp.empty()) {
    auto ns = parse_int(stamp);
    if (!ns) return {bad::kTime, "what follows the fields is not a time in nanoseconds"};
    time_ms = *ns / 1'000'000;
    if (Verdict verdict = check_time(time_ms); !verdict.good()) return verdict;
  }
  for (const Field& field : fields)
    intake.add(field.name, tags.data(), tags.size(), field.value, Kind::gauge, time_ms);
  return {};
}

}  // namespace runnel::script
