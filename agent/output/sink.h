// One instance of a sink behind the C ABI: values in, outcomes out. create, write, tick, reopen and the destructor from
// one thread at a time (the output's); interrupt and report from any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "metric/self_metrics.h"
#include "runnel_sink.h"

namespace runnel {

struct SinkIdentity {
  std::string output, agent_version, agent_id;
};

class Sink {
 public:
  static Result<std::unique_ptr<Sink>> create(const runnel_sink& descriptor,
                                              const std::vector<OptionValue>& options,
                                              const SinkIdentity& identity);
  ~Sink();
  Sink(const Sink&) = delete;

  runnel_outcome write(const runnel_payload& payload, uint64_t deadline_ns, runnel_answer& answer);
  void interrupt();
  void reopen();
  void tick();
  bool has_tick() const;
  bool wants_records() const { return (descriptor_.capabilities & RUNNEL_SINK_WANTS_RECORDS) != 0; }
  bool answers_records() const { return (descriptor_.capabilities & RUNNEL_SINK_ANSWERS_RECORDS) != 0; }
  void report(SelfReport& report) const;  // what the sink said through the host's `metric`

 private:
  Sink(const runnel_sink& descriptor, const SinkIdentity& identity);
  static void on_log(void* context, runnel_log_level level, const char* text);
  static void on_metric(void* context, const char* name, const runnel_pair* tags, size_t count,
                        runnel_metric_kind kind, double value);

  struct Metric {
    Kind kind;
    double value;
  };
  using MetricKey = std::pair<std::string, std::vector<std::pair<std::string, std::string>>>;

  const runnel_sink& descriptor_;
  const SinkIdentity identity_;
  runnel_host host_{};
  void* instance_ = nullptr;
  mutable std::mutex mutex_;
  std::map<MetricKey, Metric> metrics_;
};

// runnel_host.read_secret, also for checks: the file's text without trailing line ends.
long read_secret_file(void* context, const char* path, char* buffer, size_t capacity);

}  // namespace runnel
