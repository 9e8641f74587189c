// Riemann messages written for the tests, also such as no client would send.
#pragma once

#include <cstdint>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runnel::riemann {

// A message from what a function does with its writer.
template <class Fill>
std::string message_of(Fill&& fill) {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  fill(writer);
  return bytes;
}

struct WireEvent {
  std::string service, host, state, description;
  std::vector<std::string> tags;
  std::vector<std::pair<std::string, std::string>> attributes;
  std::string raw;  // fields that are appended as they are
};

inline std::string event_bytes(const WireEvent& event) {
  return message_of([&](protozero::pbf_writer& w) {
           for (auto [number, text] : {std::pair{2, &event.state}, std::pair{3, &event.service},
                                       std::pair{4, &event.host}, std::pair{5, &event.description}})
             if (!text->empty()) w.add_string(static_cast<uint32_t>(number), *text);
           for (const std::string& tag : event.tags) w.add_string(7, tag);
           for (const auto& [key, value] : event.attributes) {
             std::string bytes = message_of([&, k = key, v = value](protozero::pbf_writer& a) {
               a.add_string(1, k);
               a.add_string(2, v);
             });
             w.add_message(9, bytes);
           }
         }) +
         event.raw;
}

template <class Fill>
std::string fields(Fill&& fill) {
  return message_of(std::forward<Fill>(fill));
}
inline std::string metric_d(double value) {
  return fields([=](protozero::pbf_writer& w) { w.add_double(14, value); });
}
inline std::string metric_f(float value) {
  return fields([=](protozero::pbf_writer& w) { w.add_float(15, value); });
}
inline std::string metric_sint(int64_t value) {
  return fields([=](protozero::pbf_writer& w) { w.add_sint64(13, value); });
}

// A Msg with these events; `number` 4 makes states of them.
inline std::string msg(const std::vector<WireEvent>& events, uint32_t number = 6) {
  return message_of([&](protozero::pbf_writer& w) {
    for (const WireEvent& event : events) w.add_message(number, event_bytes(event));
  });
}

inline std::string framed(std::string_view message) {
  std::string bytes(4, '\0');
  for (size_t i = 0; i < 4; i++) bytes[i] = static_cast<char>(message.size() >> (24 - 8 * i));
  return bytes.append(message);
}

}  // namespace runnel::riemann
