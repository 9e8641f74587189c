#include "source/riemann/intake.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "source/riemann/decoder.h"
#include "source/riemann/reply.h"

namespace runnel::riemann {
namespace {

constexpr std::string_view kName = "riemann";
constexpr std::string_view kQuery = "query";
constexpr std::string_view kNotKept = "not_kept";      // `keep` leaves it out
constexpr std::string_view kLogFull = "log_full";      // a datagram, while an output blocks
constexpr std::string_view kDiskError = "disk_error";  // the journal cannot make it safe: the sender knows
constexpr size_t kFullBatch = 512 << 10;               // bytes in a batch that end a round
constexpr size_t kKeptEvents = 4096;                   // room for as many events stays between messages

}  // namespace

Intake::Intake(const Clock& clock, AckInlet inlet)
    : clock_(clock), inlet_(std::move(inlet)), batch_(kName), limit_(clock_) {}

void Intake::tell(std::string_view what, std::string_view reason, std::optional<uint64_t> held,
                  const Peer& peer, std::string_view detail) {
  if (held)
    log::warning(kName, "{} reason={} from={}{}{}", what, reason, to_string(peer),
                 detail.empty() ? "" : fmt::format(" detail=\"{}\"", escape_control(detail)),
                 *held > 0 ? fmt::format(" like_it={}", *held) : "");
}

void Intake::count_bad(std::string_view reason, uint64_t events, const Peer& peer) {
  counts_.bad.add(reason, events);
  tell("not taken", reason, limit_.allow(reason), peer);
}

// What the sender is told; "" where all was taken. What stands before a refused event, and behind it, is taken.
std::string_view Intake::take(std::string_view bytes, const Peer& peer, bool room) {
  std::string_view undecodable = decode(bytes, message_);
  if (!undecodable.empty()) {
    refuse(undecodable, peer);
    return undecodable;
  }
  counts_.received.fetch_add(message_.received, std::memory_order_relaxed);
  size_t good = message_.events.size();
  error_.clear();
  for (size_t i = 0; i < kRefusals; i++) {
    if (message_.refused[i] == 0) continue;
    count_bad(kRefusalNames[i], message_.refused[i], peer);
    fmt::format_to(std::back_inserter(error_), "{}{} of {} events refused: {}", error_.empty() ? "" : ", ",
                   message_.refused[i], message_.received, kRefusalNames[i]);
  }
  if (!room) {
    counts_.dropped.add(kLogFull, good);
    tell("dropped", kLogFull, limit_.allow(kLogFull), peer);
  } else {
    size_t dropped = mapper_.append(message_, keep_, batch_);
    if (dropped > 0) counts_.dropped.add(kNotKept, dropped);
    counts_.accepted.fetch_add(good - dropped, std::memory_order_relaxed);
    uncommitted_ += good - dropped;
  }
  if (message_.has_query) {
    refuse(kQuery, peer);
    error_ += error_.empty() ? "no index" : ", no index";  // what Riemann says where none runs
  }
  if (message_.events.capacity() > kKeptEvents ||
      message_.tags.capacity() + message_.attributes.capacity() > 16 * kKeptEvents)
    message_ = {};
  return error_;
}

void Intake::message(std::string_view bytes, const Peer& peer, std::string& answers) {
  std::string_view error = take(bytes, peer, true);
  error.empty() ? append_ok(answers) : append_error(answers, error);
}

void Intake::datagram(std::string_view bytes, const Peer& peer, bool room) {
  take(bytes, peer, room);
}

void Intake::refuse(std::string_view reason, const Peer& peer) {
  counts_.received.fetch_add(1, std::memory_order_relaxed);
  count_bad(reason, 1, peer);
}

void Intake::closed(std::string_view reason, const Peer& peer, std::string_view detail) {
  closed_.add(reason);
  tell("connection closed", reason, limit_.allow("closed:" + std::string(reason)), peer, detail);
}

bool Intake::full() const {
  return batch_.bytes() >= kFullBatch;
}

void Intake::commit(const Decided& decided) {
  if (batch_.empty()) {
    if (decided) decided(true);
    return;
  }
  uint64_t events = std::exchange(uncommitted_, 0);
  if (!decided) {
    inlet_(std::exchange(batch_, Batch(kName)), {});
    return;
  }
  // Refused at once: it is not in the log. Later it is, and only not safe.
  auto at_once = std::make_shared<bool>(true);
  inlet_(std::exchange(batch_, Batch(kName)), [this, events, at_once, decided](bool safe) {
    if (!safe && *at_once) {
      counts_.accepted.fetch_sub(events, std::memory_order_relaxed);
      counts_.dropped.add(kDiskError, events);
    }
    decided(safe);
  });
  *at_once = false;
}

void Intake::report(SelfReport& report) const {
  counts_.report(report, kName);
  for (const auto& [reason, n] : closed_.snapshot())
    report.add(self::kSourceClosed, {{"reason", reason}, {"source", kName}},
               Number::integer(static_cast<int64_t>(n)));
}

}  // namespace runnel::riemann
