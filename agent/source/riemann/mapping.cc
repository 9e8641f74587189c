#include "source/riemann/mapping.h"

#include <algorithm>

namespace runnel::riemann {
namespace {

constexpr size_t kFew = 24;  // tags up to which insertion beats a sort that allocates

uint32_t origin_of(std::string_view host, Batch& batch) {
  if (host.empty()) return 0;
  const Origin& last = batch.origins.back();
  if (last.host == host && last.resource.empty()) return static_cast<uint32_t>(batch.origins.size() - 1);
  return batch.origin({std::string(host), {}});
}

}  // namespace

std::optional<Keep> find_keep(std::string_view name) {
  if (name == "auto") return Keep::automatic;
  if (name == "events") return Keep::events;
  if (name == "metrics") return Keep::metrics;
  return std::nullopt;
}

size_t Mapper::append(const Message& message, Keep keep, Batch& batch) {
  size_t dropped = 0;
  for (const EventView& from : message.events) {
    bool sample = from.has_metric && keep != Keep::events;
    bool says_more = !from.state.empty() || !from.description.empty();
    bool event = keep == Keep::events || (keep == Keep::automatic && (says_more || !from.has_metric));
    if (!sample && !event) {
      dropped++;
      continue;
    }
    uint32_t origin = origin_of(from.host, batch);
    if (sample) append_sample(message, from, origin, batch);
    if (event) append_event(message, from, origin, batch);
  }
  return dropped;
}

// Batch::series takes any order, and sorts at the price of two allocations a series; ours are few.
void Mapper::sort_tags() {
  auto before = [](const Tag& a, const Tag& b) { return a.key < b.key; };
  if (tags_.size() > kFew) {
    std::stable_sort(tags_.begin(), tags_.end(), before);
  } else {
    for (size_t i = 1; i < tags_.size(); i++)
      for (size_t j = i; j > 0 && before(tags_[j], tags_[j - 1]); j--) std::swap(tags_[j], tags_[j - 1]);
  }
  size_t kept = 0;
  for (const Tag& tag : tags_) {
    if (kept > 0 && tags_[kept - 1].key == tag.key) kept--;  // the last of equal keys wins
    tags_[kept++] = tag;
  }
  tags_.resize(kept);
}

void Mapper::append_sample(const Message& message, const EventView& from, uint32_t origin, Batch& batch) {
  tags_.clear();
  for (uint32_t i = 0; i < from.tag_count; i++) tags_.push_back({message.tags[from.tags + i], {}});
  const Tag* attributes = message.attributes.data() + from.attributes;
  tags_.insert(tags_.end(), attributes, attributes + from.attribute_count);
  sort_tags();
  Sample sample;
  sample.series = batch.series(from.service, tags_.data(), tags_.size());
  sample.origin = origin;
  sample.kind = Kind::gauge;
  sample.time_ms = from.time_ms;
  sample.ttl_s = from.ttl_s;
  sample.value = from.metric;
  batch.add(sample);
}

void Mapper::append_event(const Message& message, const EventView& from, uint32_t origin, Batch& batch) {
  const Tag* attributes = message.attributes.data() + from.attributes;
  tags_.assign(attributes, attributes + from.attribute_count);
  sort_tags();
  Event event;
  event.series = batch.series(from.service, tags_.data(), tags_.size());
  event.state = batch.string(from.state);
  event.description = batch.string(from.description);
  texts_.assign(message.tags.begin() + from.tags, message.tags.begin() + from.tags + from.tag_count);
  batch.set_event_tags(event, texts_);
  event.origin = origin;
  event.time_ms = from.time_ms;
  event.ttl_s = from.ttl_s;
  event.has_value = from.has_metric;
  event.value = from.metric;
  batch.add(event);
}

}  // namespace runnel::riemann
