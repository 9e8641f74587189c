// Parser of one StatsD line: Etsy's and DogStatsD's grammar (docs/statsd.md). Pure: bytes in, views of them out, no
// allocation once its scratch has grown. One thread an instance. A line is taken whole or refused whole.
//
//     name:value[:value…]|type[|@rate][|#tag:value,bare…][|T<unix s>][|c:…][|e:…][|unknown field…][:value…|type…]
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "metric/batch.h"

namespace runnel::statsd {

enum class Type : uint8_t { counter, gauge, timer, set };

struct Value {
  Number number;
  std::string_view text;  // of a set: the member
  bool relative = false;  // of a gauge: written with a sign
};

// Values that share a type and a rate: `1:2|c|@0.5`. Most lines are one section of one value.
struct Section {
  Type type = Type::counter;
  bool milliseconds = false;      // `ms`
  double rate = 1;                // in (0, 1]
  uint32_t first = 0, count = 0;  // in Parser::values()
};

// Why a line was refused: the value of the tag `reason`.
namespace bad {
inline constexpr std::string_view kNoValue = "no_value";  // no ':' or nothing behind it
inline constexpr std::string_view kNoName = "no_name";
inline constexpr std::string_view kNoType = "no_type";
inline constexpr std::string_view kType = "unknown_type";
inline constexpr std::string_view kValue = "bad_value";  // not a finite number
inline constexpr std::string_view kRate = "bad_rate";    // not in (0, 1]
inline constexpr std::string_view kName = "bad_name";    // control bytes, or '|' before the ':'
inline constexpr std::string_view kTags = "bad_tags";    // control bytes, empty key, two sets of tags
inline constexpr std::string_view kUtf8 = "bad_utf8";
inline constexpr std::string_view kTooLong = "too_long";         // name and tags beyond kMaxKey
inline constexpr std::string_view kTimestamp = "bad_timestamp";  // `|T` or `|d:` is not a positive unix time
inline constexpr std::string_view kEvent = "bad_event";  // lengths, status or fields of an event do not fit
inline constexpr std::string_view kUnterminated = "unterminated";  // a stream ended within a line or frame
inline constexpr std::string_view kFrame = "bad_frame";            // a frame's length is out of bounds
}  // namespace bad

class Parser {
 public:
  // Bytes of name and tags together; with the origin fields where they are tags (series_key.h).
  static constexpr size_t kMaxKey = 4096;

  // True: the members below describe the line, as views into it. False: reason() says why not. `line` has no '\n'; a
  // '\r' at its end is the caller's to strip. Name and tags are not yet checked for UTF-8 and control bytes: that is done
  // once a series, by make_series_key() (series_key.h).
  bool parse(std::string_view line);

  std::string_view name() const { return name_; }
  std::string_view tags() const { return tags_; }            // behind "|#", raw
  std::string_view container() const { return container_; }  // behind "|c:"
  std::string_view external() const { return external_; }    // behind "|e:"
  int64_t time_ms() const { return time_ms_; }               // `|T`, 0: none
  const std::vector<Section>& sections() const { return sections_; }
  const Value* values() const { return values_.data(); }
  std::string_view reason() const { return reason_; }

 private:
  bool refuse(std::string_view reason);
  bool parse_sections(std::string_view rest);
  bool parse_values(std::string_view text, Section& section);

  bool parse_field(std::string_view& rest, Section& section);

  std::string_view name_, tags_, container_, external_, reason_;
  bool have_tags_ = false;
  int64_t time_ms_ = 0;
  std::vector<Section> sections_;
  std::vector<Value> values_;
};

// `|T` and an event's `d:`: whole seconds since 1970, up to the year 9999; 0 where the text is none.
int64_t parse_unix_seconds_ms(std::string_view text);

}  // namespace runnel::statsd
