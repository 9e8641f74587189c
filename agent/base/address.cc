#include "base/address.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <cstddef>
#include <cstring>

#include "base/text.h"

namespace runnel {
namespace {

using Scheme = ListenAddress::Scheme;
struct Name {
  Scheme scheme;
  std::string_view name;
};
constexpr Name kSchemes[] = {{Scheme::udp, "udp"},
                             {Scheme::tcp, "tcp"},
                             {Scheme::tls, "tls"},
                             {Scheme::unix_stream, "unix"},
                             {Scheme::unix_datagram, "unixgram"}};
// unix(7): 108 bytes with the NUL behind it.
constexpr size_t kMaxUnixPath = sizeof(sockaddr_un::sun_path) - 1;

// The address in its canonical spelling, "" where the text is none.
std::string canonical_ip(int family, std::string_view text) {
  unsigned char bytes[sizeof(in6_addr)];
  char out[INET6_ADDRSTRLEN];
  if (text.size() >= sizeof out || text.find('\0') != std::string_view::npos) return {};
  if (inet_pton(family, std::string(text).c_str(), bytes) != 1) return {};
  return inet_ntop(family, bytes, out, sizeof out);
}

Result<ListenAddress> parse_unix(Scheme scheme, std::string_view url, std::string_view path) {
  if (path.empty() || path[0] != '/')
    return Error{fmt::format("\"{}\" has no absolute path (write {}:///run/NAME.sock)", excerpt(url),
                             scheme_name(scheme))};
  if (path.ends_with('/'))
    return Error{fmt::format("\"{}\" is a folder (write {}{}NAME.sock)", excerpt(url), scheme_name(scheme),
                             "://" + std::string(path))};
  if (has_control(path))
    return Error{fmt::format("\"{}\" has a control character in its path", excerpt(url))};
  if (path.size() > kMaxUnixPath)
    return Error{fmt::format("\"{}\": a socket's path is at most {} bytes long", excerpt(url), kMaxUnixPath)};
  return ListenAddress{scheme, "", 0, std::string(path)};
}

Result<ListenAddress> parse_ip(Scheme scheme, std::string_view url, std::string_view rest) {
  std::string_view host, after;
  std::string_view name = scheme_name(scheme);
  bool v6 = !rest.empty() && rest[0] == '[';
  if (v6) {
    size_t end = rest.find(']');
    if (end == std::string_view::npos)
      return Error{fmt::format("\"{}\" has a [ without its ]", excerpt(url))};
    host = rest.substr(1, end - 1);
    after = rest.substr(end + 1);
  } else {
    size_t colon = rest.rfind(':');
    host = rest.substr(0, colon);
    after = colon == std::string_view::npos ? std::string_view() : rest.substr(colon);
    if (!canonical_ip(AF_INET6, host).empty() || !canonical_ip(AF_INET6, rest).empty())
      return Error{fmt::format("\"{}\": an IPv6 address stands in brackets (write {}://[::1]:PORT)",
                               excerpt(url), name)};
  }
  if (host.empty())
    return Error{
        fmt::format("\"{}\" has no address (write 127.0.0.1, or 0.0.0.0 or [::] for all)", excerpt(url))};
  std::string canonical = canonical_ip(v6 ? AF_INET6 : AF_INET, host);
  if (canonical.empty())
    return Error{fmt::format("\"{}\": \"{}\" is not an IP address (write {} instead of a name)", excerpt(url),
                             excerpt(host), v6 ? "[::1]" : "127.0.0.1 or [::1]")};
  if (after.size() < 2 || after[0] != ':')
    return Error{fmt::format("\"{}\" has no port (write {}://{}:PORT)", excerpt(url), name,
                             v6 ? "[" + canonical + "]" : canonical)};
  auto port = parse_uint(after.substr(1));
  if (!port || *port > 65535)
    return Error{
        fmt::format("\"{}\": \"{}\" is not a port (0 to 65535)", excerpt(url), excerpt(after.substr(1)))};
  return ListenAddress{scheme, canonical, static_cast<uint16_t>(*port), ""};
}

}  // namespace

std::string_view scheme_name(Scheme scheme) {
  for (const Name& n : kSchemes)
    if (n.scheme == scheme) return n.name;
  return "";
}

std::optional<Scheme> find_scheme(std::string_view name) {
  for (const Name& n : kSchemes)
    if (n.name == name) return n.scheme;
  return std::nullopt;
}

Result<ListenAddress> parse_listen_address(std::string_view url) {
  size_t separator = url.find("://");
  if (separator == std::string_view::npos)
    return Error{fmt::format("\"{}\" has no scheme (write for example udp://127.0.0.1:8125)", excerpt(url))};
  auto scheme = find_scheme(url.substr(0, separator));
  if (!scheme)
    return Error{fmt::format("\"{}\": unknown scheme \"{}\" (udp, tcp, tls, unix, unixgram)", excerpt(url),
                             excerpt(url.substr(0, separator)))};
  std::string_view rest = url.substr(separator + 3);
  if (*scheme == Scheme::unix_stream || *scheme == Scheme::unix_datagram)
    return parse_unix(*scheme, url, rest);
  return parse_ip(*scheme, url, rest);
}

std::string to_string(const ListenAddress& a) {
  if (a.is_unix()) return fmt::format("{}://{}", scheme_name(a.scheme), a.path);
  bool v6 = a.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", scheme_name(a.scheme), v6 ? "[" : "", a.host, v6 ? "]" : "", a.port);
}

std::string endpoint_of(const ListenAddress& address) {
  if (!address.is_unix() && address.port == 0) return {};
  ListenAddress endpoint = address;
  if (endpoint.scheme == Scheme::tls) endpoint.scheme = Scheme::tcp;
  if (endpoint.is_unix()) endpoint.scheme = Scheme::unix_stream;
  return to_string(endpoint);
}

Result<SocketAddress> to_socket_address(const ListenAddress& a) {
  SocketAddress out;
  if (a.is_unix()) {
    sockaddr_un un{};
    if (a.path.empty() || a.path.size() > kMaxUnixPath)
      return Error{fmt::format("{}: bad path", to_string(a))};
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, a.path.data(), a.path.size());
    std::memcpy(&out.storage, &un, sizeof un);
    out.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + a.path.size() + 1);
    return out;
  }
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  if (inet_pton(AF_INET, a.host.c_str(), &v4.sin_addr) == 1) {
    v4.sin_family = AF_INET;
    v4.sin_port = htons(a.port);
    std::memcpy(&out.storage, &v4, sizeof v4);
    out.size = sizeof v4;
  } else if (inet_pton(AF_INET6, a.host.c_str(), &v6.sin6_addr) == 1) {
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(a.port);
    std::memcpy(&out.storage, &v6, sizeof v6);
    out.size = sizeof v6;
  } else {
    return Error{fmt::format("{}: bad address", to_string(a))};
  }
  return out;
}

Result<ListenAddress> from_socket_address(Scheme scheme, const SocketAddress& address) {
  ListenAddress out;
  out.scheme = scheme;
  char text[INET6_ADDRSTRLEN];
  if (address.family() == AF_INET && address.size >= sizeof(sockaddr_in)) {
    sockaddr_in v4;
    std::memcpy(&v4, &address.storage, sizeof v4);
    out.host = inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    out.port = ntohs(v4.sin_port);
  } else if (address.family() == AF_INET6 && address.size >= sizeof(sockaddr_in6)) {
    sockaddr_in6 v6;
    std::memcpy(&v6, &address.storage, sizeof v6);
    out.host = inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
    out.port = ntohs(v6.sin6_port);
  } else if (address.family() == AF_UNIX && address.size <= sizeof(sockaddr_un)) {
    sockaddr_un un{};
    std::memcpy(&un, &address.storage, address.size);
    out.path.assign(un.sun_path, strnlen(un.sun_path, sizeof un.sun_path));
  } else {
    return Error{fmt::format("a socket address of family {} and {} bytes", address.family(), address.size)};
  }
  return out;
}

}  // namespace runnel
