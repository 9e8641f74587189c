// Who sent a payload, kept as the kernel told it and spelled only when somebody is told: an IP address and port, or the
// process behind a unix socket (SO_PEERCRED, SCM_CREDENTIALS: unix(7)). A value; any thread.
#pragma once

#include <string>

#include "base/address.h"

namespace runnel {

struct Peer {
  ListenAddress::Scheme scheme = ListenAddress::Scheme::udp;
  SocketAddress address;      // of IP senders; size 0 where the kernel told none
  int pid = 0;                // of unix senders; 0: the kernel does not tell
  unsigned uid = 0, gid = 0;  // where pid is not 0
};

// "udp://10.0.0.7:40211", "tcp://[::1]:5000", "pid=812(nginx) uid=33", "unknown". Reads /proc/PID/comm: for log lines only.
std::string to_string(const Peer& peer);

}  // namespace runnel
