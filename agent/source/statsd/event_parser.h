// DogStatsD's events and service checks (docs/statsd.md has the grammar):
//
//     _e{<title bytes>,<text bytes>}:title|text[|d:unix s][|h:host][|k:key][|p:priority][|s:source][|t:alert type][|#tags][|c:…][|e:…]
//     _sc|name|status[|d:unix s][|h:host][|#tags][|m:message][|c:…][|e:…]
//
// Pure: bytes in, one event in `out`, or a reason. An event is taken whole or refused whole. Any thread.
#pragma once

#include <string_view>

#include "metric/batch.h"

namespace runnel::statsd {

// Whether the line is one of the two, well-formed or not: a metric's name may begin with `_e` or `_sc` as well.
bool is_event_line(std::string_view line);

// `line` without its line end. Empty: an event was added to `out`; else why not, one of statsd::bad (parser.h). With
// `origin_tags` the container and external fields become the attributes `container` and `external`.
std::string_view read_event(std::string_view line, bool origin_tags, Batch& out);

}  // namespace runnel::statsd
