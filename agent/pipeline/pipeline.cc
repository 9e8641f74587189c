#include "pipeline/pipeline.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace runnel {

void Pipeline::configure(const AgentConfig& agent) {
  host_ = agent.host;
  tags_ = agent.tags;
  pinned_ = agent.pinned_tags;
  resource_ = agent.resource;
}

void Pipeline::set_file_tags(const StringMap& tags) {
  file_tags_ = tags;
}

std::vector<Pipeline::Added> Pipeline::added_tags(const StringMap* source_tags) const {
  std::map<std::string, Added> merged;
  auto lay = [&](const StringMap& tags, bool pinned) {
    for (const auto& [key, value] : tags) merged[key] = {key, value, pinned};
  };
  lay(file_tags_, false);
  lay(tags_, false);
  if (source_tags != nullptr) lay(*source_tags, false);
  lay(pinned_, true);
  std::vector<Added> added;
  for (auto& [key, tag] : merged) added.push_back(std::move(tag));
  return added;
}

void Pipeline::push(Batch batch, const StringMap* source_tags, const Log::Decided& decided) {
  if (batch.empty()) {
    if (decided) decided(true);
    return;
  }
  bool none = file_tags_.empty() && tags_.empty() && pinned_.empty() &&
              (source_tags == nullptr || source_tags->empty());
  std::string host = host_;
  if (!none) {
    std::vector<Added> added = added_tags(source_tags);
    // A tag `host` is the host of a record and never among its tags.
    auto named = std::find_if(added.begin(), added.end(), [](const Added& tag) { return tag.key == "host"; });
    if (named != added.end()) {
      host = named->value;
      if (named->pinned)
        for (Origin& origin : batch.origins) origin.host.clear();
      added.erase(named);
    }
    if (!added.empty()) batch = with_tags(std::move(batch), added);
  }
  complete_origins(batch, host);
  int64_t now = clock_.wall_ms();
  for (Sample& sample : batch.samples)
    if (sample.time_ms == 0) sample.time_ms = now;
  for (Event& event : batch.events)
    if (event.time_ms == 0) event.time_ms = now;
  log_.append(std::move(batch), decided);
}

Batch Pipeline::with_tags(Batch batch, const std::vector<Added>& added) const {
  // The sender's tags and ours are both sorted: one merge a series.
  std::vector<Tag> tags;
  std::string merged;  // apart from the arena, which moves when it grows
  auto merge = [&](SeriesRef ref) {
    tags.clear();
    merged.clear();
    auto ours = added.begin();
    for (Tag theirs : batch.view(ref)) {
      for (; ours != added.end() && ours->key < theirs.key; ++ours) tags.push_back({ours->key, ours->value});
      if (ours != added.end() && ours->key == theirs.key) {
        tags.push_back(ours->pinned ? Tag{ours->key, ours->value} : theirs);
        ++ours;
      } else {
        tags.push_back(theirs);
      }
    }
    for (; ours != added.end(); ++ours) tags.push_back({ours->key, ours->value});
    append_series_bytes(merged, batch.view(ref).name(), tags.data(), tags.size());
    return batch.series_bytes(merged);
  };
  for (Sample& sample : batch.samples) sample.series = merge(sample.series);
  for (Event& event : batch.events) event.series = merge(event.series);
  return batch;
}

void Pipeline::complete_origins(Batch& batch, const std::string& host) const {
  for (Origin& origin : batch.origins) {
    if (origin.host.empty()) origin.host = host;
    for (const auto& [key, value] : resource_) {
      auto at = std::lower_bound(origin.resource.begin(), origin.resource.end(), key,
                                 [](const auto& pair, const std::string& k) { return pair.first < k; });
      if (at == origin.resource.end() || at->first != key) origin.resource.insert(at, {key, value});
    }
  }
}

TagsFile parse_tags_file(const std::string& text) {
  TagsFile file;
  int number = 0;
  for (std::string_view raw : split(text, '\n')) {
    number++;
    std::string_view line = trim(raw);
    if (line.empty() || line.starts_with('#')) continue;
    size_t colon = line.find(':');
    if (colon == std::string_view::npos || trim(line.substr(0, colon)).empty()) {
      file.errors.push_back(fmt::format("line {}: \"{}\" is not `key: value`", number, excerpt(line)));
    } else if (!valid_utf8(line) || has_control(line)) {
      file.errors.push_back(fmt::format("line {}: not printable UTF-8", number));
    } else {
      file.tags[std::string(trim(line.substr(0, colon)))] = std::string(trim(line.substr(colon + 1)));
    }
  }
  return file;
}

}  // namespace runnel
