#include "source/statsd/stream_lines.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include <algorithm>

#include "source/statsd/parser.h"
#include "source/statsd/stream_framer.h"
#include "support/catch.h"
#include "support/sockets.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

constexpr size_t kBudget = 4 << 20;
const std::string kTcp = "tcp://127.0.0.1:0";

struct Server {
  ManualClock clock;
  std::string taken;  // payloads, each with a newline
  uint64_t lines = 0;
  std::vector<std::string> refused, closed;
  std::string last_peer;
  Peer peer;
  Streams server{
      clock, line_streams({[this](std::string_view payload, const Peer& from) {
                             if (taken.size() < 1 << 20) taken.append(payload);
                             if (!payload.ends_with('\n')) taken += '\n';
                             lines += static_cast<uint64_t>(std::count(payload.begin(), payload.end(), '\n'));
                             peer = from;
                           },
                           [this](std::string_view reason, std::string_view bytes, const Peer&) {
                             refused.push_back(fmt::format("{} {}", reason, bytes));
                           },
                           [this](std::string_view reason, const Peer&) { closed.emplace_back(reason); }})};
  std::vector<std::shared_ptr<Listener>> listeners;
  StreamLimits limits;

  std::string listen(const std::string& url) {
    auto listener = Listener::open(url, {});
    REQUIRE(listener.ok());
    listeners.push_back(*listener);
    server.configure(listeners, limits);
    return (*listener)->bound();
  }
  // Serves until `done`, at most some seconds.
  template <class Done>
  bool until(Done done, size_t budget = kBudget) {
    for (int i = 0; i < 5000 && !done(); i++)
      if (readable(server.poll_fd(), 2)) server.service(budget);
    return done();
  }
  bool until_connections(size_t n) {
    return until([&] { return server.connections() == n; });
  }
};

std::string frame(std::string_view payload) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(payload.size() >> shift & 255);
  return bytes.append(payload);
}

// The peer's view: closed or reset within some seconds.
bool sees_close(const UniqueFd& fd) {
  char byte;
  return readable(fd.get()) && ::recv(fd.get(), &byte, 1, MSG_DONTWAIT) <= 0;
}

void reset(UniqueFd& fd) {
  linger hard{1, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
  fd.reset();
}

using Strings = std::vector<std::string>;

}  // namespace

TEST_CASE("lines over TCP and frames over a unix socket, with their senders") {
  TestFolder folder;
  Server s;
  std::string tcp = s.listen(kTcp), unix_url = s.listen("unix://" + folder.path + "/s.sock");
  UniqueFd a = connect_to(tcp), b = connect_to(unix_url);
  CHECK(send_bytes(a, "a:1|c\nb:2"));
  CHECK(s.until([&] { return s.taken == "a:1|c\n"; }));
  CHECK(to_string(s.peer).starts_with("tcp://127.0.0.1:"));
  CHECK(send_bytes(b, frame("c:1|c\nd:1|c") + frame("")));
  CHECK(s.until([&] { return s.taken == "a:1|c\nc:1|c\nd:1|c\n"; }));
  CHECK(s.peer.pid == ::getpid());
  CHECK(s.peer.uid == ::getuid());
  CHECK(s.server.connections() == 2);
  // Half-closed is closed: we have nothing to say.
  ::shutdown(a.get(), SHUT_WR);
  CHECK(s.until_connections(1));
  CHECK(sees_close(a));
  CHECK(s.refused == Strings{"unterminated b:2"});
  b.reset();
  CHECK(s.until_connections(0));
  CHECK(s.closed.empty());
  CHECK(s.server.held_bytes() == 0);
}

TEST_CASE("hostile streams cost only themselves") {
  TestFolder folder;
  Server s;
  std::string tcp = s.listen(kTcp), unix_url = s.listen("unix://" + folder.path + "/s.sock");
  UniqueFd silent = connect_to(tcp), good = connect_to(tcp);
  SECTION("a length of 0xffffffff") {
    UniqueFd bad = connect_to(unix_url);
    CHECK(send_bytes(bad, frame("a:1|c") + "\xff\xff\xff\xff" + std::string(1000, 'x')));
    CHECK(s.until([&] { return s.closed == Strings{"bad_frame"}; }));
    CHECK(sees_close(bad));
    CHECK(s.refused == Strings{"bad_frame \xff\xff\xff\xff"});
  }
  SECTION("a byte at a time") {
    UniqueFd slow = connect_to(unix_url);
    for (char c : frame("a:1|c")) {
      CHECK(send_bytes(slow, std::string(1, c)));
      CHECK(readable(s.server.poll_fd()));
      s.server.service(kBudget);
    }
    CHECK(s.until([&] { return s.taken == "a:1|c\n"; }));
  }
  SECTION("a reset within a line") {
    UniqueFd bad = connect_to(tcp);
    CHECK(send_bytes(bad, "a:1"));
    CHECK(s.until([&] { return s.server.connections() == 3 && s.server.service(kBudget) == 0; }));
    reset(bad);
    CHECK(s.until_connections(2));
    CHECK(s.refused == Strings{"unterminated a:1"});
  }
  SECTION("connect and reset, often") {
    for (int i = 0; i < 300; i++) {
      UniqueFd bad = connect_to(tcp);
      reset(bad);
    }
  }
  CHECK(send_bytes(good, "good:1|c\n"));
  CHECK(s.until([&] { return s.taken.ends_with("good:1|c\n"); }));
  CHECK(s.until_connections(2));
}

TEST_CASE("a thousand connections, each with its own bytes") {
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  rlimit wanted = limit;
  wanted.rlim_cur = std::min<rlim_t>(limit.rlim_max, 4096);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &wanted) == 0);
  {
    Server s;
    std::string url = s.listen(kTcp);
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 1000; i++) {
      clients.push_back(connect_to(url));
      REQUIRE(clients.back().valid());
      if (i % 50 == 0) s.server.service(kBudget);
    }
    for (auto& client : clients) CHECK(send_bytes(client, "a:1|c\nb:"));
    CHECK(s.until([&] { return s.lines == 1000; }));
    for (auto& client : clients) CHECK(send_bytes(client, "2|c\n"));
    CHECK(s.until([&] { return s.lines == 2000; }));
    CHECK(s.server.connections() == 1000);
    CHECK(s.server.held_bytes() <= 1000 * StreamFramer::kKeep);
    clients.clear();
    CHECK(s.until_connections(0));
    CHECK(s.refused.empty());
  }
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

TEST_CASE("connections beyond the limit are closed at once, and those that are there go on") {
  Server s;
  s.limits.max_connections = 2;
  std::string url = s.listen(kTcp);
  UniqueFd a = connect_to(url), b = connect_to(url);
  CHECK(s.until_connections(2));
  for (int i = 0; i < 500; i++) {
    UniqueFd more = connect_to(url);
    CHECK(send_bytes(a, "a:1|c\n"));
    CHECK(readable(s.server.poll_fd()));
    s.server.service(kBudget);
  }
  CHECK(s.until([&] { return s.lines == 500 && s.closed.size() == 500; }));
  CHECK(s.closed[0] == "too_many_connections");
  a.reset();
  CHECK(s.until_connections(1));
  UniqueFd again = connect_to(url);
  CHECK(s.until_connections(2));
}

TEST_CASE("idle connections are closed in their order") {
  Server s;
  s.limits.idle_timeout_ms = 1000;
  std::string url = s.listen(kTcp);
  CHECK(s.server.next_deadline_ns() == -1);
  UniqueFd a = connect_to(url);
  CHECK(s.until_connections(1));
  CHECK(s.server.next_deadline_ns() == s.clock.mono + 1'000'000'000);
  s.clock.advance_ms(600);
  UniqueFd b = connect_to(url);
  CHECK(s.until_connections(2));
  CHECK(send_bytes(a, "a:1|c\nhalf"));
  CHECK(s.until([&] { return s.lines == 1; }));
  s.clock.advance_ms(999);
  s.server.service(kBudget);
  CHECK(s.server.connections() == 2);
  CHECK(send_bytes(b, "b:1|c\n"));
  CHECK(s.until([&] { return s.lines == 2; }));
  s.clock.advance_ms(1);
  CHECK(s.server.next_deadline_ns() == s.clock.mono);
  s.server.service(kBudget);
  CHECK(s.closed == Strings{"idle"});
  CHECK(s.refused == Strings{"unterminated half"});
  CHECK(sees_close(a));
  s.limits.idle_timeout_ms = 0;
  s.server.configure(s.listeners, s.limits);
  s.clock.advance_ms(1'000'000);
  s.server.service(kBudget);
  CHECK(s.server.connections() == 1);
  CHECK(s.server.next_deadline_ns() == -1);
}

TEST_CASE("a peer that floods does not keep another waiting, and the budget is kept") {
  Server s;
  std::string url = s.listen(kTcp);
  UniqueFd flood = connect_to(url), quiet = connect_to(url);
  CHECK(s.until_connections(2));
  ::fcntl(flood.get(), F_SETFL, O_NONBLOCK);
  std::string lines;
  for (int i = 0; i < 10000; i++) lines += "flood:1|c\n";
  for (int round = 0; round < 20; round++) {
    while (::send(flood.get(), lines.data(), lines.size(), MSG_NOSIGNAL) > 0) {
    }
    CHECK(send_bytes(quiet, "quiet:1|c\n"));
    CHECK(readable(s.server.poll_fd()));
    s.taken.clear();
    for (int i = 0; i < 3; i++) CHECK(s.server.service(65536) <= 2 * 65536);
    CHECK(s.taken.find("quiet") != std::string::npos);
  }
}

TEST_CASE("where held bytes are too many, who holds most is closed") {
  TestFolder folder;
  Server s;
  s.limits.max_held_bytes = 200'000;
  std::string url = s.listen("unix://" + folder.path + "/s.sock");
  UniqueFd small = connect_to(url), large = connect_to(url);
  CHECK(send_bytes(small, frame("a:1|c").substr(0, 6)));
  std::string begin = frame(std::string(1 << 20, 'x')).substr(0, 50'000);
  CHECK(send_bytes(large, begin));
  for (int i = 0; i < 20 && s.closed.empty(); i++) {
    CHECK(readable(s.server.poll_fd()));
    s.server.service(kBudget);
    if (s.closed.empty()) send_bytes(large, begin);
  }
  CHECK(s.closed == Strings{"too_much_held"});
  CHECK(s.server.held_bytes() <= 200'000);
  CHECK(send_bytes(small, frame("a:1|c").substr(6)));
  CHECK(s.until([&] { return s.taken == "a:1|c\n"; }));
}

TEST_CASE("without descriptors accepting pauses, and goes on") {
  Server s;
  std::string url = s.listen(kTcp);
  UniqueFd early = connect_to(url);
  CHECK(s.until_connections(1));
  UniqueFd late = connect_to(url);
  CHECK(readable(s.server.poll_fd()));
  rlimit limit{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &limit) == 0);
  UniqueFd next(::dup(0));
  rlimit none = limit;
  none.rlim_cur = static_cast<rlim_t>(next.get());
  next.reset();
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  s.server.service(kBudget);
  bool spins = readable(s.server.poll_fd(), 0);
  int64_t deadline = s.server.next_deadline_ns();
  bool sent = send_bytes(early, "a:1|c\n"), comes = readable(s.server.poll_fd());
  s.server.service(kBudget);
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &limit) == 0);
  CHECK_FALSE(spins);
  CHECK(deadline == s.clock.mono + 100'000'000);
  CHECK((sent && comes));
  CHECK(s.lines == 1);
  CHECK(s.server.connections() == 1);
  s.clock.advance_ms(100);
  s.server.service(kBudget);
  CHECK(s.until_connections(2));
  CHECK(s.closed.empty());
}

TEST_CASE("two servers share a listener; each connection is served by one of them") {
  Server a, b;
  std::string url = a.listen(kTcp);
  b.listeners = a.listeners;
  b.server.configure(b.listeners, b.limits);
  std::vector<UniqueFd> clients;
  for (int i = 0; i < 100; i++) {
    clients.push_back(connect_to(url));
    CHECK(send_bytes(clients.back(), "a:1|c\n"));
    Server& one = i % 2 == 0 ? a : b;
    one.server.service(kBudget);
  }
  CHECK(a.until([&] {
    b.server.service(kBudget);
    return a.lines + b.lines == 100;
  }));
  CHECK(a.lines + b.lines == 100);
  CHECK(a.lines > 0);
  CHECK(b.lines > 0);
  CHECK(a.server.connections() + b.server.connections() == 100);
}

TEST_CASE("a listener that is dropped gives what waited there, and its connections live on") {
  Server s;
  std::string url = s.listen(kTcp);
  UniqueFd a = connect_to(url);
  CHECK(send_bytes(a, "a:1|c\n"));
  REQUIRE(readable(s.listeners[0]->fd()));
  s.listeners.clear();
  s.server.configure({}, s.limits);
  CHECK(s.server.connections() == 1);
  CHECK_FALSE(connect_to(url).valid());
  CHECK(s.until([&] { return s.lines == 1; }));
  CHECK(send_bytes(a, "b:1|c\n"));
  CHECK(s.until([&] { return s.lines == 2; }));
}

TEST_CASE("stop reads what has come") {
  Server s;
  std::string url = s.listen(kTcp);
  UniqueFd a = connect_to(url), b = connect_to(url);
  CHECK(s.until_connections(2));
  std::string lines;
  for (int i = 0; i < 20000; i++) lines += "a:1|c\n";
  CHECK(send_bytes(a, lines));
  CHECK(send_bytes(b, "b:1|c\nhalf"));
  UniqueFd waiting = connect_to(url);
  CHECK(send_bytes(waiting, "c:1|c\n"));
  REQUIRE(readable(s.server.poll_fd()));
  ::usleep(20'000);  // loopback delivers at once, but for large sends in pieces
  s.server.stop();
  CHECK(s.lines == 20002);
  CHECK(s.refused == Strings{"unterminated half"});
  CHECK(s.server.connections() == 0);
  CHECK(s.server.held_bytes() == 0);
  CHECK(s.closed.empty());
}
