// Peers of the socket tests: a folder of its own, clients that connect to what a listener has bound.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>

#include "base/address.h"
#include "base/fd.h"

namespace runnel {

struct TestFolder {
  std::string path;
  explicit TestFolder(const std::string& below = "/tmp") : path(below + "/runnel-test-XXXXXX") {
    if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("mkdtemp");
  }
  ~TestFolder() { std::filesystem::remove_all(path); }
  TestFolder(const TestFolder&) = delete;
};

inline SocketAddress socket_address(const std::string& url) {
  return *to_socket_address(*parse_listen_address(url));
}

// Blocking; invalid where it is refused, errno says why.
inline UniqueFd connect_to(const std::string& url) {
  auto address = *parse_listen_address(url);
  auto where = *to_socket_address(address);
  UniqueFd fd(::socket(where.family(), (address.is_stream() ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0));
  if (::connect(fd.get(), where.get(), where.size) != 0) fd.reset();
  return fd;
}

inline bool send_bytes(const UniqueFd& fd, std::string_view bytes) {
  return ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

inline bool readable(int fd, int wait_ms = 5000) {
  pollfd poll{fd, POLLIN, 0};
  return ::poll(&poll, 1, wait_ms) == 1;
}

}  // namespace runnel
