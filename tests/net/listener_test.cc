#include "net/listener.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <fstream>

#include "net/peer.h"
#include "support/catch.h"
#include "support/sockets.h"

using namespace runnel;

namespace {

std::shared_ptr<Listener> open_listener(const std::string& url, ListenerOptions options = {}) {
  auto listener = Listener::open(url, options);
  INFO((listener.ok() ? "" : listener.error()));
  REQUIRE(listener.ok());
  return *listener;
}

std::string refusal(const std::string& url, ListenerOptions options = {}) {
  auto listener = Listener::open(url, options);
  return listener.ok() ? "" : listener.error();
}

ListenerOptions taking_over() {
  ListenerOptions options;
  options.taking_over = true;
  return options;
}

bool has(const std::string& text, const std::string& part) {
  INFO(text << " should have: " << part);
  CHECK(text.find(part) != std::string::npos);
  return true;
}

size_t files_in(const std::string& folder) {
  return static_cast<size_t>(
      std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()));
}

// As another program would bind it: with every option that could let it in.
bool stranger_binds(const std::string& url) {
  auto address = *parse_listen_address(url);
  auto where = socket_address(url);
  UniqueFd fd(::socket(where.family(), address.is_stream() ? SOCK_STREAM : SOCK_DGRAM, 0));
  int yes = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes);
  return ::bind(fd.get(), where.get(), where.size) == 0 &&
         (!address.is_stream() || ::listen(fd.get(), 1) == 0);
}

}  // namespace

TEST_CASE("listeners say where they are bound, and datagrams and connections come") {
  TestFolder folder;
  for (std::string url : {std::string("udp://127.0.0.1:0"), std::string("udp://[::1]:0"),
                          std::string("tcp://127.0.0.1:0"), std::string("tcp://[::1]:0"),
                          "unix://" + folder.path + "/s.sock", "unixgram://" + folder.path + "/g.sock"}) {
    INFO(url);
    auto listener = open_listener(url);
    CHECK(listener->wanted() == url);
    CHECK(listener->bound().find(":0") == std::string::npos);
    CHECK(listener->is_stream() == (url[0] == 't' || url.starts_with("unix:")));
    CHECK((listener->buffer_bytes() > 0) == !listener->is_stream());
    CHECK((listener->queue_datagrams() > 0) == url.starts_with("unixgram"));
    CHECK((::fcntl(listener->fd(), F_GETFL) & O_NONBLOCK) != 0);
    CHECK((::fcntl(listener->fd(), F_GETFD) & FD_CLOEXEC) != 0);
    UniqueFd client = connect_to(listener->bound());
    REQUIRE(client.valid());
    CHECK(send_bytes(client, "a:1|c"));
    CHECK(readable(listener->fd()));
    CHECK(listener->kernel_drops() == 0);
  }
  CHECK(files_in(folder.path) == 0);
}

TEST_CASE("addresses that cannot be bound say why") {
  TestFolder folder;
  std::ofstream(folder.path + "/file") << "precious";
  std::filesystem::create_symlink("/nowhere", folder.path + "/link");
  ListenerOptions group;
  group.group = "no such group";
  struct {
    std::string url, says;
    ListenerOptions options;
  } rows[] = {
      {"nonsense", "scheme", {}},
      {"udp://192.0.2.1:0", "Cannot assign", {}},
      {"tcp://192.0.2.1:0", "Cannot assign", {}},
      {"unix://" + folder.path + "/no/s.sock", folder.path + "/no does not exist", {}},
      {"unix://" + folder.path + "/file/s.sock", "Not a directory", {}},
      {"unix://" + folder.path + "/file", "not a socket", {}},
      {"unix://" + folder.path + "/file", "not a socket", taking_over()},
      {"unixgram://" + folder.path + "/link", "not a socket", {}},
      {"unix://" + folder.path, "not a socket", {}},
      {"unix://" + folder.path + "/", "is a folder", {}},
      {"unix://" + folder.path + "/s.sock", "\"no such group\"", group},
  };
  for (const auto& row : rows) {
    INFO(row.url);
    std::string said = refusal(row.url, row.options);
    has(said, row.says);
    has(said, row.url);
  }
  CHECK(files_in(folder.path) == 2);
  std::string text;
  std::getline(std::ifstream(folder.path + "/file"), text);
  CHECK(text == "precious");
}

TEST_CASE("an address is shared only while a reload moves it") {
  for (const char* url : {"udp://127.0.0.1:0", "tcp://127.0.0.1:0", "udp://[::1]:0", "tcp://[::1]:0"}) {
    INFO(url);
    auto old = open_listener(url);
    std::string bound = old->bound();
    has(refusal(bound), "in use");
    has(refusal(bound, taking_over()), "in use");
    CHECK_FALSE(stranger_binds(bound));
    old->set_shared(true);
    auto young = open_listener(bound, taking_over());
    old->set_shared(false);
    has(refusal(bound), "in use");
    old.reset();
    UniqueFd client = connect_to(bound);
    REQUIRE(client.valid());
    CHECK(send_bytes(client, "a:1|c"));
    CHECK(readable(young->fd()));
    has(refusal(bound), "in use");
  }
}

TEST_CASE("UDP sockets of one address spread its datagrams with reuse_port") {
  ListenerOptions options;
  options.reuse_port = true;
  auto first = open_listener("udp://127.0.0.1:0", options);
  auto second = open_listener(first->bound(), options);
  has(refusal(first->bound()), "in use");
  // The kernel chooses by the sender's port: with 64 of them both get some, but for one chance in 2^63.
  for (int i = 0; i < 64; i++) CHECK(send_bytes(connect_to(first->bound()), "a:1|c"));
  CHECK(readable(first->fd()));
  CHECK(readable(second->fd()));
}

TEST_CASE("what the kernel drops is counted") {
  ListenerOptions options;
  options.receive_buffer = 1;
  auto listener = open_listener("udp://127.0.0.1:0", options);
  UniqueFd client = connect_to(listener->bound());
  for (int i = 0; i < 200; i++) send_bytes(client, std::string(1000, 'x'));
  CHECK(listener->kernel_drops() > 0);
}

TEST_CASE("a unix socket's path has the mode and group that were asked for, whatever the umask") {
  TestFolder folder;
  std::string path = folder.path + "/s.sock";
  mode_t before = ::umask(077);
  for (const char* scheme : {"unix", "unixgram"})
    for (unsigned mode : {0666U, 0660U, 0600U, 0622U}) {
      ListenerOptions options;
      options.mode = mode;
      options.group = std::to_string(::getegid());
      auto listener = open_listener(fmt::format("{}://{}", scheme, path), options);
      struct stat status {};
      REQUIRE(::lstat(path.c_str(), &status) == 0);
      CHECK((status.st_mode & 07777) == mode);
      CHECK(status.st_gid == ::getegid());
      CHECK(files_in(folder.path) == 1);
    }
  CHECK(::umask(before) == 077);
  if (::geteuid() != 0) {  // root may give it to every group
    ListenerOptions options;
    options.group = "0";
    has(refusal("unix://" + path, options), "to the group 0");
    CHECK(files_in(folder.path) == 0);
  }
}

TEST_CASE("a unix socket's path: in use, stale, taken over, of either kind") {
  TestFolder folder;
  std::string path = folder.path + "/s.sock";
  for (std::string held : {"unix://", "unixgram://"})
    for (std::string wanted : {"unix://", "unixgram://"}) {
      INFO(held << " then " << wanted);
      auto old = open_listener(held + path);
      has(refusal(wanted + path), "in use");
      auto young = open_listener(wanted + path, taking_over());
      old.reset();  // leaves the path alone: it is not its own any more
      CHECK(connect_to(wanted + path).valid());
      young.reset();
      CHECK(files_in(folder.path) == 0);

      // Another program's, alive and then dead.
      auto where = socket_address(held + path);
      UniqueFd other(::socket(AF_UNIX, held == "unix://" ? SOCK_STREAM : SOCK_DGRAM, 0));
      REQUIRE(::bind(other.get(), where.get(), where.size) == 0);
      if (held == "unix://") REQUIRE(::listen(other.get(), 1) == 0);
      has(refusal(wanted + path), "in use");
      has(refusal(wanted + path, taking_over()), "in use");

      other.reset();
      CHECK(files_in(folder.path) == 1);
      CHECK(connect_to((young = open_listener(wanted + path))->bound()).valid());
      young.reset();
      CHECK(files_in(folder.path) == 0);
    }
}

TEST_CASE("a path that others have put in place of ours stays") {
  TestFolder folder;
  std::string path = folder.path + "/s.sock";
  auto listener = open_listener("unix://" + path);
  std::filesystem::remove(path);
  std::ofstream(path) << "new";
  listener.reset();
  CHECK(files_in(folder.path) == 1);
}

TEST_CASE("paths as long as the kernel takes them") {
  constexpr size_t kLongest = sizeof(sockaddr_un::sun_path) - 1;
  TestFolder folder;
  std::string long_name = folder.path + "/" + std::string(kLongest - folder.path.size() - 1, 'n');
  std::string long_folder = folder.path + "/" + std::string(kLongest - folder.path.size() - 3, 'f');
  std::filesystem::create_directory(long_folder);
  for (const std::string& path : {long_name, long_folder + "/s"}) {
    REQUIRE(path.size() == kLongest);
    for (std::string scheme : {"unix://", "unixgram://"}) {
      auto listener = open_listener(scheme + path);
      CHECK(connect_to(listener->bound()).valid());
      has(refusal(scheme + path), "in use");
      auto young = open_listener(scheme + path, taking_over());
      listener.reset();
      CHECK(connect_to(young->bound()).valid());
    }
  }
  CHECK(files_in(folder.path) == 1);
  CHECK(files_in(long_folder) == 0);
}

TEST_CASE("unix datagrams name their sender") {
  TestFolder folder;
  auto listener = open_listener("unixgram://" + folder.path + "/g.sock");
  CHECK(send_bytes(connect_to(listener->bound()), "a:1|c"));
  char bytes[64], control[CMSG_SPACE(sizeof(ucred))];
  iovec vector{bytes, sizeof bytes};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  REQUIRE(::recvmsg(listener->fd(), &message, MSG_DONTWAIT) == 5);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  REQUIRE(header != nullptr);
  CHECK(header->cmsg_type == SCM_CREDENTIALS);
  ucred sender{};
  std::memcpy(&sender, CMSG_DATA(header), sizeof sender);
  CHECK(sender.pid == ::getpid());
  Peer peer;
  peer.scheme = listener->scheme();
  peer.pid = sender.pid;
  peer.uid = sender.uid;
  CHECK(to_string(peer) == fmt::format("pid={}(test_net) uid={}", ::getpid(), ::getuid()));
}

TEST_CASE("peers are spelled") {
  Peer peer;
  CHECK(to_string(peer) == "unknown");
  peer.address = socket_address("udp://10.0.0.7:40211");
  CHECK(to_string(peer) == "udp://10.0.0.7:40211");
  peer.scheme = ListenAddress::Scheme::tcp;
  peer.address = socket_address("tcp://[::1]:5000");
  CHECK(to_string(peer) == "tcp://[::1]:5000");
  peer = {ListenAddress::Scheme::unix_stream, {}, 0, 0, 0};
  CHECK(to_string(peer) == "unknown");
  peer.pid = 0x7fffffff;  // gone
  peer.uid = 33;
  CHECK(to_string(peer) == "pid=2147483647 uid=33");
}
