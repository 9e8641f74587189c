#include "sketch/dd_sketch.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <utility>

namespace runnel {
namespace {

// log2(1 + s) for 0 ≤ s ≤ 1 as ((A·s + B)·s + C)·s: 0 and 1 at the ends. Its slope against ln(1 + s),
// (3A·s² + 2B·s + C)·(1 + s), is least at s = 0: C.
constexpr double kA = 6.0 / 35, kB = -3.0 / 5, kC = 10.0 / 7;

// ln γ = ln((1 + a) / (1 - a)) = 2·atanh(a) = 2(a + a³/3 + a⁵/5 + …). A part in a million of the accuracy pays for
// what the rounding of bin_of may move a value across the edge of its bin.
constexpr double kBinAccuracy = DdSketch::kAccuracy * (1 - 1e-6);
constexpr double kSquare = kBinAccuracy * kBinAccuracy;
constexpr double kLogGamma = 2 * kBinAccuracy * (1 + kSquare / 3 + kSquare * kSquare / 5);
// Bins in a power of two: no bin is wider than ln γ, even where the slope is least.
constexpr double kBinsPerOctave = 1 / (kC * kLogGamma);

// Of a normal magnitude: 35 … 71,660, since the exponent is taken as it is stored, 1 … 2046.
int32_t bin_of(double magnitude) {
  auto bits = std::bit_cast<uint64_t>(magnitude);
  auto exponent = static_cast<double>(static_cast<int32_t>(bits >> 52));
  double s = std::bit_cast<double>((bits & 0xFFFFFFFFFFFFFull) | 0x3FF0000000000000ull) - 1;
  return static_cast<int32_t>((exponent + ((kA * s + kB) * s + kC) * s) * kBinsPerOctave);
}

// The lower edge of a bin: the inverse of bin_of.
double edge(int32_t bin) {
  double octaves = bin / kBinsPerOctave;
  double exponent = std::floor(octaves), part = octaves - exponent;
  double s = part;
  for (int i = 0; i < 6; i++)  // Newton; the cubic is near the diagonal, 4 rounds reach the last bit
    s -= (((kA * s + kB) * s + kC) * s - part) / ((3 * kA * s + 2 * kB) * s + kC);
  return std::clamp(std::ldexp(1 + s, static_cast<int>(exponent) - 1023), DBL_MIN, DBL_MAX);
}

// The harmonic mean of the edges is as far, relatively, from the one as from the other.
double value_of(int32_t bin) {
  double low = edge(bin), high = edge(bin + 1);
  return std::min(low * (2 / (1 + low / high)), DBL_MAX);
}

}  // namespace

// Room for bins low … high, both ≥ floor(); what lies below floor() moves into it.
void DdSketch::Side::span(int32_t low, int32_t high) {
  int32_t begin = low & ~(kStep - 1), end = (high | (kStep - 1)) + 1;
  std::vector<double> wider(static_cast<size_t>(end - begin));
  for (size_t i = 0; i < counts.size(); i++)
    if (counts[i] > 0)
      wider[static_cast<size_t>(std::max(first + static_cast<int32_t>(i), floor()) - begin)] += counts[i];
  counts = std::move(wider);
  first = begin;
}

// Where a bin outside of the window, above the top or below the floor, is to be counted.
int32_t DdSketch::Side::make_room(int32_t bin) {
  int32_t end = first + static_cast<int32_t>(counts.size());
  if (bin > top) {
    top = bin;
    if (bin >= end) {
      span(counts.empty() ? bin : std::max(first, floor()), bin);
    } else {
      for (int32_t low = first; low < floor(); low++)  // fewer than 2 × kStep
        counts[static_cast<size_t>(floor() - first)] +=
            std::exchange(counts[static_cast<size_t>(low - first)], 0);
    }
  } else {
    bin = std::max(bin, floor());
    if (bin < first) span(bin, top);
  }
  return bin;
}

inline void DdSketch::Side::add(int32_t bin, double weight) {
  if (bin > top || bin < first || bin < floor()) bin = make_room(bin);
  counts[static_cast<size_t>(bin - first)] += weight;
}

inline void DdSketch::add_one(double value, double weight) {
  double magnitude = std::fabs(value);
  if (magnitude < DBL_MIN) {
    zero_ += weight;
  } else {
    (value > 0 ? positive_ : negative_).add(bin_of(magnitude), weight);
  }
}

void DdSketch::add(double value, double weight) {
  add_one(value, weight);
}

void DdSketch::add(const double* values, size_t n, double weight) {
  for (size_t i = 0; i < n; i++) add_one(values[i], weight);
}

void DdSketch::merge(const DdSketch& other) {
  zero_ += other.zero_;
  for (auto [to, from] : {std::pair{&positive_, &other.positive_}, std::pair{&negative_, &other.negative_}})
    for (size_t i = from->counts.size(); i-- > 0;)  // the top first: it settles how far down there is room
      if (from->counts[i] > 0) to->add(from->first + static_cast<int32_t>(i), from->counts[i]);
}

double DdSketch::count() const {
  double sum = zero_;
  for (const Side* side : {&negative_, &positive_})
    for (double weight : side->counts) sum += weight;
  return sum;
}

double DdSketch::at_rank(double rank) const {
  double seen = 0, last = 0;
  for (size_t i = negative_.counts.size(); i-- > 0;) {
    if (negative_.counts[i] == 0) continue;
    seen += negative_.counts[i];
    last = -value_of(negative_.first + static_cast<int32_t>(i));
    if (seen >= rank) return last;
  }
  seen += zero_;
  if (zero_ > 0) last = 0;
  if (zero_ > 0 && seen >= rank) return 0;
  for (size_t i = 0; i < positive_.counts.size(); i++) {
    if (positive_.counts[i] == 0) continue;
    seen += positive_.counts[i];
    if (seen >= rank) return value_of(positive_.first + static_cast<int32_t>(i));
  }
  return positive_.top < 0 ? last : value_of(positive_.top);
}

std::vector<std::pair<double, double>> DdSketch::bins() const {
  std::vector<std::pair<double, double>> all;
  for (size_t i = negative_.counts.size(); i-- > 0;)
    if (double weight = negative_.counts[i]; weight > 0)
      all.emplace_back(-value_of(negative_.first + static_cast<int32_t>(i)), weight);
  if (zero_ > 0) all.emplace_back(0, zero_);
  for (size_t i = 0; i < positive_.counts.size(); i++)
    if (double weight = positive_.counts[i]; weight > 0)
      all.emplace_back(value_of(positive_.first + static_cast<int32_t>(i)), weight);
  return all;
}

}  // namespace runnel
