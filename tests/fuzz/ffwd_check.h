// What holds of all that FFWD's decoders take: texts are UTF-8 and of bounded length, maps are sorted with each key once,
// numbers are finite, and it becomes records that can be read back.
#pragma once

#include <cmath>
#include <string>
#include <string_view>

#include "base/text.h"
#include "fuzz/check.h"
#include "source/ffwd/json.h"
#include "source/ffwd/mapping.h"

namespace runnel::fuzz {

inline void check_text(std::string_view text) {
  FUZZ_CHECK(text.size() <= Batch::kMaxText);
  FUZZ_CHECK(valid_utf8(text));
}

inline void check_pairs(const ffwd::Points& points, uint32_t first, uint32_t count) {
  FUZZ_CHECK(first + size_t{count} <= points.pairs.size());
  for (uint32_t i = 0; i < count; i++) {
    const Tag& tag = points.pairs[first + i];
    FUZZ_CHECK(!tag.key.empty() && (i == 0 || points.pairs[first + i - 1].key < tag.key));
    check_text(tag.key);
    check_text(tag.value);
  }
}

inline void check_point(const ffwd::Points& points, const ffwd::Point& point) {
  FUZZ_CHECK(!point.key.empty() && point.key.size() <= ffwd::kMaxKey);
  for (std::string_view text : {point.key, point.host, point.proc, point.state, point.description})
    check_text(text);
  FUZZ_CHECK(point.tags + size_t{point.tag_count} <= points.tags.size());
  for (uint32_t i = 0; i < point.tag_count; i++) check_text(points.tags[point.tags + i]);
  check_pairs(points, point.attributes, point.attribute_count);
  check_pairs(points, point.resource, point.resource_count);
  FUZZ_CHECK(point.time_ms >= 0 && point.time_ms <= ffwd::kMaxTimeMs);
  FUZZ_CHECK(std::isfinite(point.ttl_s) && point.ttl_s >= 0);
  FUZZ_CHECK(!point.value || std::isfinite(point.value->as_double()));
  FUZZ_CHECK(point.is_event || point.value.has_value() != !point.opaque.empty());
}

inline void check_points(const ffwd::Points& points) {
  for (const ffwd::Point& point : points.points) check_point(points, point);
  for (std::string_view reason : points.refused) FUZZ_CHECK(!reason.empty());
  Batch batch("ffwd");
  ffwd::Mapper mapper;
  mapper.append(points, batch);
  FUZZ_CHECK(batch.records() == points.points.size());
  for (const Sample& sample : batch.samples) {
    std::string_view last;
    for (Tag tag : batch.view(sample.series)) {
      FUZZ_CHECK(!tag.key.empty() && last < tag.key);
      last = tag.key;
    }
    FUZZ_CHECK(sample.origin < batch.origins.size());
  }
  for (const Event& event : batch.events) {
    FUZZ_CHECK(event.origin < batch.origins.size());
    FUZZ_CHECK(event.tags + size_t{event.tag_count} <= batch.event_tags.size());
  }
}

// A body is taken or refused with a reason, and the decoder takes what comes next.
inline void check_body(ffwd::JsonDecoder& decoder, const std::string& body) {
  ffwd::Points points;
  auto refused = decoder.batch(body, points);
  FUZZ_CHECK(!refused || (points.received() == 0 && !refused->reason.empty() && refused->points > 0));
  if (refused) check_text(refused->message);
  check_points(points);
  decoder.line(R"({"type":"metric","key":"k","value":1})", points);
  FUZZ_CHECK(points.points.size() == 1 && points.pairs.empty());
}

}  // namespace runnel::fuzz
