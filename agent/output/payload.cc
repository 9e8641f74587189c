#include "output/payload.h"

#include <fmt/format.h>

#include <algorithm>

namespace runnel {
namespace {

runnel_str str(std::string_view text) {
  return {text.data(), text.size()};
}

runnel_kind abi_kind(Kind kind) {
  return static_cast<runnel_kind>(static_cast<int>(kind) + 1);
}
static_assert(static_cast<int>(Kind::counter) + 1 == RUNNEL_KIND_COUNTER);
static_assert(static_cast<int>(Kind::total) + 1 == RUNNEL_KIND_TOTAL);
static_assert(static_cast<int>(Kind::gauge) + 1 == RUNNEL_KIND_GAUGE);
static_assert(static_cast<int>(Kind::distribution) + 1 == RUNNEL_KIND_DISTRIBUTION);
static_assert(static_cast<int>(Kind::set) + 1 == RUNNEL_KIND_SET);

}  // namespace

uint64_t Selection::records() const {
  uint64_t n = 0;
  for (const Portion& portion : portions) n += portion.entry.records();
  return n;
}

uint64_t Selection::first() const {
  return portions.front().entry.first + portions.front().entry.ranges.front().first;
}

uint64_t Selection::last() const {
  return portions.back().entry.first + portions.back().entry.ranges.back().last - 1;
}

std::pair<Selection, Selection> Selection::halves() const {
  uint64_t left = records() / 2;
  std::pair<Selection, Selection> result;
  result.first.path = path + "0";
  result.second.path = path + "1";
  for (const Portion& portion : portions) {
    Portion first{portion.entry}, second{portion.entry};
    first.entry.ranges.clear();
    second.entry.ranges.clear();
    for (RecordRange range : portion.entry.ranges) {
      auto n = static_cast<uint32_t>(std::min<uint64_t>(left, range.size()));
      left -= n;
      if (n > 0) first.entry.ranges.push_back({range.first, range.first + n});
      if (n < range.size()) second.entry.ranges.push_back({range.first + n, range.last});
    }
    if (!first.entry.ranges.empty()) result.first.portions.push_back(std::move(first));
    if (!second.entry.ranges.empty()) result.second.portions.push_back(std::move(second));
  }
  return result;
}

PayloadBuilder::PayloadBuilder(Parts parts) : parts_(std::move(parts)) {}

void PayloadBuilder::begin() {
  if (parts_.want_records) parts_.encoder->collect(&spans_);  // here: the builder may have been moved
  text_.clear();
  spans_.clear();
  span_owner_.clear();
  encoded_.clear();
  entries_.clear();
  filtered_ = unencodable_ = 0;
  parts_.encoder->begin(text_);
}

void PayloadBuilder::append(uint32_t entry, uint32_t record) {
  const Batch& batch = *entries_[entry].batch;
  bool is_sample = record < batch.samples.size();
  const Sample* sample = is_sample ? &batch.samples[record] : nullptr;
  const Event* event = is_sample ? nullptr : &batch.events[record - batch.samples.size()];
  if (!(is_sample ? parts_.filter.matches(batch, *sample) : parts_.filter.matches(batch, *event))) {
    filtered_++;
    return;
  }
  bool said =
      is_sample ? parts_.encoder->sample(batch, *sample, text_) : parts_.encoder->event(batch, *event, text_);
  if (!said) {
    unencodable_++;
    return;
  }
  while (span_owner_.size() < spans_.size()) span_owner_.push_back(static_cast<uint32_t>(encoded_.size()));
  encoded_.push_back({entry, record});
}

uint32_t PayloadBuilder::add(const LogEntry& entry, RecordRange range, int64_t max_records,
                             int64_t max_bytes) {
  if (entries_.empty() || entries_.back().first != entry.first) entries_.push_back(entry);
  uint32_t n = 0;
  for (; n < range.size(); n++) {
    if (!encoded_.empty() && (static_cast<int64_t>(encoded_.size()) >= max_records ||
                              static_cast<int64_t>(text_.size()) >= max_bytes))
      break;
    append(static_cast<uint32_t>(entries_.size() - 1), range.first + n);
  }
  return n;
}

void PayloadBuilder::add(const Selection& selection) {
  for (const Portion& portion : selection.portions)
    for (RecordRange range : portion.entry.ranges) add(portion.entry, range, INT64_MAX, INT64_MAX);
}

Selection PayloadBuilder::select(const std::function<bool(size_t)>& chosen) const {
  Selection selection;
  uint32_t last_entry = UINT32_MAX;
  for (size_t i = 0; i < encoded_.size(); i++) {
    if (!chosen(i)) continue;
    const Encoded& encoded = encoded_[i];
    if (encoded.entry != last_entry) {
      last_entry = encoded.entry;
      selection.portions.push_back({entries_[encoded.entry]});
      selection.portions.back().entry.ranges.clear();
    }
    auto& ranges = selection.portions.back().entry.ranges;
    if (!ranges.empty() && ranges.back().last == encoded.record) {
      ranges.back().last++;
    } else {
      ranges.push_back({encoded.record, encoded.record + 1});
    }
  }
  return selection;
}

Status PayloadBuilder::finish(std::string_view path) {
  parts_.encoder->end(text_);
  auto sequence = [&](const Encoded& encoded) { return entries_[encoded.entry].first + encoded.record; };
  id_ = encoded_.empty() ? parts_.id_prefix
                         : fmt::format("{}-{:x}-{}-{}", parts_.id_prefix, entries_.front().epoch,
                                       sequence(encoded_.front()), sequence(encoded_.back()));
  if (!path.empty()) fmt::format_to(std::back_inserter(id_), "-{}", path);
  payload_ = {};
  payload_.struct_size = sizeof payload_;
  payload_.record_size = sizeof(runnel_record);
  payload_.bytes = str(text_);
  payload_.content_type = str(parts_.encoder->content_type());
  payload_.encoding = str(parts_.encoder->name());
  payload_.id = str(id_);
  payload_.sample_count = static_cast<uint32_t>(encoded_.size());
  if (parts_.want_records) {
    make_records();
  } else if (std::string_view coding = parts_.compressor->content_encoding(); !coding.empty()) {
    if (Status done = parts_.compressor->compress(text_, compressed_); !done.ok()) return done;
    payload_.bytes = str(compressed_);
    payload_.content_encoding = str(coding);
  }
  return {};
}

void PayloadBuilder::make_records() {
  records_.clear();
  pairs_.clear();
  series_keys_.clear();
  // First everything into the three vectors, then the pointers: growing moves what was there.
  places_.clear();
  std::string host_tag;
  const Origin* last_origin = nullptr;
  for (const Encoded& encoded : encoded_) {
    const Batch& batch = batch_of(encoded);
    bool is_sample = encoded.record < batch.samples.size();
    SeriesRef ref = is_sample ? batch.samples[encoded.record].series
                              : batch.events[encoded.record - batch.samples.size()].series;
    uint32_t origin = is_sample ? batch.samples[encoded.record].origin
                                : batch.events[encoded.record - batch.samples.size()].origin;
    if (const Origin* from = &batch.origins[origin]; from != last_origin) {
      last_origin = from;
      host_tag.clear();
      if (!from->host.empty()) append_utf8(host_tag = ",host=", from->host);
    }
    Place place{series_keys_.size(), 0, 0, 0, pairs_.size(), 0};
    size_t host_place = append_series_key_place(series_keys_, batch.view(ref));
    place.key_end = place.on_host_end = series_keys_.size();
    place.on_host = place.key;
    if (host_place != std::string::npos && !host_tag.empty()) {
      place.on_host = place.key_end;
      series_keys_.append(series_keys_, place.key, host_place - place.key);
      series_keys_.append(host_tag);
      series_keys_.append(series_keys_, host_place, place.key_end - host_place);
      place.on_host_end = series_keys_.size();
    }
    for (Tag tag : batch.view(ref)) pairs_.push_back({str(tag.key), str(tag.value)});
    place.resource = pairs_.size();
    for (const auto& [key, value] : batch.origins[origin].resource) pairs_.push_back({str(key), str(value)});
    places_.push_back(place);
  }
  for (size_t i = 0; i < spans_.size(); i++) {
    uint32_t owner = span_owner_[i];
    const Encoded& encoded = encoded_[owner];
    const Batch& batch = batch_of(encoded);
    const Place& place = places_[owner];
    runnel_record record{};
    record.offset = spans_[i].offset;
    record.size = spans_[i].size;
    record.sample = owner;
    uint32_t origin = 0;
    SeriesRef ref;
    if (encoded.record < batch.samples.size()) {
      const Sample& sample = batch.samples[encoded.record];
      record.type = RUNNEL_RECORD_METRIC;
      record.kind = abi_kind(sample.kind);
      record.time_ms = sample.time_ms;
      origin = sample.origin;
      ref = sample.series;
    } else {
      const Event& event = batch.events[encoded.record - batch.samples.size()];
      record.type = RUNNEL_RECORD_EVENT;
      record.kind = RUNNEL_KIND_NONE;
      record.time_ms = event.time_ms;
      origin = event.origin;
      ref = event.series;
    }
    record.series = {series_keys_.data() + place.key, place.key_end - place.key};
    record.series_on_host = {series_keys_.data() + place.on_host, place.on_host_end - place.on_host};
    record.sequence = entries_[encoded.entry].first + encoded.record;
    record.name = str(batch.view(ref).name());
    record.host = str(batch.origins[origin].host);
    record.tag_count = batch.view(ref).tag_count();
    record.tags = pairs_.data() + place.tags;
    record.resource_count = batch.origins[origin].resource.size();
    record.resource = pairs_.data() + place.resource;
    records_.push_back(record);
  }
  payload_.records = records_.data();
  payload_.record_count = records_.size();
}

}  // namespace runnel
