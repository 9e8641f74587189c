// The aggregation of one StatsD shard: lines in, one sample a series and interval out. One thread.
//
// Sums of integers are exact within 64 bits; a sum that overflows or meets a fraction goes on as a compensated double.
// Values with a time stamp, events and service checks are not aggregated: they go straight to direct().
//
// A source with several receivers has a shard each. One of them leads: it alone holds gauges, because their operations do
// not commute (the others hand it those lines: Verdict::forwarded), takes in what the others have counted at each flush
// (take_shard_some, merge_some), and alone emits.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metric/batch.h"
#include "sketch/distribution.h"
#include "sketch/top_names.h"
#include "source/statsd/growth.h"
#include "source/statsd/line_scan.h"
#include "source/statsd/parser.h"
#include "source/statsd/series_key.h"
#include "source/statsd/series_table.h"
#include "source/statsd/shard.h"

namespace runnel::statsd {

enum class CounterForm : uint8_t { delta, total, rate };

struct AggregatorOptions {
  std::vector<double> percentiles{50, 90, 95, 99};
  size_t max_series = 100'000;
  std::string source = "statsd";  // tag `source` of the overflow series
  KeyRules keys;
  CounterForm counters = CounterForm::delta;
  bool absolute_gauges = false;    // `+5|g` sets
  int64_t gauge_ttl_ms = 300'000;  // an idle gauge is emitted for that long after its last line; 0: for ever
  // By Type: an idle series of it is not emitted. Otherwise it goes on as 0 (a gauge: as it was) and is not forgotten.
  std::array<bool, 4> delete_idle{true, false, true, true};
  bool forwards_gauges = false;  // a shard that does not lead
};

class Aggregator {
 public:
  // A series without a line for this long is forgotten, unless delete_idle or gauge_ttl keep it.
  static constexpr int64_t kForgetMs = 600'000;
  static constexpr size_t kMaxDirect = 65'536;  // records that wait in direct()

  explicit Aggregator(AggregatorOptions options);

  // In force at once; while a flush is under way, when it is done: its interval ends as it began. What totals have summed
  // up since their last sample leaves in a last one, where they are to be deltas or rates from now on.
  void set_options(AggregatorOptions options);

  enum class Verdict : uint8_t { accepted, bad, dropped, forwarded };
  struct Judgement {
    Verdict verdict = Verdict::accepted;
    std::string_view reason;  // of bad and dropped; static storage
  };
  // One line, without its line end; empty lines are the caller's to skip.
  Judgement add(std::string_view line);

  // All lines of a payload; empty ones are skipped. `judged` is called for each line that is not accepted.
  using Judged = std::function<void(const Judgement&, std::string_view line)>;
  struct Counts {
    uint64_t received = 0, accepted = 0;  // forwarded lines are in neither: the leader counts them
  };
  Counts add_lines(std::string_view payload, const Judged& judged);

  // Emits what the interval brought. `time_ms` is the end of the interval. In slices: call until it returns true,
  // taking lines in between; lines for cells already emitted belong to the next interval.
  bool flush_some(Batch& out, int64_t time_ms, int64_t interval_ms, size_t cells);
  void flush(Batch& out, int64_t time_ms, int64_t interval_ms);
  // The same without the series that have gone on idle: what is left at an end, a moment after a flush.
  void flush_changed(Batch& out, int64_t time_ms, int64_t interval_ms);

  // The same for a shard that does not lead: what the interval brought goes to `out`, for merge_some of the leader.
  bool take_shard_some(Shard& out, int64_t interval_ms, size_t cells);
  // Takes in `count` series of a shard from `at` on; true when that was all.
  bool merge_some(Shard& shard, size_t& at, size_t count);

  Batch& direct() { return direct_; }
  size_t series() const { return table_.live(); }
  // Lines that went into runnel.overflow for want of room, in all. Of several shards each counts what it folded itself.
  uint64_t folded() const { return folded_; }
  // What fills the table, for the one who has to mend it (growth.h). Looks at some 2,000 series: below a millisecond.
  std::string describe_growth() const;
  // The names that brought most lines in the interval flushed last.
  const TopNames& top() const { return last_top_; }

 private:
  bool add_known(const LineHead& head, std::string_view tags, double rate);
  const char* add_with_fields(const LineHead& head, const char* end);  // the next line, or nullptr
  uint32_t cell_of(const RawKey& raw, Type type, Judgement& judgement);
  uint32_t intern(const RawKey& raw, std::string_view name, std::string_view tags, Type type, uint64_t hash,
                  Judgement& judgement);
  uint32_t new_cell(std::string_view name, std::string_view tags, Type type, bool escaped);
  uint32_t overflow_cell(Type type);
  bool at_limit() const;
  void apply(Cell& cell, Type type, bool milliseconds, double rate, const Value& value);
  void add_to_sum(Cell& cell, Number value, double rate);
  void set_gauge(Cell& cell, const Value& value);
  Remainder& remainder(Cell& cell);
  Judgement add_direct();
  bool walk(int64_t interval_ms, size_t cells, const std::function<void(Cell&)>& emit);
  bool is_emitted(const Cell& cell) const;
  bool is_forgotten(const Cell& cell) const;
  void emit(Cell& cell, Batch& out, int64_t time_ms, int64_t interval_ms);
  void emit_counter(Cell& cell, Sample& sample, Batch& out, int64_t time_ms, int64_t interval_ms);
  void free_values(Cell& cell);
  void rekey();

  AggregatorOptions options_;
  std::optional<AggregatorOptions> next_options_;  // when the flush under way is done
  CounterForm form_;                               // of counters in the interval that is open
  Parser parser_;
  SeriesTable table_;
  std::vector<Remainder> rests_;
  std::vector<DistributionCell> timers_;
  std::vector<SetCell> sets_;
  std::vector<uint32_t> free_rests_, free_timers_, free_sets_;
  std::vector<uint32_t> line_cells_;  // scratch: the cell of each section of a line
  SeriesKey key_;                     // scratch
  KeyScratch key_scratch_;
  std::string origin_tags_;  // scratch
  Batch direct_;
  uint64_t folded_ = 0;
  size_t flush_at_ = 0;  // next cell of a flush under way
  TopNames top_, last_top_;
};

}  // namespace runnel::statsd
