// Lines over stream connections (net/streams.h, whose rules hold here): one format for all listeners of a server. On the
// loop's thread. Nothing is answered.
#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "loop/loop.h"
#include "net/listener.h"
#include "net/streams.h"

namespace runnel::ffwd {

struct LineHandlers {
  std::function<void(std::string_view line, const Peer& peer)> line;
  std::function<void(std::string_view reason, const Peer& peer)>
      refuse;  // a line that is too long, or cut off
  std::function<void(std::string_view reason, const Peer& peer, std::string_view detail)> closed;  // by us
  std::function<void()> commit;  // all who were ready have been read once, or enough was taken
  std::function<bool()> full;
  std::function<bool()> blocked;
};

class LineServer {
 public:
  LineServer(Loop& loop, const Clock& clock, LineHandlers handlers);
  ~LineServer();
  LineServer(const LineServer&) = delete;

  // None: connections that there are live on.
  void configure(const std::vector<std::shared_ptr<Listener>>& listeners, const StreamLimits& limits);
  void stop();  // takes what has come, closes all
  size_t connections() const { return streams_.connections(); }

 private:
  class Connection;
  StreamEvents events();
  void serve();
  void set_timer();

  const Clock& clock_;
  const LineHandlers handlers_;
  Streams streams_;
  std::unique_ptr<FdWatch> watch_;
  Timer timer_;
};

}  // namespace runnel::ffwd
