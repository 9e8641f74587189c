// A batch as texts, a line a record, for tests to compare.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "source/ffwd/mapping.h"

namespace runnel::ffwd {

inline std::string show_number(const Number& n) {
  return n.is_integer() ? fmt::format("{}", n.as_integer()) : fmt::format("{}f", n.as_double());
}

inline std::string show_head(const Batch& batch, const char* what, SeriesRef series, uint32_t origin) {
  std::string text = fmt::format("{} {}", what, batch.view(series).name());
  for (Tag tag : batch.view(series)) text += fmt::format(" {}={}", tag.key, tag.value);
  const Origin& from = batch.origins[origin];
  if (!from.host.empty()) text += fmt::format(" @{}", from.host);
  for (const auto& [key, value] : from.resource) text += fmt::format(" /{}={}", key, value);
  return text;
}

// "metric KEY tag=value @HOST /resource=value VALUE TIME", events also [tags] state "description" ttl.
inline std::vector<std::string> show(const Batch& batch) {
  std::vector<std::string> lines;
  for (const Sample& s : batch.samples)
    lines.push_back(fmt::format("{} {} {}", show_head(batch, "metric", s.series, s.origin),
                                show_number(s.value), s.time_ms));
  for (const Event& e : batch.events) {
    std::string text = show_head(batch, "event", e.series, e.origin);
    for (uint32_t i = 0; i < e.tag_count; i++)
      text += fmt::format(" [{}]", batch.view(batch.event_tags[e.tags + i]));
    text += fmt::format(" {} {} {} {} {}", e.has_value ? show_number(e.value) : "-", e.time_ms,
                        batch.view(e.state), batch.view(e.description), e.ttl_s);
    lines.push_back(text);
  }
  return lines;
}

// What a decoder's points become, then the reasons of what it refused, each as "!reason".
inline std::vector<std::string> show(const Points& points) {
  Batch batch("ffwd");
  Mapper mapper;
  mapper.append(points, batch);
  std::vector<std::string> lines = show(batch);
  for (std::string_view reason : points.refused) lines.push_back(fmt::format("!{}", reason));
  return lines;
}

}  // namespace runnel::ffwd
