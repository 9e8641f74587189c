// The stream side of the Riemann source: accepts connections, cuts messages off them, writes the answers. It has an epoll
// descriptor of its own, so that the loop watches one descriptor however many connections there are. All methods belong
// to one thread; nothing blocks. The handlers are called within configure(), service(), resume() and stop() and must not
// call the server.
//
// Answers leave in the order of the questions. Those of one round wait until what the round brought is accepted
// (`commit`), so that an ok that a client has seen is a promise kept.
//
// Back-pressure: while `blocked` says so, connections are not read (the kernel's buffers fill, senders wait); a
// connection that does not read its answers is not read either.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "net/listener.h"
#include "net/peer.h"

namespace runnel::riemann {

struct ServerLimits {
  size_t max_frame = 1 << 20;
  size_t max_connections = 1024;  // further ones are accepted and closed at once
  // Without a whole message; 0: never. Bytes alone do not count: a message of which one byte comes a minute must end.
  int64_t idle_timeout_ms = 300'000;
  // Memory for messages whose end has not come and for answers, of all connections together: where it is used up, the
  // connection that holds most is closed.
  size_t max_held_bytes = 32 << 20;
};

struct ServerHandlers {
  // Takes one message and appends its one answer.
  std::function<void(std::string_view message, const Peer& peer, std::string& answers)> message;
  // What `message` took since the last commit is to be handed on now; the answers are sent when `accepted` is called, at
  // once or later, on this thread. It may be called after the server has gone.
  std::function<void(std::function<void()> accepted)> commit;
  std::function<bool()> full;                     // enough was taken: commit before the round is over
  std::function<bool()> blocked;                  // there is no room for what would be read
  std::function<void(const Peer& peer)> cut_off;  // a connection ended inside a message
  std::function<void(std::string_view reason, const Peer& peer)> closed;  // by us
};

namespace closing {
inline constexpr std::string_view kIdle = "idle";
inline constexpr std::string_view kTooMany = "too_many_connections";
inline constexpr std::string_view kMemory = "too_much_held";  // max_held_bytes
// And those of framing (framer.h).
}  // namespace closing

class Server {
 public:
  // Bytes of answers that wait for a client, beyond which it is not read: 10,900 messages in flight, and the Java client
  // has 8,192 at most.
  static constexpr size_t kMaxUnread = 65'536;

  Server(const Clock& clock, ServerHandlers handlers);
  ~Server();
  Server(const Server&) = delete;

  int poll_fd() const;  // readable when there is something to do
  // Listeners of a former call that are not in this one are dropped, after what waits there has been accepted; their
  // connections live on.
  void configure(const std::vector<std::shared_ptr<Listener>>& listeners, const ServerLimits& limits);
  // Reads what is there, fair to all connections: about `budget` bytes.
  void service(size_t budget);
  bool waiting() const;  // connections are not read because of `blocked`: call resume() now and then
  void resume();         // reads them again, where there is room
  // Until when at the latest service() is to be called, for time-outs; -1: no matter.
  int64_t next_deadline_ns() const;
  // Reads what has already come, where there is room, sends the answers that are due, closes every connection.
  void stop();
  size_t connections() const;
  size_t held_bytes() const;

 private:
  struct Connection;
  struct State;
  std::shared_ptr<State> state_;  // shared with `accepted`s that are not called yet, which keep weak pointers
};

}  // namespace runnel::riemann
