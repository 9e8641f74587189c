// The http sink and TLS: a real nginx before the scripted server, certificates made for this run
// (tests/support/servers.py).
#include "plugins/sink_host.h"
#include "support/catch.h"

using namespace runnel_test;
using namespace std::chrono_literals;

namespace {

struct Nginx {
  Helper helper{"support.servers"};
  std::string folder = helper.wait_line("folder ");
  std::string url(const std::string& port) const { return "https://127.0.0.1:" + port + "/in"; }
};

Nginx& nginx() {
  static Nginx* const one = new Nginx;
  return *one;
}

std::map<std::string, std::string>& ports() {
  static std::map<std::string, std::string>* const all = [] {
    auto* found = new std::map<std::string, std::string>;
    for (const char* name : {"good", "expired", "wrong_name", "mutual", "tls12", "tls13", "limited", "plain"})
      (*found)[name] = nginx().helper.wait_line(std::string(name) + " ");
    return found;
  }();
  return *all;
}

}  // namespace

TEST_CASE("http over TLS: who is trusted, and never plain text instead") {
  static const runnel_sink* const sink = load_sink(RUNNEL_HTTP_SINK);
  ports();
  const std::string folder = nginx().folder;
  const std::string ca = folder + "/ca.pem", other_ca = folder + "/other-ca.pem";
  struct Row {
    const char* name;
    const char* server;
    Options options;
    runnel_outcome outcome;
    const char* message;
  };
  const std::string client = folder + "/client", stranger = folder + "/stranger";
  const Row rows[] = {
      {"good", "good", {{"tls_ca", ca}}, RUNNEL_DELIVERED, ""},
      {"the system's authorities do not know it", "good", {}, RUNNEL_HOLD, "SSL certificate problem"},
      {"another authority", "good", {{"tls_ca", other_ca}}, RUNNEL_HOLD, "SSL certificate problem"},
      {"no such authority file", "good", {{"tls_ca", folder + "/none.pem"}}, RUNNEL_HOLD, "none.pem"},
      {"expired", "expired", {{"tls_ca", ca}}, RUNNEL_HOLD, "certificate has expired"},
      {"another name", "wrong_name", {{"tls_ca", ca}}, RUNNEL_HOLD, "127.0.0.1"},
      {"1.2 is enough", "tls12", {{"tls_ca", ca}}, RUNNEL_DELIVERED, ""},
      {"1.3 wanted, 1.2 there",
       "tls12",
       {{"tls_ca", ca}, {"tls_min_version", std::string("1.3")}},
       RUNNEL_HOLD,
       "alert"},
      {"1.3", "tls13", {{"tls_ca", ca}, {"tls_min_version", std::string("1.3")}}, RUNNEL_DELIVERED, ""},
      {"a server without TLS", "plain", {{"tls_ca", ca}}, RUNNEL_HOLD, "SSL routines"},
      {"client certificate",
       "mutual",
       {{"tls_ca", ca}, {"tls_cert", client + ".pem"}, {"tls_key", client + ".key"}},
       RUNNEL_DELIVERED,
       ""},
      {"client certificate missing",
       "mutual",
       {{"tls_ca", ca}},
       RUNNEL_HOLD,
       "HTTP 400: 400 No required SSL certificate was sent"},
      {"client certificate of a stranger",
       "mutual",
       {{"tls_ca", ca}, {"tls_cert", stranger + ".pem"}, {"tls_key", stranger + ".key"}},
       RUNNEL_HOLD,
       "HTTP 400: 400 The SSL certificate error"},
      {"key of another",
       "mutual",
       {{"tls_ca", ca}, {"tls_cert", client + ".pem"}, {"tls_key", stranger + ".key"}},
       RUNNEL_HOLD,
       ""},
      {"client certificate file missing",
       "mutual",
       {{"tls_ca", ca}, {"tls_cert", folder + "/none.pem"}, {"tls_key", client + ".key"}},
       RUNNEL_HOLD,
       "none.pem"},
  };
  int number = 0;
  for (const Row& row : rows) {
    INFO(row.name);
    Options options = row.options;
    const std::string path = "/in-" + std::to_string(++number);
    options["url"] = "https://127.0.0.1:" + ports()[row.server] + path;
    SinkHost host(sink, options);
    REQUIRE(host.check().empty());
    REQUIRE(host.create());
    const Answer answer = host.write({.bytes = "secret data\n"});
    INFO(answer.message);
    CHECK(answer.outcome == row.outcome);
    CHECK(contains(answer.message, row.message));
    // What nginx has let through to the server behind it: only what was delivered, only over TLS.
    SinkHost mark(sink, {{"url", "http://127.0.0.1:" + ports()["plain"] + "/mark"}});
    REQUIRE(mark.create());
    REQUIRE(mark.write({.bytes = "x"}).outcome == RUNNEL_DELIVERED);
    std::string request = nginx().helper.wait_line("request ");
    if (row.outcome == RUNNEL_DELIVERED) {
      CHECK(request.starts_with("POST " + path + " "));
      CHECK(contains(request, "x-tls='TLSv1."));
      CHECK(contains(request, "x-http='HTTP/2.0'"));
      request = nginx().helper.wait_line("request ");
    }
    CHECK(request.starts_with("POST /mark"));
  }
}

TEST_CASE("http over TLS: too large a body is split, one connection carries many, a mended file is noticed") {
  static const runnel_sink* const sink = load_sink(RUNNEL_HTTP_SINK);
  const std::string folder = nginx().folder;
  SinkHost limited(sink, {{"url", nginx().url(ports()["limited"])}, {"tls_ca", folder + "/ca.pem"}});
  REQUIRE(limited.create());
  Answer answer = limited.write({.bytes = std::string(100'000, 'x')});
  INFO(answer.message);
  CHECK(answer.outcome == RUNNEL_SPLIT);
  CHECK(answer.message == "HTTP 413: 413 Request Entity Too Large");
  for (int i = 0; i < 5; ++i) CHECK(limited.write({.bytes = "small"}).outcome == RUNNEL_DELIVERED);
  CHECK(limited.metrics()["runnel.http.connections"] <= 2);  // nginx may close after a 413

  TemporaryFolder own;
  write_file(own / "ca.pem", read_file(folder + "/other-ca.pem"));
  SinkHost mended(sink, {{"url", nginx().url(ports()["good"])}, {"tls_ca", own / "ca.pem"}});
  REQUIRE(mended.create());
  CHECK(mended.write({.bytes = "x"}).outcome == RUNNEL_HOLD);
  write_file(own / "ca.pem", read_file(folder + "/ca.pem"));
  CHECK(mended.write({.bytes = "x"}).outcome == RUNNEL_DELIVERED);
}
