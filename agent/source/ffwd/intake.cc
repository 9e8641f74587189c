#include "source/ffwd/intake.h"

#include <fmt/format.h>

#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "source/ffwd/carbon.h"
#include "source/ffwd/protobuf.h"

namespace runnel::ffwd {
namespace {

constexpr std::string_view kName = "ffwd";
constexpr std::string_view kLogFull = "log_full";      // a datagram, while an output blocks
constexpr std::string_view kDiskError = "disk_error";  // the journal cannot make it safe: the sender knows
constexpr std::string_view kBatchRefused =
    "batch_refused";  // the neighbours of a point that its body was refused for
constexpr std::string_view kTooFrequent = "high_frequency";  // min_interval
constexpr size_t kFullBatch = 512 << 10;                     // bytes in a batch that end a round
constexpr size_t kKeptPoints = 4096;                         // room for as many stays between inputs

}  // namespace

Intake::Intake(const Clock& clock, DecidedInlet inlet)
    : clock_(clock), inlet_(std::move(inlet)), batch_(kName), limit_(clock_) {}

// Of protobuf nothing is shown: it is no text.
void Intake::tell(std::string_view reason, FfwdFormat format, std::string_view bytes, const Peer& peer) {
  auto held = limit_.allow(reason);
  if (!held) return;
  std::string shown = format == FfwdFormat::protobuf || bytes.empty()
                          ? fmt::format("bytes={}", bytes.size())
                          : fmt::format("data=\"{}\"", excerpt(bytes));
  log::warning(kName, "not taken reason={} from={} {}{}", reason, to_string(peer), shown,
               *held > 0 ? fmt::format(" like_it={}", *held) : "");
}

void Intake::tell_opaque(const Peer& peer) {
  auto held = limit_.allow("opaque");
  if (held)
    log::warning(kName, "a distribution could not be read and is passed on as it came from={}{}",
                 to_string(peer), *held > 0 ? fmt::format(" like_it={}", *held) : "");
}

void Intake::decode(FfwdFormat format, std::string_view bytes) {
  switch (format) {
    case FfwdFormat::json:
      json_.line(bytes, points_);
      return;
    case FfwdFormat::protobuf:
      decode_protobuf(bytes, points_);
      return;
    default:
      points_.clear();
      for (size_t end = 0; end != std::string_view::npos;) {
        end = bytes.find('\n');
        decode_carbon(bytes.substr(0, end), points_);
        bytes.remove_prefix(end == std::string_view::npos ? bytes.size() : end + 1);
      }
  }
}

void Intake::take(FfwdFormat format, std::string_view bytes, const Peer& peer, bool room) {
  decode(format, bytes);
  take_points(format, bytes, peer, room);
}

void Intake::take_points(FfwdFormat format, std::string_view bytes, const Peer& peer, bool room) {
  counts_.received.fetch_add(points_.received(), std::memory_order_relaxed);
  for (std::string_view reason : points_.refused) {
    counts_.bad.add(reason);
    tell(reason, format, bytes, peer);
  }
  size_t good = points_.points.size();
  if (good > 0 && !room) {
    counts_.dropped.add(kLogFull, good);
    tell(kLogFull, format, bytes, peer);
  } else if (good > 0) {
    if (size_t thinned = thinner_->thin(points_, clock_.wall_ms()); thinned > 0) {
      counts_.dropped.add(kTooFrequent, thinned);
      tell(kTooFrequent, format, bytes, peer);
    }
    if (size_t unread = mapper_.append(points_, batch_); unread > 0) {
      opaque_ += unread;
      tell_opaque(peer);
    }
    counts_.accepted.fetch_add(points_.points.size(), std::memory_order_relaxed);
  }
  if (points_.points.capacity() > kKeptPoints || points_.pairs.capacity() > 16 * kKeptPoints ||
      points_.tags.capacity() > 16 * kKeptPoints)
    points_ = {};
}

void Intake::datagram(FfwdFormat format, std::string_view bytes, const Peer& peer, bool room) {
  take(format, bytes, peer, room);
}

// A blank line is nothing: people end what they paste with one.
void Intake::line(FfwdFormat format, std::string_view line, const Peer& peer) {
  if (!trim(line).empty()) take(format, line, peer, true);
}

void Intake::refuse(std::string_view reason, std::string_view bytes, const Peer& peer) {
  counts_.received.fetch_add(1, std::memory_order_relaxed);
  counts_.bad.add(reason);
  tell(reason, FfwdFormat::json, bytes, peer);
}

void Intake::body(std::string_view bytes, const Peer& peer, bool room, const Answer& answer) {
  if (auto refused = json_.batch(bytes, points_)) {
    counts_.received.fetch_add(refused->points, std::memory_order_relaxed);
    counts_.bad.add(refused->reason);
    if (refused->points > 1) counts_.bad.add(kBatchRefused, refused->points - 1);
    if (auto held = limit_.allow(refused->reason))
      log::warning(kName, "not taken reason={} from={} points={} what=\"{}\"{}", refused->reason,
                   to_string(peer), refused->points, excerpt(refused->message, 200),
                   *held > 0 ? fmt::format(" like_it={}", *held) : "");
    answer(refused->reason == bad::kTooMuch ? 413 : 400, refused->message + "\n");
    return;
  }
  size_t before = points_.points.size();
  take_points(FfwdFormat::http, {}, peer, room);
  if (before > 0 && !room) {
    answer(503, "the log is full\n");
    return;
  }
  if (batch_.empty()) {
    answer(200, "ok\n");
    return;
  }
  hand_on(peer, answer);
}

// What the log refuses at once is not in it; what it says so of later is, and only not safe. In both cases it is sent again,
// and then it is not too frequent.
void Intake::hand_on(const Peer& peer, const Answer& answer) {
  size_t records = batch_.records();
  auto at_once = std::make_shared<bool>(true);
  auto decided = [this, weak = std::weak_ptr(thinner_), records, at_once, peer, answer](bool safe) {
    if (safe) return answer(200, "ok\n");
    if (auto thinner = weak.lock()) thinner->forget();
    if (*at_once) {
      counts_.accepted.fetch_sub(records, std::memory_order_relaxed);
      counts_.dropped.add(kDiskError, records);
      tell(kDiskError, FfwdFormat::http, {}, peer);
    }
    answer(503, "the log could not take it\n");
  };
  inlet_(std::exchange(batch_, Batch(kName)), decided);
  *at_once = false;
}

void Intake::closed(std::string_view reason, const Peer& peer, std::string_view detail) {
  closed_.add(reason);
  auto held = limit_.allow("closed:" + std::string(reason));
  if (!held) return;
  log::warning(kName, "connection closed reason={} from={}{}{}", reason, to_string(peer),
               detail.empty() ? "" : fmt::format(" detail=\"{}\"", excerpt(detail)),
               *held > 0 ? fmt::format(" like_it={}", *held) : "");
}

bool Intake::full() const {
  return batch_.bytes() >= kFullBatch;
}

void Intake::commit() {
  if (!batch_.empty()) inlet_(std::exchange(batch_, Batch(kName)), {});  // nobody can be told
}

void Intake::report(SelfReport& report) const {
  counts_.report(report, kName);
  report.add(self::kSourceOpaque, {{"source", kName}}, Number::integer(static_cast<int64_t>(opaque_)));
  for (const auto& [reason, n] : closed_.snapshot())
    report.add(self::kSourceClosed, {{"reason", reason}, {"source", kName}},
               Number::integer(static_cast<int64_t>(n)));
}

}  // namespace runnel::ffwd
