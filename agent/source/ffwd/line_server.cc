#include "source/ffwd/line_server.h"

#include <algorithm>
#include <utility>

#include "source/ffwd/line_cutter.h"
#include "source/ffwd/point.h"

namespace runnel::ffwd {
namespace {

constexpr std::string_view kCutOff = "cut_off";  // a line without its newline at the end of a connection
constexpr size_t kBudget = 256 << 10;            // bytes a turn of the loop: some 1 ms of decoding
constexpr int64_t kRetryMs = 20;                 // while the log is blocked: when to look again

}  // namespace

class LineServer::Connection final : public StreamHandler {
 public:
  Connection(const LineHandlers& handlers, Stream& stream) : handlers_(handlers), stream_(stream) {
    out_.take = [this](std::string_view line) { handlers_.line(line, stream_.peer()); };
    out_.too_long = [this] { handlers_.refuse(bad::kTooLong, stream_.peer()); };
  }

  // A sign of life is a whole line: one of which a byte comes a minute must end.
  Taken take(std::string_view bytes) override {
    bool any = cutter_.feed(bytes, out_);
    if (handlers_.full()) handlers_.commit();
    return {any};
  }
  void ended() override {
    if (cutter_.partial()) handlers_.refuse(kCutOff, stream_.peer());
  }
  size_t held_bytes() const override { return cutter_.held_bytes(); }

 private:
  const LineHandlers& handlers_;
  Stream& stream_;
  LineCutter cutter_;
  LineCutter::Out out_;
};

LineServer::LineServer(Loop& loop, const Clock& clock, LineHandlers handlers)
    : clock_(clock),
      handlers_(std::move(handlers)),
      streams_(clock, events()),
      watch_(std::make_unique<FdWatch>(loop, streams_.poll_fd(), [this] { serve(); })),
      timer_(loop, [this] { serve(); }) {}

LineServer::~LineServer() = default;

StreamEvents LineServer::events() {
  StreamEvents events;
  events.open = [this](Stream& stream) { return std::make_shared<Connection>(handlers_, stream); };
  events.closed = handlers_.closed;
  events.round_over = handlers_.commit;
  events.blocked = handlers_.blocked;
  return events;
}

void LineServer::configure(const std::vector<std::shared_ptr<Listener>>& listeners,
                           const StreamLimits& limits) {
  streams_.configure(listeners, limits);
  set_timer();
}

void LineServer::serve() {
  if (streams_.waiting()) streams_.resume();
  streams_.service(kBudget);
  set_timer();
}

void LineServer::set_timer() {
  int64_t deadline_ns = streams_.next_deadline_ns();
  if (streams_.waiting()) {
    timer_.start(kRetryMs);
  } else if (deadline_ns >= 0) {
    timer_.start(std::max<int64_t>(0, deadline_ns - clock_.mono_ns()) / 1'000'000 + 1);
  } else {
    timer_.stop();
  }
}

void LineServer::stop() {
  watch_.reset();
  timer_.stop();
  streams_.stop();
}

}  // namespace runnel::ffwd
