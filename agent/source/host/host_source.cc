#include "source/host/host_source.h"

#include <cstdlib>

#include "base/log.h"
#include "source/host/collectors.h"
#include "source/host/procfs.h"
#include "source/host/scan.h"

namespace runnel {

void Round::add(const HostMetric& metric, std::initializer_list<Tag> tags, Number value) {
  Sample sample;
  sample.series = batch_.series(metric.name, tags);
  sample.unit = batch_.string(metric.unit);
  sample.kind = metric.kind;
  sample.time_ms = time_ms_;
  if (metric.since_boot) sample.start_ms = boot_ms_;
  sample.value = value;
  batch_.add(sample);
  accepted_++;
}

void Round::bad(ProcFile& file, std::string_view reason, std::string_view sample) {
  counts_.received++;
  counts_.bad.add(reason);
  file.complain(number_, reason, sample);
}

namespace {

// The kernel works btime out anew from the wall clock each time and may be a second off the last answer; a start that
// wanders would look like a counter that began again. A clock that was set moves it by more.
constexpr int64_t kBootJitterMs = 2000;

}  // namespace

struct HostCollectors::Parts {
  Parts(const HostConfig& config, SourceCounts& c, const HostProbe& p)
      : counts(c), probe(p), procfs(config.root) {}

  SourceCounts& counts;
  HostProbe probe;
  Procfs procfs;
  ProcFile* stat = nullptr;  // for btime, where a collector needs it
  bool stat_each_round = false;
  std::vector<std::unique_ptr<Collector>> collectors;
  uint64_t round = 0;
  int64_t boot_ms = 0;
  size_t samples = 0;  // of the last round

  void find_boot_time(Round& r);
};

void HostCollectors::Parts::find_boot_time(Round& r) {
  std::string_view text = stat->read(r);
  // From the end: `intr` alone may be 20 KB of the text before it.
  size_t at = text.rfind("\nbtime ");
  if (at == std::string_view::npos) return;
  std::string_view line;
  text.remove_prefix(at + 1);
  next_line(text, line);
  line.remove_prefix(6);
  uint64_t value = 0;
  if (!next_number(line, value) || value > uint64_t{1} << 40) return;
  int64_t ms = static_cast<int64_t>(value) * 1000;
  if (std::llabs(ms - boot_ms) > kBootJitterMs) boot_ms = ms;
}

HostCollectors::HostCollectors(const HostConfig& config, SourceCounts& counts)
    : HostCollectors(config, counts, HostProbe{}) {}

HostCollectors::HostCollectors(const HostConfig& config, SourceCounts& counts, const HostProbe& probe)
    : parts_(std::make_unique<Parts>(config, counts, probe)) {
  auto names = select_collectors(config.collectors);
  if (!names) {
    log::error("host", "{}", names.error());
    names = select_collectors({"default"});
  }
  HostContext context{parts_->procfs, parts_->probe};
  bool since_boot = false;
  for (const std::string& name : *names) {
    parts_->collectors.push_back(find_collector(name)(context));
    if (name == "cpu" || name == "processes") parts_->stat_each_round = true;
    if (name == "paging" || name == "pressure") since_boot = true;
  }
  if (since_boot || parts_->stat_each_round) {
    // In the log it goes by the names of the collectors that read it themselves.
    parts_->stat = &parts_->procfs.file(parts_->stat_each_round ? "" : "start of totals", {"proc/stat"});
  }
}

HostCollectors::~HostCollectors() = default;

void HostCollectors::collect(Batch& out, int64_t time_ms) {
  Parts& parts = *parts_;
  out.samples.reserve(out.samples.size() + parts.samples);
  Round round(out, parts.counts, ++parts.round, time_ms);
  if (parts.stat != nullptr && (parts.stat_each_round || parts.boot_ms == 0)) parts.find_boot_time(round);
  round.set_boot(parts.boot_ms);
  for (auto& collector : parts.collectors) collector->collect(round);
  parts.samples = round.accepted();
  parts.counts.received += round.accepted();
  parts.counts.accepted += round.accepted();
}

void HostCollectors::report(SelfReport& report) const {
  report.add(self::kSourceSeries, {{"source", "host"}},
             Number::integer(static_cast<int64_t>(parts_->samples)));
}

}  // namespace runnel
