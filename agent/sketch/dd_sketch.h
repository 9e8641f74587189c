// Quantiles of any number of values with at most kAccuracy relative error (Masson, Rim, Lee: "DDSketch: a fast and
// fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019). One thread. A value type.
//
// Each sign has kMaxBins bins of magnitudes, between them is a counter of zeros. Bin i holds the magnitudes whose
// logarithm, interpolated by a cubic between powers of two, lies in [i, i + 1) bin widths: 1 % more bins than with
// std::log, and 5 ns a value instead of 12 (the "cubically interpolated" mapping of Datadog's sketches).
//
// A side spans at most kMaxBins bins below its largest magnitude, 17 decades; what is nearer to zero is in the lowest of
// them (as in Datadog's collapsing store). Where a magnitude ends up, max(its bin, top bin - kMaxBins + 1), depends on
// the largest value alone and not on the order: merging sketches gives the bins that one sketch of all values has. (To
// the bit while weights are whole; sums of weights such as 1/0.3 round in the order they come.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace runnel {

class DdSketch {
 public:
  static constexpr double kAccuracy = 0.01;
  static constexpr size_t kMaxBins = 2048;

  // Finite values; below the smallest normal double (2.2e-308) they count as 0. weight > 0.
  void add(double value, double weight);
  void add(const double* values, size_t n, double weight);
  void merge(const DdSketch& other);

  double count() const;
  // The value that `rank` of the total weight lie at or below, within kAccuracy; 0 < rank ≤ count().
  double at_rank(double rank) const;
  // (value that stands for the bin, weight) of those that are not empty, ascending.
  std::vector<std::pair<double, double>> bins() const;

  // 8 bytes a bin between the smallest and the largest magnitude of a sign, in steps of kStep bins: a factor of 10 is
  // 116 bins, under 1 KiB; never more than 33 KiB.
  size_t heap_bytes() const {
    return (positive_.counts.capacity() + negative_.counts.capacity()) * sizeof(double);
  }

 private:
  static constexpr int32_t kStep = 16;
  struct Side {
    std::vector<double> counts;  // of the bins from `first` on
    int32_t first = 0;           // a multiple of kStep
    int32_t top = -1;            // largest bin in use; bins are ≥ 0
    int32_t floor() const {
      return top - static_cast<int32_t>(kMaxBins) + 1;
    }  // bins below are merged into it
    void add(int32_t bin, double weight);
    int32_t make_room(int32_t bin);
    void span(int32_t low, int32_t high);
  };
  void add_one(double value, double weight);

  Side positive_, negative_;
  double zero_ = 0;
};

}  // namespace runnel
