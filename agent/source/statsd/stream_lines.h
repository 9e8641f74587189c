// What StatsD makes of stream connections (net/streams.h): payloads of whole lines, and refusals. A connection over tcp://
// has lines, one over unix:// frames (stream_framer.h). Half-closed is closed: nothing is ever sent. The events are called
// on the thread of the Streams; what they are given is valid during the call.
#pragma once

#include <functional>
#include <string_view>

#include "net/peer.h"
#include "net/streams.h"

namespace runnel::statsd {

struct LineEvents {
  std::function<void(std::string_view payload, const Peer& peer)> take;
  // A line or frame. An unterminated tail is one, whoever closed the connection.
  std::function<void(std::string_view reason, std::string_view bytes, const Peer& peer)> refuse;
  // A connection was closed by us: a reason of net/streams.h, or kBadFrame.
  std::function<void(std::string_view reason, const Peer& peer)> closed;
};

namespace closing {
inline constexpr std::string_view kBadFrame = "bad_frame";
}  // namespace closing

StreamEvents line_streams(LineEvents events);

}  // namespace runnel::statsd
