// The receive buffers of one receiver: many datagrams a system call (recvmmsg(2)). One thread.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <memory>
#include <string_view>

#include "net/listener.h"
#include "net/peer.h"

namespace runnel {

class DatagramReader {
 public:
  static constexpr size_t kDatagrams = 64;         // a call takes; 128 and 256 gained nothing measurable
  static constexpr size_t kDatagramBytes = 65536;  // the largest UDP payload is 65507 bytes
  DatagramReader();
  ~DatagramReader();
  DatagramReader(const DatagramReader&) = delete;

  // What the socket holds, up to `most` (1 to kDatagrams); 0: nothing. What it gave before is overwritten.
  size_t receive(const Listener& listener, size_t most = kDatagrams);
  std::string_view payload(size_t i) const;
  bool truncated(size_t i) const;  // it was larger than kDatagramBytes: its last line is cut
  Peer peer(size_t i) const;

 private:
  struct Buffers;
  std::unique_ptr<Buffers> buffers_;
  ListenAddress::Scheme scheme_ = ListenAddress::Scheme::udp;  // of what was received last
};

}  // namespace runnel
