// Frames of FFWD's protobuf clients, written field by field.
#pragma once

#include <functional>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <utility>
#include <vector>

namespace runnel::ffwd {

inline std::string fields(const std::function<void(protozero::pbf_writer&)>& write) {
  std::string bytes;
  protozero::pbf_writer writer(bytes);
  write(writer);
  return bytes;
}

inline std::string text_field(uint32_t number, std::string_view text) {
  return fields([=](protozero::pbf_writer& w) { w.add_string(number, text.data(), text.size()); });
}
inline std::string int_field(uint32_t number, int64_t value) {
  return fields([=](protozero::pbf_writer& w) { w.add_int64(number, value); });
}
inline std::string double_field(uint32_t number, double value) {
  return fields([=](protozero::pbf_writer& w) { w.add_double(number, value); });
}
inline std::string pair_field(uint32_t number, std::string_view key, std::string_view value) {
  return text_field(number, text_field(1, key) + text_field(2, value));
}

inline std::string u32(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}
inline std::string frame(uint32_t version, const std::string& message) {
  return u32(version) + u32(static_cast<uint32_t>(message.size() + 8)) + message;
}
inline std::string metric_frame(uint32_t version, const std::string& metric) {
  return frame(version, text_field(1, metric));
}
inline std::string event_frame(const std::string& event) {
  return frame(0, text_field(2, event));
}

}  // namespace runnel::ffwd
