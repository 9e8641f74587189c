// SIGHUP: the new configuration is loaded, checked and prepared as a whole; only then something changes. What is equal in
// both is not touched.
#include <fmt/format.h>

#include <algorithm>

#include "agent/agent.h"
#include "agent/catalog.h"
#include "agent/notify.h"
#include "base/log.h"

namespace runnel {
namespace {

constexpr int64_t kHandOverMs = 5000;  // for a sink's write to return after interrupt

}  // namespace

void Agent::reload() {
  if (stop_ != Stop::no || setup_.once) return;
  if (setup_.config_path.empty()) {
    log::info("agent", "reload: no file is configured, nothing to read; outputs open their files again");
    for (auto& [name, output] : outputs_) output->reopen();
    return;
  }
  // sd_notify(3): Type=notify-reload wants the time at which the reload began.
  notify_service_manager(fmt::format("RELOADING=1\nMONOTONIC_USEC={}", clock_.mono_ns() / 1000));
  LoadResult loaded = load_config(setup_.config_path, make_catalog(registry_), false);
  Status applied;
  if (loaded.errors.empty()) {
    applied = apply(std::move(loaded.config));
    for (const Problem& warning : loaded.warnings) log::warning("config", "{}", to_string(warning));
    if (!applied.ok()) log::error("config", "{}", applied.error());
  } else {
    for (const Problem& problem : loaded.errors) log::error("config", "{}", to_string(problem));
  }
  if (loaded.errors.empty() && applied.ok()) {
    log::info("agent", "reloaded {} config={}", setup_.config_path, config_.hash);
    tell_unused_sockets();
  } else {
    log::error("agent", "not reloaded: the old configuration stays");
  }
  for (auto& [name, output] : outputs_) output->reopen();
  notify_service_manager("READY=1");
}

Status Agent::apply(Config next) {
  // Prepare what can fail: new outputs (not started), then listeners.
  Config before = config_;
  config_ = next;  // make_output and open_statsd read agent-wide values
  std::map<std::string, std::unique_ptr<Output>> fresh;
  auto undo = [&](const std::string& error) {
    for (auto& [name, output] : fresh)
      if (!outputs_.contains(name)) log_.remove_reader(name);
    config_ = before;
    return Error{error};
  };
  for (const OutputConfig& wanted : next.outputs) {
    auto running = outputs_.find(wanted.name);
    if (running != outputs_.end() && running->second->config() == wanted &&
        next.agent.host == before.agent.host)
      continue;
    // An output of that name may still be delivering what it had when it was removed: the new one goes on with its reader.
    auto retiring = std::find_if(retiring_.begin(), retiring_.end(),
                                 [&](const Retiring& r) { return r.output->config().name == wanted.name; });
    if (retiring != retiring_.end()) {
      retiring->output->abandon();
      if (!retiring->output->join_for(kHandOverMs))
        return undo(fmt::format("output {}: still busy, try again", wanted.name));
      retiring_.erase(retiring);
    }
    auto made = make_output(wanted);
    if (!made.ok()) return undo(made.error());
    fresh[wanted.name] = std::move(*made);
  }
  if (Status sources = apply_sources(next); !sources.ok()) return undo(sources.error());

  // From here on nothing fails.
  log_.set_max_bytes(next.journal.max_bytes);
  for (auto it = outputs_.begin(); it != outputs_.end();) {
    const std::string& name = it->first;
    bool wanted =
        std::any_of(next.outputs.begin(), next.outputs.end(), [&](const auto& o) { return o.name == name; });
    if (wanted && !fresh.contains(name)) {
      ++it;
      continue;
    }
    std::unique_ptr<Output> old = std::move(it->second);
    it = outputs_.erase(it);
    if (!wanted) {
      retire_output(std::move(old), "removed from the configuration");
    } else {
      old->abandon();  // gives what it has not settled back to the reader, where the new one finds it
      if (!old->join_for(kHandOverMs)) {
        log::error(old->config().name,
                   "its sink ignores interrupt: left behind, what it had in flight is lost to the new one");
        old->leak();
        (void)old.release();
      }
    }
  }
  for (const OutputConfig& output : next.outputs) log_.add_reader(output.name, when_full(output));
  for (auto& [name, output] : fresh) {
    log::info(name, "output started");
    output->start();
    outputs_[name] = std::move(output);
  }
  pipeline_.configure(config_.agent);
  if (config_.agent.tags_file != before.agent.tags_file) tags_file_seen_.clear();
  read_tags_file(config_.agent.tags_file != before.agent.tags_file);

  bool interval_changed = next.agent.interval_ms != before.agent.interval_ms;
  bool host_changed = next.host != before.host;
  if (host_changed) start_host();
  if (next.scripts != before.scripts || interval_changed || next.agent.host != before.agent.host)
    apply_scripts();
  if (interval_changed) {
    flush_statsd(interval_timer_->cut());
    interval_timer_ = std::make_unique<AlignedTimer>(loop_, clock_, config_.agent.interval_ms, 0,
                                                     [this](const Tick& tick) { on_interval(tick); });
    interval_timer_->start();
  }
  if (interval_changed || host_changed) start_host_timer();
  return {};
}

// Hooks that the change does not concern go on undisturbed.
void Agent::apply_scripts() {
  bool wanted = !config_.scripts.empty() && config_.scripts[0].enabled;
  Status done;
  if (scripts_ && wanted) {
    done = scripts_->reconfigure(config_.scripts[0], script_context());
  } else if (wanted) {
    start_scripts();
    done = scripts_->start();
  } else {
    scripts_.reset();
  }
  if (!done.ok()) log::warning("scripts", "{} (no hooks until it is there)", done.error());
}

// Listeners: new ones are bound, changed ones rebound, and on the first error all is as before. A source that fails undoes
// its own part; those before it are given back what they had.
Status Agent::apply_sources(const Config& next) {
  auto share_ports = [&](bool share) {
    for (auto& [name, entry] : statsd_) entry.source->share_ports(share);
    if (riemann_) riemann_->share_ports(share);
    if (ffwd_) ffwd_->share_ports(share);
  };
  auto give_back = [](const char* name, auto& source, const auto& before) {
    if (source && before) {
      if (Status back = source->reconfigure(*before); !back.ok())
        log::error(name, "a listener could not be taken back: {}", back.error());
    } else {
      source.reset();
    }
  };
  share_ports(true);
  auto riemann_before = riemann_ ? std::optional(riemann_->config()) : std::nullopt;
  auto ffwd_before = ffwd_ ? std::optional(ffwd_->config()) : std::nullopt;
  Status done = apply_riemann(next);
  if (done.ok()) {
    done = apply_ffwd(next);
    if (done.ok()) {
      done = apply_statsd(next);
      if (!done.ok()) give_back("ffwd", ffwd_, ffwd_before);
    }
    if (!done.ok()) give_back("riemann", riemann_, riemann_before);
  }
  // They take what has already come.
  if (done.ok() && (next.riemann.empty() || !next.riemann[0].enabled)) riemann_.reset();
  if (done.ok() && (next.ffwd.empty() || !next.ffwd[0].enabled)) ffwd_.reset();
  share_ports(false);
  return done;
}

Status Agent::apply_ffwd(const Config& next) {
  if (next.ffwd.empty() || !next.ffwd[0].enabled) return {};
  if (!ffwd_) {
    auto source = open_ffwd(next.ffwd[0], true);
    if (!source.ok()) return Error{source.error()};
    ffwd_ = std::move(*source);
    ffwd_->share_ports(true);
    return {};
  }
  return ffwd_->config() == next.ffwd[0] ? Status() : ffwd_->reconfigure(next.ffwd[0]);
}

Status Agent::apply_riemann(const Config& next) {
  if (next.riemann.empty() || !next.riemann[0].enabled) return {};
  if (!riemann_) {
    auto source = open_riemann(next.riemann[0], true);
    if (!source.ok()) return Error{source.error()};
    riemann_ = std::move(*source);
    riemann_->share_ports(true);
    return {};
  }
  return riemann_->reconfigure(next.riemann[0]);
}

Status Agent::apply_statsd(const Config& next) {
  std::vector<std::string> opened;
  std::vector<std::pair<std::string, StatsdConfig>> changed;
  auto undo = [&](const std::string& error) {
    for (const std::string& name : opened) statsd_.erase(name);
    for (const auto& [name, config] : changed)
      if (Status back = statsd_[name].source->reconfigure(config); !back.ok())
        log::error(name, "a listener could not be taken back: {}", back.error());
    return Error{error};
  };
  for (const StatsdConfig& wanted : next.statsd) {
    if (!wanted.enabled) continue;
    auto it = statsd_.find(wanted.name);
    if (it == statsd_.end()) {
      auto source = open_statsd(wanted, true);
      if (!source.ok()) return undo(source.error());
      statsd_[wanted.name].source = std::move(*source);
      opened.push_back(wanted.name);
    } else if (!(it->second.source->config() == wanted)) {
      StatsdConfig old = it->second.source->config();
      if (Status done = it->second.source->reconfigure(wanted); !done.ok()) return undo(done.error());
      changed.emplace_back(wanted.name, old);
    }
  }
  for (const StatsdConfig& wanted : next.statsd)
    if (auto it = statsd_.find(wanted.name); it != statsd_.end()) *it->second.tags = wanted.tags;
  for (auto it = statsd_.begin(); it != statsd_.end();) {
    bool wanted = std::any_of(next.statsd.begin(), next.statsd.end(),
                              [&](const StatsdConfig& s) { return s.enabled && s.name == it->first; });
    if (!wanted) {
      Tick last{clock_.wall_ms(), config_.agent.interval_ms, 0};
      it->second.source->stop(last);
      it = statsd_.erase(it);
    } else {
      ++it;
    }
  }
  return {};
}

}  // namespace runnel
