#include "agent/notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"

namespace runnel {

void notify_service_manager(std::string_view state) {
  const char* path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  size_t size = std::strlen(path);
  if (size >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, size);
  if (path[0] == '@') address.sun_path[0] = 0;
  UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + size);
  if (!fd.valid() || ::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL,
                              reinterpret_cast<sockaddr*>(&address), length) < 0)
    log::warning("agent", "the service manager at {} could not be told {}", path, state);
}

int64_t watchdog_interval_ms() {
  auto number_of = [](const char* variable) {
    const char* text = std::getenv(variable);
    return text == nullptr ? std::nullopt : parse_int(text);
  };
  auto limit_us = number_of("WATCHDOG_USEC");
  if (!limit_us || *limit_us <= 0) return 0;
  if (std::getenv("WATCHDOG_PID") != nullptr && number_of("WATCHDOG_PID") != ::getpid()) return 0;
  return std::max<int64_t>(1, *limit_us / 3000);
}

}  // namespace runnel
