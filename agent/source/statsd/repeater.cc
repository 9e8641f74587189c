#include "source/statsd/repeater.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "base/address.h"

namespace runnel::statsd {

Result<std::unique_ptr<Repeater>> Repeater::open(const std::vector<std::shared_ptr<Counts>>& targets) {
  auto repeater = std::make_unique<Repeater>();
  for (const auto& counts : targets) {
    auto address = parse_listen_address(counts->url);
    if (!address.ok()) return Error{address.error()};
    auto where = to_socket_address(*address);
    if (!where.ok()) return Error{where.error()};
    Target target{UniqueFd(::socket(where->family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)), counts};
    if (!target.fd.valid()) return Error{fmt::format("{}: {}", counts->url, errno_text(errno))};
    // A unix socket that is not there yet is no error: it is connected when there is something to send.
    if (::connect(target.fd.get(), where->get(), where->size) != 0 && !address->is_unix())
      return Error{fmt::format("{}: {}", counts->url, errno_text(errno))};
    repeater->targets_.push_back(std::move(target));
  }
  return repeater;
}

void Repeater::add(std::string_view datagram) {
  if (!datagram.empty()) packets_.push_back(datagram);
}

void Repeater::add_lines(std::string_view lines) {
  while (!lines.empty()) {
    size_t cut = lines.size();
    if (cut > kPacket) {
      cut = lines.rfind('\n', kPacket - 1);                       // as many lines as fit,
      if (cut == std::string_view::npos) cut = lines.find('\n');  // or one that is longer
      cut = cut == std::string_view::npos ? lines.size() : cut + 1;
    }
    add(lines.substr(0, cut));
    lines.remove_prefix(cut);
  }
}

void Repeater::send() {
  if (packets_.empty()) return;
  for (Target& target : targets_) send_to(target);
  packets_.clear();
}

void Repeater::send_to(Target& target) {
  constexpr size_t kMost = 64;  // a call
  mmsghdr messages[kMost];
  iovec vectors[kMost];
  bool reconnected = false;
  size_t at = 0;
  while (at < packets_.size()) {
    size_t count = std::min(kMost, packets_.size() - at);
    for (size_t i = 0; i < count; i++) {
      vectors[i] = {const_cast<char*>(packets_[at + i].data()), packets_[at + i].size()};
      messages[i] = {};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
    }
    int sent =
        ::sendmmsg(target.fd.get(), messages, static_cast<unsigned>(count), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
      target.counts->sent.fetch_add(static_cast<uint64_t>(sent), std::memory_order_relaxed);
      at += static_cast<size_t>(sent);
      continue;
    }
    int error = errno;
    if (error == EINTR) continue;
    if (!reconnected && (error == ENOTCONN || error == ECONNREFUSED || error == ECONNRESET)) {
      // Over UDP the refusal of an earlier packet, which the call has now taken off the socket (udp(7)); over a unix socket
      // the server has been started, or started anew.
      reconnected = true;
      auto address = parse_listen_address(target.counts->url);
      auto where = address.ok() ? to_socket_address(*address) : Result<SocketAddress>(Error{""});
      if (where.ok() && ::connect(target.fd.get(), where->get(), where->size) == 0) continue;
    }
    size_t lost = error == EMSGSIZE ? 1 : packets_.size() - at;
    target.counts->dropped.fetch_add(lost, std::memory_order_relaxed);
    at += lost;
  }
}

}  // namespace runnel::statsd
