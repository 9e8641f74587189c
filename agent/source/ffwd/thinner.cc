#include "source/ffwd/thinner.h"

#include <algorithm>

#include "base/text.h"

namespace runnel::ffwd {
namespace {

constexpr int64_t kFar = 3'600'000;  // ms: more than min_interval may be

// Two series of one hash are one in 2^64: they would thin each other.
uint64_t series_hash(const Points& points, const Point& point) {
  uint64_t hash = hash_bytes(point.key);
  auto mix = [&](std::string_view text) { hash = (hash ^ hash_bytes(text)) * 0x9E3779B97F4A7C15U; };
  mix(point.host);
  for (uint32_t i = 0; i < point.attribute_count; i++) {
    mix(points.pairs[point.attributes + i].key);
    mix(points.pairs[point.attributes + i].value);
  }
  for (uint32_t i = 0; i < point.tag_count; i++) mix(points.tags[point.tags + i]);
  return hash;
}

}  // namespace

void Thinner::configure(int64_t min_interval_ms) {
  min_interval_ms_ = min_interval_ms;
  if (min_interval_ms == 0) last_ms_ = {};
}

size_t Thinner::thin(Points& points, int64_t now_ms) {
  if (min_interval_ms_ == 0) return 0;
  return std::erase_if(points.points, [&](const Point& point) {
    if (point.is_event) return false;
    if (last_ms_.size() >= kMaxSeries) last_ms_.clear();
    int64_t time_ms = point.time_ms != 0 ? point.time_ms : now_ms;
    auto [last, is_new] = last_ms_.try_emplace(series_hash(points, point), time_ms);
    if (is_new) return false;
    int64_t apart = std::abs(time_ms - last->second);
    if (apart < min_interval_ms_) return true;
    // A point that comes late does not bring the others back; one that is far away would keep them out of reach.
    last->second = apart > kFar ? time_ms : std::max(last->second, time_ms);
    return false;
  });
}

}  // namespace runnel::ffwd
