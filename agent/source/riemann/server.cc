#include "source/riemann/server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <list>
#include <map>
#include <new>
#include <utility>

#include "source/riemann/framer.h"

namespace runnel::riemann {
namespace {

constexpr size_t kChunk = 65536;           // a connection and turn: one read into the buffer that all share
constexpr size_t kCallCost = 512;          // bytes of budget a call is worth: about 1 µs either way
constexpr int kEvents = 256;               // an epoll_wait(2) call takes
constexpr int kAcceptsARound = 64;         // a listener: a flood of connections leaves room for reading
constexpr int kAcceptsAtEnd = 4096;        // the same for a listener that is dropped: its whole backlog
constexpr int64_t kPauseNs = 100'000'000;  // without accepting, where descriptors or memory have run out
constexpr int kLastReads = 4;  // of what is thrown away before a close, so that the answers arrive

}  // namespace

struct Server::Connection {
  // Answers of one round, behind those of earlier ones.
  struct Held {
    uint64_t ticket;
    bool accepted;
    std::string answers;
  };

  UniqueFd fd;
  Peer peer;
  uint64_t serial;
  int64_t last_message_ns;
  Framer framer;
  std::string answers;     // of this round
  std::vector<Held> held;  // not accepted yet, or behind one that is not
  size_t held_answers = 0;
  std::string out;  // accepted, on its way
  size_t sent = 0;  // of `out`
  uint32_t watched = 0;
  size_t accounted = 0;  // in State::held
  bool in_round = false;
  bool parked = false;   // not read while the log is blocked
  bool closing = false;  // not read any more, closed when the last answer has left
  std::list<Connection>::iterator self;

  size_t unread() const { return answers.size() + held_answers + out.size() - sent; }
};

struct Server::State {
  const Clock& clock;
  const ServerHandlers handlers;
  ServerLimits limits;
  UniqueFd epoll{::epoll_create1(EPOLL_CLOEXEC)};
  std::vector<std::shared_ptr<Listener>> listeners;
  std::list<Connection> connections;  // the one whose last message is longest ago first
  // By descriptor, so that an event for a connection that was closed in the same round finds nothing (or a newer
  // connection, which then has nothing to read), never memory that was freed.
  std::vector<Connection*> by_fd;
  std::vector<Connection*> round;        // those with answers of this round
  using Ref = std::pair<int, uint64_t>;  // descriptor and serial: a connection that may have gone
  std::map<uint64_t, std::vector<Ref>> tickets;
  std::vector<Ref> parked;
  uint64_t next_ticket = 1, next_serial = 1;
  size_t held = 0;
  bool blocked = false;
  int64_t idle_floor_ns = 0;     // while the log was blocked nobody could get a message through
  int64_t paused_until_ns = -1;  // listeners are not watched until then; -1: they are
  std::weak_ptr<State> self;
  std::unique_ptr<char[]> chunk{new char[kChunk]};

  State(const Clock& c, ServerHandlers h) : clock(c), handlers(std::move(h)) {
    if (!epoll.valid()) throw std::bad_alloc();
  }

  bool watch(int fd, uint32_t events, int how = EPOLL_CTL_ADD) {
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    return ::epoll_ctl(epoll.get(), how, fd, &event) == 0;
  }
  void unwatch(int fd) { ::epoll_ctl(epoll.get(), EPOLL_CTL_DEL, fd, nullptr); }

  void pause(int64_t now_ns) {
    if (paused_until_ns < 0)
      for (const auto& listener : listeners) unwatch(listener->fd());
    paused_until_ns = now_ns + kPauseNs;
  }
  void accept_again() {
    paused_until_ns = -1;
    for (const auto& listener : listeners) watch(listener->fd(), EPOLLIN);
  }

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
      if (connections.size() >= limits.max_connections) {
        handlers.closed(closing::kTooMany, peer);
      } else if (watch(fd.get(), EPOLLIN)) {
        add(std::move(fd), peer, now_ns);
      } else {  // ENOSPC, ENOMEM (epoll_ctl(2))
        handlers.closed(closing::kTooMany, peer);
        pause(now_ns);
        return count;
      }
    }
    return count;
  }

  void add(UniqueFd fd, const Peer& peer, int64_t now_ns) {
    int on = 1;  // an answer must not wait for the acknowledgement of the one before it
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    auto slot = static_cast<size_t>(fd.get());
    Connection& c = connections.emplace_back();
    c.fd = std::move(fd);
    c.peer = peer;
    c.serial = next_serial++;
    c.last_message_ns = now_ns;
    c.watched = EPOLLIN;
    c.self = std::prev(connections.end());
    if (by_fd.size() <= slot) by_fd.resize(slot + 1);
    by_fd[slot] = &c;
  }

  // `reason` is empty where the peer has closed, or where it was told already.
  void close(Connection& c, std::string_view reason) {
    if (c.framer.partial()) handlers.cut_off(c.peer);
    if (!reason.empty()) handlers.closed(reason, c.peer);
    if (c.in_round) std::erase(round, &c);
    held -= c.accounted;
    by_fd[static_cast<size_t>(c.fd.get())] = nullptr;
    connections.erase(c.self);  // closing the descriptor ends its watch: nobody has a copy
  }

  // No more questions: closed when the last answer has left.
  void finish(Connection& c) {
    c.closing = true;
    if (c.unread() == 0) {
      close_gently(c);
    } else {
      update(c);
    }
  }

  // A socket that is closed while bytes are unread is reset, and the peer may lose answers that it has not read yet (RFC
  // 9293, 3.6.1). So our side ends first, then what has come is read and thrown away.
  void close_gently(Connection& c) {
    ::shutdown(c.fd.get(), SHUT_WR);
    for (int i = 0; i < kLastReads; i++)
      if (::recv(c.fd.get(), chunk.get(), kChunk, MSG_DONTWAIT) <= 0) break;
    close(c, {});
  }

  // What epoll is to wait for, and what the connection costs.
  void update(Connection& c) {
    uint32_t want = 0;
    if (!c.closing && !c.parked && c.unread() < kMaxUnread) want |= EPOLLIN;
    if (c.sent < c.out.size()) want |= EPOLLOUT;
    if (want != c.watched && watch(c.fd.get(), want, EPOLL_CTL_MOD)) c.watched = want;
    size_t now = c.framer.held_bytes() + c.answers.size() + c.held_answers + c.out.size();
    held = held - c.accounted + now;
    c.accounted = now;
  }

  void limit_held() {
    while (held > limits.max_held_bytes && !connections.empty()) {
      auto most = std::max_element(connections.begin(), connections.end(),
                                   [](const auto& a, const auto& b) { return a.accounted < b.accounted; });
      close(*most, closing::kMemory);
    }
  }

  // Returns how many bytes came. The connection may be gone afterwards.
  size_t read(Connection& c, size_t most, int64_t now_ns) {
    if (c.closing || c.unread() >= kMaxUnread) return 0;
    ssize_t n = ::recv(c.fd.get(), chunk.get(), std::min(most, kChunk), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (n < 0) {  // reset: nobody is there to read answers
      close(c, {});
      return 0;
    }
    if (n == 0) {  // a client may close its side and wait for the answers
      finish(c);
      return 0;
    }
    bool any = false;
    std::string_view wrong =
        c.framer.feed({chunk.get(), static_cast<size_t>(n)}, limits.max_frame, [&](std::string_view message) {
          handlers.message(message, c.peer, c.answers);
          any = true;
        });
    if (any) {
      c.last_message_ns = now_ns;
      connections.splice(connections.end(), connections, c.self);
      if (!std::exchange(c.in_round, true)) round.push_back(&c);
    }
    if (!wrong.empty()) {
      handlers.closed(wrong, c.peer);
      c.framer = {};
      finish(c);
    } else {
      update(c);
    }
    limit_held();
    return static_cast<size_t>(n);
  }

  void commit() {
    if (round.empty()) return;
    uint64_t ticket = next_ticket++;
    std::vector<Ref> refs;
    refs.reserve(round.size());
    for (Connection* c : round) {
      c->in_round = false;
      c->held_answers += c->answers.size();
      c->held.push_back({ticket, false, std::exchange(c->answers, std::string())});
      refs.emplace_back(c->fd.get(), c->serial);
    }
    round.clear();
    tickets.emplace(ticket, std::move(refs));
    handlers.commit([weak = self, ticket] {
      if (auto state = weak.lock()) state->accepted(ticket);
    });
  }

  void accepted(uint64_t ticket) {
    auto node = tickets.extract(ticket);
    if (node.empty()) return;
    for (const Ref& ref : node.mapped()) {
      Connection* c = find(ref);
      if (c == nullptr) continue;
      size_t due = 0;
      for (Connection::Held& one : c->held) one.accepted |= one.ticket == ticket;
      for (; due < c->held.size() && c->held[due].accepted; due++) {
        c->held_answers -= c->held[due].answers.size();
        if (c->out.empty()) {
          c->out = std::move(c->held[due].answers);
        } else {
          c->out += c->held[due].answers;
        }
      }
      c->held.erase(c->held.begin(), c->held.begin() + static_cast<std::ptrdiff_t>(due));
      flush(*c);
    }
  }

  // The connection may be gone afterwards.
  void flush(Connection& c) {
    while (c.sent < c.out.size()) {
      ssize_t n =
          ::send(c.fd.get(), c.out.data() + c.sent, c.out.size() - c.sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno != EAGAIN) {
        close(c, {});
        return;
      }
      if (n < 0) break;
      c.sent += static_cast<size_t>(n);
    }
    if (c.sent == c.out.size()) {
      c.out.clear();
      if (c.out.capacity() > Framer::kKeep) std::string().swap(c.out);
      c.sent = 0;
    } else if (c.sent > kMaxUnread) {
      c.out.erase(0, std::exchange(c.sent, 0));
    }
    if (c.closing && c.unread() == 0) {
      close_gently(c);
    } else {
      update(c);
    }
  }

  size_t serve(Connection& c, uint32_t events, int64_t now_ns) {
    if ((events & EPOLLOUT) != 0) {
      Ref ref{c.fd.get(), c.serial};
      flush(c);
      if (find(ref) == nullptr) return 0;
    }
    // Reset, or closed on both sides. Asked for or not, epoll says so until somebody looks (epoll_ctl(2)).
    if ((events & (EPOLLERR | EPOLLHUP)) != 0 && (c.watched & EPOLLIN) == 0) {
      close(c, {});
      return 0;
    }
    if ((events & ~static_cast<uint32_t>(EPOLLOUT)) == 0) return 0;
    if (handlers.blocked()) {
      blocked = true;
      c.parked = true;
      parked.emplace_back(c.fd.get(), c.serial);
      update(c);
      return 0;
    }
    return read(c, kChunk, now_ns);
  }

  int64_t idle_ns() const { return limits.idle_timeout_ms * 1'000'000; }
  int64_t idle_since(const Connection& c) const { return std::max(c.last_message_ns, idle_floor_ns); }
  void close_idle(int64_t now_ns) {
    if (limits.idle_timeout_ms <= 0 || blocked) return;
    while (!connections.empty() && now_ns - idle_since(connections.front()) >= idle_ns()) {
      Connection& c = connections.front();
      Ref ref{c.fd.get(), c.serial};
      // Others may have kept us from what it has sent.
      int64_t before = c.last_message_ns;
      read_waiting(c, now_ns);
      if (find(ref) == nullptr) continue;
      if (handlers.blocked()) return;
      if (c.last_message_ns == before) close(c, closing::kIdle);
    }
  }

  void read_waiting(Connection& c, int64_t now_ns) {
    Ref ref{c.fd.get(), c.serial};
    // As far as it had come when it was looked at: what is sent meanwhile does not hold us up.
    int waiting = 0;
    if (::ioctl(c.fd.get(), FIONREAD, &waiting) != 0) waiting = 0;
    for (size_t left = static_cast<size_t>(std::max(waiting, 0)); left > 0 && !handlers.blocked();) {
      size_t got = read(c, left, now_ns);
      commit();
      if (got == 0 || find(ref) == nullptr) break;
      left -= std::min(left, got);
    }
  }
};

Server::Server(const Clock& clock, ServerHandlers handlers)
    : state_(std::make_shared<State>(clock, std::move(handlers))) {
  state_->self = state_;
}

Server::~Server() = default;

int Server::poll_fd() const {
  return state_->epoll.get();
}

void Server::configure(const std::vector<std::shared_ptr<Listener>>& listeners, const ServerLimits& limits) {
  State& s = *state_;
  int64_t now_ns = s.clock.mono_ns();
  s.limits = limits;
  for (const auto& listener : s.listeners) {
    if (std::find(listeners.begin(), listeners.end(), listener) == listeners.end())
      s.accept_some(*listener, kAcceptsAtEnd, now_ns);
    s.unwatch(listener->fd());
  }
  s.listeners = listeners;
  s.accept_again();
}

// epoll gives connections that stay ready in turn (epoll(7)), so that with one chunk each none waits for another's flood.
void Server::service(size_t budget) {
  State& s = *state_;
  size_t spent = 0;
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
        spent += std::max(got, kCallCost);
        if (s.handlers.full()) s.commit();
      }
    }
    s.commit();
  }
  s.close_idle(now_ns);
}

bool Server::waiting() const {
  return state_->blocked;
}

void Server::resume() {
  State& s = *state_;
  if (!s.blocked || s.handlers.blocked()) return;
  s.blocked = false;
  s.idle_floor_ns = s.clock.mono_ns();
  for (const State::Ref& ref : std::exchange(s.parked, {}))
    if (Connection* c = s.find(ref)) {
      c->parked = false;
      s.update(*c);
    }
}

int64_t Server::next_deadline_ns() const {
  const State& s = *state_;
  int64_t deadline = s.paused_until_ns;
  if (s.limits.idle_timeout_ms > 0 && !s.blocked && !s.connections.empty()) {
    int64_t idle = s.idle_since(s.connections.front()) + s.idle_ns();
    deadline = deadline < 0 ? idle : std::min(deadline, idle);
  }
  return deadline;
}

void Server::stop() {
  State& s = *state_;
  configure({}, s.limits);
  s.commit();
  int64_t now_ns = s.clock.mono_ns();
  while (!s.connections.empty()) {
    Connection& c = s.connections.front();
    State::Ref ref{c.fd.get(), c.serial};
    s.read_waiting(c, now_ns);
    if (s.find(ref) != nullptr) s.close_gently(c);
  }
}

size_t Server::connections() const {
  return state_->connections.size();
}

size_t Server::held_bytes() const {
  return state_->held;
}

}  // namespace runnel::riemann
