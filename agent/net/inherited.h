// Sockets that the service manager bound and passed on, as sd_listen_fds(3) says it (systemd.socket(5)), without libsystemd.
// The descriptors stay open in this process for as long as it lives, and listeners read duplicates of them: a reload takes
// up again what an earlier one let go. All there is to know stands in the environment and in the descriptors, so these are
// plain functions. Loop thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/fd.h"

namespace runnel {

struct InheritedSocket {
  int fd = -1;       // stays with the process; close-on-exec and non-blocking from now on
  std::string name;  // FileDescriptorName=, by default the socket unit's; "" where the manager gave none
  ListenAddress address;
};

// None where $LISTEN_PID is not this process. Left out is what is no bound socket of a kind that is listened on.
std::vector<InheritedSocket> inherited_sockets();

// A duplicate of one that is bound to `address`, invalid where there is none. Of several sockets at one address (ReusePort=)
// number `nth`; where there are fewer, `shared` becomes true: another listener has the same one.
UniqueFd take_inherited(const ListenAddress& address, size_t nth, bool& shared);

}  // namespace runnel
