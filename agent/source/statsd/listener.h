// One bound socket of a StatsD source: udp://, tcp://, unix:// or unixgram://. Binding happens on the loop's thread, the
// descriptor is then read by receivers; the last owner closes it and removes the path of a unix socket, where that is
// still ours. Non-blocking, O_CLOEXEC.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"

namespace runnel::statsd {

struct ListenerOptions {
  int64_t receive_buffer = 8 << 20;  // bytes wanted of the kernel, for datagram sockets
  unsigned mode = 0666;              // of a unix socket's path
  std::string group;                 // of a unix socket's path; "" leaves it
  bool taking_over = false;          // a reload: the address may be held by another socket of this process
  bool reuse_port = false;           // one of several UDP sockets of one address (SO_REUSEPORT, socket(7))
};

class Listener {
 public:
  // Errors say the URL and what stands in the way. Nothing is logged.
  static Result<std::shared_ptr<Listener>> open(const std::string& url, const ListenerOptions& options);
  ~Listener();
  Listener(const Listener&) = delete;

  int fd() const { return fd_.get(); }
  ListenAddress::Scheme scheme() const { return scheme_; }
  bool is_stream() const;
  const std::string& wanted() const { return wanted_; }  // the URL as configured
  const std::string& bound() const { return bound_; }    // the URL as bound: the port is a number
  int64_t buffer_bytes() const {
    return buffer_bytes_;
  }  // SO_RCVBUF as the kernel has it (twice what it grants); 0: stream

  // While true another socket of ours may be bound to the same address (a reload that moves listeners).
  void set_shared(bool shared);
  // Datagrams that the kernel had no room for since the socket was opened; 0 for streams.
  uint64_t kernel_drops() const;

 private:
  Listener() = default;
  UniqueFd fd_;
  ListenAddress::Scheme scheme_ = ListenAddress::Scheme::udp;
  std::string wanted_, bound_;
  std::string path_;  // of a unix socket, with the inode it had when it was made
  uint64_t device_ = 0, inode_ = 0;
  int64_t buffer_bytes_ = 0;
  bool reuse_port_ = false;
};

}  // namespace runnel::statsd
