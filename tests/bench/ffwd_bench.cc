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

#include <charconv>
#include <cstring>
#include <string>
#include <vector>

#include "bench/ffwd_inputs.h"
#include "bench/timing.h"
#include "source/ffwd/carbon.h"
#include "source/ffwd/json.h"
#include "source/ffwd/protobuf.h"

using namespace runnel;
using namespace runnel::ffwd;
using namespace runnel::bench;

namespace {

constexpr size_t kInputs = 256;  // different ones: more than a branch predictor learns
constexpr double kProtobufTarget = 3e6, kJsonTarget = 2e6, kCarbonTarget = 5e6;

volatile uint64_t g_sink = 0;  // keeps the compiler from leaving the walks out

template <class Work>
double best_ns(const std::vector<std::string>& inputs, Work&& work) {
  auto all = [&] {
    for (const std::string& input : inputs) work(input);
  };
  return bench::best_ns(400, 4, all) / static_cast<double>(inputs.size());
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

bool bench_protobuf() {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < kInputs; i++) inputs.push_back(ffwd_datagram(i));
  double bare = best_ns(inputs, [](const std::string& input) {
    g_sink = g_sink + walk(protozero::pbf_reader(input.data() + 8, input.size() - 8));
  });
  Points points;
  double ours = best_ns(inputs, [&](const std::string& input) {
    decode_protobuf(input, points);
    if (points.points.size() != 1) std::abort();
  });
  return say("protobuf", inputs, ours, bare, kProtobufTarget);
}

bool bench_json() {
  std::vector<std::string> inputs;
  for (size_t i = 0; i < kInputs; i++) inputs.push_back(ffwd_line(i));
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
