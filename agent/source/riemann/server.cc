#include "source/riemann/server.h"

#include <map>
#include <utility>

#include "source/riemann/framer.h"
#include "source/riemann/reply.h"

namespace runnel::riemann {

struct Server::State {
  const ServerHandlers handlers;
  size_t max_frame = 0;
  std::vector<std::shared_ptr<Session>> round;  // those with answers of this round
  std::map<uint64_t, std::vector<std::weak_ptr<Session>>> tickets;
  uint64_t next_ticket = 1;
  std::weak_ptr<State> self;

  explicit State(ServerHandlers h) : handlers(std::move(h)) {}

  void commit();
  void decided(uint64_t ticket, bool safe);
};

class Server::Session final : public StreamHandler, public std::enable_shared_from_this<Session> {
 public:
  Session(State& state, Stream& stream) : state_(state), stream_(&stream) {}

  Taken take(std::string_view bytes) override {
    bool any = false;
    std::string_view wrong = framer_.feed(bytes, state_.max_frame, [&](std::string_view message) {
      any = true;
      state_.handlers.message(message, stream_->peer(), answers_);
      if (!std::exchange(in_round_, true)) state_.round.push_back(shared_from_this());
    });
    if (!wrong.empty()) framer_ = {};
    if (state_.handlers.full()) state_.commit();
    return {any, wrong};
  }
  void ended() override {
    if (framer_.partial()) state_.handlers.cut_off(stream_->peer());
    stream_ = nullptr;
  }
  size_t held_bytes() const override { return framer_.held_bytes() + owed_bytes(); }
  size_t owed_bytes() const override { return answers_.size() + held_answers_; }

  void hold(uint64_t ticket) {
    in_round_ = false;
    held_answers_ += answers_.size();
    held_.push_back({ticket, false, std::exchange(answers_, std::string())});
  }
  // Sends what is decided and not behind something that is not.
  void decided(uint64_t ticket, bool safe) {
    std::string due;
    size_t count = 0;
    for (Held& one : held_) {
      if (one.ticket != ticket) continue;
      one.decided = true;
      if (safe) continue;
      held_answers_ -= one.answers.size();
      one.answers =
          refuse_oks(one.answers, "not stored: the disk of the agent is full or failing, send it again");
      held_answers_ += one.answers.size();
    }
    for (; count < held_.size() && held_[count].decided; count++) {
      held_answers_ -= held_[count].answers.size();
      if (due.empty()) {
        due = std::move(held_[count].answers);
      } else {
        due += held_[count].answers;
      }
    }
    held_.erase(held_.begin(), held_.begin() + static_cast<std::ptrdiff_t>(count));
    if (stream_ != nullptr && !due.empty()) stream_->send(std::move(due));
  }

 private:
  // Answers of one round, behind those of earlier ones.
  struct Held {
    uint64_t ticket;
    bool decided;
    std::string answers;
  };

  State& state_;
  Stream* stream_;  // null once it has ended
  Framer framer_;
  std::string answers_;      // of this round
  std::vector<Held> held_;   // not decided yet, or behind one that is not
  size_t held_answers_ = 0;  // bytes in it
  bool in_round_ = false;
};

void Server::State::commit() {
  if (round.empty()) return;
  uint64_t ticket = next_ticket++;
  std::vector<std::weak_ptr<Session>>& sessions = tickets[ticket];
  sessions.reserve(round.size());
  for (const auto& session : round) {
    session->hold(ticket);
    sessions.emplace_back(session);
  }
  round.clear();
  handlers.commit([weak = self, ticket](bool safe) {
    if (auto state = weak.lock()) state->decided(ticket, safe);
  });
}

void Server::State::decided(uint64_t ticket, bool safe) {
  auto node = tickets.extract(ticket);
  if (node.empty()) return;
  for (const auto& weak : node.mapped())
    if (auto session = weak.lock()) session->decided(ticket, safe);
}

Server::Server(const Clock& clock, ServerHandlers handlers)
    : state_(std::make_shared<State>(std::move(handlers))), streams_(clock, events()) {
  state_->self = state_;
}

Server::~Server() = default;

StreamEvents Server::events() {
  State& state = *state_;
  StreamEvents events;
  events.open = [&state](Stream& stream) { return std::make_shared<Session>(state, stream); };
  events.closed = state.handlers.closed;
  events.round_over = [&state] { state.commit(); };
  events.blocked = state.handlers.blocked;
  return events;
}

void Server::configure(const std::vector<std::shared_ptr<Listener>>& listeners, const ServerLimits& limits,
                       std::shared_ptr<const TlsContext> tls) {
  state_->max_frame = limits.max_frame;
  streams_.configure(listeners, limits.streams, std::move(tls));
}

}  // namespace runnel::riemann
