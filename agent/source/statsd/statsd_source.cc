#include "source/statsd/statsd_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/text.h"

namespace runnel::statsd {
namespace {

AggregatorOptions aggregator_options(const StatsdConfig& config, bool leads) {
  AggregatorOptions options;
  options.percentiles = config.percentiles;
  options.max_series = static_cast<size_t>(config.max_series);
  options.source = config.name;
  options.keys.sanitize = config.sanitize;
  options.keys.origin_tags = config.origin == "tags";
  constexpr std::pair<std::string_view, TagStyle> kStyles[] = {{"any", TagStyle::any},
                                                               {"dogstatsd", TagStyle::dogstatsd},
                                                               {"influx", TagStyle::influx},
                                                               {"librato", TagStyle::librato},
                                                               {"signalfx", TagStyle::signalfx}};
  for (auto [name, style] : kStyles)
    if (config.tag_style == name) options.keys.tag_style = style;
  if (config.counters == "total") options.counters = CounterForm::total;
  if (config.counters == "rate") options.counters = CounterForm::rate;
  options.absolute_gauges = config.gauge_sign == "absolute";
  options.gauge_ttl_ms = config.gauge_ttl_ms;
  for (auto [type, name] : {std::pair{Type::counter, "counters"}, std::pair{Type::gauge, "gauges"},
                            std::pair{Type::timer, "timers"}, std::pair{Type::set, "sets"}})
    if (auto set = config.delete_idle.find(name); set != config.delete_idle.end())
      options.delete_idle[static_cast<size_t>(type)] = set->second == "true";
  options.forwards_gauges = !leads;
  return options;
}

// With SO_REUSEPORT a second agent of the same user would share the port, and the packets, without a word: at a start the
// address must be free for one that asks without it. (On a reload it is our own.)
Result<std::shared_ptr<Listener>> probe(const std::string& url, ListenerOptions options, bool first) {
  if (!first || !options.reuse_port || options.taking_over || !url.starts_with("udp:")) return {nullptr};
  options.reuse_port = false;
  return Listener::open(url, options);
}

}  // namespace

Result<StatsdSource::Listeners> StatsdSource::bind_all(const StatsdConfig& config, const Listeners& kept,
                                                       bool share) const {
  Listeners listeners;
  ListenerOptions options;
  options.receive_buffer = config.receive_buffer;
  options.mode = static_cast<unsigned>(std::stoul(config.mode, nullptr, 8));
  options.group = config.group;
  options.taking_over = share;
  options.reuse_port = config.receivers > 1;
  bool same_owner = config.mode == config_.mode && config.group == config_.group;
  for (const std::string& wanted : config.listen) {
    // A UDP socket for each receiver, which the kernel fills by sender (SO_REUSEPORT); of the others there is one.
    int64_t count = wanted.starts_with("udp:") ? config.receivers : 1;
    std::string url = wanted;
    for (int64_t i = 0; i < count; i++) {
      auto same = std::find_if(kept.begin(), kept.end(), [&](const auto& l) {
        bool fits = wanted.starts_with("udp:") ? l->reuse_port() == options.reuse_port
                                               : same_owner || !wanted.starts_with("unix");
        return l->wanted() == url && fits &&
               std::find(listeners.begin(), listeners.end(), l) == listeners.end();
      });
      if (same != kept.end()) {
        listeners.push_back(*same);
        continue;
      }
      options.nth = static_cast<size_t>(i);
      Result<std::shared_ptr<Listener>> listener = probe(url, options, i == 0);
      if (listener.ok()) listener = Listener::open(url, options);
      if (!listener.ok() && optional_ports_) {
        log::warning("statsd", "not listening: {} (a default: goes on without it)", listener.error());
        break;
      }
      if (!listener.ok())
        return Error{fmt::format("{}: error: {} (stop what listens there, or change listen)",
                                 to_string(config.position), listener.error())};
      url = (*listener)->bound();  // of port 0: the others go to the port that the first one got
      if (i == 0) {
        // The kernel doubles what is asked for, to account for its own overhead (socket(7)).
        int64_t buffer = (*listener)->buffer_bytes() / 2, queue = (*listener)->queue_datagrams();
        log::info("statsd", "listening on {}{}{}{}", url, (*listener)->inherited() ? " inherited=true" : "",
                  buffer > 0 ? fmt::format(" receive_buffer={}", format_size(buffer)) : "",
                  queue > 0 ? fmt::format(" queue={}", queue) : "");
      }
      listeners.push_back(*listener);
    }
  }
  return listeners;
}

StatsdSource::Targets StatsdSource::targets_for(const StatsdConfig& config, const Targets& kept) {
  Targets targets;
  for (const std::string& url : config.repeat) {
    auto same = std::find_if(kept.begin(), kept.end(), [&](const auto& t) { return t->url == url; });
    targets.push_back(same != kept.end() ? *same : std::make_shared<Repeater::Counts>());
    targets.back()->url = url;
  }
  return targets;
}

Result<std::vector<ReceiverSettings>> StatsdSource::settings_for(const StatsdConfig& config,
                                                                 const Listeners& listeners,
                                                                 const Targets& targets) const {
  std::vector<ReceiverSettings> settings;
  auto count = static_cast<size_t>(config.receivers);
  for (size_t i = 0; i < count; i++) {
    ReceiverSettings one;
    one.aggregation = aggregator_options(config, i == 0);
    one.streams.max_connections = (static_cast<size_t>(config.max_connections) + count - 1) / count;
    one.streams.idle_timeout_ms = config.idle_timeout_ms;
    if (!targets.empty()) {
      auto repeater = Repeater::open(targets);
      if (!repeater.ok())
        return Error{
            fmt::format("{}: error: source.statsd.repeat: {}", to_string(config.position), repeater.error())};
      one.repeater = std::move(*repeater);
    }
    settings.push_back(std::move(one));
  }
  // Datagram sockets are dealt out; a stream's listener is shared, each connection is accepted by one.
  size_t next = 0;
  for (const auto& listener : listeners) {
    if (listener->is_stream()) {
      for (ReceiverSettings& one : settings) one.listeners.push_back(listener);
    } else {
      settings[next++ % count].listeners.push_back(listener);
    }
  }
  return settings;
}

StatsdSource::StatsdSource(Loop& loop, const Clock& clock, const StatsdConfig& config, Inlet inlet,
                           bool optional_ports)
    : clock_(clock),
      config_(config),
      inlet_(std::move(inlet)),
      optional_ports_(optional_ports),
      log_(clock, config.name),
      loss_limit_(clock, 60'000),
      wakeup_(loop, [this] { deliver(); }) {}

void StatsdSource::start_receiver(ReceiverSettings settings) {
  auto deliver = [this](Batch&& batch) {
    {
      std::lock_guard lock(mutex_);
      outbox_.push_back(std::move(batch));
    }
    wakeup_.send();
  };
  receivers_.push_back(std::make_unique<Receiver>(
      clock_, log_, deliver, receivers_.empty() ? nullptr : receivers_.front().get(), std::move(settings)));
}

void StatsdSource::tell_followers() {
  std::vector<Receiver*> followers;
  for (size_t i = 1; i < receivers_.size(); i++) followers.push_back(receivers_[i].get());
  receivers_.front()->follow_with(std::move(followers));
}

Result<std::unique_ptr<StatsdSource>> StatsdSource::open(Loop& loop, const Clock& clock,
                                                         const StatsdConfig& config, Inlet inlet,
                                                         bool optional_ports, bool share_ports) {
  std::unique_ptr<StatsdSource> source(
      new StatsdSource(loop, clock, config, std::move(inlet), optional_ports));
  auto listeners = source->bind_all(config, {}, share_ports);
  if (!listeners.ok()) return Error{listeners.error()};
  source->listeners_ = std::move(*listeners);
  source->targets_ = targets_for(config, {});
  auto settings = source->settings_for(config, source->listeners_, source->targets_);
  if (!settings.ok()) return Error{settings.error()};
  for (ReceiverSettings& one : *settings) source->start_receiver(std::move(one));
  source->tell_followers();
  return source;
}

StatsdSource::~StatsdSource() {
  if (!receivers_.empty()) stop({clock_.wall_ms(), 1, 0});
}

Status StatsdSource::reconfigure(const StatsdConfig& config) {
  auto listeners = bind_all(config, listeners_, true);
  if (!listeners.ok()) return Error{listeners.error()};
  Targets targets = targets_for(config, targets_);
  auto settings = settings_for(config, *listeners, targets);
  if (!settings.ok()) return Error{settings.error()};
  for (const auto& listener : listeners_)
    if (std::find(listeners->begin(), listeners->end(), listener) == listeners->end()) {
      listener->turn_away();  // its receiver reads what it holds, and nothing comes after that
      retired_drops_ += listener->kernel_drops();
      log::info("statsd", "no longer listening on {}", listener->bound());
    }
  config_ = config;
  listeners_ = std::move(*listeners);
  targets_ = std::move(targets);
  // Fewer receivers: the last ones hand over what they have counted.
  while (receivers_.size() > settings->size()) {
    receivers_.back()->stop();
    auto gone = std::move(receivers_.back());
    receivers_.pop_back();
    tell_followers();
    retired_.push_back(std::move(gone));
  }
  for (size_t i = 0; i < settings->size(); i++) {
    if (i < receivers_.size()) {
      receivers_[i]->configure(std::move((*settings)[i]));
    } else {
      start_receiver(std::move((*settings)[i]));
    }
  }
  tell_followers();
  return {};
}

void StatsdSource::share_ports(bool share) {
  for (const auto& listener : listeners_) listener->set_shared(share);
}

// What is lost where nobody looks is said where somebody may.
void StatsdSource::tell_losses() {
  uint64_t kernel = retired_drops_, repeat = 0;
  for (const auto& listener : listeners_) kernel += listener->kernel_drops();
  for (const auto& target : targets_) repeat += target->dropped.load(std::memory_order_relaxed);
  if (kernel > told_drops_ && loss_limit_.allow("kernel"))
    log::warning(config_.name,
                 "the kernel dropped packets={} for want of room (receive_buffer, net.core.rmem_max)",
                 kernel - std::exchange(told_drops_, kernel));
  if (repeat > told_repeat_drops_ && loss_limit_.allow("repeat"))
    log::warning(config_.name,
                 "a target of repeat did not take packets={} (runnel.source.repeat_drops says which)",
                 repeat - std::exchange(told_repeat_drops_, repeat));
}

void StatsdSource::flush(const Tick& tick) {
  tell_losses();
  receivers_.front()->flush(tick, false);
}

void StatsdSource::flush_before_end(const Tick& tick) {
  tell_losses();
  ending_ = true;
  receivers_.front()->flush(tick, true);
}

bool StatsdSource::flushed() const {
  // In this order: what a flush has ended with lies in the outbox.
  if (receivers_.front()->flushing()) return false;
  std::lock_guard lock(mutex_);
  return outbox_.empty();
}

void StatsdSource::stop(const Tick& last) {
  // The leader last: the others hand it what they have.
  for (size_t i = receivers_.size(); i-- > 0;) receivers_[i]->stop();
  receivers_.front()->flush_rest(last, !ending_);
  deliver();
  receivers_.clear();
  for (const auto& listener : listeners_) retired_drops_ += listener->kernel_drops();
  listeners_.clear();
}

void StatsdSource::deliver() {
  std::vector<Batch> batches;
  {
    std::lock_guard lock(mutex_);
    batches.swap(outbox_);
  }
  for (Batch& batch : batches) inlet_(std::move(batch));
}

void StatsdSource::report(SelfReport& report) const {
  auto add = [&](const SelfMetric& metric, uint64_t value) {
    report.add(metric, {{"source", config_.name}}, Number::integer(static_cast<int64_t>(value)));
  };
  log_.report(report);
  uint64_t drops = retired_drops_, connections = 0;
  bool streams = false;
  for (const auto& listener : listeners_) {
    drops += listener->kernel_drops();
    streams |= listener->is_stream();
  }
  for (const auto& receiver : receivers_) connections += receiver->connections();
  add(self::kSocketDrops, drops);
  add(self::kSourceSeries, receivers_.empty() ? 0 : receivers_.front()->series());
  if (streams || connections > 0) add(self::kSourceConnections, connections);
  for (const auto& target : targets_)
    for (const auto& [metric, count] : {std::pair{&self::kSourceRepeated, &target->sent},
                                        std::pair{&self::kSourceRepeatDrops, &target->dropped}})
      report.add(*metric, {{"source", config_.name}, {"target", target->url}},
                 Number::integer(static_cast<int64_t>(count->load())));
  if (receivers_.empty()) return;
  for (const TopNames::Entry& entry : receivers_.front()->top())
    report.add(self::kSourceTopLines, {{"name", entry.name}, {"source", config_.name}},
               Number::integer(static_cast<int64_t>(entry.lines)));
}

std::vector<std::string> StatsdSource::addresses() const {
  std::vector<std::string> urls;
  for (const auto& listener : listeners_)
    if (urls.empty() || urls.back() != listener->bound()) urls.push_back(listener->bound());
  return urls;
}

}  // namespace runnel::statsd
