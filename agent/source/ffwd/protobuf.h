// Datagrams of FFWD's protobuf clients, by protozero. Pure.
//
//   frame       u32be version, u32be length with these 8 bytes, Message; several of them may be in a datagram
//   version 0   Message{metric 1, event 2}
//               Metric{proc 1, time 2 (int64, ms), key 3, value 4 (double), host 5, tags 6 (repeated), attributes 7}
//               Event{time 1, key 2, value 3 (double), host 4, state 5, description 6, ttl 7 (int64, s), tags 8, attributes 9}
//               attributes: repeated Attribute{key 1, value 2}
//   version 1   Message{metric 1}
//               Metric{proc 1, time 2, key 3, host 4, tags 5, attributes 6 (map: the same on the wire), value 7}
//               value: Value{double 1 | distribution 2 (bytes)}
//
// A frame that is wrong costs what is behind it in its datagram, because its length cannot be trusted; a point that is well
// formed and means nothing costs only itself. Fields with other numbers are skipped.
#pragma once

#include <string_view>

#include "source/ffwd/point.h"

namespace runnel::ffwd {

void decode_protobuf(std::string_view datagram, Points& out);

}  // namespace runnel::ffwd
