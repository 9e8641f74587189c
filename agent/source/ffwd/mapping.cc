#include "source/ffwd/mapping.h"

#include <algorithm>

namespace runnel::ffwd {
namespace {

constexpr std::string_view kDistribution = "distribution";

// RFC 4648, 4.
void append_base64(std::string& out, std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 3; j++)
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; j++) out += j <= count ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
}

bool same(const Tag& tag, const std::pair<std::string, std::string>& pair) {
  return tag.key == pair.first && tag.value == pair.second;
}

}  // namespace

void Mapper::append(const Points& points, Batch& batch) {
  for (const Point& point : points.points) append_one(points, point, batch);
}

uint32_t Mapper::origin_of(const Points& points, const Point& point, std::string_view host, Batch& batch) {
  if (host.empty() && point.proc.empty() && point.resource_count == 0) return 0;
  const Tag* resource = points.pairs.data() + point.resource;
  const Tag* end = resource + point.resource_count;
  bool has_proc = std::any_of(resource, end, [](const Tag& tag) { return tag.key == "proc"; });
  bool add_proc = !point.proc.empty() && !has_proc;
  const Origin& last = batch.origins.back();
  if (!add_proc && last.host == host && last.resource.size() == point.resource_count &&
      std::equal(resource, end, last.resource.begin(), same))
    return static_cast<uint32_t>(batch.origins.size() - 1);
  Origin origin{std::string(host), {}};
  origin.resource.reserve(point.resource_count + 1);
  for (const Tag* tag = resource; tag != end; tag++) origin.resource.emplace_back(tag->key, tag->value);
  if (add_proc) {
    origin.resource.emplace_back("proc", point.proc);
    std::sort(origin.resource.begin(), origin.resource.end());
  }
  return batch.origin(std::move(origin));
}

void Mapper::append_one(const Points& points, const Point& point, Batch& batch) {
  const Tag* attributes = points.pairs.data() + point.attributes;
  tags_.assign(attributes, attributes + point.attribute_count);
  std::string_view host = point.host;
  if (host.empty()) {
    auto named = std::find_if(tags_.begin(), tags_.end(), [](const Tag& tag) { return tag.key == "host"; });
    if (named != tags_.end()) {
      host = named->value;
      tags_.erase(named);
    }
  }
  uint32_t origin = origin_of(points, point, host, batch);
  const std::string_view* bare = points.tags.data() + point.tags;
  if (!point.is_event && point.opaque.empty()) {
    if (point.tag_count > 0) {
      // The last of equal keys is kept: an attribute before a bare tag.
      tags_.insert(tags_.begin(), point.tag_count, Tag{});
      for (uint32_t i = 0; i < point.tag_count; i++) tags_[i] = {bare[i], {}};
      sort_pairs(tags_, 0);
    }
    Sample sample;
    sample.series = batch.series(point.key, tags_.data(), tags_.size());
    sample.origin = origin;
    sample.kind = Kind::gauge;
    sample.time_ms = point.time_ms;
    sample.ttl_s = point.ttl_s;
    sample.value = *point.value;
    batch.add(sample);
    return;
  }
  if (!point.opaque.empty()) {
    base64_.clear();
    if (!point.opaque_is_base64) append_base64(base64_, point.opaque);
    tags_.push_back({kDistribution, point.opaque_is_base64 ? point.opaque : std::string_view(base64_)});
    sort_pairs(tags_, 0);
  }
  Event event;
  event.series = batch.series(point.key, tags_.data(), tags_.size());
  event.state = batch.string(point.state);
  event.description = batch.string(point.description);
  texts_.assign(bare, bare + point.tag_count);
  batch.set_event_tags(event, texts_);
  event.origin = origin;
  event.time_ms = point.time_ms;
  event.ttl_s = point.ttl_s;
  event.has_value = point.value.has_value();
  if (point.value) event.value = *point.value;
  batch.add(event);
}

}  // namespace runnel::ffwd
