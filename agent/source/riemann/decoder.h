// Bytes of a Riemann Msg to a Message: riemann.proto (proto2) as clients of all ages send it, by protozero. Pure.
//
//   Msg        ok 2, error 3, states 4 (State), query 5 (Query), events 6 (Event)
//   Event      time 1 (s), state 2, service 3, host 4, description 5, tags 7, ttl 8 (float), attributes 9,
//              time_micros 10, metric_sint64 13, metric_d 14, metric_f 15
//   Attribute  key 1 (required), value 2
//   State      time 1, state 2, service 3, host 4, description 5, once 6, tags 7, ttl 8
//
// A metric is the first that is there of sint64, double, float; time_micros wins over time. Fields with other numbers
// are skipped. A known field with another wire type, a text or message that is cut off, a varint of more than 10 bytes,
// an attribute without key: the whole Msg is refused and nothing of it is taken, as Riemann itself does. What is well
// formed and means nothing (message.h, Refusal) costs only its event.
#pragma once

#include <string_view>

#include "source/riemann/message.h"

namespace runnel::riemann {

namespace undecodable {
inline constexpr std::string_view kMessage = "bad_message";   // no protobuf, or cut off
inline constexpr std::string_view kType = "wrong_type";       // a known field with another wire type
inline constexpr std::string_view kKey = "missing_key";       // an attribute without the required key
inline constexpr std::string_view kMany = "too_many_events";  // more than kMaxEvents
}  // namespace undecodable

// "" where it was decoded; else one of the reasons above, and `out` holds nothing of use.
std::string_view decode(std::string_view bytes, Message& out);

}  // namespace runnel::riemann
