#include "statistics.h"

#include <simdjson.h>

#include "sink_support.h"

namespace runnel_kafka {

namespace {

double number(const simdjson::dom::element& parent, const char* name) {
  double value = 0;
  return parent[name].get(value) == simdjson::SUCCESS ? value : 0;
}

double average(const simdjson::dom::element& parent, const char* window) {
  simdjson::dom::element found;
  return parent[window].get(found) == simdjson::SUCCESS ? number(found, "avg") : 0;
}

}  // namespace

void Statistics::metric(const char* name, runnel_metric_kind kind, double value) const {
  host_->metric(host_->context, name, nullptr, 0, kind, value);
}

void Statistics::of_broker(const char* name, std::string_view broker, double value) const {
  const runnel_pair tag{{"broker", 6}, {broker.data(), broker.size()}};
  host_->metric(host_->context, name, &tag, 1, RUNNEL_METRIC_GAUGE, value);
}

bool Statistics::report(std::string_view json) {
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  if (parser.parse(json.data(), json.size()).get(root) != simdjson::SUCCESS) return false;
  now_.messages = number(root, "txmsgs");
  now_.bytes = number(root, "tx_bytes");
  now_.retries = now_.connects = 0;

  // A broker is there twice: as it was configured and, under its number, as the cluster calls it.
  struct Broker {
    bool up = false;
    double rtt_us = 0, throttle_ms = 0;
  };
  std::map<std::string, Broker> brokers;
  simdjson::dom::object all;
  if (root["brokers"].get(all) == simdjson::SUCCESS) {
    for (const auto& entry : all) {
      std::string_view name, state;
      if (entry.value["nodename"].get(name) != simdjson::SUCCESS || name.empty() || name.front() == ':')
        continue;
      now_.retries += number(entry.value, "txretries");
      now_.connects += number(entry.value, "connects");
      Broker& broker = brokers[std::string(name)];
      broker.up |= entry.value["state"].get(state) == simdjson::SUCCESS && state == "UP";
      broker.rtt_us = std::max(broker.rtt_us, average(entry.value, "rtt"));
      broker.throttle_ms = std::max(broker.throttle_ms, average(entry.value, "throttle"));
    }
  }
  for (const auto& [name, broker] : brokers) {
    of_broker("runnel.kafka.up", name, broker.up ? 1 : 0);
    of_broker("runnel.kafka.rtt", name, broker.rtt_us / 1e6);
    of_broker("runnel.kafka.throttle", name, broker.throttle_ms / 1e3);
  }
  metric("runnel.kafka.queue", RUNNEL_METRIC_GAUGE, number(root, "msg_cnt"));
  metric("runnel.kafka.queue_bytes", RUNNEL_METRIC_GAUGE, number(root, "msg_size"));
  metric("runnel.kafka.messages", RUNNEL_METRIC_TOTAL, before_.messages + now_.messages);
  metric("runnel.kafka.bytes", RUNNEL_METRIC_TOTAL, before_.bytes + now_.bytes);
  metric("runnel.kafka.retries", RUNNEL_METRIC_TOTAL, before_.retries + now_.retries);
  metric("runnel.kafka.connects", RUNNEL_METRIC_TOTAL, before_.connects + now_.connects);
  return true;
}

void Statistics::producer_ended() {
  before_.messages += now_.messages;
  before_.bytes += now_.bytes;
  before_.retries += now_.retries;
  before_.connects += now_.connects;
  now_ = {};
}

}  // namespace runnel_kafka
