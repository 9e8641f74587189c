// The stream server with real sockets and a log that accepts when the test says so.
#include "source/riemann/server.h"

#include <fmt/format.h>

#include <deque>
#include <map>

#include "source/riemann/reply.h"
#include "support/catch.h"
#include "support/sockets.h"
#include "wire.h"

using namespace runnel;
using namespace runnel::riemann;
using namespace std::string_literals;

namespace {

// Echoes each message as an error, "ok" as success.
struct Fixture {
  ManualClock clock;
  bool is_blocked = false, accepts = true;
  std::deque<std::function<void(bool)>> pending;
  std::vector<std::string> messages;
  std::map<std::string, int, std::less<>> closed;
  int cut_off = 0;
  std::unique_ptr<Server> server;
  std::shared_ptr<Listener> listener = *Listener::open("tcp://127.0.0.1:0", {});
  ServerLimits limits;

  Fixture() {
    ServerHandlers h;
    h.message = [this](std::string_view message, const Peer&, std::string& answers) {
      messages.emplace_back(message);
      message == "ok" ? append_ok(answers) : append_error(answers, message);
    };
    h.commit = [this](std::function<void(bool)> decided) {
      accepts ? decided(true) : pending.push_back(std::move(decided));
    };
    h.full = [] { return false; };
    h.blocked = [this] { return is_blocked; };
    h.cut_off = [this](const Peer&) { cut_off++; };
    h.closed = [this](std::string_view reason, const Peer&, std::string_view) {
      closed[std::string(reason)]++;
    };
    server = std::make_unique<Server>(clock, std::move(h));
    server->configure({listener}, limits);
  }

  UniqueFd connect() { return connect_to(listener->bound()); }
  void serve() {
    for (int i = 0; i < 3; i++)
      if (readable(server->streams().poll_fd(), i == 0 ? 1000 : 20)) server->streams().service(1 << 20);
  }
  void serve_until(const std::function<bool()>& done) {
    for (int i = 0; i < 500 && !done(); i++) {
      readable(server->streams().poll_fd(), 10);
      server->streams().service(1 << 20);
    }
    REQUIRE(done());
  }
};

std::string received(const UniqueFd& fd, int wait_ms = 2000) {
  std::string all(100'000, '\0');
  if (!readable(fd.get(), wait_ms)) return "nothing";
  ssize_t n = ::recv(fd.get(), all.data(), all.size(), 0);
  return n <= 0 ? "end" : all.substr(0, static_cast<size_t>(n));
}

std::string error_reply(std::string_view text) {
  std::string out;
  append_error(out, text);
  return out;
}

}  // namespace

TEST_CASE("answers come in order and in one piece") {
  Fixture f;
  UniqueFd client = f.connect();
  REQUIRE(send_bytes(client, framed("ok") + framed("a") + framed("ok") + framed("b").substr(0, 2)));
  f.serve();
  CHECK(received(client) == std::string(kOkReply) + error_reply("a") + std::string(kOkReply));
  REQUIRE(send_bytes(client, framed("b").substr(2)));
  f.serve();
  CHECK(received(client) == error_reply("b"));
  CHECK(f.messages == std::vector<std::string>{"ok", "a", "ok", "b"});
  CHECK(f.server->streams().held_bytes() <= 64);
}

TEST_CASE("nothing is answered before the log has accepted, and never out of order") {
  Fixture f;
  f.accepts = false;
  UniqueFd client = f.connect(), other = f.connect();
  REQUIRE(send_bytes(client, framed("1")));
  f.serve_until([&] { return f.messages.size() == 1; });
  REQUIRE(send_bytes(client, framed("2")));
  REQUIRE(send_bytes(other, framed("x")));
  f.serve_until([&] { return f.messages.size() == 3; });
  CHECK(received(client, 20) == "nothing");
  REQUIRE(f.pending.size() >= 2);
  auto first = f.pending.front();
  f.pending.pop_front();
  for (auto& decided : f.pending) decided(true);  // the later rounds first
  CHECK(received(other) == error_reply("x"));
  CHECK(received(client, 20) == "nothing");
  first(true);
  first(true);  // told twice: once counts
  CHECK(received(client) == error_reply("1") + error_reply("2"));
}

TEST_CASE("an acceptance that comes late finds a connection or a server that has gone") {
  Fixture f;
  f.accepts = false;
  UniqueFd client = f.connect();
  REQUIRE(send_bytes(client, framed("1")));
  f.serve_until([&] { return f.messages.size() == 1; });
  int reset[2] = {1, 0};  // SO_LINGER: an RST
  ::setsockopt(client.get(), SOL_SOCKET, SO_LINGER, reset, sizeof reset);
  client.reset();
  f.serve_until([&] { return f.server->streams().connections() == 0; });
  UniqueFd next = f.connect();  // most likely on the same descriptor
  REQUIRE(send_bytes(next, framed("2")));
  f.serve_until([&] { return f.messages.size() == 2; });
  f.pending.front()(true);
  CHECK(received(next, 20) == "nothing");
  f.server.reset();
  f.pending.back()(true);
}

TEST_CASE("a connection that is half-closed gets its answers") {
  Fixture f;
  f.accepts = false;
  UniqueFd client = f.connect();
  REQUIRE(send_bytes(client, framed("1")));
  ::shutdown(client.get(), SHUT_WR);
  f.serve_until([&] { return f.messages.size() == 1; });
  f.serve();
  REQUIRE(f.server->streams().connections() == 1);
  f.pending.front()(true);
  CHECK(received(client) == error_reply("1"));
  CHECK(received(client) == "end");
  CHECK(f.server->streams().connections() == 0);
  CHECK(f.closed.empty());
}

TEST_CASE("lengths that cannot be followed close, after what came before was answered") {
  struct Row {
    std::string bytes;
    std::string reason;
  } rows[] = {{"\0\0\0\0"s, "empty_frame"},
              {"\x80\0\0\0"s, "frame_too_large"},
              {"\xFF\xFF\xFF\xFFxxx"s, "frame_too_large"},
              {"\0\x10\0\1"s, "frame_too_large"}};
  for (const Row& row : rows) {
    Fixture f;
    UniqueFd client = f.connect();
    REQUIRE(send_bytes(client, framed("ok") + row.bytes));
    f.serve_until([&] { return f.server->streams().connections() == 0 && !f.closed.empty(); });
    CHECK(f.closed == std::map<std::string, int, std::less<>>{{row.reason, 1}});
    CHECK(received(client) == kOkReply);
    CHECK(received(client) == "end");
    CHECK(f.cut_off == 0);
  }
}

TEST_CASE("while the log is blocked nobody is read, and nobody is idle") {
  Fixture f;
  UniqueFd client = f.connect(), other = f.connect();
  f.serve_until([&] { return f.server->streams().connections() == 2; });
  f.is_blocked = true;
  REQUIRE(send_bytes(client, framed("1")));
  f.serve();
  CHECK(f.server->streams().waiting());
  CHECK(f.messages.empty());
  f.clock.advance_ms(f.limits.streams.idle_timeout_ms * 2);
  f.server->streams().service(1 << 20);
  f.server->streams().resume();  // too early
  CHECK(f.server->streams().waiting());
  CHECK(f.server->streams().connections() == 2);
  CHECK_FALSE(readable(f.server->streams().poll_fd(), 0));  // and nobody spins
  f.is_blocked = false;
  f.server->streams().resume();
  CHECK_FALSE(f.server->streams().waiting());
  f.serve();
  CHECK(received(client) == error_reply("1"));
  CHECK(f.server->streams().connections() == 2);
  f.clock.advance_ms(f.limits.streams.idle_timeout_ms);
  f.server->streams().service(1 << 20);
  CHECK(f.server->streams().connections() == 0);
  CHECK(f.closed["idle"] == 2);
}

TEST_CASE("idle is who brings no whole message, whatever drips in") {
  Fixture f;
  UniqueFd drip = f.connect(), busy = f.connect(), late = f.connect();
  f.serve_until([&] { return f.server->streams().connections() == 3; });
  for (int i = 0; i < 5; i++) {
    f.clock.advance_ms(f.limits.streams.idle_timeout_ms / 5);
    REQUIRE(send_bytes(drip, i == 0 ? "\0\0\1\0"s : "x"s));
    REQUIRE(send_bytes(busy, framed("ok")));
    if (i == 4) REQUIRE(send_bytes(late, framed("ok")));  // there in time, though not read yet
    f.serve();
  }
  CHECK(f.closed == std::map<std::string, int, std::less<>>{{"idle", 1}});
  CHECK(f.server->streams().connections() == 2);
  CHECK(f.cut_off == 1);
  CHECK(f.server->streams().next_deadline_ns() > f.clock.mono_ns());
}

TEST_CASE("who does not read the answers is not read either") {
  Fixture f;
  f.limits.streams.max_held_bytes = 1 << 20;
  f.server->configure({f.listener}, f.limits);
  UniqueFd client = f.connect();
  std::string flood;
  for (int i = 0; i < 2000; i++) flood += framed(std::string(20, 'x'));
  size_t sent = 0, quiet = 0;
  while (quiet < 50) {
    ssize_t n = ::send(client.get(), flood.data(), flood.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0) sent += static_cast<size_t>(n);
    quiet = n > 0 ? 0 : quiet + 1;
    f.server->streams().service(1 << 20);
    REQUIRE(f.server->streams().held_bytes() < 400'000);
    REQUIRE(sent < size_t{200} << 20);
  }
  CHECK(f.server->streams().connections() == 1);
  CHECK(f.closed.empty());
}

TEST_CASE("what all connections hold together is bounded, and who holds most goes") {
  Fixture f;
  f.limits.streams.max_held_bytes = 100'000;
  f.server->configure({f.listener}, f.limits);
  std::vector<UniqueFd> clients;
  for (size_t i = 0; i < 5; i++) {
    clients.push_back(f.connect());
    REQUIRE(send_bytes(clients.back(), "\0\x0F\0\0"s + std::string(25'000 + 1'000 * i, 'x')));
    f.serve();
  }
  f.serve_until([&] { return f.closed["too_much_held"] >= 1; });
  CHECK(f.server->streams().held_bytes() <= 100'000);
  CHECK(received(clients.back()) == "end");
  CHECK(f.server->streams().connections() >= 1);
}

TEST_CASE("further connections are closed at once") {
  Fixture f;
  f.limits.streams.max_connections = 2;
  f.server->configure({f.listener}, f.limits);
  UniqueFd first = f.connect(), second = f.connect(), third = f.connect();
  f.serve_until([&] { return f.closed["too_many_connections"] == 1; });
  CHECK(received(third) == "end");
  REQUIRE(send_bytes(second, framed("ok")));
  f.serve();
  CHECK(received(second) == kOkReply);
}

TEST_CASE("at the end what has come is taken and answered") {
  Fixture f;
  UniqueFd client = f.connect(), waiting = f.connect();
  REQUIRE(send_bytes(client, framed("ok") + framed("ok")));
  REQUIRE(send_bytes(waiting, framed("cut").substr(0, 6)));
  f.server->streams().stop();
  CHECK(f.server->streams().connections() == 0);
  CHECK(received(client) == std::string(kOkReply) + std::string(kOkReply));
  CHECK(received(client) == "end");
  CHECK(f.cut_off == 1);
}

TEST_CASE("a listener that goes leaves its connections, and gives what waited at it") {
  Fixture f;
  UniqueFd client = f.connect();
  f.server->configure({}, f.limits);
  REQUIRE(send_bytes(client, framed("ok")));
  f.serve();
  CHECK(received(client) == kOkReply);
}
