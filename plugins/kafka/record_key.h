// The key of a message, which decides its partition. Pure; an instance belongs to one sink.
#pragma once

#include <string>
#include <string_view>

#include "runnel_sink.h"

namespace runnel_kafka {

class RecordKey {
 public:
  // "series", "host", "tag:NAME" or "none". False: it is none of them.
  bool parse(std::string_view text);

  // Valid as long as the record. Empty: no key, so that the partitioner chooses by itself.
  //
  // series: with the host for what a host says of itself (totals, gauges, events), without it for what is added up or
  // merged across hosts (counters, distributions, sets), so that one series of a whole fleet meets in one partition.
  std::string_view of(const runnel_record& record) const;

 private:
  enum class Mode { kSeries, kHost, kTag, kNone };
  Mode mode_ = Mode::kSeries;
  std::string tag_;
};

}  // namespace runnel_kafka
