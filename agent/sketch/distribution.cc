#include "sketch/distribution.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <numeric>

namespace runnel {
namespace {

const double kLogGamma = std::log((1 + DdSketch::kAccuracy) / (1 - DdSketch::kAccuracy));

int32_t bin_of(double magnitude) {
  return static_cast<int32_t>(std::ceil(std::log(magnitude) / kLogGamma));
}

// The point of the bin (γ^(i-1), γ^i] that is within kAccuracy of both ends.
double bin_value(int32_t index) {
  return std::exp(kLogGamma * (index - 1)) * (1 + DdSketch::kAccuracy);
}

}  // namespace

void DdSketch::Side::add(int32_t index, double weight) {
  total += weight;
  if (bins.empty()) lowest = index;
  if (index < lowest) {
    size_t more = static_cast<size_t>(lowest - index);
    if (bins.size() + more > kMaxBins) {
      // No room below: what is smaller joins the smallest bin that fits.
      more = kMaxBins - bins.size();
    }
    bins.insert(bins.begin(), more, 0.0);
    lowest -= static_cast<int32_t>(more);
    index = std::max(index, lowest);
  }
  size_t at = static_cast<size_t>(index - lowest);
  if (at >= bins.size()) {
    if (at >= kMaxBins) {
      // Room above is made by merging the bins nearest to zero.
      size_t shift = std::min(at - kMaxBins + 1, bins.size());
      double merged = std::accumulate(bins.begin(), bins.begin() + static_cast<std::ptrdiff_t>(shift), 0.0);
      bins.erase(bins.begin(), bins.begin() + static_cast<std::ptrdiff_t>(shift));
      lowest = index - static_cast<int32_t>(kMaxBins) + 1;
      at = kMaxBins - 1;
      bins.resize(kMaxBins, 0.0);
      // What was kept stands at the same distance from the new lowest as before; a gap only where all was merged.
      bins[0] += merged;
    } else {
      bins.resize(at + 1, 0.0);
    }
  }
  bins[at] += weight;
}

void DdSketch::add(double value, double weight) {
  // Below the smallest normal double there is nothing worth a bin.
  if (std::fabs(value) < 2.3e-308) {
    zero_ += weight;
  } else if (value > 0) {
    positive_.add(bin_of(value), weight);
  } else {
    negative_.add(bin_of(-value), weight);
  }
}

void DdSketch::merge(const DdSketch& other) {
  zero_ += other.zero_;
  for (auto [to, from] : {std::pair{&positive_, &other.positive_}, std::pair{&negative_, &other.negative_}})
    for (size_t i = 0; i < from->bins.size(); i++)
      if (from->bins[i] > 0) to->add(from->lowest + static_cast<int32_t>(i), from->bins[i]);
}

double DdSketch::at_rank(double rank) const {
  double seen = 0;
  for (size_t i = negative_.bins.size(); i-- > 0;) {
    seen += negative_.bins[i];
    if (negative_.bins[i] > 0 && seen >= rank) return -bin_value(negative_.lowest + static_cast<int32_t>(i));
  }
  seen += zero_;
  if (zero_ > 0 && seen >= rank) return 0;
  double last = 0;
  for (size_t i = 0; i < positive_.bins.size(); i++) {
    if (positive_.bins[i] == 0) continue;
    seen += positive_.bins[i];
    last = bin_value(positive_.lowest + static_cast<int32_t>(i));
    if (seen >= rank) break;
  }
  return last;
}

void DistributionCell::add(double value, double rate) {
  double weight = 1 / rate;
  if (count_ == 0) min_ = max_ = value;
  min_ = std::min(min_, value);
  max_ = std::max(max_, value);
  count_ += weight;
  double term = value * weight, t = sum_ + term;
  if (std::isfinite(t)) {
    sum_error_ += std::fabs(sum_) >= std::fabs(term) ? (sum_ - t) + term : (term - t) + sum_;
    sum_ = t;
  } else {
    sum_ = term > 0 ? DBL_MAX : -DBL_MAX;  // beyond the range of doubles: at its edge, not infinite
    sum_error_ = 0;
  }
  double delta = value - mean_;
  double squares = squares_ + weight * delta * (value - (mean_ + delta * weight / count_));
  mean_ += delta * weight / count_;
  squares_ = std::isfinite(squares) ? squares : DBL_MAX;

  if (!sketch_ && values_.size() == kExact) {
    sketch_ = std::make_unique<DdSketch>();
    for (size_t i = 0; i < values_.size(); i++) sketch_->add(values_[i], weights_.empty() ? 1 : weights_[i]);
    values_ = {};
    weights_ = {};
  }
  if (sketch_) {
    sketch_->add(value, weight);
    return;
  }
  if (weights_.empty() && weight != 1) weights_.assign(values_.size(), 1.0);
  values_.push_back(value);
  if (!weights_.empty() || weight != 1) weights_.push_back(weight);
}

double DistributionCell::percentile(double p) {
  // 95/100·20 is 19.000000000000004 in doubles: shave what is no more than rounding.
  double rank = p / 100 * count_ * (1 - 1e-12);
  if (sketch_) return std::clamp(sketch_->at_rank(std::max(std::ceil(rank), 1.0)), min_, max_);
  if (weights_.empty()) {
    auto n = static_cast<double>(values_.size());
    double at = std::clamp(std::ceil(rank), 1.0, n);
    return values_[static_cast<size_t>(at) - 1];
  }
  double seen = 0;
  for (size_t i = 0; i < values_.size(); i++) {
    seen += weights_[i];
    if (seen >= rank) return values_[i];
  }
  return max_;
}

Distribution DistributionCell::result(const std::vector<double>& percentiles) {
  if (weights_.empty()) {
    std::sort(values_.begin(), values_.end());
  } else {
    std::vector<std::pair<double, double>> both;
    for (size_t i = 0; i < values_.size(); i++) both.emplace_back(values_[i], weights_[i]);
    std::sort(both.begin(), both.end());
    for (size_t i = 0; i < both.size(); i++) values_[i] = both[i].first, weights_[i] = both[i].second;
  }
  Distribution d;
  d.count = count_;
  d.sum = sum_ + sum_error_;
  d.min = min_;
  d.max = max_;
  d.mean = count_ > 0 ? d.sum / count_ : 0;
  d.stddev = count_ > 0 ? std::sqrt(std::max(0.0, squares_ / count_)) : 0;
  for (double p : percentiles) d.percentiles.emplace_back(p, percentile(p));
  return d;
}

void DistributionCell::reset() {
  if (values_.capacity() > 64) values_ = {};
  values_.clear();
  weights_ = {};
  sketch_.reset();
  count_ = sum_ = sum_error_ = mean_ = squares_ = min_ = max_ = 0;
}

size_t DistributionCell::heap_bytes() const {
  return (values_.capacity() + weights_.capacity()) * sizeof(double) + (sketch_ ? sizeof(DdSketch) : 0);
}

void SetCell::add(uint64_t hash) {
  if (hash == 0) hash = 1;
  if (hash >= limit_) return;
  if ((used_ + 1) * 2 > hashes_.size()) {
    std::vector<uint64_t> old(hashes_.empty() ? 8 : hashes_.size() * 2);
    old.swap(hashes_);
    size_t mask = hashes_.size() - 1;
    for (uint64_t h : old) {
      if (h == 0) continue;
      size_t i = h & mask;
      while (hashes_[i] != 0) i = (i + 1) & mask;
      hashes_[i] = h;
    }
  }
  size_t mask = hashes_.size() - 1;
  size_t i = hash & mask;
  for (; hashes_[i] != 0; i = (i + 1) & mask)
    if (hashes_[i] == hash) return;
  hashes_[i] = hash;
  used_++;
  if (used_ > 2 * kKept) prune();
}

void SetCell::prune() {
  std::vector<uint64_t> all;
  for (uint64_t h : hashes_)
    if (h != 0) all.push_back(h);
  std::nth_element(all.begin(), all.begin() + kKept, all.end());
  limit_ = all[kKept];
  pruned_ = true;
  all.resize(kKept);
  std::fill(hashes_.begin(), hashes_.end(), 0);
  used_ = 0;
  for (uint64_t h : all) add(h);
}

uint64_t SetCell::distinct() const {
  if (!pruned_) return used_;
  // `used_` of the hashes lie below limit_, a fraction limit_/2⁶⁴ of the whole range.
  return static_cast<uint64_t>(
      std::llround(static_cast<double>(used_) * 18446744073709551616.0 / static_cast<double>(limit_)));
}

void SetCell::reset() {
  if (hashes_.size() > 64) hashes_ = {};
  std::fill(hashes_.begin(), hashes_.end(), 0);
  used_ = 0;
  limit_ = UINT64_MAX;
  pruned_ = false;
}

}  // namespace runnel
