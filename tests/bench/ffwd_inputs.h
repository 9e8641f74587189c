// Metrics as FFWD's clients send them, and bare walks of the same bytes that look at every field and keep nothing: the yardsticks
// of what FFWD's formats cost.
#pragma once

#include <fmt/format.h>
#include <simdjson.h>

#include <cstdint>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <utility>

#include "bench/protobuf_walk.h"

namespace runnel::bench {

inline constexpr std::pair<const char*, const char*> kAttributes[] = {
    {"what", "request-duration"}, {"unit", "ms"},      {"stat", "p99"},
    {"metric_type", "timer"},     {"endpoint", "/v1"}, {"status", "200"}};

// A frame of version 1, as the Java client has it.
inline std::string ffwd_datagram(size_t i) {
  std::string metric;
  protozero::pbf_writer w(metric);
  w.add_int64(2, 1'700'000'000'000 + static_cast<int64_t>(i));
  w.add_string(3, fmt::format("service-{}", i % 10));
  w.add_string(4, "web-1.lon.example.net");
  for (auto [key, value] : kAttributes) {
    std::string pair;
    protozero::pbf_writer p(pair);
    p.add_string(1, key);
    p.add_string(2, value);
    w.add_message(6, pair);
  }
  std::string value;
  protozero::pbf_writer v(value);
  v.add_double(1, static_cast<double>(i) * 1.25);
  w.add_message(7, value);
  std::string message;
  protozero::pbf_writer m(message);
  m.add_message(1, metric);
  std::string bytes(8, '\0');
  bytes[3] = 1;
  bytes[6] = static_cast<char>((message.size() + 8) >> 8);
  bytes[7] = static_cast<char>(message.size() + 8);
  return bytes + message;
}

// A frame's message: 0 is the Message, 1 the Metric, 2 an attribute or a value.
inline uint64_t walk(protozero::pbf_reader message) {
  return walk_protobuf(message,
                       [](int depth, uint32_t tag) { return depth == 0 || (depth == 1 && tag >= 6); });
}

inline std::string ffwd_line(size_t i) {
  std::string text = fmt::format(
      R"({{"type":"metric","key":"service-{}","value":{},"time":{},"host":"web-1.lon.example.net","attributes":{{)",
      i % 10, static_cast<double>(i) * 1.25 + 0.5, 1'700'000'000 + i);
  for (auto [key, value] : kAttributes) text += fmt::format(R"("{}":"{}",)", key, value);
  text.back() = '}';
  return text + "}";
}

inline uint64_t walk(simdjson::dom::element value) {
  uint64_t sum = 0;
  if (value.is_object()) {
    for (auto [key, member] : simdjson::dom::object(value.get_object().value_unsafe()))
      sum += key.size() + walk(member);
  } else if (value.is_string()) {
    sum += value.get_string().value_unsafe().size();
  } else if (value.is_number()) {
    sum += static_cast<uint64_t>(value.get_double().value_unsafe());
  }
  return sum;
}

}  // namespace runnel::bench
