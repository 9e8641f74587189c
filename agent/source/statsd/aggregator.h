// The aggregation table of one StatsD receiver (a shard): lines in, one sample a series and interval out. One thread.
//
// A series stays interned between intervals: a line costs a hash of its raw name and tags, a probe and an addition.
// Two spellings of one series (tags in another order) are two keys of one cell; the sorted spelling is always a key. Sums of integers are
// exact within 64 bits; a sum that overflows or meets a fraction goes on as a compensated double.
// Untouched counters, timers and sets are not emitted; a gauge keeps its last value and is emitted for kGaugeTtl after
// its last line. Any series without a line for kForget is forgotten.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "metric/batch.h"
#include "sketch/distribution.h"
#include "source/statsd/parser.h"

namespace runnel::statsd {

struct AggregatorOptions {
  std::vector<double> percentiles{50, 90, 95, 99};
  size_t max_series = 100'000;
  std::string source = "statsd";  // tag `source` of the overflow series
};

class Aggregator {
 public:
  static constexpr int64_t kGaugeTtlMs = 300'000;
  static constexpr int64_t kForgetMs = 600'000;

  explicit Aggregator(AggregatorOptions options);

  void set_options(AggregatorOptions options) { options_ = std::move(options); }

  enum class Verdict { accepted, bad, dropped };
  struct Judgement {
    Verdict verdict = Verdict::accepted;
    std::string_view reason;  // unless accepted; static storage
  };
  // One line, without its line end; empty lines are the caller's to skip.
  Judgement add(std::string_view line);

  // Emits what the interval brought. `time_ms` is the end of the interval. In slices: call until it returns true,
  // taking lines in between; lines for cells already emitted belong to the next interval.
  bool flush_some(Batch& out, int64_t time_ms, int64_t interval_ms, size_t cells);
  void flush(Batch& out, int64_t time_ms, int64_t interval_ms);

  size_t series() const { return cells_.size(); }

 private:
  struct Key {  // a raw spelling
    uint64_t hash = 0;
    uint32_t offset = 0;  // in keys_: name, then tags
    uint16_t name_size = 0, tags_size = 0;
    uint32_t cell = 0;
  };
  struct Cell {
    uint32_t series = 0;  // offset in series_: u16 host size, host, then the bytes of the series
    uint32_t value = 0;   // index in the vector of its type
    Type type = Type::counter;
    bool milliseconds = false, touched = false;
    uint32_t idle_ms = 0;  // since the last line, counted at flushes
  };
  struct Sum {
    int64_t whole = 0;
    double part = 0, error = 0;
    bool exact = true;
    void add(Number value, double rate);
    Number value() const;
  };
  static constexpr uint32_t kNone = UINT32_MAX;

  uint32_t lookup(uint64_t hash, std::string_view name, std::string_view tags, Type type) const;
  uint32_t cell_of(std::string_view name, std::string_view tags, Type type, Judgement& judgement);
  uint32_t intern(std::string_view name, std::string_view tags, Type type, uint64_t hash,
                  Judgement& judgement);
  uint32_t new_cell(std::string_view name, const std::vector<Tag>& tags, Type type);
  uint32_t overflow_cell(Type type);
  void insert_key(uint64_t hash, std::string_view name, std::string_view tags, uint32_t cell);
  void place(uint32_t key);
  void apply(Cell& cell, const Section& section, const Value* values);
  void emit(Cell& cell, Batch& out, int64_t time_ms, int64_t interval_ms);
  void forget_idle();

  AggregatorOptions options_;
  Parser parser_;
  std::vector<uint32_t> slots_;  // index in key_table_ + 1; 0 is free; size is a power of two
  std::vector<Key> key_table_;
  std::string keys_, series_;
  std::vector<Cell> cells_;
  std::vector<Sum> sums_;
  std::vector<Number> gauges_;
  std::vector<DistributionCell> timers_;
  std::vector<SetCell> sets_;
  uint32_t overflow_[4] = {kNone, kNone, kNone, kNone};
  std::vector<uint32_t> line_cells_;  // scratch: the cell of each section of a line
  size_t flush_at_ = 0;               // next cell of a flush under way
  size_t idle_cells_ = 0;             // seen by this flush to be idle for kForgetMs
};

}  // namespace runnel::statsd
