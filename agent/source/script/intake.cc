#include "source/script/intake.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/text.h"

namespace runnel::script {

Intake::Intake(std::string script, int64_t time_ms, uint32_t interval_ms, SourceCounts& counts, Inlet inlet,
               bool log_bad)
    : script_(std::move(script)),
      time_ms_(time_ms),
      interval_ms_(interval_ms),
      counts_(counts),
      inlet_(std::move(inlet)),
      log_bad_(log_bad) {}

void Intake::accepted() {
  counts_.accepted++;
  good_++;
  if (batch_.records() >= kPushAt) push(std::exchange(batch_, Batch("scripts")));
}

void Intake::refused(std::string_view line, Verdict verdict) {
  counts_.bad.add(verdict.reason);
  if (++bad_ <= kBadLinesLogged && log_bad_)
    log::warning("scripts/" + script_, "bad line reason={} line=\"{}\" why=\"{}\"", verdict.reason,
                 excerpt(line), excerpt(verdict.why, 200));
}

void Intake::dropped(std::string_view reason) {
  counts_.dropped.add(reason);
}

void Intake::judged(std::string_view line, Verdict verdict) {
  if (verdict.good()) {
    accepted();
  } else {
    refused(line, verdict);
  }
}

void Intake::add(std::string_view name, const Tag* tags, size_t tag_count, Number value, Kind kind,
                 int64_t time_ms) {
  Sample sample;
  sample.series = batch_.series(name, tags, tag_count);
  sample.kind = kind;
  sample.time_ms = time_ms != 0 ? time_ms : time_ms_;
  if (kind == Kind::counter) sample.interval_ms = interval_ms_;
  sample.value = value;
  batch_.add(sample);
}

void Intake::take(Batch&& batch) {
  push(std::move(batch));
}

void Intake::finish() {
  push(std::exchange(batch_, Batch("scripts")));
  if (log_bad_ && bad_ > kBadLinesLogged)
    log::warning("scripts/" + script_, "{} more bad lines in this run", bad_ - kBadLinesLogged);
}

void Intake::push(Batch&& batch) {
  if (batch.empty()) return;
  // origins[0] is the agent itself, by convention and for all batches: records without an origin of their own get one
  // that names the script, the others get the script added.
  auto name_script = [this](Origin& origin) {
    std::erase_if(origin.resource, [](const auto& entry) { return entry.first == "script"; });
    origin.resource.emplace_back("script", script_);
    std::sort(origin.resource.begin(), origin.resource.end());
  };
  for (size_t i = 1; i < batch.origins.size(); i++) name_script(batch.origins[i]);
  auto own = static_cast<uint32_t>(batch.origins.size());
  batch.origins.emplace_back();
  name_script(batch.origins.back());
  for (Sample& sample : batch.samples)
    if (sample.origin == 0) sample.origin = own;
  for (Event& event : batch.events)
    if (event.origin == 0) event.origin = own;
  inlet_(std::move(batch));
}

}  // namespace runnel::script
