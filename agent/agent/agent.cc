#include "agent/agent.h"

#include <fmt/format.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>

#include "agent/identity.h"
#include "agent/notify.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "net/inherited.h"
#include "version.h"

namespace runnel {
namespace {

constexpr int64_t kRetirePollMs = 10;

log::Level level_of(const std::string& name) {
  if (name == "debug") return log::Level::debug;
  if (name == "warning") return log::Level::warning;
  if (name == "error") return log::Level::error;
  return log::Level::info;
}

std::string current_host_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace

Agent::Agent(Loop& loop, const Clock& clock, SinkRegistry& registry, AgentSetup setup)
    : loop_(loop),
      clock_(clock),
      registry_(registry),
      setup_(std::move(setup)),
      start_ms_(clock.wall_ms()),
      log_(clock, JournalConfig{}.max_bytes),
      pipeline_(log_, clock),
      limit_(clock, 60'000) {}

Agent::~Agent() = default;

Status Agent::start(Config config) {
  config_ = std::move(config);
  log::set_level(level_of(config_.agent.log_level));
  host_name_ = current_host_name();

  auto id = load_agent_id(config_.agent.state_dir);
  if (id.ok()) {
    agent_id_ = *id;
  } else {
    agent_id_ = random_id();
    std::string text =
        fmt::format("no lasting agent id, {} (create the folder, or set agent.state_dir)", id.error());
    // The built-in defaults are for a first try by anybody.
    config_.built_in ? log::debug("agent", "{}", text) : log::warning("agent", "{}", text);
  }
  if (Status started = start_statsd(); !started.ok()) return started;
  open_journal();
  for (const OutputConfig& output : config_.outputs) {
    auto made = make_output(output);
    if (!made.ok()) return Error{made.error()};
    outputs_[output.name] = std::move(*made);
  }
  // Not before the log knows them all: what one has passed would be removed while another, not there yet, needs it.
  for (auto& [name, output] : outputs_) output->start();
  pipeline_.configure(config_.agent);
  read_tags_file(true);
  return start_sources();
}

// On disk, unless the configuration says memory. One round and the built-in defaults leave the folder of a service that
// may be running alone.
void Agent::open_journal() {
  const JournalConfig& journal = config_.journal;
  log_.set_max_bytes(journal.max_bytes);
  if (config_.built_in) return;
  if (journal.quarantine_max_bytes > 0)
    quarantine_ = std::make_unique<Quarantine>(clock_, file_system_, config_.agent.state_dir + "/quarantine",
                                               journal.quarantine_max_bytes);
  if (setup_.once || journal.durability == "memory") return;
  decisions_ = std::make_unique<Wakeup>(loop_, [this] { log_.take_decisions(); });
  JournalOptions options;
  options.folder = config_.agent.state_dir + "/journal";
  options.durability = journal.durability == "written" ? Durability::written : Durability::synced;
  options.max_bytes = journal.max_bytes;
  options.max_memory = journal.max_memory;
  options.min_free_share = journal.min_free_share;
  options.min_free_bytes = journal.min_free_bytes;
  options.memory_on_disk_error = journal.on_disk_error == "memory";
  Status opened = log_.open(options, file_system_, [this] { decisions_->send(); });
  if (!opened.ok()) log::error("journal", "{}", opened.error());
}

int Agent::run() {
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an errno for the file sink and the end for nobody
  auto on = [&](int number, std::function<void()> what) {
    signals_.push_back(std::make_unique<SignalWatch>(loop_, number, std::move(what)));
  };
  on(SIGTERM, [this] { begin_stop(); });
  on(SIGINT, [this] { begin_stop(); });
  on(SIGHUP, [this] { reload(); });
  stop_timer_ = std::make_unique<Timer>(loop_, [this] { check_stop(); });
  retire_timer_ = std::make_unique<Timer>(loop_, [this] { sweep_retiring(); });
  if (setup_.once) {
    run_once_round();
  } else {
    ::malloc_trim(0);             // what parsing the configuration took
    log::info("agent", "ready");  // everything that can be sent to is open; the first round follows at once
    notify_service_manager("READY=1");
    start_watchdog();
    start_timers();
  }
  loop_.run();
  return setup_.once && !once_delivered_ ? 1 : 0;
}

// From the loop's own timer: what is told is that the loop still turns, also while outputs drain.
void Agent::start_watchdog() {
  int64_t interval = watchdog_interval_ms();
  if (interval == 0) return;
  watchdog_timer_ = std::make_unique<Timer>(loop_, [] { notify_service_manager("WATCHDOG=1"); });
  watchdog_timer_->start(0, interval);
}

// ---- outputs ----------------------------------------------------------------------------------------------------

WhenFull Agent::when_full(const OutputConfig& output) const {
  const std::string& word = output.when_full.empty() ? config_.journal.when_full : output.when_full;
  if (word == "drop_newest") return WhenFull::drop_newest;
  if (word == "block") return WhenFull::block;
  return WhenFull::drop_oldest;
}

Result<std::unique_ptr<Output>> Agent::make_output(const OutputConfig& config) {
  auto descriptor = registry_.find(config.sink);
  if (!descriptor.ok())
    return Error{
        fmt::format("{}: error: output {}: {}", to_string(config.position), config.name, descriptor.error())};
  LogReader& reader = log_.add_reader(config.name, when_full(config));
  return Output::create(reader, clock_, config, **descriptor, {config.name, kVersion, agent_id_}, agent_id_,
                        config_.agent.host, {}, quarantine_.get());
}

// Lets an output that is no longer configured deliver what it has, beside everything else.
void Agent::retire_output(std::unique_ptr<Output> output, const char* why) {
  log::info(output->config().name, "{}: delivering what is queued", why);
  log_.close_reader(output->config().name);
  output->drain();
  retiring_.push_back({std::move(output), loop_.now_ms() + config_.agent.shutdown_timeout_ms});
  retire_timer_->start(kRetirePollMs, 100);
}

void Agent::sweep_retiring() {
  std::erase_if(retiring_, [this](Retiring& retiring) {
    if (!retiring.output->join_for(0)) {
      if (loop_.now_ms() >= retiring.deadline_ms) retiring.output->abandon();
      return false;
    }
    std::string name = retiring.output->config().name;
    uint64_t left = retiring.output->reader().snapshot().queued;
    if (left > 0) log::warning(name, "removed with records={} not delivered", left);
    retiring.output.reset();
    if (!outputs_.contains(name)) log_.remove_reader(name);
    return true;
  });
  if (retiring_.empty()) retire_timer_->stop();
}

// ---- sources ----------------------------------------------------------------------------------------------------

// Its receivers read from here on, before the journal is open: a large one takes longer than a socket's buffer lasts. What
// they have arrives when the loop turns.
Status Agent::start_statsd() {
  if (setup_.once) return {};
  for (const StatsdConfig& config : config_.statsd) {
    if (!config.enabled) continue;
    auto source = open_statsd(config, false);
    if (!source.ok()) return Error{source.error()};
    statsd_[config.name].source = std::move(*source);
  }
  return {};
}

Status Agent::start_sources() {
  // One round asks those that can be asked; listeners stay with the service that may be running.
  if (!setup_.once) {
    for (const RiemannConfig& config : config_.riemann) {
      if (!config.enabled) continue;
      auto source = open_riemann(config, false);
      if (!source.ok()) return Error{source.error()};
      riemann_ = std::move(*source);
    }
    for (const FfwdConfig& config : config_.ffwd) {
      if (!config.enabled) continue;
      auto source = open_ffwd(config, false);
      if (!source.ok()) return Error{source.error()};
      ffwd_ = std::move(*source);
    }
  }
  tell_unused_sockets();
  start_host();
  start_scripts();
  return {};
}

// The manager keeps them open whether anybody reads or not, so that their senders see no error.
void Agent::tell_unused_sockets() const {
  if (setup_.once) return;
  std::vector<std::string> used;
  for (const auto& [name, entry] : statsd_)
    for (std::string& url : entry.source->addresses()) used.push_back(std::move(url));
  if (riemann_)
    for (std::string& url : riemann_->addresses()) used.push_back(std::move(url));
  for (const InheritedSocket& socket : inherited_sockets())
    if (std::string url = to_string(socket.address); std::find(used.begin(), used.end(), url) == used.end())
      log::warning("agent", "nobody reads the socket {} of {} (let a source listen there, or take it out)",
                   url, socket.name.empty() ? "the service manager" : socket.name);
}

Result<std::unique_ptr<statsd::StatsdSource>> Agent::open_statsd(const StatsdConfig& config,
                                                                 bool share_ports) {
  StatsdEntry& entry = statsd_[config.name];
  entry.tags = std::make_shared<StringMap>(config.tags);
  auto source = statsd::StatsdSource::open(
      loop_, clock_, config,
      [this, tags = entry.tags](Batch&& batch) { pipeline_.push(std::move(batch), tags.get()); },
      config_.built_in, share_ports);
  if (!source.ok()) statsd_.erase(config.name);
  return source;
}

Result<std::unique_ptr<riemann::RiemannSource>> Agent::open_riemann(const RiemannConfig& config,
                                                                    bool share_ports) {
  return riemann::RiemannSource::open(
      loop_, clock_, config,
      [this](Batch&& batch, const Log::Decided& decided) {
        const auto& tables = config_.riemann;  // none: it is being removed by a reload
        pipeline_.push(std::move(batch), tables.empty() ? nullptr : &tables[0].tags, decided);
      },
      [this] { return log_.blocked(); }, config_.built_in, share_ports);
}

Result<std::unique_ptr<ffwd::FfwdSource>> Agent::open_ffwd(const FfwdConfig& config, bool share_ports) {
  return ffwd::FfwdSource::open(
      loop_, clock_, config,
      [this](Batch&& batch, const Log::Decided& decided) {
        const auto& tables = config_.ffwd;  // none: it is being removed by a reload
        pipeline_.push(std::move(batch), tables.empty() ? nullptr : &tables[0].tags, decided);
      },
      [this] { return log_.blocked(); }, share_ports);
}

void Agent::start_host() {
  host_timer_.reset();
  host_.reset();
  if (config_.host.empty() || !config_.host[0].enabled) return;
  host_ = std::make_unique<HostCollectors>(config_.host[0], host_counts_);
}

ScriptContext Agent::script_context() {
  ScriptContext context;
  context.host = config_.agent.host;
  context.agent_interval_ms = config_.agent.interval_ms;
  context.trampoline = setup_.executable;
  context.may_run = [this] { return !log_.blocked(); };
  return context;
}

void Agent::start_scripts() {
  scripts_.reset();
  if (config_.scripts.empty() || !config_.scripts[0].enabled) return;
  scripts_ = std::make_unique<ScriptSource>(
      loop_, clock_, config_.scripts[0], script_context(),
      [this](Batch&& batch) { pipeline_.push(std::move(batch)); }, script_counts_);
}

void Agent::start_timers() {
  interval_timer_ = std::make_unique<AlignedTimer>(loop_, clock_, config_.agent.interval_ms, 0,
                                                   [this](const Tick& tick) { on_interval(tick); });
  interval_timer_->start();
  start_host_timer();
  if (scripts_) {
    Status started = scripts_->start();
    if (!started.ok()) log::warning("scripts", "{} (no hooks until it is there)", started.error());
  }
}

void Agent::start_host_timer() {
  host_timer_.reset();
  if (!host_) return;
  int64_t interval =
      config_.host[0].interval_ms > 0 ? config_.host[0].interval_ms : config_.agent.interval_ms;
  host_timer_ = std::make_unique<AlignedTimer>(loop_, clock_, interval, 0,
                                               [this](const Tick& tick) { collect_host(tick.time_ms); });
  host_timer_->start();
  collect_host(clock_.wall_ms());  // the first one at once: somebody may be looking
}

// ---- each interval ----------------------------------------------------------------------------------------------

void Agent::on_interval(const Tick& tick) {
  if (tick.step_ms != 0) {
    std::string text = fmt::format("the wall clock was set {} by {}", tick.step_ms > 0 ? "forward" : "back",
                                   format_duration(std::abs(tick.step_ms)));
    log::warning("agent", "{}", text);
    push_event("runnel.clock_step", text, {{"step_ms", std::to_string(tick.step_ms)}});
  }
  watch_host_name();
  read_tags_file(false);
  flush_statsd(tick);
  if (config_.agent.self_metrics) push_self_metrics(tick.time_ms);
  write_metrics_file();
}

void Agent::flush_statsd(const Tick& tick) {
  Tick whole = tick;
  whole.interval_ms += std::exchange(held_interval_ms_, 0);
  if (log_.blocked()) {
    // Aggregates can wait where they are: the interval becomes longer and nothing is lost.
    held_interval_ms_ = whole.interval_ms;
    if (!std::exchange(told_blocked_, true))
      log::warning("agent", "the log is full and an output says when_full = \"block\": sources wait");
    return;
  }
  if (std::exchange(told_blocked_, false)) log::info("agent", "the log has room again: sources go on");
  for (auto& [name, entry] : statsd_) entry.source->flush(whole);
}

void Agent::collect_host(int64_t time_ms) {
  if (log_.blocked()) return;  // told by flush_statsd; totals and gauges lose nothing but a point in time
  Batch batch("host");
  host_->collect(batch, time_ms);
  pipeline_.push(std::move(batch));
}

SelfReport Agent::make_report() {
  SelfReport report;
  report.add(self::kInfo, {{"config", config_.hash}, {"version", kVersion}}, Number::integer(1));
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  auto seconds = [](timeval t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  report.add(self::kProcessCpu, {}, Number(seconds(usage.ru_utime) + seconds(usage.ru_stime)));
  // proc(5): the second number of statm is resident pages.
  if (auto statm = read_file("/proc/self/statm", 256); statm.ok())
    if (auto parts = split(*statm, ' '); parts.size() > 1)
      if (auto pages = parse_int(parts[1]))
        report.add(self::kProcessMemory, {}, Number::integer(*pages * ::sysconf(_SC_PAGESIZE)));
  for (const auto& [name, entry] : statsd_) entry.source->report(report);
  if (riemann_) riemann_->report(report);
  if (ffwd_) ffwd_->report(report);
  if (scripts_) {
    script_counts_.report(report, "scripts");
    scripts_->report(report);
  }
  if (host_) {
    host_counts_.report(report, "host");
    host_->report(report);
  }
  for (const auto& [name, output] : outputs_) output->report(report);
  log_.report(report);
  return report;
}

void Agent::push_self_metrics(int64_t time_ms) {
  Batch batch("runnel");
  make_report().to_batch(batch, time_ms, start_ms_);
  pipeline_.push(std::move(batch));
}

void Agent::write_metrics_file() {
  if (config_.agent.metrics_file.empty()) return;
  Status written = write_file_atomically(config_.agent.metrics_file, make_report().to_prometheus(), 0644);
  if (!written.ok() && limit_.allow("metrics_file"))
    log::warning("agent", "metrics_file: {}", written.error());
}

void Agent::push_event(const std::string& key, const std::string& description,
                       std::initializer_list<Tag> attributes) {
  Batch batch("runnel");
  Event event;
  event.series = batch.series(key, attributes);
  event.description = batch.string(description);
  batch.add(event);
  pipeline_.push(std::move(batch));
}

void Agent::watch_host_name() {
  std::string now = current_host_name();
  if (now == host_name_ || now.empty()) return;
  std::string before = std::exchange(host_name_, now);
  if (!config_.agent.host_from_system) return;  // configured by name: a rename changes nothing
  config_.agent.host = now;
  pipeline_.configure(config_.agent);
  log::warning("agent", "the host was renamed from {} to {}", before, now);
  push_event("runnel.host_renamed", fmt::format("{} is now {}", before, now),
             {{"from", before}, {"to", now}});
}

void Agent::read_tags_file(bool at_start) {
  const std::string& path = config_.agent.tags_file;
  if (path.empty()) {
    if (!tags_file_seen_.empty()) pipeline_.set_file_tags({});
    tags_file_seen_.clear();
    return;
  }
  auto text = read_file(path, 64 << 10);
  std::string seen = text.ok() ? *text : "error: " + text.error();
  if (seen == tags_file_seen_ && !at_start) return;
  tags_file_seen_ = seen;
  // A file that is being rewritten must not rename every series: what was read last stays until all of it is good. At
  // the start there is nothing to stay with, so the good lines count.
  if (!text.ok()) {
    log::warning("agent", "tags_file {}: {}", text.error(),
                 at_start ? "no tags of it" : "the tags read last stay");
    return;
  }
  TagsFile file = parse_tags_file(*text);
  for (size_t i = 0; i < std::min<size_t>(file.errors.size(), 5); i++)
    log::warning("agent", "tags_file {}: {}", path, file.errors[i]);
  if (!file.errors.empty() && !at_start) {
    log::warning("agent", "tags_file {}: bad lines={}, the tags read last stay", path, file.errors.size());
    return;
  }
  pipeline_.set_file_tags(file.tags);
  log::info("agent", "tags_file {}: tags={} bad_lines={}", path, file.tags.size(), file.errors.size());
}

}  // namespace runnel
