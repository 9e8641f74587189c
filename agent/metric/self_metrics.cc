#include "metric/self_metrics.h"

#include <fmt/format.h>

#include <algorithm>

namespace runnel {
namespace {

std::string prometheus_name(std::string_view name) {
  std::string out(name);
  for (char& c : out)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_')) c = '_';
  return out;
}

std::string prometheus_label(std::string_view value) {
  std::string out;
  for (char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

}  // namespace

void SelfReport::add(const SelfMetric& metric, std::initializer_list<Tag> tags, Number value) {
  Row row{metric, {}, value, {}};
  for (Tag tag : tags) row.tags.emplace_back(tag.key, tag.value);
  rows_.push_back(std::move(row));
}

void SelfReport::add_distribution(const SelfMetric& metric, std::initializer_list<Tag> tags,
                                  Distribution value) {
  add(metric, tags, Number());
  rows_.back().distribution = std::move(value);
}

void SelfReport::add_foreign(std::string_view name, Kind kind,
                             std::vector<std::pair<std::string, std::string>> tags, double value) {
  foreign_names_.emplace_back(name);
  rows_.push_back({{foreign_names_.back(), kind, "", "reported by a sink"}, std::move(tags), value, {}});
}

void SelfReport::to_batch(Batch& batch, int64_t time_ms, int64_t start_ms) const {
  std::vector<Tag> tags;
  for (const Row& row : rows_) {
    tags.clear();
    for (const auto& [key, value] : row.tags) tags.push_back({key, value});
    Sample sample;
    sample.series = batch.series(row.metric.name, tags.data(), tags.size());
    sample.unit = batch.string(row.metric.unit);
    sample.kind = row.metric.kind;
    sample.time_ms = time_ms;
    if (sample.kind == Kind::total) sample.start_ms = start_ms;
    sample.value = row.value;
    if (sample.kind == Kind::distribution) sample.distribution = batch.add_distribution(row.distribution);
    batch.add(sample);
  }
}

std::string SelfReport::to_prometheus() const {
  // The format wants the lines of one name together.
  std::vector<const Row*> rows;
  for (const Row& row : rows_) rows.push_back(&row);
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Row* a, const Row* b) { return a->metric.name < b->metric.name; });
  std::string out;
  std::string_view last;
  for (const Row* row : rows) {
    std::string name = prometheus_name(row->metric.name);
    if (row->metric.name != last) {
      last = row->metric.name;
      std::string_view type = row->metric.kind == Kind::gauge          ? "gauge"
                              : row->metric.kind == Kind::distribution ? "summary"
                                                                       : "counter";
      fmt::format_to(std::back_inserter(out), "# HELP {0} {1}\n# TYPE {0} {2}\n", name, row->metric.help,
                     type);
    }
    std::string labels;
    for (const auto& [key, value] : row->tags)
      fmt::format_to(std::back_inserter(labels), "{}{}=\"{}\"", labels.empty() ? "" : ",",
                     prometheus_name(key), prometheus_label(value));
    auto line = [&](std::string_view suffix, const std::string& inside, const std::string& value) {
      out += name;
      out += suffix;
      if (!inside.empty()) fmt::format_to(std::back_inserter(out), "{{{}}}", inside);
      fmt::format_to(std::back_inserter(out), " {}\n", value);
    };
    if (row->metric.kind == Kind::distribution) {
      // A summary of the last interval.
      for (const auto& [p, value] : row->distribution.percentiles)
        line("", fmt::format("{}{}quantile=\"{}\"", labels, labels.empty() ? "" : ",", p / 100),
             fmt::format("{}", value));
      line("_sum", labels, fmt::format("{}", row->distribution.sum));
      line("_count", labels, fmt::format("{}", row->distribution.count));
    } else {
      line("", labels,
           row->value.is_integer() ? fmt::format("{}", row->value.as_integer())
                                   : fmt::format("{}", row->value.as_double()));
    }
  }
  return out;
}

void ReasonCounts::add(std::string_view reason, uint64_t n) {
  std::lock_guard lock(mutex_);
  auto it = counts_.find(reason);
  if (it == counts_.end()) it = counts_.emplace(std::string(reason), 0).first;
  it->second += n;
}

std::map<std::string, uint64_t, std::less<>> ReasonCounts::snapshot() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

uint64_t ReasonCounts::sum() const {
  std::lock_guard lock(mutex_);
  uint64_t total = 0;
  for (const auto& [reason, n] : counts_) total += n;
  return total;
}

void SourceCounts::report(SelfReport& report, std::string_view source) const {
  auto whole = [](uint64_t n) { return Number::integer(static_cast<int64_t>(n)); };
  report.add(self::kSourceReceived, {{"source", source}}, whole(received.load(std::memory_order_relaxed)));
  report.add(self::kSourceAccepted, {{"source", source}}, whole(accepted.load(std::memory_order_relaxed)));
  for (const auto& [reason, n] : bad.snapshot())
    report.add(self::kSourceBad, {{"reason", reason}, {"source", source}}, whole(n));
  for (const auto& [reason, n] : dropped.snapshot())
    report.add(self::kDropped, {{"reason", reason}, {"source", source}}, whole(n));
}

}  // namespace runnel
