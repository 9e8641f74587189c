// A bare walk over a protobuf message, the yardstick of what decoding one costs: every field is read as its own kind, nested
// ones too, and nothing is kept but a sum, so that the compiler leaves nothing out.
#pragma once

#include <cstdint>
#include <protozero/pbf_reader.hpp>

namespace runnel::bench {

// `is_message(depth, tag)`: whether the bytes of that field are a message; `depth` is 0 at the top.
template <class IsMessage>
uint64_t walk_protobuf(protozero::pbf_reader reader, const IsMessage& is_message, int depth = 0) {
  uint64_t sum = 0;
  while (reader.next()) {
    switch (reader.wire_type()) {
      case protozero::pbf_wire_type::varint:
        sum += reader.get_uint64();
        break;
      case protozero::pbf_wire_type::fixed64:
        sum += reader.get_fixed64();
        break;
      case protozero::pbf_wire_type::fixed32:
        sum += reader.get_fixed32();
        break;
      case protozero::pbf_wire_type::length_delimited:
        if (is_message(depth, reader.tag())) {
          sum += walk_protobuf(reader.get_message(), is_message, depth + 1);
        } else {
          sum += reader.get_view().size();
        }
        break;
      default:
        reader.skip();
    }
  }
  return sum;
}

}  // namespace runnel::bench
