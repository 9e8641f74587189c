#include "net/datagram_reader.h"

#include <netinet/in.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

namespace runnel {

// Virtual memory for whole datagrams; only pages that were written to are resident, and most datagrams fill one.
struct DatagramReader::Buffers {
  char* bytes;
  mmsghdr messages[kDatagrams]{};
  iovec vectors[kDatagrams]{};
  sockaddr_storage names[kDatagrams];
  union Control {
    char bytes[CMSG_SPACE(sizeof(ucred))];
    cmsghdr align;
  } controls[kDatagrams];

  Buffers() {
    void* memory = ::mmap(nullptr, kDatagrams * kDatagramBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    bytes = static_cast<char*>(memory);
    for (size_t i = 0; i < kDatagrams; i++) {
      vectors[i] = {bytes + i * kDatagramBytes, kDatagramBytes};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
  }
  ~Buffers() { ::munmap(bytes, kDatagrams * kDatagramBytes); }
  Buffers(const Buffers&) = delete;
};

DatagramReader::DatagramReader() : buffers_(std::make_unique<Buffers>()) {}
DatagramReader::~DatagramReader() = default;

size_t DatagramReader::receive(const Listener& listener, size_t most) {
  scheme_ = listener.scheme();
  bool is_unix = scheme_ == ListenAddress::Scheme::unix_datagram;
  for (size_t i = 0; i < most; i++) {
    msghdr& header = buffers_->messages[i].msg_hdr;
    // A sender over IP is known by its address, one over a unix socket by its credentials.
    header.msg_name = is_unix ? nullptr : &buffers_->names[i];
    header.msg_namelen = is_unix ? 0 : sizeof(sockaddr_in6);
    header.msg_control = is_unix ? buffers_->controls[i].bytes : nullptr;
    header.msg_controllen = is_unix ? sizeof buffers_->controls[i] : 0;
  }
  int n = ::recvmmsg(listener.fd(), buffers_->messages, static_cast<unsigned>(most), MSG_DONTWAIT, nullptr);
  return n > 0 ? static_cast<size_t>(n)
               : 0;  // EAGAIN; ECONNREFUSED and the like concern packets that we never sent
}

std::string_view DatagramReader::payload(size_t i) const {
  return {static_cast<const char*>(buffers_->vectors[i].iov_base),
          std::min<size_t>(buffers_->messages[i].msg_len, kDatagramBytes)};
}

bool DatagramReader::truncated(size_t i) const {
  return (buffers_->messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
}

Peer DatagramReader::peer(size_t i) const {
  Peer peer;
  peer.scheme = scheme_;
  msghdr& header = buffers_->messages[i].msg_hdr;
  if (header.msg_name != nullptr) {
    peer.address.size = std::min<socklen_t>(header.msg_namelen, sizeof peer.address.storage);
    std::memcpy(&peer.address.storage, header.msg_name, peer.address.size);
  }
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS) continue;
    ucred who{};
    std::memcpy(&who, CMSG_DATA(c), sizeof who);
    peer.pid = who.pid;
    peer.uid = who.uid;
    peer.gid = who.gid;
  }
  return peer;
}

}  // namespace runnel
