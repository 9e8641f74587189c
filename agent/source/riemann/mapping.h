// What becomes of Riemann's events in a batch. One thread.
//
//   an event with a metric        a sample: key = service, kind gauge; its tags become bare tags (value ""), its
//                                 attributes tags (of equal keys the last one, an attribute before a bare tag)
//   … with a state or description an event as well: tags stay tags, attributes attributes, the metric its value
//   an event without a metric     an event
//   host, time and ttl            as sent; what is absent the pipeline fills in (host, time) or stays out (ttl)
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "source/riemann/message.h"

namespace runnel::riemann {

// [source.riemann] keep. `metrics`: samples alone, an event without a metric is dropped. `events`: all as events.
enum class Keep { automatic, events, metrics };
std::optional<Keep> find_keep(std::string_view name);  // "auto", "events", "metrics"

class Mapper {
 public:
  // Returns how many events were dropped because they have nothing of what is kept.
  size_t append(const Message& message, Keep keep, Batch& batch);

 private:
  void append_sample(const Message& message, const EventView& from, uint32_t origin, Batch& batch);
  void append_event(const Message& message, const EventView& from, uint32_t origin, Batch& batch);
  void sort_tags();

  std::vector<Tag> tags_;                // scratch
  std::vector<std::string_view> texts_;  // scratch
};

}  // namespace runnel::riemann
