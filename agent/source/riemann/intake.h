// What comes off the sockets, as messages: decoded, counted, mapped into a batch that is handed on a round at a time. One
// thread. Counts are in events: received = accepted + bad + dropped; a message that is no Msg, and a query, count as one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/log_limit.h"
#include "metric/batch.h"
#include "metric/self_metrics.h"
#include "net/peer.h"
#include "source/riemann/mapping.h"
#include "source/riemann/message.h"

namespace runnel::riemann {

// Where batches go; `decided` is called, at once or later and on the loop's thread: true when the log has made the batch
// as safe as its durability says, false when it will not be and the sender should send it again. Empty where the sender
// cannot be told: then the log takes it as it can.
using Decided = std::function<void(bool safe)>;
using AckInlet = std::function<void(Batch&& batch, const Decided& decided)>;

class Intake {
 public:
  Intake(const Clock& clock, AckInlet inlet);

  void keep(Keep keep) { keep_ = keep; }
  // One message over a stream: exactly one answer is appended, an ok only where all of it was taken.
  void message(std::string_view bytes, const Peer& peer, std::string& answers);
  // One datagram: there is no answer. `room`: false counts what it brings as dropped.
  void datagram(std::string_view bytes, const Peer& peer, bool room);
  void refuse(std::string_view reason, const Peer& peer);  // a message that could not even be read
  void closed(std::string_view reason, const Peer& peer, std::string_view detail);  // a connection, by us
  bool full() const;  // commit soon: large batches cost memory twice
  void commit(const Decided& decided);
  void report(SelfReport& report) const;

 private:
  std::string_view take(std::string_view bytes, const Peer& peer, bool room);
  void count_bad(std::string_view reason, uint64_t events, const Peer& peer);
  void tell(std::string_view what, std::string_view reason, std::optional<uint64_t> held, const Peer& peer,
            std::string_view detail = {});

  const Clock& clock_;
  const AckInlet inlet_;
  Keep keep_ = Keep::automatic;
  Message message_;
  Mapper mapper_;
  Batch batch_;
  uint64_t uncommitted_ = 0;  // events in it
  std::string error_;         // scratch: what the sender is told
  SourceCounts counts_;
  ReasonCounts closed_;
  LogLimit limit_;
};

}  // namespace runnel::riemann
