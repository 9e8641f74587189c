#include "net/peer.h"

#include <fmt/format.h>

#include "base/fd.h"
#include "base/text.h"

namespace runnel {

std::string to_string(const Peer& peer) {
  if (peer.scheme == ListenAddress::Scheme::unix_stream ||
      peer.scheme == ListenAddress::Scheme::unix_datagram) {
    if (peer.pid == 0) return "unknown";
    // The process chooses its name itself (prctl(2)), and it may be gone.
    auto name = read_file(fmt::format("/proc/{}/comm", peer.pid), 64);
    std::string known = name.ok() ? fmt::format("({})", escape_control(trim(*name))) : "";
    return fmt::format("pid={}{} uid={}", peer.pid, known, peer.uid);
  }
  if (peer.address.size == 0) return "unknown";
  auto from = from_socket_address(peer.scheme, peer.address);
  return from.ok() ? to_string(*from) : "unknown";
}

}  // namespace runnel
