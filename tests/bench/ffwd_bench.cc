// What FFWD's protocols cost to decode. Prints a JSON object a line; exit 1 where a target is missed.
//
//   protobuf   a metric a datagram as the Java client sends it (version 1, six attributes): ours over a protozero walk of the
//              same bytes that looks at every field and keeps nothing
//   json       a metric a line with the same fields: ours over simdjson's own walk of the same bytes (every member visited, strings
//              and numbers looked at, nothing kept)
//   carbon     `path;tag=value… value timestamp`: ours over a look at each byte for a separator and two numbers read
//
// CPU time of the thread, the best of many rounds: the machine may be busy.
#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <ctime>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <vector>

#include "source/ffwd/carbon.h"
#include "source/ffwd/json.h"
#include "source/ffwd/protobuf.h"

using namespace runnel;
using namespace runnel::ffwd;

namespace {

constexpr size_t kInputs = 256;  // different ones: more than a branch predictor learns
constexpr double kProtobufTarget = 3e6, kJsonTarget = 2e6, kCarbonTarget = 5e6;

volatile uint64_t g_sink = 0;  // keeps the compiler from leaving the walks out

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

template <class Work>
double best_ns(const std::vector<std::string>& inputs, Work&& work) {
  double best = 1e18;
  for (int round = 0; round < 400; round++) {
    int64_t start = now_ns();
    for (int i = 0; i < 4; i++)
      for (const std::string& input : inputs) work(input);
    best = std::min(best, static_cast<double>(now_ns() - start) / (4.0 * static_cast<double>(inputs.size())));
  }
  return best;
}

bool say(std::string_view name, const std::vector<std::string>& inputs, double ours, double bare,
         double target) {
  size_t bytes = 0;
  for (const std::string& input : inputs) bytes += input.size();
  bool good = 1e9 / ours >= target;
  fmt::print(
      R"({{"bench":"ffwd_{}","bytes":{},"ns":{:.1f},"walk_ns":{:.1f},"ratio":{:.2f},"per_s":{:.0f},"target":{:.0f},)"
      R"("ok":{}}})"
      "\n",
      name, bytes / inputs.size(), ours, bare, ours / bare, 1e9 / ours, target, good);
  return good;
}

// ---- protobuf ------------------------------------------------------------------------------------------------------

constexpr std::pair<const char*, const char*> kAttributes[] = {
    {"what", "request-duration"}, {"unit", "ms"},      {"stat", "p99"},
    {"metric_type", "timer"},     {"endpoint", "/v1"}, {"status", "200"}};

std::string datagram(size_t i) {
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

// `depth` 0 is the Message, 1 the Metric, 2 an attribute or a value.
uint64_t walk(protozero::pbf_reader reader, int depth) {
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
        if (depth == 0 || (depth == 1 && reader.tag() >= 6)) {
          sum += walk(reader.get_message(), depth + 1);
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

bool bench_protobuf() {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < kInputs; i++) inputs.push_back(datagram(i));
  double bare = best_ns(inputs, [](const std::string& input) {
    g_sink = g_sink + walk(protozero::pbf_reader(input.data() + 8, input.size() - 8), 0);
  });
  Points points;
  double ours = best_ns(inputs, [&](const std::string& input) {
    decode_protobuf(input, points);
    if (points.points.size() != 1) std::abort();
  });
  return say("protobuf", inputs, ours, bare, kProtobufTarget);
}

// ---- JSON ----------------------------------------------------------------------------------------------------------

std::string json_line(size_t i) {
  std::string text = fmt::format(
      R"({{"type":"metric","key":"service-{}","value":{},"time":{},"host":"web-1.lon.example.net","attributes":{{)",
      i % 10, static_cast<double>(i) * 1.25 + 0.5, 1'700'000'000 + i);
  for (auto [key, value] : kAttributes) text += fmt::format(R"("{}":"{}",)", key, value);
  text.back() = '}';
  return text + "}";
}

uint64_t walk(simdjson::dom::element value) {
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

bool bench_json() {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < kInputs; i++) inputs.push_back(json_line(i));
  simdjson::dom::parser parser;
  std::string padded(4096, ' ');
  double bare = best_ns(inputs, [&](const std::string& input) {
    std::memcpy(padded.data(), input.data(), input.size());
    g_sink = g_sink + walk(parser.parse(padded.data(), input.size(), false).value_unsafe());
  });
  JsonDecoder decoder;
  Points points;
  double ours = best_ns(inputs, [&](const std::string& input) {
    decoder.line(input, points);
    if (points.points.size() != 1) std::abort();
  });
  return say("json", inputs, ours, bare, kJsonTarget);
}

// ---- carbon --------------------------------------------------------------------------------------------------------

uint64_t walk_line(std::string_view line) {
  uint64_t separators = 0;
  size_t blanks[2] = {}, count = 0;
  for (size_t i = 0; i < line.size(); i++) {
    separators += line[i] == ';' || line[i] == '=';
    if (line[i] == ' ' && count < 2) blanks[count++] = i;
  }
  double value = 0;
  int64_t time = 0;
  std::from_chars(line.data() + blanks[0] + 1, line.data() + blanks[1], value);
  std::from_chars(line.data() + blanks[1] + 1, line.data() + line.size(), time);
  return separators + static_cast<uint64_t>(value) + static_cast<uint64_t>(time);
}

bool bench_carbon() {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < kInputs; i++)
    inputs.push_back(fmt::format("servers.web-{}.disk.used;mount=/var;dev=sda1 {} {}", i % 10,
                                 static_cast<double>(i) * 1.25, 1'700'000'000 + i));
  double bare = best_ns(inputs, [](const std::string& input) { g_sink = g_sink + walk_line(input); });
  Points points;
  double ours = best_ns(inputs, [&](const std::string& input) {
    points.clear();
    decode_carbon(input, points);
    if (points.points.size() != 1) std::abort();
  });
  return say("carbon", inputs, ours, bare, kCarbonTarget);
}

}  // namespace

int main() {
  bool good = bench_protobuf();
  good &= bench_json();
  good &= bench_carbon();
  return good ? 0 : 1;
}
