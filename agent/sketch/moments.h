// Count, sum, mean, deviation and extremes of weighted values; two of them merge. A value type, one thread.
//
// Sums are compensated (Knuth's two-sum). The deviation of one run of values is two-pass; merging follows Chan, Golub,
// LeVeque 1983, written for the deviation instead of its square so that nothing overflows: with finite values every
// result is finite, and only a sum that no double can hold stands at ±DBL_MAX.
#pragma once

#include <cstddef>

namespace runnel {

struct Weighted {
  double value, weight;
};

class Moments {
 public:
  Moments() = default;                                               // of nothing: all 0
  static Moments of(const double* values, size_t n, double weight);  // n > 0; each has the same weight
  static Moments of(const Weighted* values, size_t n);
  void merge(const Moments& other);

  double count() const { return count_; }  // sum of the weights
  double min() const { return min_; }
  double max() const { return max_; }
  double sum() const;
  double mean() const;
  double stddev() const { return deviation_; }  // of the population

 private:
  template <class At>
  static Moments compute(size_t n, At at);

  double count_ = 0;
  double sum_ = 0, sum_error_ = 0;  // not finite once a partial sum was beyond the doubles: then mean × count
  double mean_ = 0, deviation_ = 0;
  double min_ = 0, max_ = 0;
};

}  // namespace runnel
