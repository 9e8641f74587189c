#include "source/statsd/stream_lines.h"

#include <memory>
#include <utility>

#include "source/statsd/stream_framer.h"

namespace runnel::statsd {
namespace {

// One for all connections: they are read one after another.
struct Speaker {
  LineEvents events;
  const Peer* peer = nullptr;  // whose bytes the framer is fed
  StreamFramer::Out out;

  explicit Speaker(LineEvents e) : events(std::move(e)) {
    out.take = [this](std::string_view payload) { events.take(payload, *peer); };
    out.refuse = [this](std::string_view reason, std::string_view bytes) {
      events.refuse(reason, bytes, *peer);
    };
  }
  Speaker(const Speaker&) = delete;
};

class LineStream final : public StreamHandler {
 public:
  LineStream(Speaker& speaker, const Stream& stream)
      : speaker_(speaker),
        stream_(stream),
        framer_(stream.peer().scheme == ListenAddress::Scheme::unix_stream ? StreamFramer::Framing::frames
                                                                           : StreamFramer::Framing::lines) {}

  Taken take(std::string_view bytes) override {
    speaker_.peer = &stream_.peer();
    bool good = framer_.feed(bytes, speaker_.out);
    return {true, good ? std::string_view{} : closing::kBadFrame};
  }
  void ended() override {
    speaker_.peer = &stream_.peer();
    framer_.finish(speaker_.out);
  }
  size_t held_bytes() const override { return framer_.held_bytes(); }

 private:
  Speaker& speaker_;
  const Stream& stream_;
  StreamFramer framer_;
};

}  // namespace

StreamEvents line_streams(LineEvents events) {
  auto speaker = std::make_shared<Speaker>(std::move(events));
  StreamEvents streams;
  streams.open = [speaker](Stream& stream) { return std::make_shared<LineStream>(*speaker, stream); };
  streams.closed = [speaker](std::string_view reason, const Peer& peer, std::string_view) {
    speaker->events.closed(reason, peer);
  };
  return streams;
}

}  // namespace runnel::statsd
