// plugins/example, built outside the tree (example_build_test.py says where), through the ABI on a real
// socket.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "plugins/sink_host.h"
#include "support/catch.h"

using namespace runnel_test;
using namespace std::chrono_literals;

namespace {

const runnel_sink* example() {
  const char* path = getenv("RUNNEL_EXAMPLE");
  if (!path) throw std::runtime_error("RUNNEL_EXAMPLE is not set: run this through ctest (plugins_example)");
  static const runnel_sink* const sink = load_sink(path);
  return sink;
}

struct Receiver {
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  explicit Receiver(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path.c_str(), path.size() + 1);
    unlink(path.c_str());
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      throw std::runtime_error("bind");
  }
  ~Receiver() { close(fd); }
  Strings take() {
    Strings all;
    char bytes[1 << 16];
    for (ssize_t size; (size = recv(fd, bytes, sizeof bytes, 0)) >= 0;)
      all.emplace_back(bytes, static_cast<size_t>(size));
    return all;
  }
};

Payload payload(const std::vector<Record>& records, uint32_t samples) {
  Payload result;
  result.records = records;
  result.samples = samples;
  return result;
}

}  // namespace

TEST_CASE("example: options") {
  const runnel_sink& sink = *example();
  CHECK(std::string(sink.name) == "unixgram");
  CHECK(sink.capabilities == (RUNNEL_SINK_WANTS_RECORDS | RUNNEL_SINK_ANSWERS_RECORDS));
  struct Row {
    Options options;
    Strings errors;
  };
  const Row rows[] = {
      {{{"socket", std::string("/run/x")}}, {}},
      {{{"socket", std::string("relative")}}, {"socket: must be an absolute path"}},
      {{{"socket", std::string()}}, {"socket: must be an absolute path"}},
      {{{"socket", "/" + std::string(107, 'x')}}, {"socket: is too long for a socket (107 bytes)"}},
      {{{"socket", std::string("/run/x")}, {"skip_names", Strings{"a", ""}}},
       {"skip_names.: must not be empty"}},
  };
  for (const Row& row : rows) {
    SinkHost host(&sink, row.options);
    CHECK(host.check() == row.errors);
  }
}

TEST_CASE("example: a datagram a record, an answer a sample") {
  TemporaryFolder folder;
  Receiver receiver(folder / "socket");
  SinkHost host(example(), {{"socket", folder / "socket"}, {"max_size", int64_t{64}}});
  REQUIRE(host.create());
  // The second sample has two records, the third is too large.
  const Answer answer = host.write(payload(
      {{"one", 0}, {"two a", 1}, {"two b", 1}, {std::string(65, 'x'), 2}, {"event", 3, RUNNEL_RECORD_EVENT}},
      4));
  CHECK(answer.outcome == RUNNEL_DELIVERED);
  CHECK(answer.samples == std::vector<uint8_t>{0, 0, RUNNEL_REJECT, 0});
  CHECK(answer.message == "a record of 65 bytes is too large");
  CHECK(receiver.take() == Strings{"one", "two a", "two b", "event"});
  CHECK(host.metrics()["runnel.unixgram.datagrams"] == 4);
}

TEST_CASE("example: what is sent is chosen") {
  TemporaryFolder folder;
  Receiver receiver(folder / "socket");
  struct Row {
    Options options;
    Strings received;
  };
  const Row rows[] = {
      {{{"records", std::string("all")}, {"line_end", true}}, {"m\n", "e\n"}},
      {{{"records", std::string("metrics")}}, {"m"}},
      {{{"records", std::string("events")}}, {"e"}},
      {{{"skip_names", Strings{"other", "name"}}}, {}},
  };
  for (const Row& row : rows) {
    Options options = row.options;
    options["socket"] = folder / "socket";
    SinkHost host(example(), options);
    REQUIRE(host.create());
    const Answer answer = host.write(payload({{"m", 0}, {"e", 1, RUNNEL_RECORD_EVENT}}, 2));
    CHECK(answer.outcome == RUNNEL_DELIVERED);
    CHECK(answer.samples == std::vector<uint8_t>{0, 0});
    CHECK(receiver.take() == row.received);
  }
}

TEST_CASE("example: nobody there, then too slow, then interrupted: those that are out are not sent again") {
  TemporaryFolder folder;
  SinkHost host(example(), {{"socket", folder / "socket"}, {"send_timeout", int64_t{200}}});
  REQUIRE(host.create());
  Answer answer = host.write(payload({{"a", 0}, {"b", 1}}, 2));
  CHECK(answer.samples == std::vector<uint8_t>{RUNNEL_RETRY, RUNNEL_RETRY});
  CHECK(contains(answer.message, "No such file or directory"));

  Receiver receiver(folder / "socket");
  std::vector<Record> many;
  for (uint32_t i = 0; i < 5000; ++i) many.push_back({std::to_string(i), i});  // more than any queue holds
  answer = host.write(payload(many, 5000));
  CHECK(answer.outcome == RUNNEL_DELIVERED);
  const size_t sent = receiver.take().size();
  CHECK(sent > 0);
  REQUIRE(sent < 5000);
  CHECK(answer.samples[sent - 1] == 0);
  CHECK(answer.samples[sent] == RUNNEL_RETRY);
  CHECK(answer.samples[4999] == RUNNEL_RETRY);
  CHECK(contains(answer.message, "Resource temporarily unavailable"));

  SinkHost patient(example(), {{"socket", folder / "socket"}, {"send_timeout", int64_t{60'000}}});
  REQUIRE(patient.create());
  std::thread other([&] {
    std::this_thread::sleep_for(200ms);
    patient.interrupt();
  });
  answer = patient.write(payload(many, 5000), 60s);
  other.join();
  CHECK(contains(answer.message, "interrupted"));
  CHECK(answer.took_ms < 30'000);
  CHECK(answer.samples[4999] == RUNNEL_RETRY);
  patient.reopen();
  receiver.take();
  CHECK(patient.write(payload({{"again", 0}}, 1)).samples == std::vector<uint8_t>{0});
}
