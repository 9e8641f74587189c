#include "source/statsd/stream_server.h"

#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <new>
#include <utility>

namespace runnel::statsd {
namespace {

constexpr size_t kChunk = 65536;           // a connection and round: one read into the buffer that all share
constexpr size_t kCallCost = 512;          // bytes of budget a call is worth: about 1 µs either way
constexpr int kEvents = 256;               // an epoll_wait(2) call takes
constexpr int kAcceptsARound = 64;         // a listener: a flood of connections leaves room for reading
constexpr int kAcceptsAtEnd = 4096;        // the same for a listener that is dropped: its whole backlog
constexpr int64_t kPauseNs = 100'000'000;  // without accepting, where descriptors or memory have run out

bool is_unix(ListenAddress::Scheme scheme) {
  return scheme == ListenAddress::Scheme::unix_stream;
}

}  // namespace

struct StreamServer::Connection {
  UniqueFd fd;
  Peer peer;
  StreamFramer framer;
  int64_t last_byte_ns;
  std::list<Connection>::iterator self;
};

struct StreamServer::State {
  const Clock& clock;
  const StreamEvents events;
  StreamLimits limits;
  UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  std::vector<std::shared_ptr<Listener>> listeners;
  std::list<Connection> connections;  // the one that has been silent longest first
  // By descriptor, so that an event for a connection that was closed in the same round finds nothing (or a newer
  // connection, which then has nothing to read), never memory that was freed.
  std::vector<Connection*> by_fd;
  size_t held = 0;
  int64_t paused_until_ns = -1;  // listeners are not watched until then; -1: they are
  std::unique_ptr<char[]> chunk{new char[kChunk]};
  const Peer* speaking = nullptr;  // whose bytes the framer is fed
  StreamFramer::Out out;

  State(const Clock& c, StreamEvents e) : clock(c), events(std::move(e)) {
    if (!epoll.valid()) throw std::bad_alloc();
    out.take = [this](std::string_view payload) { events.take(payload, *speaking); };
    out.refuse = [this](std::string_view reason, std::string_view bytes) {
      events.refuse(reason, bytes, *speaking);
    };
  }

  // EPOLLEXCLUSIVE (epoll_ctl(2)): where several receivers wait in epoll_wait, one connection wakes one of them. Those
  // that poll(2) the epoll descriptor all wake; who comes late finds nothing to accept.
  bool watch(int fd, bool shared) {
    epoll_event event{};
    event.events = EPOLLIN | (shared ? static_cast<uint32_t>(EPOLLEXCLUSIVE) : 0);
    event.data.fd = fd;
    return ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  }
  void unwatch(int fd) { ::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, fd, nullptr); }

  void pause(int64_t now_ns) {
    if (paused_until_ns < 0)
      for (const auto& listener : listeners) unwatch(listener->fd());
    paused_until_ns = now_ns + kPauseNs;
  }
  void resume() {
    paused_until_ns = -1;
    for (const auto& listener : listeners) watch(listener->fd(), true);
  }

  Listener* find_listener(int fd) const {
    for (const auto& listener : listeners)
      if (listener->fd() == fd) return listener.get();
    return nullptr;
  }

  // Returns how many came.
  int accept_some(const Listener& listener, int at_most, int64_t now_ns) {
    int count = 0;
    while (count < at_most) {
      Peer peer;
      peer.scheme = listener.scheme();
      peer.address.size = sizeof peer.address.storage;
      UniqueFd fd(
          ::accept4(listener.fd(), peer.address.get(), &peer.address.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd.valid()) {
        int error = errno;
        if (error == EINTR) continue;
        // Gone already (accept(2)): others may wait behind it.
        if (error == ECONNABORTED || error == EPROTO) {
          count++;
          continue;
        }
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM) pause(now_ns);
        return count;
      }
      count++;
      if (is_unix(peer.scheme)) name_peer(fd.get(), peer);
      if (connections.size() >= limits.max_connections) {
        events.closed(closing::kTooMany, peer);
      } else if (watch(fd.get(), false)) {
        add(std::move(fd), peer, now_ns);
      } else {  // ENOSPC, ENOMEM (epoll_ctl(2))
        events.closed(closing::kTooMany, peer);
        pause(now_ns);
        return count;
      }
    }
    return count;
  }

  static void name_peer(int fd, Peer& peer) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    peer.address.size = 0;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return;
    peer.pid = credentials.pid;
    peer.uid = credentials.uid;
    peer.gid = credentials.gid;
  }

  void add(UniqueFd fd, const Peer& peer, int64_t now_ns) {
    auto framing = is_unix(peer.scheme) ? StreamFramer::Framing::frames : StreamFramer::Framing::lines;
    auto slot = static_cast<size_t>(fd.get());
    connections.push_back({std::move(fd), peer, StreamFramer(framing), now_ns, {}});
    Connection& connection = connections.back();
    connection.self = std::prev(connections.end());
    if (by_fd.size() <= slot) by_fd.resize(slot + 1);
    by_fd[slot] = &connection;
    held += connection.framer.held_bytes();
  }

  // `reason` is empty where the peer has closed.
  void close(Connection& connection, std::string_view reason) {
    speaking = &connection.peer;
    held -= connection.framer.held_bytes();
    connection.framer.finish(out);
    if (!reason.empty()) events.closed(reason, connection.peer);
    by_fd[static_cast<size_t>(connection.fd.get())] = nullptr;
    connections.erase(connection.self);  // closing the descriptor ends its watch: nobody has a copy
  }

  // One read of at most `most` bytes; returns how many came. The connection may be gone afterwards.
  size_t read(Connection& connection, size_t most, int64_t now_ns) {
    ssize_t n = ::recv(connection.fd.get(), chunk.get(), std::min(most, kChunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0) {  // closed, for us half-closed is the same; or reset
      close(connection, {});
      return 0;
    }
    connection.last_byte_ns = now_ns;
    connections.splice(connections.end(), connections, connection.self);
    speaking = &connection.peer;
    size_t before = connection.framer.held_bytes();
    bool good = connection.framer.feed({chunk.get(), static_cast<size_t>(n)}, out);
    held += connection.framer.held_bytes() - before;
    if (!good) close(connection, closing::kFrame);
    while (held > limits.max_held_bytes && !connections.empty()) {
      auto most_held = std::max_element(
          connections.begin(), connections.end(),
          [](const auto& a, const auto& b) { return a.framer.held_bytes() < b.framer.held_bytes(); });
      close(*most_held, closing::kMemory);
    }
    return static_cast<size_t>(n);
  }

  int64_t idle_ns() const { return limits.idle_timeout_ms * 1'000'000; }
  void close_idle(int64_t now_ns) {
    if (limits.idle_timeout_ms <= 0) return;
    while (!connections.empty() && now_ns - connections.front().last_byte_ns >= idle_ns())
      close(connections.front(), closing::kIdle);
  }
};

StreamServer::StreamServer(const Clock& clock, StreamEvents events)
    : state_(std::make_unique<State>(clock, std::move(events))) {}

StreamServer::~StreamServer() = default;

int StreamServer::poll_fd() const {
  return state_->epoll.get();
}

void StreamServer::configure(const std::vector<std::shared_ptr<Listener>>& listeners,
                             const StreamLimits& limits) {
  State& s = *state_;
  int64_t now_ns = s.clock.mono_ns();
  s.limits = limits;
  for (const auto& listener : s.listeners) {
    if (std::find(listeners.begin(), listeners.end(), listener) == listeners.end())
      s.accept_some(*listener, kAcceptsAtEnd, now_ns);
    s.unwatch(listener->fd());
  }
  s.listeners = listeners;
  s.resume();
}

// epoll gives connections that stay ready in turn (epoll(7)), so that with one chunk each none waits for another's flood.
size_t StreamServer::service(size_t budget) {
  State& s = *state_;
  size_t total = 0, spent = 0;
  int64_t now_ns = s.clock.mono_ns();
  if (s.paused_until_ns >= 0 && now_ns >= s.paused_until_ns) s.resume();
  for (bool more = true; more && spent < budget;) {
    epoll_event ready[kEvents];
    int most = static_cast<int>(std::clamp<size_t>((budget - spent) / kChunk, 1, kEvents));
    int n = ::epoll_wait(s.epoll.get(), ready, most, 0);
    if (n <= 0) break;
    more = n == most;
    now_ns = s.clock.mono_ns();
    for (int i = 0; i < n; i++) {
      int fd = ready[i].data.fd;
      if (const Listener* listener = s.find_listener(fd)) {
        int count = s.accept_some(*listener, kAcceptsARound, now_ns);
        more |= count > 0;  // what they have sent may be here
        spent += kCallCost * static_cast<size_t>(count);
      } else if (static_cast<size_t>(fd) < s.by_fd.size() && s.by_fd[static_cast<size_t>(fd)] != nullptr) {
        size_t got = s.read(*s.by_fd[static_cast<size_t>(fd)], kChunk, now_ns);
        more |= got == kChunk;
        total += got;
        spent += std::max(got, kCallCost);
      }
    }
  }
  s.close_idle(now_ns);
  return total;
}

int64_t StreamServer::next_deadline_ns() const {
  const State& s = *state_;
  int64_t deadline = s.paused_until_ns;
  if (s.limits.idle_timeout_ms > 0 && !s.connections.empty()) {
    int64_t idle = s.connections.front().last_byte_ns + s.idle_ns();
    deadline = deadline < 0 ? idle : std::min(deadline, idle);
  }
  return deadline;
}

void StreamServer::stop() {
  State& s = *state_;
  configure({}, s.limits);
  int64_t now_ns = s.clock.mono_ns();
  // Each as far as it had come when it was looked at: what is sent meanwhile does not hold us up.
  while (!s.connections.empty()) {
    Connection& connection = s.connections.front();
    int fd = connection.fd.get(), waiting = 0;
    if (::ioctl(fd, FIONREAD, &waiting) != 0) waiting = 0;
    for (size_t left = static_cast<size_t>(std::max(waiting, 0));
         left > 0 && s.by_fd[static_cast<size_t>(fd)] != nullptr;) {
      size_t got = s.read(connection, left, now_ns);
      if (got == 0) break;
      left -= std::min(left, got);
    }
    if (Connection* still = s.by_fd[static_cast<size_t>(fd)]) s.close(*still, {});
  }
}

size_t StreamServer::connections() const {
  return state_->connections.size();
}

size_t StreamServer::held_bytes() const {
  return state_->held;
}

}  // namespace runnel::statsd
