#include "source/ffwd/mapping.h"

#include <algorithm>
#include <utility>

#include "source/ffwd/base64.h"
#include "source/ffwd/digest.h"

namespace runnel::ffwd {
namespace {

constexpr std::string_view kDistribution = "distribution";

bool same(const Tag& tag, const std::pair<std::string, std::string>& pair) {
  return tag.key == pair.first && tag.value == pair.second;
}

}  // namespace

size_t Mapper::append(const Points& points, Batch& batch) {
  size_t unread = 0;
  for (const Point& point : points.points) {
    std::optional<Distribution> distribution;
    if (!point.opaque.empty()) {
      distribution = read_distribution(point);
      unread += distribution ? 0 : 1;
    }
    append_one(points, point, std::move(distribution), batch);
  }
  return unread;
}

// FFWD's model has events with a plain number alone: what else they say stays as it is.
std::optional<Distribution> Mapper::read_distribution(const Point& point) {
  if (point.is_event) return std::nullopt;
  if (!point.opaque_is_base64) return read_digest(point.opaque, percentiles_);
  return read_base64(point.opaque, bytes_) ? read_digest(bytes_, percentiles_) : std::nullopt;
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

void Mapper::append_one(const Points& points, const Point& point, std::optional<Distribution> distribution,
                        Batch& batch) {
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
  if (!point.is_event && (distribution || point.opaque.empty())) {
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
    if (distribution) {
      sample.kind = Kind::distribution;
      sample.distribution = batch.add_distribution(std::move(*distribution));
    } else {
      sample.value = *point.value;
    }
    batch.add(sample);
    return;
  }
  if (!point.opaque.empty()) {
    bytes_.clear();
    if (!point.opaque_is_base64) append_base64(bytes_, point.opaque);
    tags_.push_back({kDistribution, point.opaque_is_base64 ? point.opaque : std::string_view(bytes_)});
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
