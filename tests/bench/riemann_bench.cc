// What Riemann messages cost. Prints a JSON object a line; exit 1 where a target is missed.
//
//   decode   collectd-like events (host, service, state, ttl, two tags, four attributes, double), 100 a message: ours over
//            a bare protozero walk of the same bytes that looks at every field and keeps nothing
//   socket   one TCP connection, 100 events a message, pipelined: events a second of the agent's thread, from the socket
//            to the log (decoding, mapping, pipeline, answers)
//   answer   a message of one event, one at a time: round trip over that of an echo server on the same loop
//
// Times of `decode` and `socket` are CPU time of the thread, the best of many rounds; round trips are medians of
// alternating rounds, the best pair counts: the machine may be busy.
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <thread>
#include <vector>

#include "bench/protobuf_walk.h"
#include "bench/timing.h"
#include "journal/log.h"
#include "loop/loop.h"
#include "pipeline/pipeline.h"
#include "source/riemann/decoder.h"
#include "source/riemann/riemann_source.h"

using namespace runnel;
using namespace runnel::riemann;

namespace {

constexpr size_t kEvents = 100;  // a message
constexpr double kDecodeTarget = 4e6, kWalkTarget = 1.5, kSocketTarget = 1e6, kAnswerTarget = 1.3;

std::string event_bytes(size_t i) {
  std::string bytes;
  protozero::pbf_writer w(bytes);
  w.add_int64(1, 1'700'000'000);
  w.add_string(2, "ok");
  w.add_string(3, fmt::format("cpu-{}/cpu-user", i));
  w.add_string(4, "web-1.lon.example.net");
  w.add_float(8, 20);
  w.add_string(7, "prod");
  w.add_string(7, "ds_type:gauge");
  for (auto [key, value] : {std::pair{"plugin", "cpu"}, std::pair{"plugin_instance", "0"},
                            std::pair{"type", "cpu"}, std::pair{"ds_name", "value"}}) {
    std::string attribute;
    protozero::pbf_writer a(attribute);
    a.add_string(1, key);
    a.add_string(2, value);
    w.add_message(9, attribute);
  }
  w.add_int64(10, 1'700'000'000'000'000);
  w.add_double(14, static_cast<double>(i) * 1.5);
  return bytes;
}

std::string message_bytes(size_t events) {
  std::string bytes;
  protozero::pbf_writer w(bytes);
  for (size_t i = 0; i < events; i++) w.add_message(6, event_bytes(i));
  return bytes;
}

std::string framed(const std::string& message) {
  std::string bytes(4, '\0');
  for (size_t i = 0; i < 4; i++) bytes[i] = static_cast<char>(message.size() >> (24 - 8 * i));
  return bytes + message;
}

// 0 is the Msg, 1 an event, 2 an attribute.
uint64_t walk(protozero::pbf_reader message) {
  return bench::walk_protobuf(message,
                              [](int depth, uint32_t tag) { return depth == 0 || (depth == 1 && tag == 9); });
}

template <class Work>
double best_ns_an_event(Work&& work) {
  return bench::best_ns(200, 50, work) / kEvents;
}

bool bench_decode() {
  std::string bytes = message_bytes(kEvents);
  volatile uint64_t sink = 0;
  double bare =
      best_ns_an_event([&] { sink = sink + walk(protozero::pbf_reader(bytes.data(), bytes.size())); });
  Message message;
  double ours = best_ns_an_event([&] {
    if (!decode(bytes, message).empty() || message.events.size() != kEvents) std::abort();
  });
  bool good = 1e9 / ours >= kDecodeTarget && ours / bare <= kWalkTarget;
  fmt::print(R"({{"bench":"riemann_decode","bytes_an_event":{},"ns":{:.1f},"walk_ns":{:.1f},"ratio":{:.2f},)"
             R"("events_s":{:.0f},"ok":{}}})"
             "\n",
             bytes.size() / kEvents, ours, bare, ours / bare, 1e9 / ours, good);
  return good;
}

// A source on a loop of its own thread's, with a pipeline and a log that nobody reads.
struct Agent {
  Loop loop;
  SystemClock clock;
  Log log{clock, 256 << 20};
  Pipeline pipeline{log, clock};
  std::unique_ptr<RiemannSource> source;

  Agent() {
    AgentConfig agent;
    agent.host = "bench";
    pipeline.configure(agent);
    RiemannConfig config;
    config.listen = {"tcp://127.0.0.1:0"};
    auto opened = RiemannSource::open(
        loop, clock, config,
        [this](Batch&& batch, const Log::Decided& decided) {
          pipeline.push(std::move(batch), nullptr, decided);
        },
        [this] { return log.blocked(); }, false);
    source = std::move(*opened);
  }
};

UniqueFd connect_to(const std::string& url) {
  auto address = *parse_listen_address(url);
  auto where = *to_socket_address(address);
  UniqueFd fd(::socket(where.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), where.get(), where.size) != 0) std::abort();
  return fd;
}

void read_exactly(int fd, size_t count) {
  char bytes[65536];
  while (count > 0) {
    ssize_t n = ::recv(fd, bytes, std::min(count, sizeof bytes), 0);
    if (n <= 0) std::abort();
    count -= static_cast<size_t>(n);
  }
}

bool bench_socket() {
  constexpr size_t kMessages = 20'000;
  Agent agent;
  std::atomic<bool> done{false};
  std::string block;
  for (int i = 0; i < 8; i++) block += framed(message_bytes(kEvents));
  std::thread client([&] {
    UniqueFd fd = connect_to(agent.source->addresses()[0]);
    std::thread reader([&] { read_exactly(fd.get(), kMessages * 6); });
    for (size_t i = 0; i < kMessages / 8; i++) (void)write_all(fd.get(), block);
    reader.join();
    done = true;
  });
  double seconds = bench::cpu_seconds([&] {
    while (!done) agent.loop.run_once(100);
  });
  client.join();
  double rate = kMessages * kEvents / seconds;
  fmt::print(R"({{"bench":"riemann_socket","events":{},"cpu_s":{:.3f},"events_s":{:.0f},"ok":{}}})"
             "\n",
             kMessages * kEvents, seconds, rate, rate >= kSocketTarget);
  return rate >= kSocketTarget;
}

double median_round_trip_us(int fd, const std::string& question, size_t answer, int rounds) {
  std::vector<int64_t> times;
  for (int i = 0; i < rounds; i++) {
    int64_t start = bench::now_ns(CLOCK_MONOTONIC);
    (void)write_all(fd, question);
    read_exactly(fd, answer);
    times.push_back(bench::now_ns(CLOCK_MONOTONIC) - start);
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return static_cast<double>(times[static_cast<size_t>(rounds) / 2]) / 1e3;
}

bool bench_answer() {
  Agent agent;
  auto echo = *Listener::open("tcp://127.0.0.1:0", {});
  std::map<int, std::pair<UniqueFd, std::unique_ptr<FdWatch>>> echoes;
  FdWatch accepting(agent.loop, echo->fd(), [&] {
    UniqueFd fd(::accept4(echo->fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    int raw = fd.get();
    if (raw < 0) return;
    auto watch = std::make_unique<FdWatch>(agent.loop, raw, [raw] {
      char bytes[65536];
      ssize_t n = ::recv(raw, bytes, sizeof bytes, 0);
      if (n > 0) (void)!::send(raw, bytes, static_cast<size_t>(n), MSG_NOSIGNAL);
    });
    echoes[raw] = {std::move(fd), std::move(watch)};
  });
  std::atomic<bool> done{false};
  double best = 1e9, riemann_us = 0, echo_us = 0;
  std::thread client([&] {
    UniqueFd ours = connect_to(agent.source->addresses()[0]), theirs = connect_to(echo->bound());
    std::string question = framed(message_bytes(1));
    for (int round = 0; round < 15; round++) {
      double e = median_round_trip_us(theirs.get(), question, question.size(), 1000);
      double r = median_round_trip_us(ours.get(), question, 6, 1000);
      if (r / e < best) best = r / e, riemann_us = r, echo_us = e;
    }
    done = true;
  });
  while (!done) agent.loop.run_once(100);
  client.join();
  for (auto& [fd, entry] : echoes) entry.second.reset();
  bool good = best <= kAnswerTarget;
  fmt::print(R"({{"bench":"riemann_answer","us":{:.1f},"echo_us":{:.1f},"ratio":{:.2f},"ok":{}}})"
             "\n",
             riemann_us, echo_us, best, good);
  return good;
}

}  // namespace

int main() {
  bool good = bench_decode();
  good &= bench_socket();
  good &= bench_answer();
  return good ? 0 : 1;
}
