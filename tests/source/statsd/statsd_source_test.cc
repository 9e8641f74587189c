// The whole source over real sockets: what is sent arrives in the inlet, exactly, whatever happens meanwhile. Nothing here
// depends on time: senders wait for what they have sent to be counted, and every wait is bounded.
#include "source/statsd/statsd_source.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <functional>
#include <map>

#include "base/log.h"
#include "samples.h"
#include "support/catch.h"
#include "support/sockets.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

std::string frame(std::string_view payload) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(payload.size() >> shift & 255);
  return bytes.append(payload);
}

// A client of a listener: one that is connected, and sends lines as its transport has them.
class Sender {
 public:
  explicit Sender(const std::string& url) : url_(url), fd_(connect_to(url)) { REQUIRE(fd_.valid()); }
  void send(const std::string& lines) {
    bool framed = url_.starts_with("unix:"), newline = url_.starts_with("tcp:");
    REQUIRE(send_bytes(fd_, framed ? frame(lines) : newline ? lines + "\n" : lines));
  }

 private:
  std::string url_;
  UniqueFd fd_;
};

class Rig {
 public:
  explicit Rig(std::vector<std::string> listen, const std::function<void(StatsdConfig&)>& change = {}) {
    config.listen = std::move(listen);
    if (change) change(config);
    auto opened = StatsdSource::open(
        loop, clock, config, [this](Batch&& batch) { take(batch); }, false);
    INFO((opened.ok() ? "" : opened.error()));
    REQUIRE(opened.ok());
    source = std::move(*opened);
  }

  bool until(const std::function<bool()>& condition) {
    for (int64_t end = clock.mono_ns() + 20'000'000'000; !condition(); loop.run_once(2))
      if (clock.mono_ns() > end) return false;
    return true;
  }
  // Of the rows with that name and, where it is given, a tag of that value.
  int64_t self(const SelfMetric& metric, std::string_view tag = {}) const {
    SelfReport report;
    source->report(report);
    int64_t sum = 0;
    for (const auto& row : report.rows()) {
      bool has = tag.empty();
      for (const auto& [key, value] : row.tags) has |= value == tag;
      if (row.metric.name == metric.name && has) sum += row.value.as_integer();
    }
    return sum;
  }
  int64_t received() const { return self(self::kSourceReceived); }
  bool until_received(int64_t lines) {
    return until([&] { return received() >= lines; });
  }
  // Not more under way than any socket holds: a unix datagram socket ten.
  void pace(int64_t lines) {
    if (received() + 8 <= lines) REQUIRE(until_received(lines));
  }
  void flush() { source->flush({time_ms += 10'000, 10'000, 0}); }
  void reload(const std::function<void(StatsdConfig&)>& change) {
    change(config);
    source->share_ports(true);
    Status done = source->reconfigure(config);
    INFO((done.ok() ? "" : done.error()));
    REQUIRE(done.ok());
    source->share_ports(false);
  }
  void stop() { source->stop({time_ms += 10'000, 10'000, 0}); }
  void take(const Batch& batch) {
    for (const Sample& sample : batch.samples) {
      std::string name(batch.view(sample.series).name());
      samples[name]++;
      if (sample.kind == Kind::distribution) {
        sums[name] += batch.distributions[sample.distribution].sum;
      } else if (sample.kind == Kind::gauge) {
        sums[name] = sample.value.as_double();
      } else {
        sums[name] += sample.value.as_double();
      }
    }
    events += batch.events.size();
  }
  void check_no_loss(int64_t lines) {
    CHECK(received() == lines);
    CHECK(self(self::kSourceAccepted) == lines);
    CHECK(self(self::kSourceBad) == 0);
    CHECK(self(self::kDropped) == 0);
    CHECK(self(self::kSocketDrops) == 0);
  }

  struct Quiet {
    Quiet() { log::set_level(log::Level::error); }
    ~Quiet() { log::set_level(log::Level::info); }
  } quiet;
  Loop loop;
  SystemClock clock;
  StatsdConfig config;
  int64_t time_ms = 1'763'769'600'000;
  std::map<std::string, double> sums;
  std::map<std::string, size_t> samples;
  size_t events = 0;
  std::unique_ptr<StatsdSource> source;  // last: its destructor flushes into the others
};

std::vector<std::string> every_transport(const TestFolder& folder) {
  return {"udp://127.0.0.1:0",
          "udp://[::1]:0",
          "tcp://127.0.0.1:0",
          "tcp://[::1]:0",
          "unix://" + folder.path + "/s.sock",
          "unixgram://" + folder.path + "/g.sock"};
}

}  // namespace

TEST_CASE("every transport, with one receiver and with more: sums are exact, nothing is lost") {
  TestFolder folder;
  for (int64_t receivers : {1, 2, 3})
    for (const std::string& url : every_transport(folder)) {
      INFO(url << " receivers " << receivers);
      Rig rig({url}, [&](auto& c) { c.receivers = receivers; });
      REQUIRE(rig.source->addresses().size() == 1);
      std::vector<std::unique_ptr<Sender>> senders;
      for (int i = 0; i < 8; i++) senders.push_back(std::make_unique<Sender>(rig.source->addresses()[0]));
      int64_t lines = 0;
      double sum = 0;
      for (size_t interval = 1; interval <= 3; interval++) {
        for (int i = 0; i < 200; i++) {
          senders[static_cast<size_t>(i) % 8]->send(fmt::format("c:{}|c\nt:{}|ms\ns:m{}|s", i, i, i));
          lines += 3;
          sum += i;
          rig.pace(lines);
        }
        REQUIRE(rig.until_received(lines));
        rig.flush();
        REQUIRE(rig.until(
            [&] { return rig.samples["c"] + rig.samples["t"] + rig.samples["s"] == 3 * interval; }));
        CHECK(rig.sums["c"] == sum);
        CHECK(rig.sums["t"] == sum);
        CHECK(rig.sums["s"] == 200 * static_cast<double>(interval));
        CHECK(rig.samples.size() == 3);
      }
      CHECK(rig.self(self::kSourceConnections) ==
            (url.starts_with("tcp") || url.starts_with("unix:") ? 8 : 0));
      // Gauges: each sender's operations in its order. (Those of receivers that do not lead are counted at a flush.)
      for (int i = 0; i < 80; i++)
        senders[static_cast<size_t>(i) % 8]->send(fmt::format("g{}:{}{}|g", i % 8, i < 8 ? "" : "+", i));
      REQUIRE(rig.until([&] {
        rig.flush();
        return rig.received() == lines + 80;
      }));
      rig.stop();
      for (int g = 0; g < 8; g++) CHECK(rig.sums[fmt::format("g{}", g)] == 10 * g + 8 * 45);
      rig.check_no_loss(lines + 80);
    }
}

TEST_CASE("all transports at once make one sample a series") {
  TestFolder folder;
  Rig rig(every_transport(folder), [](auto& c) { c.receivers = 2; });
  CHECK(rig.source->addresses().size() == 6);
  std::vector<std::unique_ptr<Sender>> senders;
  for (const std::string& url : rig.source->addresses()) senders.push_back(std::make_unique<Sender>(url));
  for (int i = 0; i < 60; i++) {
    senders[static_cast<size_t>(i) % 6]->send("a:1|c");
    rig.pace(i + 1);
  }
  REQUIRE(rig.until_received(60));
  rig.flush();
  REQUIRE(rig.until([&] { return rig.samples["a"] == 1; }));
  CHECK(rig.sums["a"] == 60);
  rig.check_no_loss(60);
}

TEST_CASE("bad lines are counted by reason and cost nothing else") {
  TestFolder folder;
  for (const std::string& url : every_transport(folder)) {
    INFO(url);
    Rig rig({url});
    Sender sender(rig.source->addresses()[0]);
    sender.send("a:1|c\nbad\r\n\na:x|c\na:1|q\na:2|c\r");
    REQUIRE(rig.until_received(5));
    CHECK(rig.self(self::kSourceAccepted) == 2);
    CHECK(rig.self(self::kSourceBad, "no_value") == 1);
    CHECK(rig.self(self::kSourceBad, "bad_value") == 1);
    CHECK(rig.self(self::kSourceBad, "unknown_type") == 1);
    rig.stop();
    CHECK(rig.sums["a"] == 3);
  }
}

TEST_CASE("a reload of receivers under traffic loses nothing") {
  TestFolder folder;
  for (const std::string& url : every_transport(folder)) {
    INFO(url);
    // With a port of its own: 0 would be another one each time.
    std::string bound = (*Listener::open(url, {}))->bound();
    Rig rig({bound});
    bool queued = url.starts_with("unixgram"), stream = url.starts_with("tcp") || url.starts_with("unix:");
    int64_t lines = 0;
    double sum = 0;
    std::vector<std::unique_ptr<Sender>> senders;
    auto connect = [&] {
      senders.clear();
      for (int i = 0; i < 32; i++) senders.push_back(std::make_unique<Sender>(bound));
    };
    // A burst that nobody waits for: it is in the sockets when the receivers change.
    auto burst = [&] {
      for (size_t i = 0; i < (queued ? 8 : senders.size()); i++) {
        senders[i]->send(fmt::format("a:{}|c", i));
        lines += 1;
        sum += static_cast<double>(i);
      }
    };
    connect();
    senders[0]->send("a:0|c");
    REQUIRE(rig.until_received(++lines));  // the receiver has begun
    for (int64_t receivers : {3, 1, 3, 2, 4, 1}) {
      INFO("to " << receivers);
      burst();
      // What a stream's client has not sent yet is lost with the connection of a receiver that goes.
      if (stream) REQUIRE(rig.until_received(lines));
      rig.reload([&](auto& c) { c.receivers = receivers; });
      REQUIRE(rig.source->addresses() == std::vector<std::string>{bound});
      if (queued) REQUIRE(rig.until_received(lines));
      if (stream) connect();
      burst();
      REQUIRE(rig.until_received(lines));
      rig.flush();
    }
    rig.stop();
    CHECK(rig.sums["a"] == sum);
    rig.check_no_loss(lines);
  }
}

TEST_CASE("a reload of listeners: those that stay are not touched, what waits in the others is read") {
  TestFolder folder;
  std::string first = "unix://" + folder.path + "/1.sock", second = "unixgram://" + folder.path + "/2.sock";
  Rig rig({first, second, "udp://127.0.0.1:0"});
  std::string udp = rig.source->addresses()[2];
  Sender stays(first), datagram(second), over_udp(udp);
  stays.send("a:1|c");
  REQUIRE(rig.until_received(1));  // the receiver has begun
  for (int i = 0; i < 5; i++) datagram.send("b:1|c"), over_udp.send("c:1|c");
  rig.reload([&](auto& c) { c.listen = {first}; });
  CHECK(rig.source->addresses() == std::vector<std::string>{first});
  stays.send("a:1|c");
  REQUIRE(rig.until_received(12));
  rig.stop();
  CHECK_FALSE(std::filesystem::exists(folder.path + "/2.sock"));
  CHECK(rig.sums == std::map<std::string, double>{{"a", 2}, {"b", 5}, {"c", 5}});
}

TEST_CASE("a reload that cannot be done changes nothing") {
  TestFolder folder;
  Rig rig({"udp://127.0.0.1:0"});
  Sender sender(rig.source->addresses()[0]);
  StatsdConfig broken = rig.config;
  broken.listen.push_back("unix://" + folder.path + "/none/s.sock");
  CHECK_FALSE(rig.source->reconfigure(broken).ok());
  broken = rig.config;
  broken.repeat = {"nonsense"};
  CHECK_FALSE(rig.source->reconfigure(broken).ok());
  CHECK(rig.source->addresses().size() == 1);
  sender.send("a:1|c");
  REQUIRE(rig.until_received(1));
}

TEST_CASE("mode and group of unix sockets, at the start and by a reload") {
  TestFolder folder;
  std::string path = folder.path + "/s.sock";
  Rig rig({"unix://" + path}, [](auto& c) {
    c.mode = "0600";
    c.group = std::to_string(::getegid());
  });
  auto mode = [&] {
    struct stat status {};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    CHECK(status.st_gid == ::getegid());
    return status.st_mode & 07777;
  };
  CHECK(mode() == 0600);
  Sender old("unix://" + path);
  old.send("a:1|c");
  REQUIRE(rig.until_received(1));
  rig.reload([](auto& c) { c.mode = "0660"; });
  CHECK(mode() == 0660);
  Sender young("unix://" + path);
  young.send("a:1|c");
  old.send("a:1|c");
  REQUIRE(rig.until_received(3));
}

TEST_CASE("idle connections are closed, busy ones are not") {
  TestFolder folder;
  for (const std::string& url : {std::string("tcp://127.0.0.1:0"), "unix://" + folder.path + "/s.sock"}) {
    Rig rig({url}, [](auto& c) { c.idle_timeout_ms = 1; });
    UniqueFd client = connect_to(rig.source->addresses()[0]);
    REQUIRE(client.valid());
    REQUIRE(rig.until([&] { return rig.self(self::kSourceClosed, "idle") == 1; }));
    char byte;
    CHECK(readable(client.get()));
    CHECK(::recv(client.get(), &byte, 1, MSG_DONTWAIT) <= 0);
    CHECK(rig.until([&] { return rig.self(self::kSourceConnections) == 0; }));
    rig.reload([](auto& c) { c.idle_timeout_ms = 0; });
    Sender sender(rig.source->addresses()[0]);
    sender.send("a:1|c");
    REQUIRE(rig.until_received(1));
    CHECK(rig.self(self::kSourceClosed, "idle") == 1);
  }
}

TEST_CASE("a flush of 100,000 series loses no datagram that comes meanwhile") {
  for (int64_t receivers : {1, 2}) {
    INFO("receivers " << receivers);
    Rig rig({"udp://127.0.0.1:0", "tcp://127.0.0.1:0"}, [&](auto& c) {
      c.receivers = receivers;
      c.max_series = 200'000;
    });
    Sender udp(rig.source->addresses()[0]), tcp(rig.source->addresses()[1]);
    constexpr int64_t kSeries = 100'000;
    std::string chunk;
    for (int64_t i = 0; i < kSeries; i++) {
      chunk += fmt::format("c{}:1|c{}", i, i % 500 == 499 ? "" : "\n");
      if (i % 500 == 499) tcp.send(std::exchange(chunk, {}));
    }
    REQUIRE(rig.until_received(kSeries));
    int64_t lines = kSeries;
    for (int round = 0; round < 3; round++) {
      rig.flush();
      for (int i = 0; i < 500; i++) {
        udp.send(fmt::format("c{}:1|c\nlive:1|c", i * 199));
        lines += 2;
        if (i % 50 == 49) REQUIRE(rig.until_received(lines));
      }
    }
    rig.stop();
    rig.check_no_loss(lines);
    double sum = 0;
    for (const auto& [name, value] : rig.sums) sum += value;
    CHECK(sum == static_cast<double>(lines));
    CHECK(rig.sums["live"] == 1500);
    CHECK(rig.samples["c1"] == 1);
  }
}

TEST_CASE("what is not aggregated arrives without a flush") {
  for (int64_t receivers : {1, 3}) {
    INFO("receivers " << receivers);
    Rig rig({"udp://127.0.0.1:0"}, [&](auto& c) { c.receivers = receivers; });
    std::vector<std::unique_ptr<Sender>> senders;
    for (int i = 0; i < 16; i++) {
      senders.push_back(std::make_unique<Sender>(rig.source->addresses()[0]));
      senders.back()->send("a:2|c|T1656581400\ng:7|g|T1656581400\n_e{1,1}:t|x\n_sc|check|0\nlater:1|c");
    }
    CHECK(rig.until([&] { return rig.events == 32 && rig.samples["g"] == 16; }));
    CHECK(rig.samples["a"] == 16);
    CHECK(rig.sums["a"] == 32);
    CHECK(rig.samples["later"] == 0);
  }
}

TEST_CASE("stop reads what the sockets hold, and ends a flush that is under way") {
  TestFolder folder;
  for (int64_t receivers : {1, 3}) {
    INFO("receivers " << receivers);
    Rig rig({"tcp://127.0.0.1:0", "unixgram://" + folder.path + "/g.sock", "udp://127.0.0.1:0"},
            [&](auto& c) { c.receivers = receivers; });
    Sender tcp(rig.source->addresses()[0]), gram(rig.source->addresses()[1]), udp(rig.source->addresses()[2]);
    constexpr int64_t kSeries = 30'000;
    for (int64_t i = 0; i < kSeries; i += 100) {
      std::string lines;
      for (int64_t k = i; k < i + 100; k++)
        lines += fmt::format("{}{}:1|{}{}", k % 2 == 0 ? "c" : "t", k, k % 2 == 0 ? "c" : "ms",
                             k == i + 99 ? "" : "\n");
      tcp.send(lines);
    }
    REQUIRE(rig.until_received(kSeries));
    rig.flush();
    for (int i = 0; i < 8; i++) gram.send("last:1|c"), udp.send("last:1|c\ng:+1|g");
    rig.stop();
    double sum = 0;
    for (const auto& [name, count] : rig.samples) {
      sum += rig.sums[name];
      if (name != "last" && name != "g") REQUIRE(count == 1);
    }
    CHECK(sum == kSeries + 24);
    CHECK(rig.sums["last"] == 16);
    CHECK(rig.sums["g"] == 8);
  }
}

TEST_CASE(
    "a flush before the end takes what the sockets hold; the end brings what came since, and nothing twice") {
  TestFolder folder;
  for (int64_t receivers : {1, 3}) {
    INFO("receivers " << receivers);
    Rig rig({"udp://127.0.0.1:0", "tcp://127.0.0.1:0"}, [&](auto& c) { c.receivers = receivers; });
    std::vector<std::unique_ptr<Sender>> senders;
    for (int i = 0; i < 8; i++) senders.push_back(std::make_unique<Sender>(rig.source->addresses()[0]));
    auto send = [&](int first, int last) {
      for (int i = first; i < last; i++)
        senders[static_cast<size_t>(i) % 8]->send(fmt::format("c:1|c\ng{}:{}|g\nt:1|ms", i, i));
    };
    CHECK(rig.source->flushed());
    send(0, 50);
    rig.source->flush_before_end({rig.time_ms += 10'000, 10'000, 0});
    REQUIRE(rig.until([&] { return rig.source->flushed(); }));
    CHECK(rig.sums["c"] == 50);  // without a wait for the receivers to read it
    CHECK(rig.sums["t"] == 50);
    CHECK(rig.samples.size() == 52);
    send(50, 60);
    rig.stop();
    CHECK(rig.sums["c"] == 60);
    CHECK(rig.sums["t"] == 60);
    CHECK(rig.samples.size() == 62);
    for (int i = 0; i < 60; i++) CHECK(rig.samples[fmt::format("g{}", i)] == 1);
    rig.check_no_loss(180);
  }
}

TEST_CASE("what folds for want of room is counted once, whoever received it") {
  for (int64_t receivers : {1, 2, 3}) {
    INFO("receivers " << receivers);
    Rig rig({"udp://127.0.0.1:0"}, [&](auto& c) {
      c.receivers = receivers;
      c.max_series = 1;
    });
    std::vector<std::unique_ptr<Sender>> senders;
    for (int i = 0; i < 32; i++) senders.push_back(std::make_unique<Sender>(rig.source->addresses()[0]));
    int64_t lines = 0;
    for (int interval = 0; interval < 3; interval++) {
      for (auto& sender : senders) {
        sender->send("kept:1|c\nother1:1|c\nother2:1|c");
        lines += 3;
      }
      REQUIRE(rig.until_received(lines));
      rig.flush();
      REQUIRE(rig.until([&] { return rig.samples["runnel.overflow"] == static_cast<size_t>(interval + 1); }));
    }
    senders[0]->send("kept:1|c");
    REQUIRE(rig.until_received(lines + 1));  // the receiver has told what it had to tell
    rig.stop();
    double sum = 0;
    for (const auto& [name, value] : rig.sums) sum += value;
    CHECK(sum == static_cast<double>(lines + 1));
    CHECK(static_cast<double>(rig.self(self::kSourceFolded)) == rig.sums["runnel.overflow"]);
  }
}

TEST_CASE("the names that brought most lines are told, whoever received them") {
  for (int64_t receivers : {1, 3}) {
    Rig rig({"udp://127.0.0.1:0"}, [&](auto& c) { c.receivers = receivers; });
    for (int i = 0; i < 30; i++) {
      Sender sender(rig.source->addresses()[0]);
      sender.send("many:1|c\nmany:1|c\nmany:1|ms\nfew:1|c");
      REQUIRE(rig.until_received(4 * (i + 1)));
    }
    rig.flush();
    REQUIRE(rig.until([&] { return rig.self(self::kSourceTopLines, "many") == 90; }));
    CHECK(rig.self(self::kSourceTopLines, "few") == 30);
  }
}

TEST_CASE("packets are passed on as they came, from every transport") {
  TestFolder folder;
  auto target = Listener::open("udp://127.0.0.1:0", {});
  REQUIRE(target.ok());
  for (const std::string& url : every_transport(folder)) {
    INFO(url);
    Rig rig({url}, [&](auto& c) { c.repeat = {(*target)->bound()}; });
    Sender sender(rig.source->addresses()[0]);
    std::string lines = "a:1|c\nbad\nb:2|g|#k:v";
    sender.send(lines);
    REQUIRE(rig.until_received(3));
    REQUIRE(readable((*target)->fd()));
    char bytes[1024];
    ssize_t n = ::recv((*target)->fd(), bytes, sizeof bytes, MSG_DONTWAIT);
    REQUIRE(n > 0);
    std::string_view got(bytes, static_cast<size_t>(n));
    if (got.ends_with('\n')) got.remove_suffix(1);
    CHECK(got == lines);
    REQUIRE(rig.until([&] { return rig.self(self::kSourceRepeated) == 1; }));
    CHECK(rig.self(self::kSourceRepeatDrops) == 0);
  }
}
