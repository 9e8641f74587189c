// The agent's own metrics. Every name stands in the table here and nowhere else. A component reports what it has
// counted when the composition root asks, once an interval, on the main thread; the root turns one report into
// samples for the pipeline and into the Prometheus text file. Counts are totals since the agent started.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "metric/batch.h"

namespace runnel {

struct SelfMetric {
  std::string_view name;
  Kind kind;  // total, gauge or distribution
  std::string_view unit;
  std::string_view help;
};

namespace self {
inline constexpr SelfMetric kSourceReceived{"runnel.source.received", Kind::total, "1", "lines that came in"};
inline constexpr SelfMetric kSourceAccepted{"runnel.source.accepted", Kind::total, "1",
                                            "lines understood and taken"};
inline constexpr SelfMetric kSourceBad{"runnel.source.bad", Kind::total, "1", "lines refused, by reason"};
inline constexpr SelfMetric kDropped{"runnel.dropped", Kind::total, "1", "good lines not taken, by reason"};
inline constexpr SelfMetric kOutputAppended{"runnel.output.appended", Kind::total, "1",
                                            "records meant for the output"};
inline constexpr SelfMetric kOutputDelivered{"runnel.output.delivered", Kind::total, "1",
                                             "records that arrived"};
inline constexpr SelfMetric kOutputFiltered{"runnel.output.filtered", Kind::total, "1",
                                            "records its filter kept back"};
inline constexpr SelfMetric kOutputDropped{"runnel.output.dropped", Kind::total, "1",
                                           "records lost, by reason"};
inline constexpr SelfMetric kOutputQueued{"runnel.output.queued", Kind::gauge, "1",
                                          "records waiting in the log"};
inline constexpr SelfMetric kOutputInFlight{"runnel.output.in_flight", Kind::gauge, "1",
                                            "records being sent"};
inline constexpr SelfMetric kOutputRetries{"runnel.output.retries", Kind::total, "1",
                                           "sends that had to be repeated"};
inline constexpr SelfMetric kOutputLag{"runnel.output.lag", Kind::gauge, "s",
                                       "age of the oldest record not delivered"};
inline constexpr SelfMetric kOutputQuarantined{"runnel.output.quarantined", Kind::total, "1",
                                               "records the other side refused, put aside"};
inline constexpr SelfMetric kOutputTimeToFull{"runnel.output.time_to_full", Kind::gauge, "s",
                                              "until the journal is full for it, at the present rate"};
inline constexpr SelfMetric kJournalBytes{"runnel.journal.bytes", Kind::gauge, "By", "size of the segments"};
inline constexpr SelfMetric kJournalSegments{"runnel.journal.segments", Kind::gauge, "1", "segment files"};
inline constexpr SelfMetric kJournalMemory{"runnel.journal.memory", Kind::gauge, "By",
                                           "batches of the log that are in memory"};
inline constexpr SelfMetric kJournalWritten{"runnel.journal.written", Kind::total, "By",
                                            "bytes written to segments"};
inline constexpr SelfMetric kJournalDamaged{"runnel.journal.damaged", Kind::total, "1",
                                            "records found damaged"};
inline constexpr SelfMetric kJournalErrors{"runnel.journal.errors", Kind::total, "1",
                                           "writes and syncs that failed"};
inline constexpr SelfMetric kJournalRefused{"runnel.journal.refused", Kind::total, "1",
                                            "records refused because the disk does not take them"};
inline constexpr SelfMetric kJournalOnDisk{"runnel.journal.on_disk", Kind::gauge, "1",
                                           "1; 0 while the disk is ill and the log goes on in memory"};
inline constexpr SelfMetric kJournalSync{"runnel.journal.sync", Kind::distribution, "s",
                                         "how long fdatasync took"};
inline constexpr SelfMetric kOutputBytes{"runnel.output.bytes", Kind::total, "By",
                                         "payload bytes handed to the sink"};
inline constexpr SelfMetric kSocketDrops{"runnel.socket.drops", Kind::total, "1",
                                         "datagrams the kernel dropped"};
inline constexpr SelfMetric kSourceSeries{"runnel.source.series", Kind::gauge, "1",
                                          "series the source holds"};
inline constexpr SelfMetric kSourceFolded{"runnel.source.folded", Kind::total, "1",
                                          "lines counted in runnel.overflow for want of room"};
inline constexpr SelfMetric kSourceTopLines{"runnel.source.top_lines", Kind::gauge, "1",
                                            "lines of the last interval, of the names that brought most"};
inline constexpr SelfMetric kSourceConnections{"runnel.source.connections", Kind::gauge, "1",
                                               "connections that are open"};
inline constexpr SelfMetric kSourceClosed{"runnel.source.closed", Kind::total, "1",
                                          "connections that the source closed, by reason"};
inline constexpr SelfMetric kSourceOpaque{"runnel.source.opaque", Kind::total, "1",
                                          "distributions that could not be read, passed on as they came"};
inline constexpr SelfMetric kSourceRepeated{"runnel.source.repeated", Kind::total, "1",
                                            "packets passed on, by target"};
inline constexpr SelfMetric kSourceRepeatDrops{"runnel.source.repeat_drops", Kind::total, "1",
                                               "packets that a target did not take"};
inline constexpr SelfMetric kScriptExit{"runnel.script.exit", Kind::gauge, "1",
                                        "exit code of the last run, 128+n: signal"};
inline constexpr SelfMetric kScriptDuration{"runnel.script.duration", Kind::gauge, "s",
                                            "how long the last run took"};
inline constexpr SelfMetric kScriptSkipped{"runnel.script.skipped", Kind::total, "1",
                                           "runs not started, by reason"};
inline constexpr SelfMetric kInfo{"runnel.info", Kind::gauge, "1",
                                  "1; version and hash of the configuration as tags"};
inline constexpr SelfMetric kProcessCpu{"runnel.process.cpu", Kind::total, "s", "CPU time of the agent"};
inline constexpr SelfMetric kProcessMemory{"runnel.process.memory", Kind::gauge, "By",
                                           "resident memory of the agent"};
}  // namespace self

// One round of answers. Main thread.
class SelfReport {
 public:
  struct Row {
    SelfMetric metric;
    std::vector<std::pair<std::string, std::string>> tags;
    Number value;
    Distribution distribution;  // where the kind is that
  };
  void add(const SelfMetric& metric, std::initializer_list<Tag> tags, Number value);
  void add_distribution(const SelfMetric& metric, std::initializer_list<Tag> tags, Distribution value);
  // A sink's or module's own metric, through the host callback of the plugin ABI.
  void add_foreign(std::string_view name, Kind kind, std::vector<std::pair<std::string, std::string>> tags,
                   double value);
  const std::vector<Row>& rows() const { return rows_; }

  // As samples (totals with `start_ms`), and as Prometheus text exposition format 0.0.4 (dots become underscores).
  void to_batch(Batch& batch, int64_t time_ms, int64_t start_ms) const;
  std::string to_prometheus() const;

 private:
  std::vector<Row> rows_;
  std::deque<std::string> foreign_names_;  // a deque: growing moves no name that a row points at
};

// Counts of things that have a reason. Any thread; drops and refusals are rare, so a lock is cheap enough.
class ReasonCounts {
 public:
  void add(std::string_view reason, uint64_t n = 1);
  std::map<std::string, uint64_t, std::less<>> snapshot() const;
  uint64_t sum() const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, uint64_t, std::less<>> counts_;
};

// What every source counts, in lines (a line, a datagram's record, a sample a collector read).
// Balance, once the source is at rest: received = accepted + bad + dropped. `received` is counted where a line is cut
// off the input, the others where it is judged, so that the balance can show a path that forgets to count.
struct SourceCounts {
  std::atomic<uint64_t> received{0}, accepted{0};
  ReasonCounts bad, dropped;
  void report(SelfReport& report, std::string_view source) const;
};

}  // namespace runnel
