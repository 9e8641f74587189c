// The stream side of the Riemann source: cuts messages off connections (net/streams.h, whose rules hold here), writes the
// answers. They leave in the order of the questions. Those of one round wait until what the round brought is accepted
// (`commit`), so that an ok that a client has seen is a promise kept.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "net/listener.h"
#include "net/peer.h"
#include "net/streams.h"

namespace runnel::riemann {

struct ServerLimits {
  size_t max_frame = 1 << 20;
  // A sign of life is a whole message: one of which a byte comes a minute must end. Of answers that wait for a client
  // 65,536 bytes are 10,900 messages in flight, and the Java client has 8,192 at most.
  StreamLimits streams;
};

struct ServerHandlers {
  // Takes one message and appends its one answer.
  std::function<void(std::string_view message, const Peer& peer, std::string& answers)> message;
  // What `message` took since the last commit is to be handed on now; the answers are sent when `decided` is called (oks
  // as errors where it is not safe), at
  // once or later, on this thread. It may be called after the server has gone.
  std::function<void(std::function<void(bool safe)> decided)> commit;
  std::function<bool()> full;                     // enough was taken: commit before the round is over
  std::function<bool()> blocked;                  // there is no room for what would be read
  std::function<void(const Peer& peer)> cut_off;  // a connection ended inside a message
  // By us: net/streams.h, framer.h.
  std::function<void(std::string_view reason, const Peer& peer, std::string_view detail)> closed;
};

class Server {
 public:
  Server(const Clock& clock, ServerHandlers handlers);
  ~Server();
  Server(const Server&) = delete;

  void configure(const std::vector<std::shared_ptr<Listener>>& listeners, const ServerLimits& limits,
                 std::shared_ptr<const TlsContext> tls = nullptr);
  Streams& streams() { return streams_; }  // to be served, resumed, stopped
  const Streams& streams() const { return streams_; }

 private:
  class Session;
  struct State;
  StreamEvents events();

  std::shared_ptr<State> state_;  // shared with `decided`s that are not called yet, which keep weak pointers
  Streams streams_;
};

}  // namespace runnel::riemann
