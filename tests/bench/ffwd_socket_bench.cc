// What FFWD's protocols cost from the socket to the log: receiving, decoding, mapping, the pipeline. Prints a JSON object a line;
// exit 1 where a target is missed.
//
//   udp_protobuf   a datagram a metric, as the Java client sends it
//   tcp_json       a line a metric, over one connection
//
// The yardstick receives the same bytes with the same calls and walks them (ffwd_inputs.h). The sender is this thread too, so that
// nothing is lost; its time is not counted. CPU time of the thread, the best of alternating rounds: the machine may be busy.
#include <fmt/format.h>
#include <sys/socket.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/ffwd_inputs.h"
#include "bench/timing.h"
#include "journal/log.h"
#include "loop/loop.h"
#include "net/datagram_reader.h"
#include "net/listener.h"
#include "pipeline/pipeline.h"
#include "source/ffwd/ffwd_source.h"

using namespace runnel;
using namespace runnel::bench;

namespace {

constexpr size_t kPoints = 100;  // sent at a time: what the smallest socket buffers hold
constexpr int kRounds = 40, kTimes = 25;
constexpr double kUdpTarget = 0.5e6, kTcpTarget = 0.8e6;  // points a second of a core
volatile uint64_t g_sink = 0;

// A source on a loop of this thread's, with a pipeline and a log that nobody reads.
struct Agent {
  Loop loop;
  SystemClock clock;
  Log log{clock, 64 << 20};
  Pipeline pipeline{log, clock};
  size_t arrived = 0;
  std::unique_ptr<ffwd::FfwdSource> source;

  explicit Agent(const std::string& listen) {
    AgentConfig agent;
    agent.host = "bench";
    agent.tags = {{"site", "lon"}};
    pipeline.configure(agent);
    FfwdConfig config;
    config.listen = {listen};
    auto opened = ffwd::FfwdSource::open(
        loop, clock, config,
        [this](Batch&& batch, const Log::Decided& decided) {
          arrived += batch.records();
          pipeline.push(std::move(batch), nullptr, decided);
        },
        [this] { return log.blocked(); });
    source = std::move(*opened);
  }
  void run_until(size_t points) {
    while (arrived < points) loop.run_once(100);
  }
};

UniqueFd connect_to(const std::string& url, int type) {
  auto where = *to_socket_address(*parse_listen_address(url));
  UniqueFd fd(::socket(where.family(), type | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), where.get(), where.size) != 0) std::abort();
  return fd;
}

void send_all(int fd, const std::vector<std::string>& messages) {
  for (const std::string& message : messages)
    if (!write_all(fd, message).ok()) std::abort();
}

// ns a point: of `take`, which takes what `send` sent.
double round_ns(const std::function<void()>& send, const std::function<void()>& take) {
  double seconds = 0;
  for (int i = 0; i < kTimes; i++) {
    send();
    seconds += cpu_seconds(take);
  }
  return seconds * 1e9 / (kTimes * kPoints);
}

bool say(std::string_view name, double ours, double bare, double target) {
  bool good = 1e9 / ours >= target;
  fmt::print(
      R"({{"bench":"ffwd_{}","ns":{:.0f},"bare_ns":{:.0f},"ratio":{:.2f},"per_s":{:.0f},"target":{:.0f},"ok":{}}})"
      "\n",
      name, ours, bare, ours / bare, 1e9 / ours, target, good);
  return good;
}

bool bench_udp_protobuf() {
  std::vector<std::string> datagrams;
  for (size_t i = 0; i < kPoints; i++) datagrams.push_back(ffwd_datagram(i));
  Agent agent("udp+protobuf://127.0.0.1:0");
  std::string url = agent.source->addresses()[0];
  UniqueFd to_agent = connect_to(url.substr(0, 3) + url.substr(url.find("://")), SOCK_DGRAM);
  auto listener = *Listener::open("udp://127.0.0.1:0", {});
  UniqueFd to_bare = connect_to(listener->bound(), SOCK_DGRAM);
  DatagramReader reader;
  double ours = 1e18, bare = 1e18;
  for (int round = 0; round < kRounds; round++) {
    ours = std::min(ours, round_ns([&] { send_all(to_agent.get(), datagrams); },
                                   [&] { agent.run_until(agent.arrived + kPoints); }));
    bare = std::min(bare, round_ns([&] { send_all(to_bare.get(), datagrams); },
                                   [&] {
                                     for (size_t got = 0; got < kPoints;) {
                                       size_t count = reader.receive(*listener);
                                       for (size_t i = 0; i < count; i++) {
                                         std::string_view bytes = reader.payload(i).substr(8);
                                         g_sink =
                                             g_sink + walk(protozero::pbf_reader(bytes.data(), bytes.size()));
                                       }
                                       got += count;
                                     }
                                   }));
  }
  return say("udp_protobuf", ours, bare, kUdpTarget);
}

bool bench_tcp_json() {
  std::string lines;
  for (size_t i = 0; i < kPoints; i++) lines += ffwd_line(i) + "\n";
  Agent agent("tcp+json://127.0.0.1:0");
  std::string url = agent.source->addresses()[0];
  UniqueFd to_agent = connect_to(url.substr(0, 3) + url.substr(url.find("://")), SOCK_STREAM);
  auto listener = *Listener::open("tcp://127.0.0.1:0", {});
  UniqueFd to_bare = connect_to(listener->bound(), SOCK_STREAM);
  UniqueFd bare_end(::accept4(listener->fd(), nullptr, nullptr, SOCK_CLOEXEC));
  if (bare_end.get() < 0) std::abort();
  simdjson::dom::parser parser;
  std::string buffer(256 << 10, ' '), padded(4096, ' ');
  double ours = 1e18, bare = 1e18;
  for (int round = 0; round < kRounds; round++) {
    ours = std::min(ours, round_ns([&] { send_all(to_agent.get(), {lines}); },
                                   [&] { agent.run_until(agent.arrived + kPoints); }));
    bare = std::min(
        bare, round_ns([&] { send_all(to_bare.get(), {lines}); },
                       [&] {
                         size_t held = 0, got = 0;
                         while (got < kPoints) {
                           ssize_t n = ::recv(bare_end.get(), buffer.data() + held, buffer.size() - held, 0);
                           if (n <= 0) std::abort();
                           std::string_view rest(buffer.data(), held + static_cast<size_t>(n));
                           for (size_t end = 0; (end = rest.find('\n')) != std::string_view::npos; got++) {
                             std::memcpy(padded.data(), rest.data(), end);
                             g_sink = g_sink + walk(parser.parse(padded.data(), end, false).value_unsafe());
                             rest.remove_prefix(end + 1);
                           }
                           held = rest.size();
                           std::memmove(buffer.data(), rest.data(), held);
                         }
                       }));
  }
  return say("tcp_json", ours, bare, kTcpTarget);
}

}  // namespace

int main() {
  bool good = bench_udp_protobuf();
  good &= bench_tcp_json();
  return good ? 0 : 1;
}
