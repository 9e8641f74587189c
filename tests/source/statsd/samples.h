// What an aggregator emits, as text: `name,key=value@host kind value`, a line a sample, in order of appearance.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "base/text.h"
#include "source/statsd/aggregator.h"

namespace runnel::statsd {

inline std::string text_of(Number number) {
  if (number.is_integer()) return std::to_string(number.as_integer());
  std::string text;
  append_double(text, number.as_double());
  return text;
}

inline std::string text_of(const Batch& batch, const Sample& sample) {
  SeriesView series = batch.view(sample.series);
  std::string line(series.name());
  for (Tag tag : series) line += fmt::format(",{}={}", tag.key, tag.value);
  if (sample.origin != 0) line += "@" + batch.origins[sample.origin].host;
  if (sample.kind == Kind::distribution) {
    const Distribution& d = batch.distributions[sample.distribution];
    return line + fmt::format(" distribution{} n={} sum={} min={} max={}", batch.view(sample.unit), d.count,
                              d.sum, d.min, d.max);
  }
  return line + fmt::format(" {} {}", kind_name(sample.kind), text_of(sample.value));
}

inline std::vector<std::string> texts_of(const Batch& batch) {
  std::vector<std::string> lines;
  for (const Sample& sample : batch.samples) lines.push_back(text_of(batch, sample));
  return lines;
}

inline std::vector<std::string> flushed(Aggregator& aggregator, int64_t interval_ms = 10'000) {
  Batch batch("statsd");
  aggregator.flush(batch, 1'000'000, interval_ms);
  return texts_of(batch);
}

inline std::vector<std::string> sorted(std::vector<std::string> lines) {
  std::sort(lines.begin(), lines.end());
  return lines;
}

// A line by its verdict and reason, for comparing two ways to the same end.
inline std::string text_of(const Aggregator::Judgement& judgement) {
  constexpr const char* kVerdicts[] = {"accepted", "bad", "dropped", "forwarded"};
  return fmt::format("{} {}", kVerdicts[static_cast<size_t>(judgement.verdict)], judgement.reason);
}

}  // namespace runnel::statsd
