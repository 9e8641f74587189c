// The HTTP server of the module, over connections of this machine: what reaches the agent, what is answered, what is counted.
#include "net/http_server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "support/catch.h"

using namespace runnel;
using namespace std::chrono;

namespace {

using Lines = std::vector<std::string>;

struct Server {
  runnel_httpd_limits limits{};
  std::shared_ptr<HttpServer> server;
  Lines requests, refused, closed;
  std::vector<uint64_t> ids;
  bool answer = true;  // at once
  bool stopped = false;

  explicit Server(int64_t idle_ms = 60'000, int64_t request_ms = 60'000) {
    limits.max_connections = 3;
    limits.idle_ms = idle_ms;
    limits.request_ms = request_ms;
    limits.max_body = 1000;
    limits.max_held = 2400;
    HttpHandlers handlers;
    handlers.request = [this](uint64_t id, std::string_view method, std::string_view path,
                              std::string_view body, const Peer&) {
      requests.push_back(std::string(method) + ' ' + std::string(path) + ' ' + std::string(body));
      ids.push_back(id);
      if (answer) server->answer(id, 200, "ok\n");
    };
    handlers.refused = [this](std::string_view reason, const Peer&) { refused.emplace_back(reason); };
    handlers.closed = [this](std::string_view reason, const Peer&) { closed.emplace_back(reason); };
    auto made = HttpServer::make(limits, std::move(handlers), RUNNEL_HTTPD_MODULE);
    REQUIRE(made.ok());
    server = *made;
  }

  // At most 10 s, until `done`.
  template <class Done>
  bool run(Done&& done) {
    for (auto end = steady_clock::now() + seconds(10); steady_clock::now() < end;) {
      if (!stopped) server->service();
      if (done()) return true;
      if (stopped) continue;
      pollfd fd{server->poll_fd(), POLLIN, 0};
      int64_t wait = server->timeout_ms();
      ::poll(&fd, 1, wait < 0 || wait > 5 ? 5 : static_cast<int>(wait));
    }
    return false;
  }
};

class Client {
 public:
  explicit Client(Server& server) : server_(server) {
    UniqueFd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    REQUIRE(::bind(listening.get(), raw, size) == 0);
    REQUIRE(::listen(listening.get(), 1) == 0);
    REQUIRE(::getsockname(listening.get(), raw, &size) == 0);
    fd_ = UniqueFd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(fd_.get(), raw, size) == 0);
    Peer peer;
    peer.scheme = ListenAddress::Scheme::tcp;
    peer.address.size = sizeof(sockaddr_in);
    UniqueFd accepted(::accept4(listening.get(), reinterpret_cast<sockaddr*>(&peer.address.storage),
                                &peer.address.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    REQUIRE(accepted.get() >= 0);
    server.server->add(std::move(accepted), peer);
    server.server->service();
  }

  void send(const std::string& bytes) {
    REQUIRE(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size()));
  }
  void half_close() { REQUIRE(::shutdown(fd_.get(), SHUT_WR) == 0); }
  void close() { fd_ = UniqueFd(); }
  // Statuses of the answers so far, and "end" where the connection has ended; waits for `count` of them.
  Lines answers(size_t count) {
    server_.run([&] {
      char bytes[4096];
      ssize_t n = 0;
      while (!ended_ && (n = ::recv(fd_.get(), bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
        text_.append(bytes, static_cast<size_t>(n));
      ended_ |= n == 0 || (n < 0 && errno != EAGAIN);
      return statuses().size() >= count;
    });
    return statuses();
  }
  const std::string& text() const { return text_; }

 private:
  Lines statuses() const {
    Lines found;
    for (size_t at = 0; (at = text_.find("HTTP/1.1 ", at)) != std::string::npos; at += 9)
      found.push_back(text_.substr(at + 9, 3));
    if (ended_) found.emplace_back("end");
    return found;
  }
  Server& server_;
  UniqueFd fd_;
  std::string text_;
  bool ended_ = false;
};

std::string post(const std::string& body, const std::string& more = {}) {
  return "POST /p HTTP/1.1\r\nHost: x\r\n" + more + "Content-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}
std::string chunked(const std::string& chunks) {
  return "POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks;
}

}  // namespace

TEST_CASE("whole requests, one after the other and ahead of their answers") {
  Server server;
  Client client(server);
  client.send("GET /ping HTTP/1.1\r\nHost: x\r\n\r\n");
  CHECK(client.answers(1) == Lines{"200"});
  client.send(post("a") + post("b") + chunked("1\r\nc\r\n2\r\ndd\r\n0\r\n\r\n"));
  CHECK(client.answers(4) == Lines{"200", "200", "200", "200"});
  for (char c : post("slow")) client.send(std::string(1, c));
  CHECK(client.answers(5).size() == 5);
  CHECK(server.requests == Lines{"GET /ping ", "POST /p a", "POST /p b", "POST /p cdd", "POST /p slow"});
  client.send("POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
  CHECK(client.answers(6).back() == "100");
  client.send("e");
  CHECK(client.answers(7).back() == "200");
  CHECK((server.refused.empty() && server.closed.empty()));
}

TEST_CASE("an answer may come later, or when nobody waits for it any more") {
  Server server;
  server.answer = false;
  Client client(server), gone(server);
  client.send(post("a") + post("b"));
  gone.send(post("c"));
  REQUIRE(server.run([&] { return server.requests.size() == 2; }));  // the second of a connection waits
  gone.close();
  server.server->answer(server.ids[1], 200, "late\n");
  server.server->answer(12345, 200, "nobody's\n");
  server.server->answer(server.ids[0], 400, "no\n");
  server.server->answer(server.ids[0], 200, "twice\n");
  CHECK(client.answers(1) == Lines{"400"});
  REQUIRE(server.run([&] { return server.requests.size() == 3; }));
  server.server->stop();
  server.stopped = true;
  CHECK(client.answers(3) == Lines{"400", "503", "end"});
  server.server->answer(server.ids[2], 200, "too late\n");
}

TEST_CASE("what is no request is told so, and counted once") {
  struct Row {
    std::string bytes;
    std::string status;  // "": it is not answered, the client goes
    const char* reason;
  } rows[] = {
      {post(std::string(1001, 'x')), "413", "body_too_large"},
      {"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n", "413", "body_too_large"},
      {"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n", "413",
       "body_too_large"},
      {chunked("400\r\n" + std::string(1024, 'x') + "\r\n0\r\n\r\n"), "413", "body_too_large"},
      {post("x", "Content-Encoding: gzip\r\n"), "400", "bad_gzip"},
      {post("x", "Content-Encoding: br\r\n"), "415", "content_encoding"},
      {post("x", "Content-Length: 0\r\n"), "400", "bad_request"},
      {post("x", "Transfer-Encoding: chunked\r\n"), "400", "bad_request"},
      {"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", "501", "transfer_encoding"},
      // By the library.
      {chunked("zz\r\nx"), "400", "bad_request"},
      {"GET /p HTTP/9.9\r\n\r\n", "505", ""},  // of what is not even a line nobody hears
      {"GET /p HTTP/1.1\r\n" + std::string(40'000, 'x') + "\r\n\r\n", "431", "bad_request"},
      // The client goes in the middle.
      {"GET /p HTTP/1.1\r\nHost:", "", "bad_request"},
      {"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc", "", "bad_request"},
      {chunked("1\r\nx\r\n"), "", "bad_request"},
  };
  for (const Row& row : rows) {
    INFO(row.bytes.substr(0, 100));
    Server server;
    Client client(server), neighbour(server);
    client.send(row.bytes);
    if (!row.status.empty()) CHECK(client.answers(1)[0] == row.status);
    client.close();  // its end comes together with its bytes
    CHECK(server.run([&] { return server.server->connections() == 1; }));
    CHECK(server.refused == (*row.reason ? Lines{row.reason} : Lines()));
    CHECK((server.requests.empty() && server.closed.empty()));
    neighbour.send(post("n"));
    CHECK(neighbour.answers(1) == Lines{"200"});
  }
}

TEST_CASE("a client that says no more gets its answer and the end") {
  Server server;
  Client client(server);
  client.send(post("a"));
  client.half_close();
  CHECK(client.answers(2) == Lines{"200", "end"});
  CHECK((server.refused.empty() && server.closed.empty()));
}

TEST_CASE("bodies of all connections together are bounded") {
  Server server;
  Client first(server), second(server), third(server);
  std::string head = "POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n";
  for (Client* client : {&first, &third}) {
    client->send(head + std::string(899, 'x'));
    server.run([turns = 0]() mutable { return ++turns > 5; });
  }
  second.send(head + std::string(900, 'x'));
  CHECK(second.answers(1) == Lines{"503"});
  CHECK(server.refused == Lines{"too_much_held"});
  third.close();
  REQUIRE(server.run([&] { return server.server->connections() == 2; }));
  first.send("x");
  CHECK(first.answers(1) == Lines{"200"});
  second.send(post("again"));
  CHECK(second.answers(2) == Lines{"503", "200"});
}

TEST_CASE("too many connections, slow requests and idle connections end") {
  Server server(600, 200);
  Client slow(server), half(server), idle(server), one_more(server);
  CHECK(one_more.answers(1) == Lines{"end"});
  CHECK(server.closed == Lines{"too_many_connections"});
  slow.send("POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  half.send("POS");  // not even a line: no longer than for a request
  idle.send(post("x"));
  auto begun = steady_clock::now();
  CHECK(idle.answers(1) == Lines{"200"});
  CHECK(slow.answers(1) == Lines{"end"});
  CHECK(half.answers(1) == Lines{"end"});
  CHECK(idle.answers(2) == Lines{"200", "end"});
  CHECK(steady_clock::now() - begun >= milliseconds(550));
  CHECK(server.run([&] { return server.server->connections() == 0; }));
  std::map<std::string, int> counts;
  for (const std::string& reason : server.closed) counts[reason]++;
  CHECK((counts["slow_request"] == 1 && counts["idle"] == 2));
  CHECK(server.refused.empty());
}
