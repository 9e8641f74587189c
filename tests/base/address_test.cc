#include "base/address.h"

#include <netinet/in.h>
#include <unistd.h>

#include "base/fd.h"
#include "support/catch.h"

using namespace runnel;
using Scheme = ListenAddress::Scheme;

TEST_CASE("listening addresses read back what they print") {
  struct {
    const char* url;
    Scheme scheme;
    const char* host;
    int port;
    const char* path;
    const char* printed;  // nullptr: the same
  } good[] = {
      {"udp://127.0.0.1:8125", Scheme::udp, "127.0.0.1", 8125, "", nullptr},
      {"tcp://0.0.0.0:0", Scheme::tcp, "0.0.0.0", 0, "", nullptr},
      {"tls://[::1]:5554", Scheme::tls, "::1", 5554, "", nullptr},
      {"udp://[::]:65535", Scheme::udp, "::", 65535, "", nullptr},
      {"udp://[2001:DB8:0:0::1]:1", Scheme::udp, "2001:db8::1", 1, "", "udp://[2001:db8::1]:1"},
      {"udp://[::ffff:1.2.3.4]:1", Scheme::udp, "::ffff:1.2.3.4", 1, "", nullptr},
      {"unix:///run/x.sock", Scheme::unix_stream, "", 0, "/run/x.sock", nullptr},
      {"unixgram:///run/a b.sock", Scheme::unix_datagram, "", 0, "/run/a b.sock", nullptr},
  };
  for (auto& row : good) {
    INFO(row.url);
    auto parsed = parse_listen_address(row.url);
    REQUIRE(parsed.ok());
    CHECK(parsed->scheme == row.scheme);
    CHECK(parsed->host == row.host);
    CHECK(parsed->port == row.port);
    CHECK(parsed->path == row.path);
    CHECK(to_string(*parsed) == (row.printed ? row.printed : row.url));
    auto socket = to_socket_address(*parsed);
    REQUIRE(socket.ok());
    auto back = from_socket_address(row.scheme, *socket);
    REQUIRE(back.ok());
    CHECK(*back == *parsed);
  }
}

TEST_CASE("what is not a listening address says what is wrong") {
  struct {
    std::string url, error;
  } bad[] = {
      {"", "\"\" has no scheme (write for example udp://127.0.0.1:8125)"},
      {"127.0.0.1:8125", "\"127.0.0.1:8125\" has no scheme (write for example udp://127.0.0.1:8125)"},
      {"http://127.0.0.1:80",
       "\"http://127.0.0.1:80\": unknown scheme \"http\" (udp, tcp, tls, unix, unixgram)"},
      {"UDP://127.0.0.1:80",
       "\"UDP://127.0.0.1:80\": unknown scheme \"UDP\" (udp, tcp, tls, unix, unixgram)"},
      {"udp://127.0.0.1", "\"udp://127.0.0.1\" has no port (write udp://127.0.0.1:PORT)"},
      {"udp://127.0.0.1:", "\"udp://127.0.0.1:\" has no port (write udp://127.0.0.1:PORT)"},
      {"udp://[::1]", "\"udp://[::1]\" has no port (write udp://[::1]:PORT)"},
      {"udp://[::1]8125", "\"udp://[::1]8125\" has no port (write udp://[::1]:PORT)"},
      {"udp://[::1", "\"udp://[::1\" has a [ without its ]"},
      {"udp://::1:8125", "\"udp://::1:8125\": an IPv6 address stands in brackets (write udp://[::1]:PORT)"},
      {"udp://:8125", "\"udp://:8125\" has no address (write 127.0.0.1, or 0.0.0.0 or [::] for all)"},
      {"udp://", "\"udp://\" has no address (write 127.0.0.1, or 0.0.0.0 or [::] for all)"},
      {"udp://localhost:8125",
       "\"udp://localhost:8125\": \"localhost\" is not an IP address (write 127.0.0.1 or [::1] instead of a "
       "name)"},
      {"udp://[127.0.0.1]:1",
       "\"udp://[127.0.0.1]:1\": \"127.0.0.1\" is not an IP address (write [::1] instead of a name)"},
      {"udp://127.1:1",
       "\"udp://127.1:1\": \"127.1\" is not an IP address (write 127.0.0.1 or [::1] instead of a name)"},
      {"udp://127.0.0.1:65536", "\"udp://127.0.0.1:65536\": \"65536\" is not a port (0 to 65535)"},
      {"udp://127.0.0.1:-1", "\"udp://127.0.0.1:-1\": \"-1\" is not a port (0 to 65535)"},
      {"udp://127.0.0.1:80/", "\"udp://127.0.0.1:80/\": \"80/\" is not a port (0 to 65535)"},
      {"unix://run/x", "\"unix://run/x\" has no absolute path (write unix:///run/NAME.sock)"},
      {"unixgram://", "\"unixgram://\" has no absolute path (write unixgram:///run/NAME.sock)"},
      {std::string("unix:///a\0b", 11), "\"unix:///a\\x00b\" has a control character in its path"},
      {std::string("udp://127.0.0.1\0:1", 18),
       "\"udp://127.0.0.1\\x00:1\": \"127.0.0.1\\x00\" is not an IP address (write 127.0.0.1 or [::1] "
       "instead of a name)"},
  };
  for (auto& row : bad) {
    INFO(row.url);
    auto parsed = parse_listen_address(row.url);
    REQUIRE_FALSE(parsed.ok());
    CHECK(parsed.error() == row.error);
  }
  CHECK(parse_listen_address("unix:///" + std::string(106, 'x')).ok());
  CHECK_FALSE(parse_listen_address("unix:///" + std::string(107, 'x')).ok());
}

TEST_CASE("endpoints collide by protocol, address and port") {
  auto endpoint = [](const char* url) { return endpoint_of(*parse_listen_address(url)); };
  auto same = [&](const char* a, const char* b) { return endpoint(a) == endpoint(b); };
  CHECK(same("udp://127.0.0.1:1", "udp://127.0.0.1:1"));
  CHECK(same("tcp://[::1]:1", "tls://[0:0::1]:1"));
  CHECK(same("unix:///run/x", "unixgram:///run/x"));
  CHECK_FALSE(same("udp://127.0.0.1:1", "tcp://127.0.0.1:1"));
  CHECK_FALSE(same("udp://127.0.0.1:1", "udp://127.0.0.1:2"));
  CHECK(endpoint("udp://127.0.0.1:0").empty());
  CHECK_FALSE(endpoint("unix:///run/x").empty());
  CHECK_FALSE(same("unix:///run/x", "unix:///run/y"));
  CHECK_FALSE(same("unix:///run/x", "udp://127.0.0.1:1"));
}

TEST_CASE("port 0 comes back from the kernel as a port") {
  UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  REQUIRE(fd.valid());
  auto address = to_socket_address(*parse_listen_address("udp://127.0.0.1:0"));
  REQUIRE(::bind(fd.get(), address->get(), address->size) == 0);
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  REQUIRE(::getsockname(fd.get(), bound.get(), &bound.size) == 0);
  auto told = from_socket_address(Scheme::udp, bound);
  REQUIRE(told.ok());
  CHECK(told->host == "127.0.0.1");
  CHECK(told->port != 0);
  CHECK_FALSE(from_socket_address(Scheme::udp, SocketAddress{}).ok());
}
