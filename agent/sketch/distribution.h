// Values of a timer or histogram within an interval: exact up to 1,000 values, beyond that a DDSketch with at most 1 %
// relative error (Masson, Rim, Lee: "DDSketch", VLDB 2019). Weighted: a value sampled at rate r counts 1/r times.
// One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "metric/batch.h"

namespace runnel {

// Quantiles of any number of values in at most 2 × kMaxBins counters. Bin i of |x| holds (γ^(i-1), γ^i], γ = 1.01/0.99;
// when a side is full its bins nearest to zero are merged, which costs accuracy only there (17 decades are kept).
class DdSketch {
 public:
  static constexpr double kAccuracy = 0.01;
  static constexpr size_t kMaxBins = 2048;
  void add(double value, double weight);
  void merge(const DdSketch& other);
  double count() const { return zero_ + positive_.total + negative_.total; }
  double at_rank(
      double rank) const;  // the value that `rank` of the total weight lie at or below; 0 < rank ≤ count()

 private:
  struct Side {
    int32_t lowest = 0;  // index of bins[0]
    std::vector<double> bins;
    double total = 0;
    void add(int32_t index, double weight);
  };
  Side positive_, negative_;
  double zero_ = 0;
};

class DistributionCell {
 public:
  static constexpr size_t kExact = 1000;
  void add(double value, double rate);
  bool empty() const { return count_ == 0; }
  // Percentile p is the value at rank ceil(p/100·n) of the values sorted ascending (INTERFACE: exact or within 1 %).
  Distribution result(const std::vector<double>& percentiles);
  void reset();  // keeps a little memory for the next interval
  size_t heap_bytes() const;

 private:
  double percentile(double p);
  std::vector<double> values_;
  std::vector<double> weights_;  // empty while all are 1
  std::unique_ptr<DdSketch> sketch_;
  double count_ = 0, sum_ = 0, sum_error_ = 0;  // Neumaier's compensated sum
  double mean_ = 0, squares_ = 0;               // Welford, weighted (West 1979)
  double min_ = 0, max_ = 0;
};

// Distinct members. Exact up to 2 × kKept, then the kKept smallest hashes estimate the rest (k minimum values, Bar-Yossef
// et al. 2002): standard error 1/√kKept, below 1 %. At most 512 KiB a series, however many members.
class SetCell {
 public:
  static constexpr size_t kKept = 16384;
  void add(uint64_t hash);
  uint64_t distinct() const;
  bool empty() const { return hashes_.empty(); }
  void reset();

 private:
  void prune();
  std::vector<uint64_t> hashes_;  // a table of open addressing; 0 is a free slot
  size_t used_ = 0;
  uint64_t limit_ = UINT64_MAX;  // hashes from here on are not kept
  bool pruned_ = false;
};

}  // namespace runnel
