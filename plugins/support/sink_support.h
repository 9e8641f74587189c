// What the sinks of this repository share: answers, the clock of deadlines, and the flag that interrupt
// raises. Header only; a plugin outside the tree needs none of it.
#pragma once

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>

#include "runnel_sink.h"

namespace runnel_plugin {

inline std::string_view view(const runnel_str& text) {
  return {text.data ? text.data : "", text.size};
}

inline uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

// Copies what fits with a NUL behind it and cuts between characters, not inside one.
inline void copy_text(std::string_view text, char* buffer, size_t capacity) {
  if (capacity == 0) return;
  size_t size = std::min(text.size(), capacity - 1);
  if (size < text.size())
    while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
  memcpy(buffer, text.data(), size);
  buffer[size] = '\0';
}

inline runnel_outcome answer_with(runnel_answer* answer, runnel_outcome outcome, std::string_view text,
                                  uint32_t retry_after_ms = 0) {
  copy_text(text, answer->message, sizeof answer->message);
  answer->retry_after_ms = retry_after_ms;
  return outcome;
}

// strerror that is safe in every thread.
inline std::string error_text(int error) {
  const char* text = strerrordesc_np(error);
  return text ? text : "error " + std::to_string(error);
}

// The flag of runnel_sink.interrupt with a descriptor that poll can wait on. raise from any thread, the rest
// from the one that writes. Where no eventfd is to be had the flag still stops the next write.
class Interrupt {
 public:
  Interrupt() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~Interrupt() {
    if (fd_ >= 0) close(fd_);
  }
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  void raise() {
    raised_.store(true);
    const uint64_t one = 1;
    if (fd_ >= 0) [[maybe_unused]]
      const ssize_t full_already = ::write(fd_, &one, sizeof one);
  }
  void clear() {
    raised_.store(false);
    uint64_t count = 0;
    if (fd_ >= 0) [[maybe_unused]]
      const ssize_t empty_already = ::read(fd_, &count, sizeof count);
  }
  bool raised() const { return raised_.load(); }

  // Waits until `fd` can be written (or has failed), the flag is raised or the deadline has come.
  enum class Woken { kReady, kInterrupted, kDeadline };
  Woken wait_writable(int fd, uint64_t deadline_ns) const {
    for (;;) {
      if (raised()) return Woken::kInterrupted;
      const uint64_t now = monotonic_ns();
      if (now >= deadline_ns) return Woken::kDeadline;
      const uint64_t left = deadline_ns - now;
      const timespec timeout{static_cast<time_t>(left / 1'000'000'000u),
                             static_cast<long>(left % 1'000'000'000u)};
      pollfd fds[2] = {{fd, POLLOUT, 0}, {fd_, POLLIN, 0}};
      if (ppoll(fds, 2, &timeout, nullptr) < 0 && errno != EINTR) return Woken::kDeadline;
      if (fds[1].revents != 0) return Woken::kInterrupted;
      if (fds[0].revents != 0) return Woken::kReady;
    }
  }

 private:
  int fd_;
  std::atomic<bool> raised_{false};
};

}  // namespace runnel_plugin
