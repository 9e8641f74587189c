#include "source/statsd/parser.h"

#include <algorithm>
#include <cstring>

#include "base/text.h"
#include "source/statsd/number.h"

namespace runnel::statsd {
namespace {

bool parse_type(std::string_view word, Section& section) {
  section.milliseconds = false;
  if (word.size() == 1) {
    switch (word[0]) {
      case 'c':
      case 'm':
        section.type = Type::counter;
        return true;
      case 'g':
        section.type = Type::gauge;
        return true;
      case 'h':
      case 'd':
        section.type = Type::timer;
        return true;
      case 's':
        section.type = Type::set;
        return true;
      default:
        return false;
    }
  }
  if (word == "ms") {
    section.type = Type::timer;
    section.milliseconds = true;
    return true;
  }
  return false;
}

}  // namespace

int64_t parse_unix_seconds_ms(std::string_view text) {
  constexpr int64_t kLatest = 253'402'300'799;  // 9999-12-31T23:59:59Z
  auto seconds = parse_int(text);
  return seconds && *seconds > 0 && *seconds <= kLatest ? *seconds * 1000 : 0;
}

bool Parser::refuse(std::string_view reason) {
  reason_ = reason;
  return false;
}

bool Parser::parse(std::string_view line) {
  sections_.clear();
  values_.clear();
  tags_ = container_ = external_ = {};
  have_tags_ = false;
  time_ms_ = 0;
  const char* colon = static_cast<const char*>(std::memchr(line.data(), ':', line.size()));
  if (colon == nullptr) return refuse(line.empty() ? bad::kNoName : bad::kNoValue);
  name_ = line.substr(0, static_cast<size_t>(colon - line.data()));
  if (name_.empty()) return refuse(bad::kNoName);
  if (name_.find('|') != std::string_view::npos) return refuse(bad::kName);
  if (name_.size() > kMaxKey) return refuse(bad::kTooLong);
  if (!parse_sections(line.substr(name_.size() + 1))) return false;
  return name_.size() + tags_.size() <= kMaxKey || refuse(bad::kTooLong);
}

bool Parser::parse_sections(std::string_view rest) {
  for (;;) {
    // Values up to '|'. A set's member may hold ':'.
    size_t bar = rest.find('|');
    if (bar == std::string_view::npos) return refuse(rest.empty() ? bad::kNoValue : bad::kNoType);
    std::string_view values = rest.substr(0, bar);
    rest.remove_prefix(bar + 1);

    Section section;
    size_t type_end = rest.find_first_of("|:");
    std::string_view word = rest.substr(0, type_end);
    if (word.empty()) return refuse(bad::kNoType);
    if (!parse_type(word, section)) return refuse(bad::kType);
    rest.remove_prefix(word.size());

    // Fields, until the line ends or a ':' in a place where a field has no business with one opens the next section.
    while (!rest.empty() && rest[0] == '|') {
      rest.remove_prefix(1);
      if (!parse_field(rest, section)) return false;
    }
    if (!parse_values(values, section)) return false;
    sections_.push_back(section);
    if (rest.empty()) return true;
    rest.remove_prefix(1);  // ':'
  }
}

// One field behind the type, taken off `rest`; fields that are not known are for later versions of the protocol.
bool Parser::parse_field(std::string_view& rest, Section& section) {
  char first = rest.empty() ? '\0' : rest[0];
  bool short_form = first == '@' || (first == 'T' && rest.size() > 1 && rest[1] >= '0' && rest[1] <= '9');
  size_t end = std::min(short_form ? rest.find_first_of("|:") : rest.find('|'), rest.size());
  std::string_view field = rest.substr(0, end);
  rest.remove_prefix(end);
  if (first == '@') {
    auto rate = parse_double(field.substr(1));
    if (!rate || *rate <= 0 || *rate > 1) return refuse(bad::kRate);
    section.rate = *rate;
  } else if (first == '#') {
    if (have_tags_) return refuse(bad::kTags);
    have_tags_ = true;
    tags_ = field.substr(1);
  } else if (first == 'T') {
    int64_t time = parse_unix_seconds_ms(field.substr(1));
    if (time == 0 || time_ms_ != 0) return refuse(bad::kTimestamp);
    time_ms_ = time;
  } else if (field.starts_with("c:")) {
    container_ = field.substr(2);
  } else if (field.starts_with("e:")) {
    external_ = field.substr(2);
  }
  return true;
}

bool Parser::parse_values(std::string_view text, Section& section) {
  section.first = static_cast<uint32_t>(values_.size());
  if (section.type == Type::set) {
    if (text.empty()) return refuse(bad::kNoValue);
    values_.push_back({{}, text, false});
    section.count = 1;
    return true;
  }
  for (;;) {
    size_t colon = text.find(':');
    std::string_view word = text.substr(0, colon);
    if (!word.empty()) {  // DogStatsD skips empty values among others
      Value value;
      if (!read_number(word, value.number)) return refuse(bad::kValue);
      value.relative = section.type == Type::gauge && (word[0] == '+' || word[0] == '-');
      values_.push_back(value);
    }
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
  }
  section.count = static_cast<uint32_t>(values_.size()) - section.first;
  return section.count > 0 || refuse(bad::kNoValue);
}

}  // namespace runnel::statsd
