#include "source/script/formats/format.h"

#include <string>

#include "base/text.h"

namespace runnel::script {
namespace {

// A reader for formats whose lines know nothing of each other.
class PlainReader final : public Reader {
 public:
  explicit PlainReader(Verdict (*read)(std::string_view, Intake&)) : read_(read) {}
  void line(std::string_view line, Intake& intake) override {
    intake.received();
    intake.judged(line, read_(line, intake));
  }

 private:
  Verdict (*read_)(std::string_view, Intake&);
};

bool looks_like_json(std::string_view line) {
  if (line.empty() || (line[0] != '{' && line[0] != '[')) return false;
  std::string_view rest = trim(line.substr(1));
  // Not "[INFO] starting", which programs like to print first.
  return rest.empty() || rest[0] == '"' || rest[0] == '{' || rest[0] == '[' || rest[0] == '}' ||
         rest[0] == ']';
}

struct Guess {
  std::optional<Format> format;
  bool certain = false;
};

Guess guess(std::string_view line) {
  if (line.starts_with("# TYPE ") || line.starts_with("# HELP ")) return {Format::prometheus, true};
  if (line.starts_with('#')) return {};
  if (looks_like_json(trim(line))) return {Format::json, true};
  if (read_statsd(line).good()) return {Format::statsd, true};
  SourceCounts counts;
  Intake scratch(
      "", 0, 0, counts, [](Batch&&) {}, false);
  bool simple = read_simple(line, scratch).good();
  make_prometheus_reader()->line(line, scratch);
  bool prometheus = counts.accepted > 0;
  // `name 42` is the same in both: lines that follow may show which one it is.
  if (simple) return {Format::simple, !prometheus};
  if (prometheus) return {Format::prometheus, true};
  if (read_influx(line, scratch).good()) return {Format::influx, true};
  return {};
}

}  // namespace

std::string_view format_name(Format format) {
  constexpr std::string_view kNames[] = {"simple", "statsd", "influx", "prometheus", "json"};
  return kNames[static_cast<size_t>(format)];
}

std::optional<Format> format_of(std::string_view name) {
  for (Format format : kFormats)
    if (format_name(format) == name) return format;
  return std::nullopt;
}

std::unique_ptr<Reader> make_reader(Format format) {
  switch (format) {
    case Format::statsd:
      return make_statsd_reader();
    case Format::influx:
      return std::make_unique<PlainReader>(read_influx);
    case Format::prometheus:
      return make_prometheus_reader();
    case Format::json:
      return make_json_reader();
    case Format::simple:
      break;
  }
  return std::make_unique<PlainReader>(read_simple);
}

std::optional<Format> detect(const std::vector<std::string>& lines, bool last) {
  std::optional<Format> likely;
  for (const std::string& line : lines) {
    Guess g = guess(line);
    if (g.certain) return g.format;
    if (!likely) likely = g.format;
  }
  if (!last) return std::nullopt;
  return likely.value_or(Format::simple);
}

Value read_number(std::string_view text) {
  std::string_view digits = text;
  if (digits.size() > 1 && digits[0] == '+' && digits[1] != '-') digits.remove_prefix(1);
  if (auto integer = parse_int(digits)) return {Number::integer(*integer), {}};
  if (auto number = parse_double(text)) return {Number(*number), {}};
  return {std::nullopt, "the value is not a finite number"};
}

Verdict check_name(std::string_view name) {
  if (name.empty()) return {bad::kNoName, "there is no name"};
  if (name.size() > kMaxSeries) return {bad::kTooLong, "the name is longer than 4096 bytes"};
  if (has_control(name)) return {bad::kName, "control characters in the name"};
  if (!valid_utf8(name)) return {bad::kUtf8, "the name is not UTF-8"};
  return {};
}

Verdict check_series(std::string_view name, const std::vector<Tag>& tags, size_t limit) {
  Verdict verdict = check_name(name);
  size_t size = name.size();
  if (tags.size() > 1000) return {bad::kTooLong, "more than 1000 tags"};
  for (const Tag& tag : tags) {
    if (!verdict.good()) break;
    size += tag.key.size() + tag.value.size();
    if (tag.key.empty()) verdict = {bad::kTags, "a tag without a name"};
    if (has_control(tag.key)) verdict = {bad::kTags, "control characters in the name of a tag"};
    if (!valid_utf8(tag.key) || !valid_utf8(tag.value)) verdict = {bad::kUtf8, "a tag is not UTF-8"};
    if (size > limit) verdict = {bad::kTooLong, "name and tags are too long"};
  }
  return verdict;
}

Verdict check_time(int64_t time_ms) {
  constexpr int64_t kYear2000 = 946'684'800'000, kYear3000 = 32'503'680'000'000;
  if (time_ms < kYear2000 || time_ms > kYear3000)
    return {bad::kTime, "the time is not between the years 2000 and 3000 (is its unit right?)"};
  return {};
}

}  // namespace runnel::script
