// What one run of a hook brought: the batch that its parser fills, the counts of its lines, and the log lines about the
// bad ones. Loop thread; owned by the run. Pushes into the inlet as soon as kPushAt records have gathered, so that a
// chatty hook costs bounded memory, and the rest when the run ends.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "metric/batch.h"
#include "metric/self_metrics.h"

namespace runnel::script {

// What a parser says of a line. Both texts have static storage.
struct Verdict {
  std::string_view reason;  // "": good; else the tag `reason` of runnel.source.bad
  std::string_view why;     // for a person
  bool good() const { return reason.empty(); }
};

namespace bad {
inline constexpr std::string_view kNoValue = "no_value";
inline constexpr std::string_view kValue = "bad_value";
inline constexpr std::string_view kNoName = "no_name";
inline constexpr std::string_view kName = "bad_name";
inline constexpr std::string_view kTags = "bad_tags";
inline constexpr std::string_view kTime = "bad_time";
inline constexpr std::string_view kType = "unknown_type";
inline constexpr std::string_view kUtf8 = "bad_utf8";
inline constexpr std::string_view kTooLong = "too_long";
inline constexpr std::string_view kSyntax = "bad_syntax";
inline constexpr std::string_view kCut = "cut_off";  // the hook was killed in the middle of it
}  // namespace bad

class Intake {
 public:
  static constexpr size_t kPushAt = 10'000;
  static constexpr uint64_t kBadLinesLogged = 3;

  // `script` is the hook's relative name. `log_bad` false: bad lines are counted, not logged (they were just lately).
  Intake(std::string script, int64_t time_ms, uint32_t interval_ms, SourceCounts& counts, Inlet inlet,
         bool log_bad);

  // Every line: received() once where it is cut off the output, then one of the other three.
  void received() { counts_.received++; }
  void accepted();
  void refused(std::string_view line, Verdict verdict);
  void dropped(std::string_view reason);
  void judged(std::string_view line, Verdict verdict);  // accepted or refused

  void add(std::string_view name, const Tag* tags, size_t tag_count, Number value, Kind kind = Kind::gauge,
           int64_t time_ms = 0);  // 0: the run's time
  Batch& batch() { return batch_; }
  void take(Batch&& batch);  // a batch made elsewhere, pushed as it is but for the resource
  void finish();             // pushes the rest, logs what was not logged one by one

  const std::string& script() const { return script_; }
  int64_t time_ms() const { return time_ms_; }
  uint32_t interval_ms() const { return interval_ms_; }
  uint64_t good_lines() const { return good_; }
  uint64_t bad_lines() const { return bad_; }

 private:
  void push(Batch&& batch);
  std::string script_;
  int64_t time_ms_;
  uint32_t interval_ms_;
  SourceCounts& counts_;
  Inlet inlet_;
  Batch batch_{"scripts"};
  uint64_t good_ = 0, bad_ = 0;
  bool log_bad_;
};

}  // namespace runnel::script
