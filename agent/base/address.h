// Addresses to listen on, as the configuration spells them: udp://127.0.0.1:8125, tcp://[::1]:5555, tls://…,
// unix:///run/x.sock (stream), unixgram:///run/x.sock. Names are not resolved: a listener that waits for DNS,
// or that binds to whatever a name says today, is a surprise. Plain values, any thread.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace runnel {

struct ListenAddress {
  enum class Scheme { udp, tcp, tls, unix_stream, unix_datagram };
  Scheme scheme = Scheme::udp;
  std::string host;   // an IP address in its canonical form and without brackets; "" for unix sockets
  uint16_t port = 0;  // 0 picks a free one
  std::string path;   // of a unix socket, absolute
  bool operator==(const ListenAddress&) const = default;

  bool is_unix() const { return scheme == Scheme::unix_stream || scheme == Scheme::unix_datagram; }
  bool is_stream() const { return scheme != Scheme::udp && scheme != Scheme::unix_datagram; }
};

// "udp", "tcp", "tls", "unix", "unixgram"
std::string_view scheme_name(ListenAddress::Scheme scheme);
std::optional<ListenAddress::Scheme> find_scheme(std::string_view name);

// The error quotes the text and says what to write instead.
Result<ListenAddress> parse_listen_address(std::string_view url);
std::string to_string(const ListenAddress& address);  // reads back as the same

// What binding takes: addresses of the same endpoint exclude each other. tcp and tls are the same protocol, a
// path is taken by either kind of unix socket. "" for port 0, which never collides.
std::string endpoint_of(const ListenAddress& address);

// For bind(2) and from getsockname(2) or recvmsg(2). AF_INET, AF_INET6 and AF_UNIX.
struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};
// Fails only for an address that parse_listen_address has not made.
Result<SocketAddress> to_socket_address(const ListenAddress& address);
Result<ListenAddress> from_socket_address(ListenAddress::Scheme scheme, const SocketAddress& address);

}  // namespace runnel
