#include "metric/batch.h"

#include <algorithm>
#include <cstring>

namespace runnel {
namespace {

void append_u16(std::string& out, size_t value) {
  uint16_t n = static_cast<uint16_t>(std::min(value, Batch::kMaxText));
  char bytes[2];
  std::memcpy(bytes, &n, 2);
  out.append(bytes, 2);
}

uint16_t load_u16(const char* at) {
  uint16_t n;
  std::memcpy(&n, at, 2);
  return n;
}

std::string_view cut(std::string_view text) {
  return text.substr(0, Batch::kMaxText);
}

}  // namespace

std::string_view kind_name(Kind kind) {
  constexpr std::string_view kNames[] = {"counter", "total", "gauge", "distribution", "set"};
  return kNames[static_cast<size_t>(kind)];
}

uint16_t SeriesView::u16(size_t at) const {
  return load_u16(bytes_ + at);
}

Tag SeriesView::Iterator::operator*() const {
  uint16_t key = load_u16(at_), value = load_u16(at_ + 2);
  return {{at_ + 4, key}, {at_ + 4 + key, value}};
}

SeriesView::Iterator& SeriesView::Iterator::operator++() {
  at_ += 4 + load_u16(at_) + load_u16(at_ + 2);
  left_--;
  return *this;
}

std::string_view SeriesView::find(std::string_view key, bool* found) const {
  if (found) *found = true;
  for (Tag tag : *this)
    if (tag.key == key) return tag.value;
  if (found) *found = false;
  return {};
}

size_t SeriesView::byte_size() const {
  size_t size = 4 + name().size();
  for (Tag tag : *this) size += 4 + tag.key.size() + tag.value.size();
  return size;
}

SeriesRef Batch::series(std::string_view name, std::initializer_list<Tag> tags) {
  return series(name, tags.begin(), tags.size());
}

void append_series_bytes(std::string& out, std::string_view name, const Tag* tags, size_t count) {
  bool sorted = true;
  for (size_t i = 1; i < count && sorted; i++) sorted = tags[i - 1].key < tags[i].key;
  std::vector<Tag> copy;
  if (!sorted) {
    copy.assign(tags, tags + count);
    std::stable_sort(copy.begin(), copy.end(), [](const Tag& a, const Tag& b) { return a.key < b.key; });
    size_t kept = 0;
    for (size_t i = 0; i < copy.size(); i++) {
      if (kept > 0 && copy[kept - 1].key == copy[i].key) kept--;  // the last of equal keys wins
      copy[kept++] = copy[i];
    }
    tags = copy.data();
    count = kept;
  }
  name = cut(name);
  append_u16(out, name.size());
  append_u16(out, count);
  out.append(name);
  for (size_t i = 0; i < std::min(count, Batch::kMaxText); i++) {
    std::string_view key = cut(tags[i].key), value = cut(tags[i].value);
    append_u16(out, key.size());
    append_u16(out, value.size());
    out.append(key).append(value);
  }
}

SeriesRef Batch::series(std::string_view name, const Tag* tags, size_t count) {
  SeriesRef ref{static_cast<uint32_t>(arena_.size())};
  append_series_bytes(arena_, name, tags, count);
  return ref;
}

SeriesRef Batch::series_bytes(std::string_view bytes) {
  SeriesRef ref{static_cast<uint32_t>(arena_.size())};
  arena_.append(bytes);
  return ref;
}

StringRef Batch::string(std::string_view text) {
  if (text.empty()) return {};
  if (view(last_string_) == text) return last_string_;
  last_string_ = {static_cast<uint32_t>(arena_.size()), static_cast<uint32_t>(text.size())};
  arena_.append(text);
  return last_string_;
}

uint32_t Batch::origin(Origin origin) {
  if (origins.back() == origin) return static_cast<uint32_t>(origins.size() - 1);
  if (origins.front() == origin) return 0;
  origins.push_back(std::move(origin));
  return static_cast<uint32_t>(origins.size() - 1);
}

uint32_t Batch::add_distribution(Distribution d) {
  distributions.push_back(std::move(d));
  return static_cast<uint32_t>(distributions.size() - 1);
}

void Batch::set_event_tags(Event& event, const std::vector<std::string_view>& tags) {
  event.tags = static_cast<uint32_t>(event_tags.size());
  event.tag_count = static_cast<uint32_t>(tags.size());
  for (std::string_view tag : tags) event_tags.push_back(string(tag));
}

void Batch::copy_record(const Batch& from, size_t record) {
  if (record < from.samples.size()) {
    Sample sample = from.samples[record];
    sample.series = series_bytes(from.view(sample.series).bytes());
    sample.unit = string(from.view(sample.unit));
    sample.origin = origin(from.origins[sample.origin]);
    if (sample.kind == Kind::distribution)
      sample.distribution = add_distribution(from.distributions[sample.distribution]);
    add(sample);
    return;
  }
  Event event = from.events[record - from.samples.size()];
  std::vector<std::string_view> tags;
  for (uint32_t i = 0; i < event.tag_count; i++) tags.push_back(from.view(from.event_tags[event.tags + i]));
  event.series = series_bytes(from.view(event.series).bytes());
  event.state = string(from.view(event.state));
  event.description = string(from.view(event.description));
  event.origin = origin(from.origins[event.origin]);
  set_event_tags(event, tags);
  add(event);
}

size_t Batch::bytes() const {
  return sizeof *this + arena_.capacity() + samples.capacity() * sizeof(Sample) +
         events.capacity() * sizeof(Event) + origins.size() * sizeof(Origin) +
         event_tags.capacity() * sizeof(StringRef) +
         distributions.size() * (sizeof(Distribution) + 4 * sizeof(std::pair<double, double>));
}

}  // namespace runnel
