#include "sketch/moments.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace runnel {
namespace {

// Within these, squares times weights (at most 1e18 each) neither overflow nor vanish, and no scaling is needed.
constexpr double kLarge = 1e120, kSmall = 1e-120;

// Two-sum (Knuth): `error` collects what the rounding of sum + term loses, without a branch.
inline void compensated(double& sum, double& error, double term) {
  double t = sum + term, part = t - sum;
  error += (sum - (t - part)) + (term - part);
  sum = t;
}

}  // namespace

template <class At>
Moments Moments::compute(size_t n, At at) {
  // Locals: in registers, which members would not be.
  double min = at(0).value, max = min, count = 0, sum = 0, error = 0, squares = 0;
  for (size_t i = 0; i < n; i++) {
    auto [value, weight] = at(i);
    min = value < min ? value : min;
    max = value > max ? value : max;
    count += weight;
    compensated(sum, error, value * weight);
  }
  Moments m;
  m.min_ = min;
  m.max_ = max;
  m.count_ = count;
  m.sum_ = sum;
  m.sum_error_ = error;
  double largest = std::max(std::fabs(min), std::fabs(max)), range = max - min;
  if (range == 0) {
    m.mean_ = min;
  } else if (largest < kLarge && range > kSmall) {
    double mean = (sum + error) / count;
    for (size_t i = 0; i < n; i++) {
      double delta = at(i).value - mean;
      squares += at(i).weight * delta * delta;
    }
    m.mean_ = mean;
    m.deviation_ = std::sqrt(squares / count);
  } else {
    // At the edges of the doubles: all of it as parts of a power of two above the largest.
    int exponent = std::ilogb(largest) + 1;
    sum = error = 0;
    for (size_t i = 0; i < n; i++) compensated(sum, error, std::ldexp(at(i).value, -exponent) * at(i).weight);
    double mean = (sum + error) / count;
    for (size_t i = 0; i < n; i++) {
      double delta = std::ldexp(at(i).value, -exponent) - mean;
      squares += at(i).weight * delta * delta;
    }
    m.mean_ = std::ldexp(mean, exponent);
    m.deviation_ = std::min(std::ldexp(std::sqrt(squares / count), exponent), DBL_MAX);
  }
  m.mean_ = std::clamp(m.mean_, min, max);
  return m;
}

Moments Moments::of(const double* values, size_t n, double weight) {
  Moments m = compute(n, [values](size_t i) { return Weighted{values[i], 1}; });
  m.count_ *= weight;
  m.sum_ *= weight;
  m.sum_error_ *= weight;
  return m;
}

Moments Moments::of(const Weighted* values, size_t n) {
  return compute(n, [values](size_t i) { return values[i]; });
}

void Moments::merge(const Moments& other) {
  if (other.count_ == 0) return;
  if (count_ == 0) {
    *this = other;
    return;
  }
  double count = count_ + other.count_, mine = count_ / count, theirs = other.count_ / count;
  // σ² = a·σa² + b·σb² + a·b·(μb - μa)², a + b = 1. √(a·b) ≤ 1/2, so the difference cannot overflow.
  double apart = std::sqrt(mine) * std::sqrt(theirs);
  double between = other.mean_ * apart - mean_ * apart;
  double within = std::hypot(deviation_ * std::sqrt(mine), other.deviation_ * std::sqrt(theirs));
  deviation_ = std::min(std::hypot(within, between), DBL_MAX);
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  mean_ = std::clamp(mean_ * mine + other.mean_ * theirs, min_, max_);
  compensated(sum_, sum_error_, other.sum_);
  sum_error_ += other.sum_error_;
  count_ = count;
}

double Moments::sum() const {
  double sum = sum_ + sum_error_;
  return std::isfinite(sum) ? sum : std::clamp(mean_ * count_, -DBL_MAX, DBL_MAX);
}

double Moments::mean() const {
  double sum = sum_ + sum_error_;
  return count_ > 0 && std::isfinite(sum) ? std::clamp(sum / count_, min_, max_) : mean_;
}

}  // namespace runnel
