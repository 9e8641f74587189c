// One bound socket of a source: udp://, tcp://, tls:// (the socket of tcp://), unix:// or unixgram://. Binding happens on the loop's thread, the
// descriptor is read by whoever the source gave it to; the last owner closes it and removes the path of a unix socket, where that is
// still ours. Non-blocking, O_CLOEXEC.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/address.h"
#include "base/fd.h"
#include "base/result.h"
#include "net/peer.h"

namespace runnel {

struct ListenerOptions {
  int64_t receive_buffer = 8 << 20;  // bytes wanted of the kernel, for datagram sockets
  unsigned mode = 0666;              // of a unix socket's path
  std::string group;                 // of a unix socket's path, a name or a number; "" leaves it
  bool taking_over = false;          // a reload: the address may be held by another socket of this process
  bool reuse_port = false;           // one of several UDP sockets of one address (SO_REUSEPORT, socket(7))
  size_t nth = 0;                    // which of those it is
};

class Listener {
 public:
  // Where the service manager has passed on a socket that is bound there (net/inherited.h), that one is read instead of one
  // of our own; of the options nothing applies to it, the manager has set it up.
  // Errors say the URL and what stands in the way. Nothing is logged.
  static Result<std::shared_ptr<Listener>> open(const std::string& url, const ListenerOptions& options);
  ~Listener();
  Listener(const Listener&) = delete;

  int fd() const { return fd_.get(); }
  ListenAddress::Scheme scheme() const { return address_.scheme; }
  bool is_stream() const { return address_.is_stream(); }
  bool reuse_port() const { return reuse_port_; }
  bool inherited() const { return inherited_; }
  const std::string& wanted() const { return wanted_; }  // the URL as configured
  const std::string& bound() const { return bound_; }    // the URL as bound: the port is a number
  // SO_RCVBUF as the kernel has it (twice what it grants); 0 for streams.
  int64_t buffer_bytes() const { return buffer_bytes_; }
  // Of unix datagram sockets: how many datagrams wait at most before senders get EAGAIN, whatever buffer_bytes() says
  // (net.unix.max_dgram_qlen, 10 unless the system raised it: unix(7)). 0 for the others: bytes are what counts.
  int64_t queue_datagrams() const { return queue_datagrams_; }

  // Of streams: the next connection that waits, non-blocking, and who it is.
  enum class Accept {
    connection,
    gone,      // it went before we came: others may wait behind it
    nobody,    // none waits
    exhausted  // descriptors or memory have run out: it waits on
  };
  Accept accept(UniqueFd& connection, Peer& peer) const;

  // While true another socket of ours may be bound to the same address (a reload that moves listeners). Says nothing of
  // unix sockets: a path is simply replaced.
  void set_shared(bool shared);
  // Of a UDP socket that is about to be closed: from now on the kernel gives what comes to other sockets of the address. What
  // waits in this one can still be read. An inherited one goes on to receive, for whoever takes it next.
  void turn_away();
  // Datagrams that the kernel had no room for since the socket was opened, or taken; 0 for streams. (Unix sockets drop
  // nothing: their senders wait or are told.)
  uint64_t kernel_drops() const;

 private:
  Listener() = default;
  bool inherit(const ListenerOptions& options);
  void learn_datagram_limits();
  uint64_t socket_drops() const;
  Status bind_ip(const ListenerOptions& options);
  Status bind_unix(const ListenerOptions& options);
  void want_buffer(int64_t bytes);

  UniqueFd fd_;
  ListenAddress address_;
  std::string wanted_, bound_;
  uint64_t device_ = 0, inode_ = 0;  // of a unix socket's path, as it was made; inode 0: there is none
  int64_t buffer_bytes_ = 0, queue_datagrams_ = 0;
  uint64_t drops_before_ = 0;  // of an inherited socket, by the time it was taken
  bool reuse_port_ = false, inherited_ = false;
  bool counts_drops_ = true;  // false: another listener has the same socket and counts them
};

}  // namespace runnel
