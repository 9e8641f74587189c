// What an operator wants of librdkafka's statistics (its STATISTICS.md), as metrics of the agent. On the output's
// thread.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "runnel_sink.h"

namespace runnel_kafka {

class Statistics {
 public:
  explicit Statistics(const runnel_host* host) : host_(host) {}

  // One report of the library; false where it is none. Totals go on where a producer before this one ended.
  bool report(std::string_view json);
  void producer_ended();

 private:
  void metric(const char* name, runnel_metric_kind kind, double value) const;
  void of_broker(const char* name, std::string_view broker, double value) const;

  struct Totals {
    double messages = 0, bytes = 0, retries = 0, connects = 0;
  };
  const runnel_host* host_;
  Totals before_, now_;  // of producers that have ended, and of this one
};

}  // namespace runnel_kafka
