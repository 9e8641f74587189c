// sd_notify(3) without libsystemd: one datagram to $NOTIFY_SOCKET (a path, or '@' and an abstract name). Does nothing
// where the variable is not set. Any thread.
#pragma once

#include <string_view>

namespace runnel {

void notify_service_manager(std::string_view state);  // "READY=1", "STOPPING=1", …

}  // namespace runnel
