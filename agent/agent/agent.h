// The composition root: builds the stages in the order of the flow, stops them in it, and holds what belongs to the
// agent as a whole: timers, reload, the agent's own metrics. Loop thread.
//
//   start   StatsD's receivers, which only count yet → journal → outputs → pipeline → the other sources, so that the first
//           sample has somewhere to go
//   stop    hooks → last flush → outputs, up to shutdown_timeout → listeners → log
//           without a journal that outlives the process: hooks → listeners, last flush → outputs
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/log_limit.h"
#include "config/load.h"
#include "journal/log.h"
#include "loop/aligned_timer.h"
#include "loop/loop.h"
#include "metric/self_metrics.h"
#include "output/output.h"
#include "output/sink_registry.h"
#include "pipeline/pipeline.h"
#include "source/ffwd/ffwd_source.h"
#include "source/host/host_source.h"
#include "source/riemann/riemann_source.h"
#include "source/script/script_source.h"
#include "source/statsd/statsd_source.h"

namespace runnel {

struct AgentSetup {
  std::string config_path;  // "" is the built-in defaults
  std::string executable;   // our own binary, which hooks are started through
  bool once = false;
};

class Agent {
 public:
  Agent(Loop& loop, const Clock& clock, SinkRegistry& registry, AgentSetup setup);
  ~Agent();
  Agent(const Agent&) = delete;

  // Errors have been found by the loader already, except those of the machine: a port that is taken.
  Status start(Config config);
  // Until SIGTERM or SIGINT, or with `once` until one round is delivered. The exit code.
  int run();

 private:
  struct Retiring {
    std::unique_ptr<Output> output;
    int64_t deadline_ms;  // loop time
  };

  // outputs
  Result<std::unique_ptr<Output>> make_output(const OutputConfig& config);
  void retire_output(std::unique_ptr<Output> output, const char* why);
  void sweep_retiring();
  WhenFull when_full(const OutputConfig& output) const;
  void open_journal();

  // sources
  Status start_statsd();
  Status start_sources();
  void tell_unused_sockets() const;
  Result<std::unique_ptr<statsd::StatsdSource>> open_statsd(const StatsdConfig& config, bool share_ports);
  Result<std::unique_ptr<riemann::RiemannSource>> open_riemann(const RiemannConfig& config, bool share_ports);
  Result<std::unique_ptr<ffwd::FfwdSource>> open_ffwd(const FfwdConfig& config, bool share_ports);
  ScriptContext script_context();
  void start_scripts();
  void start_host();
  void start_host_timer();
  void start_timers();
  void start_watchdog();

  // each interval
  void on_interval(const Tick& tick);
  void collect_host(int64_t time_ms);
  void flush_statsd(const Tick& tick);
  SelfReport make_report();
  void push_self_metrics(int64_t time_ms);
  void write_metrics_file();
  void push_event(const std::string& key, const std::string& description,
                  std::initializer_list<Tag> attributes);
  void watch_host_name();
  void read_tags_file(bool at_start);

  // life
  void reload();
  Status apply(Config next);
  Status apply_sources(const Config& next);
  Status apply_statsd(const Config& next);
  Status apply_riemann(const Config& next);
  Status apply_ffwd(const Config& next);
  void apply_scripts();
  void run_once_round();
  void begin_stop();
  void check_stop();
  Tick cut_interval();
  void end_listeners();
  void drain_outputs();
  bool outputs_ended();
  void finish();

  Loop& loop_;
  const Clock& clock_;
  SinkRegistry& registry_;
  const AgentSetup setup_;
  const int64_t start_ms_;
  Config config_;
  std::string agent_id_;

  RealFileSystem file_system_;
  std::unique_ptr<Wakeup> decisions_;  // of the log: batches that are safe, or not
  Log log_;
  Pipeline pipeline_;
  std::unique_ptr<Quarantine> quarantine_;
  std::map<std::string, std::unique_ptr<Output>> outputs_;
  std::vector<Retiring> retiring_;

  // A source's batches point at its tags, so a reload replaces the map and not the source.
  struct StatsdEntry {
    std::unique_ptr<statsd::StatsdSource> source;
    std::shared_ptr<StringMap> tags;
  };
  std::map<std::string, StatsdEntry> statsd_;
  std::unique_ptr<riemann::RiemannSource> riemann_;
  std::unique_ptr<ffwd::FfwdSource> ffwd_;
  SourceCounts script_counts_, host_counts_;
  std::unique_ptr<ScriptSource> scripts_;
  std::unique_ptr<HostCollectors> host_;
  std::unique_ptr<AlignedTimer> interval_timer_, host_timer_;
  int64_t held_interval_ms_ = 0;  // of flushes put off while the log is full under `block`
  bool told_blocked_ = false;
  std::string tags_file_seen_;  // its text, to notice changes
  std::string host_name_;       // gethostname() when last looked at
  LogLimit limit_;

  std::vector<std::unique_ptr<SignalWatch>> signals_;
  std::unique_ptr<Timer> stop_timer_, retire_timer_, watchdog_timer_;
  enum class Stop { no, hooks, flush, outputs };  // what is waited for
  Stop stop_ = Stop::no;
  int64_t stop_deadline_ms_ = 0;
  Tick last_tick_;
  bool asked_again_ = false, listeners_ended_ = false;
  bool once_delivered_ = true;
};

}  // namespace runnel
