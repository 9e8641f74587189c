#include "source/statsd/source_log.h"

#include <fmt/format.h>

#include "base/log.h"
#include "base/text.h"

namespace runnel::statsd {

SourceLog::SourceLog(const Clock& clock, std::string name)
    : name_(std::move(name)), bad_limit_(clock), growth_limit_(clock, 60'000) {}

void SourceLog::accepted(uint64_t received, uint64_t accepted) {
  counts_.received.fetch_add(received, std::memory_order_relaxed);
  counts_.accepted.fetch_add(accepted, std::memory_order_relaxed);
}

void SourceLog::bad(std::string_view reason, std::string_view line, const std::function<Peer()>& peer) {
  counts_.bad.add(reason);
  tell(reason, line, peer);
}

void SourceLog::dropped(std::string_view reason, std::string_view line, const std::function<Peer()>& peer) {
  counts_.dropped.add(reason);
  tell(reason, line, peer);
}

void SourceLog::tell(std::string_view reason, std::string_view line, const std::function<Peer()>& peer) {
  std::optional<uint64_t> held;
  {
    std::lock_guard lock(mutex_);
    held = bad_limit_.allow(reason);
  }
  if (!held) return;
  log::warning(name_, "line not taken reason={} from={} line=\"{}\"{}", reason, to_string(peer()),
               excerpt(line), *held > 0 ? fmt::format(" like_it={}", *held) : "");
}

void SourceLog::folded(uint64_t lines, const std::function<std::string()>& growth) {
  folded_.fetch_add(lines, std::memory_order_relaxed);
  std::optional<uint64_t> held;
  {
    std::lock_guard lock(mutex_);
    held = growth_limit_.allow("max_series");
  }
  if (!held) return;
  log::warning(name_,
               "no room for new series (max_series, or the bytes of their names): counters, distributions "
               "and sets go into "
               "runnel.overflow, gauges are dropped; {}",
               growth());
}

void SourceLog::closed(std::string_view reason, const Peer& peer) {
  closed_.add(reason);
  std::optional<uint64_t> held;
  {
    std::lock_guard lock(mutex_);
    held = bad_limit_.allow("closed:" + std::string(reason));
  }
  if (!held) return;
  log::info(name_, "connection closed reason={} from={}{}", reason, to_string(peer),
            *held > 0 ? fmt::format(" like_it={}", *held) : "");
}

void SourceLog::report(SelfReport& report) const {
  counts_.report(report, name_);
  report.add(self::kSourceFolded, {{"source", name_}}, Number::integer(static_cast<int64_t>(folded_.load())));
  for (const auto& [reason, n] : closed_.snapshot())
    report.add(self::kSourceClosed, {{"reason", reason}, {"source", name_}},
               Number::integer(static_cast<int64_t>(n)));
}

}  // namespace runnel::statsd
