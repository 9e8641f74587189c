// The end, and the one round of `run --once`.
//
// With a journal that outlives the process, listeners are read until the very end, and what comes while hooks and outputs end
// goes there. Where the sockets are a service manager's, that is for the next process: from the last read on the kernel's
// buffer has to hold only what comes while the log is synced and that process begins. Without such a journal what is read
// must also be delivered: listeners end before the outputs do.
#include <fmt/format.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/notify.h"
#include "base/log.h"
#include "base/text.h"
#include "net/inherited.h"

namespace runnel {
namespace {

constexpr int64_t kPollMs = 10;
constexpr int64_t kLetGoMs = 2000;  // a sink's write after interrupt, before the process ends without it

}  // namespace

void Agent::run_once_round() {
  if (host_) collect_host(clock_.wall_ms());
  if (!scripts_) {
    begin_stop();
    return;
  }
  scripts_->run_once([this](bool) { begin_stop(); });
}

void Agent::begin_stop() {
  if (stop_ != Stop::no) {
    if (!std::exchange(asked_again_, true)) log::warning("agent", "asked to stop again: ending at once");
    stop_deadline_ms_ = std::min(stop_deadline_ms_, loop_.now_ms());
    check_stop();
    return;
  }
  stop_ = Stop::hooks;
  if (!setup_.once) {
    log::info("agent", "stopping: outputs have {} to deliver what is left",
              format_duration(config_.agent.shutdown_timeout_ms));
    notify_service_manager("STOPPING=1");
  }
  host_timer_.reset();
  if (scripts_) scripts_->stop();
  stop_deadline_ms_ = loop_.now_ms() + config_.agent.shutdown_timeout_ms;
  stop_timer_->start(0, kPollMs);
}

void Agent::check_stop() {
  int64_t now = loop_.now_ms();
  bool late = now >= stop_deadline_ms_;
  if (stop_ == Stop::hooks) {
    // Those that were running end, and say what they have to say.
    if (scripts_ && !scripts_->idle() && !late) return;
    if (log_.outlives_process()) {
      last_tick_ = cut_interval();
      for (auto& [name, entry] : statsd_) entry.source->flush_before_end(last_tick_);
      stop_ = Stop::flush;
    } else {
      end_listeners();
      drain_outputs();
      stop_ = Stop::outputs;
    }
  }
  if (stop_ == Stop::flush) {
    bool flushed = true;
    for (auto& [name, entry] : statsd_) flushed &= entry.source->flushed();
    if (!flushed && !late) return;
    drain_outputs();
    stop_ = Stop::outputs;
  }
  if (outputs_ended()) {
    // Where nothing is kept for a next process, there may be none: what came meanwhile is delivered, too.
    if (listeners_ended_ || late || !inherited_sockets().empty()) {
      finish();
    } else {
      end_listeners();
      for (auto& [name, output] : outputs_) output->drain();
    }
    return;
  }
  if (late) {
    for (auto& [name, output] : outputs_) output->abandon();
    for (Retiring& retiring : retiring_) retiring.output->abandon();
  }
  if (now >= stop_deadline_ms_ + kLetGoMs) finish();
}

Tick Agent::cut_interval() {
  if (!interval_timer_) return {clock_.wall_ms(), 1, 0};
  interval_timer_->stop();
  Tick tick = interval_timer_->cut();
  tick.interval_ms += std::exchange(held_interval_ms_, 0);
  return tick;
}

// Of StatsD the last: nobody there learns that we read no more, so that time should be short.
void Agent::end_listeners() {
  if (std::exchange(listeners_ended_, true)) return;
  log_.decide_at_once();
  if (riemann_) riemann_->stop();
  if (ffwd_) ffwd_->stop();
  last_tick_ = cut_interval();
  for (auto& [name, entry] : statsd_) entry.source->stop(last_tick_);
}

void Agent::drain_outputs() {
  if (config_.agent.self_metrics && !setup_.once) push_self_metrics(last_tick_.time_ms);
  for (auto& [name, output] : outputs_) output->drain();
}

bool Agent::outputs_ended() {
  bool all = true;
  for (auto& [name, output] : outputs_) all &= output->join_for(0);
  for (Retiring& retiring : retiring_) all &= retiring.output->join_for(0);
  return all;
}

void Agent::finish() {
  stop_timer_->stop();
  watchdog_timer_.reset();
  end_listeners();
  bool closed = log_.close(kLetGoMs);
  if (!closed) log::error("journal", "the disk does not answer: ending without it");
  write_metrics_file();
  bool ignored_interrupt = false;
  for (auto& [name, output] : outputs_) {
    ReaderSnapshot s = output->reader().snapshot();
    uint64_t left = s.queued + s.in_flight, dropped = 0;
    for (const auto& [reason, n] : s.dropped) dropped += n;
    if (left > 0 && log_.on_disk()) {
      log::info(name,
                "records={} were not delivered before the end: they stay in the journal for the next start",
                left);
    } else if (left > 0) {
      log::warning(name, "records={} were not delivered before the end", left);
    }
    if (left > 0 || dropped > 0) once_delivered_ = false;
    if (!output->join_for(0)) {
      log::error(name, "its sink ignores interrupt: ending without it");
      ignored_interrupt = true;
    }
  }
  int code = setup_.once && !once_delivered_ ? 1 : 0;
  log::info("agent", "stopped");
  // A thread inside a plugin cannot be ended; unwinding under it would crash.
  if (ignored_interrupt || !closed) ::_exit(code);
  retiring_.clear();
  outputs_.clear();
  scripts_.reset();
  statsd_.clear();
  riemann_.reset();
  ffwd_.reset();
  host_.reset();
  signals_.clear();
  stop_timer_.reset();
  retire_timer_.reset();
  decisions_.reset();
}

}  // namespace runnel
