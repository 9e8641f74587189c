// The stream side of a receiver: accepts tcp:// and unix:// connections, reads them, hands payloads on. It has an epoll
// descriptor of its own, so that a receiver watches one descriptor however many connections there are. All methods belong
// to the receiver's thread; nothing blocks. The events are called within configure(), service() and stop(), and must not
// call the server; what they are given is valid during the call.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "net/listener.h"
#include "net/peer.h"
#include "source/statsd/stream_framer.h"

namespace runnel::statsd {

struct StreamLimits {
  size_t max_connections =
      1024;  // of all listeners of this server; further ones are accepted and closed at once
  int64_t idle_timeout_ms = 300'000;  // without a byte; 0: never
  // Memory for lines and frames whose end has not come, of all connections together: where it is used up, the connection
  // that holds most is closed. (A frame of 1 MiB a connection would be 1 GiB.)
  size_t max_held_bytes = 32 << 20;
};

struct StreamEvents {
  std::function<void(std::string_view payload, const Peer& peer)> take;
  // A line or frame.
  std::function<void(std::string_view reason, std::string_view bytes, const Peer& peer)> refuse;
  // A connection was closed by us: one of the reasons below.
  std::function<void(std::string_view reason, const Peer& peer)> closed;
};

namespace closing {
inline constexpr std::string_view kIdle = "idle";
inline constexpr std::string_view kTooMany = "too_many_connections";
inline constexpr std::string_view kFrame = "bad_frame";
inline constexpr std::string_view kMemory = "too_much_held";  // max_held_bytes
}  // namespace closing

class StreamServer {
 public:
  StreamServer(const Clock& clock, StreamEvents events);
  ~StreamServer();
  StreamServer(const StreamServer&) = delete;

  int poll_fd() const;  // readable when there is something to do
  // Listeners of a former call that are not in this one are dropped, after what waits there has been accepted; their
  // connections live on. Several receivers may share a listener: each connection is accepted by one of them.
  void configure(const std::vector<std::shared_ptr<Listener>>& listeners, const StreamLimits& limits);
  // Reads what is there, fair to all connections: about `budget` bytes, where a small read or an accepted connection
  // counts as 512. Closes what was idle too long. Returns the bytes read.
  size_t service(size_t budget);
  // Until when at the latest service() is to be called, for time-outs; -1: no matter.
  int64_t next_deadline_ns() const;
  // Reads what has already come, then closes every connection; unterminated tails are refused as at any close.
  void stop();
  size_t connections() const;
  size_t held_bytes() const;  // of lines and frames whose end has not come

 private:
  struct Connection;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace runnel::statsd
