#include "net/inherited.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <utility>

#include "base/text.h"

namespace runnel {
namespace {

constexpr int kFirst = 3;    // SD_LISTEN_FDS_START
constexpr int kMost = 1024;  // descriptors; more than anybody passes, so that a wrong number costs little

std::optional<int64_t> number_of(const char* variable) {
  const char* text = std::getenv(variable);
  return text == nullptr ? std::nullopt : parse_int(text);
}

std::optional<ListenAddress> address_of(int fd) {
  auto option = [fd](int name) {
    int value = -1;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
  };
  int domain = option(SO_DOMAIN), type = option(SO_TYPE);
  bool is_unix = domain == AF_UNIX, is_ip = domain == AF_INET || domain == AF_INET6;
  using Scheme = ListenAddress::Scheme;
  Scheme scheme;
  if (type == SOCK_DGRAM && (is_unix || is_ip)) {
    scheme = is_unix ? Scheme::unix_datagram : Scheme::udp;
  } else if (type == SOCK_STREAM && (is_unix || is_ip) && option(SO_ACCEPTCONN) == 1) {
    scheme = is_unix ? Scheme::unix_stream : Scheme::tcp;
  } else {
    return std::nullopt;
  }
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  if (::getsockname(fd, bound.get(), &bound.size) != 0) return std::nullopt;
  auto address = from_socket_address(scheme, bound);
  if (!address.ok() || (is_ip && address->port == 0) || (is_unix && address->path.empty()))
    return std::nullopt;
  return *address;
}

}  // namespace

std::vector<InheritedSocket> inherited_sockets() {
  std::vector<InheritedSocket> sockets;
  auto pid = number_of("LISTEN_PID"), count = number_of("LISTEN_FDS");
  if (!pid || !count || *pid != ::getpid() || *count < 1 || *count > kMost) return sockets;
  const char* listed = std::getenv("LISTEN_FDNAMES");
  auto names = split(listed == nullptr ? "" : listed, ':');
  for (int i = 0; i < *count; i++) {
    int fd = kFirst + i;
    auto address = address_of(fd);
    if (!address) continue;
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    auto at = static_cast<size_t>(i);
    sockets.push_back({fd, at < names.size() ? std::string(names[at]) : "", std::move(*address)});
  }
  return sockets;
}

UniqueFd take_inherited(const ListenAddress& address, size_t nth, bool& shared) {
  std::vector<int> found;
  for (const InheritedSocket& socket : inherited_sockets())
    if (socket.address == address) found.push_back(socket.fd);
  if (found.empty()) return UniqueFd();
  shared = nth >= found.size();
  return UniqueFd(::fcntl(found[nth % found.size()], F_DUPFD_CLOEXEC, kFirst));
}

}  // namespace runnel
