// Stream connections (tcp://, tls://, unix://) for a protocol: accepts them, reads them in turn, writes what the protocol has to
// say, limits and times them out. It has an epoll descriptor of its own, so that a thread watches one descriptor however
// many connections there are. All methods belong to one thread; nothing blocks. The events and handlers are called within
// configure(), service(), resume() and stop(); of all this they may call Stream::send and nothing else.
//
// Back-pressure: while `blocked` says so nobody is read (the kernel's buffers fill, senders wait); a connection that does
// not read what it is sent is not read either.
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

namespace runnel {

class TlsContext;

// Of all listeners of one Streams together.
struct StreamLimits {
  size_t max_connections = 1024;          // further ones are accepted and closed at once
  int64_t idle_timeout_ms = 300'000;      // without a sign of life (StreamHandler::Taken); 0: never
  int64_t handshake_timeout_ms = 10'000;  // of TLS, from the accepting on
  // Memory for what is incomplete and for what is not sent yet: where it is used up, the connection that holds most is
  // closed. (A frame of 1 MiB a connection would be 1 GiB.)
  size_t max_held_bytes = 32 << 20;
  size_t max_unsent = 65'536;  // bytes owed to a peer, beyond which it is not read
};

// Why connections are closed by us; a protocol adds its own.
namespace closing {
inline constexpr std::string_view kIdle = "idle";
inline constexpr std::string_view kTooMany = "too_many_connections";
inline constexpr std::string_view kMemory = "too_much_held";  // max_held_bytes
// And the reasons of TLS (plugins/tls/session.cc), of which these two are ours.
inline constexpr std::string_view kHandshake = "handshake_timeout";
inline constexpr std::string_view kHandshakeCut = "handshake_cut_off";  // by the peer
}  // namespace closing

// What a protocol makes of one connection. It lives as long as the connection, or longer where the protocol keeps it.
class StreamHandler {
 public:
  struct Taken {
    bool alive = true;  // the idle time-out begins anew
    std::string_view
        wrong{};  // not "": the bytes cannot be followed; the connection ends when what is owed has left
  };
  virtual ~StreamHandler() = default;
  virtual Taken take(std::string_view bytes) = 0;  // what came next, valid during the call
  virtual void ended() = 0;                        // nothing comes any more; the Stream goes after this call
  virtual size_t held_bytes() const = 0;           // memory for what is incomplete or owed
  virtual size_t owed_bytes() const { return 0; }  // answers that will be sent later
};

// One connection, as its handler sees it: valid until ended().
class Stream {
 public:
  virtual const Peer& peer() const = 0;
  // Leaves now, as far as the peer takes it. Outside of take() the stream may have ended afterwards.
  virtual void send(std::string bytes) = 0;

 protected:
  ~Stream() = default;
};

struct StreamEvents {
  std::function<std::shared_ptr<StreamHandler>(Stream& stream)> open;
  // By us, or before its handshake was over. `detail` is for people, "" where the reason says it all.
  std::function<void(std::string_view reason, const Peer& peer, std::string_view detail)> closed;
  // These two may be empty. Everybody who was ready has been read once: what was taken is to be handed on.
  std::function<void()> round_over;
  std::function<bool()> blocked;  // there is no room for what would be read
};

class Streams {
 public:
  Streams(const Clock& clock, StreamEvents events);
  ~Streams();
  Streams(const Streams&) = delete;

  int poll_fd() const;  // readable when there is something to do
  // Listeners of a former call that are not in this one are dropped, after what waits there has been accepted; their
  // connections live on. Several threads may share a listener: each connection is accepted by one of them.
  // `tls` is what new connections to tls:// listeners are given; others keep what they have.
  void configure(const std::vector<std::shared_ptr<Listener>>& listeners, const StreamLimits& limits,
                 std::shared_ptr<const TlsContext> tls = nullptr);
  // Reads what is there, fair to all connections: about `budget` bytes, where a small read or an accepted connection
  // counts as 512. Closes what was idle too long. Returns the bytes read.
  size_t service(size_t budget);
  bool waiting() const;  // connections are not read because of `blocked`: call resume() now and then
  void resume();         // reads them again, where there is room
  // Until when at the latest service() is to be called, for time-outs; -1: no matter.
  int64_t next_deadline_ns() const;
  // Reads what has already come, where there is room, sends what is due, closes every connection.
  void stop();
  size_t connections() const;
  size_t held_bytes() const;

 private:
  struct Connection;
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace runnel
