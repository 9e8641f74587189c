#include "output/sink.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>

#include "base/fd.h"
#include "base/log.h"
#include "config/sink_options.h"

namespace runnel {
namespace {

constexpr size_t kMaxMetrics = 1000;  // a sink that invents tag values must not grow the agent

void copy_text(char* buffer, size_t capacity, std::string_view text) {
  if (capacity == 0) return;
  size_t n = std::min(text.size(), capacity - 1);
  std::memcpy(buffer, text.data(), n);
  buffer[n] = 0;
}

}  // namespace

long read_secret_file(void*, const char* path, char* buffer, size_t capacity) {
  auto text = read_file(path, capacity > 0 ? capacity - 1 : 0);
  if (!text.ok()) {
    copy_text(buffer, capacity, text.error());
    return -1;
  }
  while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
  copy_text(buffer, capacity, *text);
  return static_cast<long>(text->size());
}

Sink::Sink(const runnel_sink& descriptor, const SinkIdentity& identity)
    : descriptor_(descriptor), identity_(identity) {
  host_.struct_size = sizeof host_;
  host_.context = this;
  host_.output_name = identity_.output.c_str();
  host_.agent_version = identity_.agent_version.c_str();
  host_.agent_id = identity_.agent_id.c_str();
  host_.log = on_log;
  host_.metric = on_metric;
  host_.read_secret = read_secret_file;
}

Result<std::unique_ptr<Sink>> Sink::create(const runnel_sink& descriptor,
                                           const std::vector<OptionValue>& options,
                                           const SinkIdentity& identity) {
  std::unique_ptr<Sink> sink(new Sink(descriptor, identity));
  NativeValues values(options);
  char error[512] = "";
  sink->instance_ = descriptor.create(&sink->host_, values.data(), error, sizeof error);
  if (sink->instance_ == nullptr) return Error{error[0] != 0 ? error : "the sink could not be made"};
  return sink;
}

Sink::~Sink() {
  if (instance_ != nullptr) descriptor_.destroy(instance_);
}

runnel_outcome Sink::write(const runnel_payload& payload, uint64_t deadline_ns, runnel_answer& answer) {
  runnel_outcome outcome = descriptor_.write(instance_, &payload, deadline_ns, &answer);
  answer.message[sizeof answer.message - 1] = 0;
  return outcome;
}

void Sink::interrupt() {
  descriptor_.interrupt(instance_);
}

void Sink::reopen() {
  if (descriptor_.reopen != nullptr) descriptor_.reopen(instance_);
}

bool Sink::has_tick() const {
  return descriptor_.struct_size >= offsetof(runnel_sink, tick) + sizeof descriptor_.tick &&
         descriptor_.tick != nullptr;
}

void Sink::tick() {
  if (has_tick()) descriptor_.tick(instance_);
}

void Sink::on_log(void* context, runnel_log_level level, const char* text) {
  const auto& output = static_cast<Sink*>(context)->identity_.output;
  switch (level) {
    case RUNNEL_LOG_DEBUG:
      log::debug(output, "{}", text);
      break;
    case RUNNEL_LOG_INFO:
      log::info(output, "{}", text);
      break;
    case RUNNEL_LOG_WARNING:
      log::warning(output, "{}", text);
      break;
    default:
      log::error(output, "{}", text);
      break;
  }
}

void Sink::on_metric(void* context, const char* name, const runnel_pair* tags, size_t count,
                     runnel_metric_kind kind, double value) {
  auto* sink = static_cast<Sink*>(context);
  if (!std::isfinite(value) || std::strncmp(name, "runnel.", 7) != 0) return;
  MetricKey key{name, {{"output", sink->identity_.output}}};
  for (size_t i = 0; i < count; i++)
    key.second.emplace_back(std::string(tags[i].key.data, tags[i].key.size),
                            std::string(tags[i].value.data, tags[i].value.size));
  std::lock_guard lock(sink->mutex_);
  if (sink->metrics_.size() >= kMaxMetrics && !sink->metrics_.contains(key)) return;
  sink->metrics_[std::move(key)] = {kind == RUNNEL_METRIC_TOTAL ? Kind::total : Kind::gauge, value};
}

void Sink::report(SelfReport& report) const {
  std::lock_guard lock(mutex_);
  for (const auto& [key, metric] : metrics_)
    report.add_foreign(key.first, metric.kind, key.second, metric.value);
}

}  // namespace runnel
