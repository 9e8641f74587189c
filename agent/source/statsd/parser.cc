#include "source/statsd/parser.h"

#include <cstring>

#include "base/text.h"

namespace runnel::statsd {
namespace {

// Plain integers of up to 18 digits by hand: they are nearly all values, and from_chars costs four times as much.
bool parse_number(std::string_view text, Number& number) {
  const char* p = text.data();
  const char* end = p + text.size();
  bool negative = false;
  if (p < end && (*p == '-' || *p == '+')) negative = *p++ == '-';
  if (p < end && end - p <= 18) {
    int64_t value = 0;
    const char* digit = p;
    for (; digit < end; digit++) {
      unsigned d = static_cast<unsigned char>(*digit) - unsigned{'0'};
      if (d > 9) break;
      value = value * 10 + d;
    }
    if (digit == end) {
      number = Number::integer(negative ? -value : value);
      return true;
    }
  }
  std::string_view unsigned_plus = text.size() > 1 && text[0] == '+' ? text.substr(1) : text;
  if (auto whole = parse_int(unsigned_plus)) {
    number = Number::integer(*whole);
    return true;
  }
  auto value = parse_double(text);
  if (!value) return false;
  number = Number(*value);
  return true;
}

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

bool Parser::refuse(std::string_view reason) {
  reason_ = reason;
  return false;
}

bool Parser::parse(std::string_view line) {
  sections_.clear();
  values_.clear();
  tags_ = {};
  const char* colon = static_cast<const char*>(std::memchr(line.data(), ':', line.size()));
  if (colon == nullptr) return refuse(line.empty() ? bad::kNoName : bad::kNoValue);
  name_ = line.substr(0, static_cast<size_t>(colon - line.data()));
  if (name_.empty()) return refuse(bad::kNoName);
  if (name_[0] == '_' && (name_.starts_with("_e{") || name_.starts_with("_sc|")))
    return refuse(bad::kUnsupported);
  if (name_.find('|') != std::string_view::npos) return refuse(bad::kName);
  if (name_.size() > kMaxKey) return refuse(bad::kTooLong);
  if (!parse_sections(line.substr(name_.size() + 1))) return false;
  if (name_.size() + tags_.size() > kMaxKey) return refuse(bad::kTooLong);
  return true;
}

bool Parser::parse_sections(std::string_view rest) {
  bool have_tags = false;
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
      if (rest.starts_with('@')) {
        size_t end = std::min(rest.find_first_of("|:"), rest.size());
        auto rate = parse_double(rest.substr(1, end - 1));
        if (!rate || *rate <= 0 || *rate > 1) return refuse(bad::kRate);
        section.rate = *rate;
        rest.remove_prefix(end);
        continue;
      }
      size_t end = std::min(rest.find('|'), rest.size());
      if (rest.starts_with('#')) {
        if (have_tags) return refuse(bad::kTags);
        have_tags = true;
        tags_ = rest.substr(1, end - 1);
      }
      rest.remove_prefix(end);  // other fields are for later versions of the protocol
    }
    if (!parse_values(values, section)) return false;
    sections_.push_back(section);
    if (rest.empty()) return true;
    rest.remove_prefix(1);  // ':'
  }
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
      if (!parse_number(word, value.number)) return refuse(bad::kValue);
      value.relative = section.type == Type::gauge && (word[0] == '+' || word[0] == '-');
      values_.push_back(value);
    }
    if (colon == std::string_view::npos) break;
    text.remove_prefix(colon + 1);
  }
  section.count = static_cast<uint32_t>(values_.size()) - section.first;
  return section.count > 0 || refuse(bad::kNoValue);
}

std::string_view check_key(std::string_view name, std::string_view tags) {
  if (has_control(name)) return bad::kName;
  if (has_control(tags)) return bad::kTags;
  if (!valid_utf8(name) || !valid_utf8(tags)) return bad::kUtf8;
  while (!tags.empty()) {
    if (tags[0] == ':') return bad::kTags;  // a value without a key
    size_t comma = tags.find(',');
    if (comma == std::string_view::npos) break;
    tags.remove_prefix(comma + 1);
  }
  return {};
}

}  // namespace runnel::statsd
