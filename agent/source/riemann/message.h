// A Riemann Msg as it was decoded: views into the bytes it came from, valid as long as those. Plain data, any thread; made
// to be used again for the next one, so that decoding allocates only while it grows.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "metric/batch.h"

namespace runnel::riemann {

// Why an event is refused while its neighbours live. The text is the reason that is counted and told.
enum class Refusal : uint8_t {
  no_service,     // or an empty one: nothing to call it by
  bad_utf8,       // in any text
  bad_metric,     // NaN or infinite
  bad_time,       // after the year 9999, or as long before 1970
  bad_ttl,        // NaN, infinite or negative
  empty_key,      // of an attribute
  too_long,       // a service beyond kMaxService, another text beyond Batch::kMaxText
  too_many_tags,  // tags and attributes together beyond kMaxTags
};
inline constexpr size_t kRefusals = 8;
inline constexpr std::array<std::string_view, kRefusals> kRefusalNames{
    "no_service", "bad_utf8", "bad_metric", "bad_time", "bad_ttl", "empty_key", "too_long", "too_many_tags"};

inline constexpr size_t kMaxService = 4096;  // bytes, as names and tags of StatsD lines
inline constexpr size_t kMaxTags = 1000;
// A Msg that has more is refused: the shortest event is 5 bytes on the wire and some 200 in a batch.
inline constexpr size_t kMaxEvents = 65'536;

struct EventView {
  std::string_view service, host, state, description;  // empty: absent, which Riemann does not tell apart
  bool has_metric = false;
  Number metric;
  int64_t time_ms = 0;               // 0: none
  float ttl_s = 0;                   // 0: none
  uint32_t tags = 0, tag_count = 0;  // in Message::tags
  uint32_t attributes = 0, attribute_count = 0;
};

struct Message {
  std::vector<EventView> events;  // the good ones, in their order; legacy states are events
  std::vector<std::string_view> tags;
  std::vector<Tag> attributes;
  std::array<uint32_t, kRefusals> refused{};  // events, by Refusal
  uint32_t received = 0;                      // events and states, good and refused
  bool has_query = false;

  void clear() {
    events.clear();
    tags.clear();
    attributes.clear();
    refused.fill(0);
    received = 0;
    has_query = false;
  }
};

}  // namespace runnel::riemann
