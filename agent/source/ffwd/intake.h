// What comes off the sockets, decoded, counted, thinned, mapped into a batch that is handed on a round at a time. One thread.
// Counts are in points: received = accepted + bad + dropped; what cannot be decoded counts as one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/log_limit.h"
#include "config/ffwd_listen.h"
#include "metric/batch.h"
#include "metric/self_metrics.h"
#include "net/peer.h"
#include "source/ffwd/json.h"
#include "source/ffwd/mapping.h"
#include "source/ffwd/point.h"
#include "source/ffwd/thinner.h"

namespace runnel::ffwd {

// Where batches go. `decided` is called, at once or later and on the loop's thread: true when the log has made the batch as
// safe as its durability says, false when it will not.
using DecidedInlet = std::function<void(Batch&& batch, const std::function<void(bool safe)>& decided)>;

class Intake {
 public:
  Intake(const Clock& clock, DecidedInlet inlet);

  void min_interval(int64_t ms) { thinner_->configure(ms); }
  void percentiles(std::vector<double> percentiles) { mapper_.percentiles(std::move(percentiles)); }
  // A whole datagram. `room`: false counts what it brings as dropped.
  void datagram(FfwdFormat format, std::string_view bytes, const Peer& peer, bool room);
  void line(FfwdFormat format, std::string_view line, const Peer& peer);  // of a connection
  void refuse(std::string_view reason, std::string_view bytes,
              const Peer& peer);  // what could not even be read
  // A body of /v1/batch or /v2/batch, taken or refused as a whole. `answer` is called once, at once or later: 200 when what
  // it brought is as safe in the log as its durability says.
  using Answer = std::function<void(unsigned status, std::string_view text)>;
  void body(std::string_view bytes, const Peer& peer, bool room, const Answer& answer);
  void closed(std::string_view reason, const Peer& peer, std::string_view detail);  // a connection, by us
  bool full() const;  // commit soon: large batches cost memory twice
  void commit();
  void report(SelfReport& report) const;

 private:
  void decode(FfwdFormat format, std::string_view bytes);
  void take(FfwdFormat format, std::string_view bytes, const Peer& peer, bool room);
  void take_points(FfwdFormat format, std::string_view bytes, const Peer& peer, bool room);
  void hand_on(const Peer& peer, const Answer& answer);
  void tell_opaque(const Peer& peer);
  void tell(std::string_view reason, FfwdFormat format, std::string_view bytes, const Peer& peer);

  const Clock& clock_;
  const DecidedInlet inlet_;
  JsonDecoder json_;
  Points points_;
  const std::shared_ptr<Thinner> thinner_ = std::make_shared<Thinner>();  // of decisions that come later
  Mapper mapper_;
  Batch batch_;
  SourceCounts counts_;
  ReasonCounts closed_;
  uint64_t opaque_ = 0;  // distributions that could not be read
  LogLimit limit_;
};

}  // namespace runnel::ffwd
