// sd_notify(3) without libsystemd: one datagram to $NOTIFY_SOCKET (a path, or '@' and an abstract name). Does nothing
// where the variable is not set. Any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace runnel {

void notify_service_manager(std::string_view state);  // "READY=1", "STOPPING=1", …

// sd_watchdog_enabled(3): how often the manager wants to hear WATCHDOG=1, less than half of the time after which it ends the
// process. 0: it does not ask, or asks another process.
int64_t watchdog_interval_ms();

}  // namespace runnel
