#include "net/inherited.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>
#include <vector>

#include "net/listener.h"
#include "support/catch.h"
#include "support/sockets.h"

using namespace runnel;

namespace {

// Descriptors 3, 4, … of this process as a service manager would leave them, and its environment. What stood there before
// comes back.
class Passed {
 public:
  explicit Passed(const std::vector<int>& fds, const std::string& names = "",
                  const std::string& pid = std::to_string(::getpid())) {
    for (size_t i = 0; i < fds.size(); i++) {
      int target = 3 + static_cast<int>(i);
      sources_.emplace_back(::fcntl(fds[i], F_DUPFD_CLOEXEC, 100));
      before_.emplace_back(::fcntl(target, F_DUPFD_CLOEXEC, 100));
    }
    for (size_t i = 0; i < fds.size(); i++) ::dup2(sources_[i].get(), 3 + static_cast<int>(i));
    ::setenv("LISTEN_PID", pid.c_str(), 1);
    ::setenv("LISTEN_FDS", std::to_string(fds.size()).c_str(), 1);
    ::setenv("LISTEN_FDNAMES", names.c_str(), 1);
  }
  ~Passed() {
    for (size_t i = 0; i < before_.size(); i++) {
      int target = 3 + static_cast<int>(i);
      before_[i].valid() ? ::dup2(before_[i].get(), target) : ::close(target);
    }
    for (const char* name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) ::unsetenv(name);
  }
  Passed(const Passed&) = delete;

 private:
  std::vector<UniqueFd> sources_, before_;
};

// As the manager binds it: blocking, and of a stream listening.
UniqueFd managers_socket(const std::string& url, bool reuse_port = false) {
  auto address = *parse_listen_address(url);
  auto where = socket_address(url);
  UniqueFd fd(::socket(where.family(), address.is_stream() ? SOCK_STREAM : SOCK_DGRAM, 0));
  int yes = 1, bytes = 65536;
  if (reuse_port) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  REQUIRE(::bind(fd.get(), where.get(), where.size) == 0);
  if (address.is_stream()) REQUIRE(::listen(fd.get(), 8) == 0);
  return fd;
}

std::string url_of(const UniqueFd& fd, ListenAddress::Scheme scheme) {
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  REQUIRE(::getsockname(fd.get(), bound.get(), &bound.size) == 0);
  return to_string(*from_socket_address(scheme, bound));
}

std::shared_ptr<Listener> open_listener(const std::string& url, ListenerOptions options = {}) {
  auto listener = Listener::open(url, options);
  INFO((listener.ok() ? "" : listener.error()));
  REQUIRE(listener.ok());
  return *listener;
}

std::string received(const Listener& listener) {
  char bytes[64];
  if (!readable(listener.fd(), 2000)) return "(nothing)";
  ssize_t n = ::recv(listener.fd(), bytes, sizeof bytes, 0);
  return n < 0 ? errno_text(errno) : std::string(bytes, static_cast<size_t>(n));
}

using Scheme = ListenAddress::Scheme;

}  // namespace

TEST_CASE("a listener takes the socket that the service manager has bound at its address") {
  TestFolder folder;
  for (Scheme scheme : {Scheme::udp, Scheme::tcp, Scheme::unix_datagram, Scheme::unix_stream}) {
    bool is_unix = scheme == Scheme::unix_datagram || scheme == Scheme::unix_stream;
    for (std::string host : {"127.0.0.1", "[::1]"}) {
      std::string wanted = fmt::format("{}://{}", scheme_name(scheme), host + ":0");
      if (is_unix) wanted = fmt::format("{0}://{1}/{0}{2}", scheme_name(scheme), folder.path, host.size());
      UniqueFd socket = managers_socket(wanted);
      std::string url = url_of(socket, scheme);
      INFO(url);
      Passed passed({socket.get()}, "runnel.socket");
      auto all = inherited_sockets();
      REQUIRE(all.size() == 1);
      CHECK(all[0].name == "runnel.socket");
      CHECK(to_string(all[0].address) == url);
      {
        auto listener = open_listener(url);
        CHECK(listener->inherited());
        CHECK(listener->bound() == url);
        CHECK((::fcntl(listener->fd(), F_GETFL) & O_NONBLOCK) != 0);
        CHECK((::fcntl(listener->fd(), F_GETFD) & FD_CLOEXEC) != 0);
        CHECK((listener->queue_datagrams() > 0) == (scheme == Scheme::unix_datagram));
        // Not asked for again: without privileges that would make it smaller.
        if (!listener->is_stream()) CHECK(listener->buffer_bytes() == 2 * 65536);
        UniqueFd client = connect_to(url);
        REQUIRE(client.valid());
        CHECK(send_bytes(client, "a:1|c"));
        CHECK(readable(listener->fd()));
      }
      // The path is the manager's: the next one finds it, and what has come in between.
      UniqueFd client = connect_to(url);
      REQUIRE(client.valid());
      CHECK(readable(open_listener(url)->fd()));
    }
  }
}

TEST_CASE("an inherited UDP socket outlives a listener that a reload closes") {
  UniqueFd socket = managers_socket("udp://127.0.0.1:0");
  std::string url = url_of(socket, Scheme::udp);
  Passed passed({socket.get()});
  UniqueFd client = connect_to(url);
  auto old = open_listener(url);
  old->set_shared(true);
  ListenerOptions options;
  options.taking_over = true;
  auto next = open_listener(url, options);
  old->turn_away();
  old->set_shared(false);
  old.reset();
  CHECK(send_bytes(client, "b:1|c"));
  CHECK(received(*next) == "b:1|c");
}

TEST_CASE("several receivers of one inherited socket: each reads, one counts what the kernel dropped") {
  UniqueFd socket = managers_socket("udp://127.0.0.1:0");
  std::string url = url_of(socket, Scheme::udp);
  Passed passed({socket.get()});
  UniqueFd client = connect_to(url);
  auto flood = [&] {
    for (int i = 0; i < 2000; i++) CHECK(send_bytes(client, std::string(1000, 'x')));
  };
  flood();  // nobody reads: most of it is dropped, before anybody counted
  ListenerOptions options;
  options.reuse_port = true;
  std::vector<std::shared_ptr<Listener>> listeners;
  for (options.nth = 0; options.nth < 3; options.nth++) listeners.push_back(open_listener(url, options));
  for (const auto& listener : listeners) {
    CHECK(listener->reuse_port());
    CHECK(listener->kernel_drops() == 0);
  }
  flood();
  CHECK(listeners[0]->kernel_drops() == 2000);
  CHECK(listeners[1]->kernel_drops() == 0);
  CHECK(listeners[2]->kernel_drops() == 0);
  CHECK(received(*listeners[2]).size() == 64);
}

TEST_CASE("of several sockets at one address each receiver takes its own") {
  UniqueFd first = managers_socket("udp://127.0.0.1:0", true);
  std::string url = url_of(first, Scheme::udp);
  UniqueFd second = managers_socket(url, true);
  auto inode = [](int fd) {
    struct stat found {};
    ::fstat(fd, &found);
    return found.st_ino;
  };
  // Before they are passed on: their own numbers may be 3 or 4.
  std::vector<ino_t> expected = {inode(first.get()), inode(second.get()), inode(first.get())};
  Passed passed({first.get(), second.get()}, "a:b");
  ListenerOptions options;
  options.reuse_port = true;
  for (options.nth = 0; options.nth < 3; options.nth++)
    CHECK(inode(open_listener(url, options)->fd()) == expected[options.nth]);
}

TEST_CASE("what is not for us, or not bound, is not taken") {
  UniqueFd socket = managers_socket("udp://127.0.0.1:0");
  std::string url = url_of(socket, Scheme::udp), port = url.substr(url.rfind(':'));
  {
    Passed passed({socket.get()}, "", std::to_string(::getppid()));
    CHECK(inherited_sockets().empty());
  }
  for (const char* count : {"0", "-1", "x", "", "99999999"}) {
    Passed passed({socket.get()});
    ::setenv("LISTEN_FDS", count, 1);
    INFO(count);
    CHECK(inherited_sockets().empty());
  }
  {
    Passed passed({socket.get()});
    // Another protocol at this port, and any port: bound by the agent itself.
    CHECK_FALSE(open_listener("tcp://127.0.0.1" + port)->inherited());
    CHECK_FALSE(open_listener("udp://127.0.0.1:0")->inherited());
  }
  // A pipe, a socket without an address, a connection, and more announced than there is.
  int pipe[2];
  REQUIRE(::pipe(pipe) == 0);
  UniqueFd read_end(pipe[0]), write_end(pipe[1]), unbound(::socket(AF_INET, SOCK_DGRAM, 0));
  UniqueFd server = managers_socket("tcp://127.0.0.1:0");
  UniqueFd connection = connect_to(url_of(server, Scheme::tcp));
  Passed passed({read_end.get(), unbound.get(), connection.get(), socket.get()}, "a:b:c");
  ::setenv("LISTEN_FDS", "1000", 1);
  auto all = inherited_sockets();
  REQUIRE(!all.empty());
  CHECK(to_string(all[0].address) == url);
  CHECK(all[0].fd == 6);
  CHECK(all[0].name.empty());
}
