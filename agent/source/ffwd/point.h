// Metrics and events as FFWD's protocols bring them, decoded: views into the bytes they came from (or into the decoder that
// unescaped them), valid until those go or the decoder decodes again. Plain data, any thread; made to be used again, so that
// decoding allocates only while it grows. What is valid here becomes records by mapping.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "metric/batch.h"

namespace runnel::ffwd {

inline constexpr size_t kMaxKey = 4096;  // bytes, as names of StatsD lines
inline constexpr size_t kMaxTags = 1000;
// In one datagram, line or body: the shortest point is some 10 bytes on the wire and 200 in a batch.
inline constexpr size_t kMaxPoints = 65'536;
// Of the points of one body, about: what they take in a batch. Common tags stand once in a body and in each of its points: 1.5 MB
// of a hostile one would be 3 GB. The journal takes batches of up to 64 MiB (Batch::bytes(), capacities that double), and the
// agent's own tags come to it.
inline constexpr size_t kMaxBodyBytes = 16 << 20;
// Of a distribution that cannot be read: as base64 it is an attribute.
inline constexpr size_t kMaxOpaque = Batch::kMaxText / 4 * 3;
inline constexpr int64_t kMaxTimeMs = 253'402'300'799'999;  // the end of the year 9999

// Why something is refused: what is counted and told.
namespace bad {
inline constexpr std::string_view kSyntax = "bad_json";  // or cut off
inline constexpr std::string_view kDeep = "too_deep";    // nested deeper than anything that means something
inline constexpr std::string_view kType = "bad_type";    // neither a metric nor an event
inline constexpr std::string_view kDuplicate = "duplicate_key";  // a member or tag that is there twice
inline constexpr std::string_view kNoKey = "no_key";
inline constexpr std::string_view kNoValue = "no_value";      // a metric without one, or null
inline constexpr std::string_view kValue = "bad_value";       // not a number
inline constexpr std::string_view kNotFinite = "not_finite";  // NaN or infinite, which FFWD made null
inline constexpr std::string_view kTime = "bad_time";         // before 1970, after 9999, or no number
inline constexpr std::string_view kTtl = "bad_ttl";
inline constexpr std::string_view kTags = "bad_tags";      // no list, no map, or an empty key
inline constexpr std::string_view kMember = "bad_member";  // a text that is none
inline constexpr std::string_view kUtf8 = "bad_utf8";
inline constexpr std::string_view kTooLong = "too_long";
inline constexpr std::string_view kTooManyTags = "too_many_tags";
inline constexpr std::string_view kTooMany = "too_many_points";
inline constexpr std::string_view kTooMuch = "too_much";     // kMaxBodyBytes
inline constexpr std::string_view kVersion = "bad_version";  // of a protobuf frame
inline constexpr std::string_view kLength =
    "bad_length";  // a frame that lies about its length, or is cut off
inline constexpr std::string_view kMessage = "bad_message";  // no protobuf
inline constexpr std::string_view kWireType = "wrong_type";  // a known field with another wire type
inline constexpr std::string_view kFields = "bad_fields";    // a line of carbon has not three
}  // namespace bad

// Seconds, some 30 years: what is said to live longer lives for so long.
inline constexpr double kMaxTtl = 1e9;

struct Point {
  bool is_event = false;
  std::string_view key, host, proc, state, description;  // empty: absent
  std::optional<Number> value;
  std::string_view opaque;  // a distribution in its sender's own form; then there is no value
  bool opaque_is_base64 = false;
  int64_t time_ms = 0;  // 0: none
  float ttl_s = 0;      // 0: none; at most kMaxTtl
  // In Points: bare tags; attributes and resource sorted by key, each key once.
  uint32_t tags = 0, tag_count = 0;
  uint32_t attributes = 0, attribute_count = 0;
  uint32_t resource = 0, resource_count = 0;
};

struct Points {
  std::vector<Point> points;  // the good ones, in their order
  std::vector<std::string_view> tags;
  std::vector<Tag> pairs;                 // attributes and resources
  std::vector<std::string_view> refused;  // a reason a point (or frame) that is not taken

  void clear() {
    points.clear();
    tags.clear();
    pairs.clear();
    refused.clear();
  }
  size_t received() const { return points.size() + refused.size(); }
};

// FFWD in Ruby said seconds, FFWD in Java milliseconds. The line is 10^11: as seconds the year 5138, as milliseconds March
// 1973. Nothing: out of range. 0 stays 0, which is no time.
std::optional<int64_t> time_from(int64_t number);
std::optional<int64_t> time_from(double number);

// Sorts by key; where a key is there twice the last one is kept. True: none was.
bool sort_pairs(std::vector<Tag>& pairs, size_t from);

}  // namespace runnel::ffwd
