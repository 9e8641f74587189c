#include "net/streams.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <new>
#include <utility>

#include "net/tls.h"

namespace runnel {
namespace {

constexpr size_t kChunk = 65536;           // a connection and round: one read into the buffer that all share
constexpr size_t kCallCost = 512;          // bytes of budget a call is worth: about 1 µs either way
constexpr int kEvents = 256;               // an epoll_wait(2) call takes
constexpr int kAcceptsARound = 64;         // a listener: a flood of connections leaves room for reading
constexpr int kAcceptsAtEnd = 4096;        // the same for a listener that is dropped: its whole backlog
constexpr int64_t kPauseNs = 100'000'000;  // without accepting, where descriptors or memory have run out
constexpr int kLastReads = 4;  // of what is thrown away before a close, so that the last bytes sent arrive
constexpr size_t kHandshakeCost = 128 << 10;  // in budget: some 0.5 ms of public keys
constexpr size_t kKeepOut = 4096;  // bytes of memory that stay with a connection that has sent everything

}  // namespace

struct Streams::Connection final : Stream {
  State& owner;
  UniqueFd fd;
  Peer from;
  uint64_t serial;
  int64_t last_alive_ns;
  std::shared_ptr<StreamHandler> handler;
  std::unique_ptr<TlsSession> tls;
  bool shaking = false;  // hands, that is: in State::handshakes
  std::string out;       // on its way, encrypted where there is TLS
  size_t sent = 0;       // of `out`
  uint32_t watched = 0;
  size_t accounted = 0;  // in State::held
  bool parked = false;   // not read while `blocked`
  bool closing = false;  // not read any more, closed when what is owed has left
  bool broken = false;   // the peer is gone: closed as soon as epoll says so
  std::list<Connection>::iterator self;

  Connection(State& state, UniqueFd&& descriptor, const Peer& whom, uint64_t number, int64_t now_ns)
      : owner(state), fd(std::move(descriptor)), from(whom), serial(number), last_alive_ns(now_ns) {}

  const Peer& peer() const override { return from; }
  void send(std::string bytes) override;
  size_t owed() const { return handler->owed_bytes() + out.size() - sent; }
};

struct Streams::State {
  const Clock& clock;
  const StreamEvents events;
  StreamLimits limits;
  UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  std::vector<std::shared_ptr<Listener>> listeners;
  std::shared_ptr<const TlsContext> tls;
  std::list<Connection> connections;  // the one whose last sign of life is longest ago first
  std::list<Connection> handshakes;   // of TLS that are not over, the oldest first
  // By descriptor, so that an event for a connection that was closed in the same round finds nothing (or a newer
  // connection, which then has nothing to read), never memory that was freed.
  std::vector<Connection*> by_fd;
  using Ref = std::pair<int, uint64_t>;  // descriptor and serial: a connection that may have gone
  uint64_t next_serial = 1;
  size_t held = 0, extra_cost = 0;
  bool waiting = false;          // some are parked
  int64_t idle_floor_ns = 0;     // until then nobody could show a sign of life
  int64_t paused_until_ns = -1;  // listeners are not watched until then; -1: they are
  std::unique_ptr<char[]> chunk{new char[kChunk]};

  State(const Clock& c, StreamEvents e) : clock(c), events(std::move(e)) {
    if (!epoll.valid()) throw std::bad_alloc();
  }

  bool watch(int fd, uint32_t what, int how = EPOLL_CTL_ADD) {
    epoll_event event{};
    event.events = what;
    event.data.fd = fd;
    return ::epoll_ctl(epoll.get(), how, fd, &event) == 0;
  }
  void unwatch(int fd) { ::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, fd, nullptr); }

  void pause(int64_t now_ns) {
    if (paused_until_ns < 0)
      for (const auto& listener : listeners) unwatch(listener->fd());
    paused_until_ns = now_ns + kPauseNs;
  }
  // EPOLLEXCLUSIVE (epoll_ctl(2)): where several threads wait in epoll_wait, one connection wakes one of them. Those that
  // poll(2) the epoll descriptor all wake; who comes late finds nothing to accept.
  void accept_again() {
    paused_until_ns = -1;
    for (const auto& listener : listeners)
      watch(listener->fd(), EPOLLIN | static_cast<uint32_t>(EPOLLEXCLUSIVE));
  }

  bool is_blocked() const { return events.blocked && events.blocked(); }
  void round_over() {
    if (events.round_over) events.round_over();
  }

  static Ref ref(const Connection& c) { return {c.fd.get(), c.serial}; }
  Connection* find(int fd) const {
    auto slot = static_cast<size_t>(fd);
    return slot < by_fd.size() ? by_fd[slot] : nullptr;
  }
  Connection* find(const Ref& ref) const {
    Connection* c = find(ref.first);
    return c != nullptr && c->serial == ref.second ? c : nullptr;
  }
  Listener* find_listener(int fd) const {
    for (const auto& listener : listeners)
      if (listener->fd() == fd) return listener.get();
    return nullptr;
  }

  size_t count_all() const { return connections.size() + handshakes.size(); }
  std::list<Connection>& list_of(const Connection& c) { return c.shaking ? handshakes : connections; }
  template <class Do>
  void for_each(Do&& what) {
    for (Connection& c : connections) what(c);
    for (Connection& c : handshakes) what(c);
  }

  // ---- from accept to close ----------------------------------------------------------------------------------------

  // Returns how many came.
  int accept_some(const Listener& listener, int at_most, int64_t now_ns) {
    int count = 0;
    for (; count < at_most; count++) {
      Peer peer;
      UniqueFd fd;
      Listener::Accept outcome = listener.accept(fd, peer);
      if (outcome == Listener::Accept::exhausted) pause(now_ns);
      if (outcome == Listener::Accept::exhausted || outcome == Listener::Accept::nobody) return count;
      if (outcome == Listener::Accept::gone) continue;
      bool room = count_all() < limits.max_connections;
      if (room && watch(fd.get(), EPOLLIN)) {
        add(std::move(fd), peer, now_ns);
        continue;
      }
      events.closed(closing::kTooMany, peer, {});
      if (room) {  // ENOSPC, ENOMEM (epoll_ctl(2))
        pause(now_ns);
        return count + 1;
      }
    }
    return count;
  }

  void add(UniqueFd fd, const Peer& peer, int64_t now_ns) {
    bool secure = peer.scheme == ListenAddress::Scheme::tls;
    auto session = secure && tls ? TlsSession::make(*tls) : nullptr;
    if (secure && !session) {
      events.closed(closing::kTooMany, peer, "no memory for TLS");
      return;
    }
    auto slot = static_cast<size_t>(fd.get());
    auto& list = secure ? handshakes : connections;
    Connection& c = list.emplace_back(*this, std::move(fd), peer, next_serial++, now_ns);
    c.watched = EPOLLIN;
    c.tls = std::move(session);
    c.shaking = secure;
    c.self = std::prev(list.end());
    if (by_fd.size() <= slot) by_fd.resize(slot + 1);
    by_fd[slot] = &c;
    c.handler = events.open(c);
    update(c);
  }

  // `reason` is empty where the peer has closed, or where it was told already.
  void close(Connection& c, std::string_view reason) {
    c.handler->ended();
    if (!reason.empty()) events.closed(reason, c.from, {});
    held -= c.accounted;
    by_fd[static_cast<size_t>(c.fd.get())] = nullptr;
    list_of(c).erase(c.self);  // closing the descriptor ends its watch: nobody has a copy
  }

  // Nothing is read any more: closed when what is owed has left.
  void finish(Connection& c) {
    c.closing = true;
    if (c.owed() == 0) {
      close_gently(c);
    } else {
      update(c);
    }
  }

  // A socket that is closed while bytes are unread is reset, and the peer may lose answers that it has not read yet (RFC
  // 9293, 3.6.1). So our side ends first, then what has come is read and thrown away.
  void close_gently(Connection& c, std::string_view reason = {}) {
    if (c.tls && !c.broken) {
      c.tls->end(c.out);  // close_notify, for which there is nearly always room
      (void)!::send(c.fd.get(), c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    ::shutdown(c.fd.get(), SHUT_WR);
    for (int i = 0; i < kLastReads; i++)
      if (::recv(c.fd.get(), chunk.get(), kChunk, MSG_DONTWAIT) <= 0) break;
    close(c, reason);
  }

  // What epoll is to wait for, and what the connection costs.
  void update(Connection& c) {
    uint32_t want = 0;
    if (!c.closing && !c.parked && c.owed() < limits.max_unsent) want |= EPOLLIN;
    if (c.sent < c.out.size()) want |= EPOLLOUT;
    if (want != c.watched && watch(c.fd.get(), want, EPOLL_CTL_MOD)) c.watched = want;
    size_t now = c.handler->held_bytes() + c.out.size() + (c.tls ? c.tls->held_bytes() : 0);
    held = held - c.accounted + now;
    c.accounted = now;
  }

  void limit_held() {
    while (held > limits.max_held_bytes && count_all() > 0) {
      Connection* most = nullptr;
      for_each([&](Connection& c) {
        if (most == nullptr || c.accounted > most->accounted) most = &c;
      });
      close(*most, closing::kMemory);
    }
  }

  // ---- bytes -------------------------------------------------------------------------------------------------------

  // Returns how many bytes came. The connection may be gone afterwards.
  size_t read(Connection& c, size_t most, int64_t now_ns) {
    if (c.closing || c.owed() >= limits.max_unsent) return 0;
    ssize_t n = ::recv(c.fd.get(), chunk.get(), std::min(most, kChunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n <= 0 && c.shaking) {
      close(c, closing::kHandshakeCut);
      return 0;
    }
    if (n < 0) {  // reset: nobody is there to read answers
      close(c, {});
      return 0;
    }
    if (n == 0) {  // a client may close its side and wait for what is owed
      finish(c);
      return 0;
    }
    bool ended = false;
    std::string_view bytes{chunk.get(), static_cast<size_t>(n)};
    StreamHandler::Taken taken = c.tls ? take_encrypted(c, bytes, ended) : c.handler->take(bytes);
    if (taken.alive) {
      c.last_alive_ns = now_ns;
      connections.splice(connections.end(), list_of(c), c.self);
      c.shaking = false;
    }
    if (!taken.wrong.empty())
      events.closed(taken.wrong, c.from, c.tls ? c.tls->detail() : std::string_view{});
    if (!taken.wrong.empty() || ended) {
      finish(c);
    } else {
      update(c);
    }
    limit_held();
    return static_cast<size_t>(n);
  }

  StreamHandler::Taken take_encrypted(Connection& c, std::string_view bytes, bool& ended) {
    StreamHandler::Taken taken{false, {}};
    runnel_tls_state state = c.tls->feed(bytes, c.out, [&](std::string_view plain) {
      if (!taken.wrong.empty()) return;
      StreamHandler::Taken one = c.handler->take(plain);
      taken = {taken.alive || one.alive, one.wrong};
    });
    if (c.shaking) extra_cost += kHandshakeCost;
    if (c.shaking && (state == RUNNEL_TLS_OPEN || state == RUNNEL_TLS_ENDED)) {
      taken.alive = true;
      // In TLS 1.3 the client speaks last and goes on with its first message, which Nagle's algorithm holds back until we
      // acknowledge: by itself 40 ms later, as we have nothing to say.
      int on = 1;
      ::setsockopt(c.fd.get(), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    }
    if (state == RUNNEL_TLS_FAILED && taken.wrong.empty()) taken.wrong = c.tls->reason();
    ended = state == RUNNEL_TLS_ENDED;
    if (!c.out.empty()) flush(c);  // the handshake's, or an alert
    return taken;
  }

  // Closed as soon as epoll says so: EPOLLHUP follows, whatever is watched (epoll_ctl(2)).
  static void give_up(Connection& c) {
    c.broken = true;
    ::shutdown(c.fd.get(), SHUT_RDWR);
    c.sent = c.out.size();
  }

  // The connection may be gone afterwards, but not while its handler takes: then it is not closing.
  void flush(Connection& c) {
    while (c.sent < c.out.size()) {
      ssize_t n =
          ::send(c.fd.get(), c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) give_up(c);
      if (n < 0) break;
      c.sent += static_cast<size_t>(n);
    }
    if (c.sent == c.out.size()) {
      c.out.clear();
      if (c.out.capacity() > kKeepOut) std::string().swap(c.out);
      c.sent = 0;
    } else if (c.sent > kChunk) {
      c.out.erase(0, std::exchange(c.sent, 0));
    }
    if (c.closing && c.owed() == 0) {
      close_gently(c);
    } else {
      update(c);
    }
  }

  size_t serve(Connection& c, uint32_t what, int64_t now_ns) {
    if ((what & EPOLLOUT) != 0 && !c.broken) {
      Ref before = ref(c);
      flush(c);
      if (find(before) == nullptr) return 0;
    }
    // Reset, or closed on both sides. Asked for or not, epoll says so until somebody looks (epoll_ctl(2)).
    if (c.broken || ((what & (EPOLLERR | EPOLLHUP)) != 0 && (c.watched & EPOLLIN) == 0)) {
      close(c, {});
      return 0;
    }
    if ((what & ~static_cast<uint32_t>(EPOLLOUT)) == 0) return 0;
    if (is_blocked()) {
      waiting = true;
      c.parked = true;
      update(c);
      return 0;
    }
    return read(c, kChunk, now_ns);
  }

  // As far as it had come when it was looked at: what is sent meanwhile does not hold us up.
  void read_waiting(Connection& c, int64_t now_ns) {
    Ref before = ref(c);
    int bytes = 0;
    if (::ioctl(c.fd.get(), FIONREAD, &bytes) != 0) bytes = 0;
    for (size_t left = static_cast<size_t>(std::max(bytes, 0)); left > 0 && !is_blocked();) {
      size_t got = read(c, left, now_ns);
      round_over();
      if (got == 0 || find(before) == nullptr) break;
      left -= std::min(left, got);
    }
  }

  int64_t deadline_of(const Connection& c, int64_t timeout_ms) const {
    return std::max(c.last_alive_ns, idle_floor_ns) + timeout_ms * 1'000'000;
  }
  void close_idle(int64_t now_ns) {
    expire(connections, limits.idle_timeout_ms, closing::kIdle, now_ns);
    expire(handshakes, limits.handshake_timeout_ms, closing::kHandshake, now_ns);
  }

  void expire(std::list<Connection>& list, int64_t timeout_ms, std::string_view reason, int64_t now_ns) {
    if (timeout_ms <= 0) return;
    while (!waiting && !list.empty() && now_ns >= deadline_of(list.front(), timeout_ms)) {
      Connection& c = list.front();
      Ref before = ref(c);
      // Others may have kept us from what it has sent.
      int64_t last = c.last_alive_ns;
      read_waiting(c, now_ns);
      if (find(before) == nullptr) continue;
      if (is_blocked()) return;
      if (c.last_alive_ns == last) close_gently(c, reason);
    }
  }
};

void Streams::Connection::send(std::string bytes) {
  if (broken) return;
  if (tls) {
    if (!tls->write(bytes, out)) State::give_up(*this);  // no memory
  } else if (out.empty()) {
    out = std::move(bytes);
  } else {
    out += bytes;
  }
  owner.flush(*this);
}

Streams::Streams(const Clock& clock, StreamEvents events)
    : state_(std::make_unique<State>(clock, std::move(events))) {}

Streams::~Streams() = default;

int Streams::poll_fd() const {
  return state_->epoll.get();
}

void Streams::configure(const std::vector<std::shared_ptr<Listener>>& listeners, const StreamLimits& limits,
                        std::shared_ptr<const TlsContext> tls) {
  State& s = *state_;
  int64_t now_ns = s.clock.mono_ns();
  s.limits = limits;
  for (const auto& listener : s.listeners) {
    if (std::find(listeners.begin(), listeners.end(), listener) == listeners.end())
      s.accept_some(*listener, kAcceptsAtEnd, now_ns);
    s.unwatch(listener->fd());
  }
  s.listeners = listeners;
  s.tls = std::move(tls);
  s.accept_again();
}

// epoll gives connections that stay ready in turn (epoll(7)), so that with one chunk each none waits for another's flood.
size_t Streams::service(size_t budget) {
  State& s = *state_;
  size_t total = 0, spent = 0;
  int64_t now_ns = s.clock.mono_ns();
  if (s.paused_until_ns >= 0 && now_ns >= s.paused_until_ns) s.accept_again();
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
      } else if (Connection* c = s.find(fd)) {
        size_t got = s.serve(*c, ready[i].events, now_ns);
        more |= got == kChunk;
        total += got;
        spent += std::max(got, kCallCost) + std::exchange(s.extra_cost, 0);
      }
    }
    s.round_over();
  }
  s.close_idle(now_ns);
  return total;
}

bool Streams::waiting() const {
  return state_->waiting;
}

void Streams::resume() {
  State& s = *state_;
  if (!s.waiting || s.is_blocked()) return;
  s.waiting = false;
  s.idle_floor_ns = s.clock.mono_ns();
  s.for_each([&](Connection& c) {
    if (std::exchange(c.parked, false)) s.update(c);
  });
}

int64_t Streams::next_deadline_ns() const {
  const State& s = *state_;
  int64_t deadline = s.paused_until_ns;
  auto look_at = [&](const std::list<Connection>& list, int64_t timeout_ms) {
    if (timeout_ms <= 0 || s.waiting || list.empty()) return;
    int64_t first = s.deadline_of(list.front(), timeout_ms);
    deadline = deadline < 0 ? first : std::min(deadline, first);
  };
  look_at(s.connections, s.limits.idle_timeout_ms);
  look_at(s.handshakes, s.limits.handshake_timeout_ms);
  return deadline;
}

void Streams::stop() {
  State& s = *state_;
  configure({}, s.limits);
  s.round_over();
  int64_t now_ns = s.clock.mono_ns();
  while (s.count_all() > 0) {
    Connection& c = s.connections.empty() ? s.handshakes.front() : s.connections.front();
    State::Ref before = State::ref(c);
    s.read_waiting(c, now_ns);
    if (s.find(before) != nullptr) s.close_gently(c);
  }
}

size_t Streams::connections() const {
  return state_->count_all();
}

size_t Streams::held_bytes() const {
  return state_->held;
}

}  // namespace runnel
