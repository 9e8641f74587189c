#include "source/ffwd/digest.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "sketch/moments.h"

namespace runnel::ffwd {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kMaxWeight = 9'007'199'254'740'992;  // 2^53: beyond it no count is exact
constexpr uint32_t kVerbose = 1, kSmall = 2;
constexpr size_t kHead = 32;          // of all forms but the smallest
constexpr size_t kMergingSmall = 30;  // bytes before its centroids

class Bytes {
 public:
  explicit Bytes(std::string_view bytes) : bytes_(bytes) {}
  size_t left() const { return bytes_.size(); }
  uint64_t integer(size_t size) {  // 0 where they are not there
    uint64_t value = 0;
    if (size > bytes_.size()) size = bytes_.size(), short_ = true;
    for (size_t i = 0; i < size; i++) value = value << 8 | static_cast<unsigned char>(bytes_[i]);
    bytes_.remove_prefix(size);
    return short_ ? 0 : value;
  }
  double f64() { return std::bit_cast<double>(integer(8)); }
  double f32() { return static_cast<double>(std::bit_cast<float>(static_cast<uint32_t>(integer(4)))); }
  bool done() const { return !short_ && bytes_.empty(); }  // all of it was read and nothing was missing

 private:
  std::string_view bytes_;
  bool short_ = false;
};

struct Digest {
  double min = 0, max = 0, compression = 0;
  double slack = 0;  // by what a mean may be beyond min, max and the mean before, because it was rounded
  std::vector<Weighted> centroids;
};

// At most five bytes, as the library reads them; 0, which is no weight, where it is none.
double varint(Bytes& in) {
  uint64_t value = 0;
  for (int shift = 0; shift < 35; shift += 7) {
    uint64_t byte = in.integer(1);
    value |= (byte & 127) << shift;
    if (byte < 128) return value > INT32_MAX ? 0 : static_cast<double>(value);
  }
  return 0;
}

bool read_verbose(Bytes& in, Digest& d) {
  d.compression = in.f64();
  uint64_t n = in.integer(4);
  bool merging = in.left() == n * 16, tree = in.left() == n * 12;
  if (!merging && !tree) return false;
  d.centroids.resize(n);
  if (merging) {
    for (Weighted& c : d.centroids) {
      c.weight = in.f64();
      c.value = in.f64();
    }
    return true;
  }
  for (Weighted& c : d.centroids) c.value = in.f64();
  for (Weighted& c : d.centroids) c.weight = static_cast<int32_t>(in.integer(4));
  return true;
}

bool read_merging_small(Bytes& in, Digest& d) {
  d.compression = in.f32();
  auto room = static_cast<int16_t>(in.integer(2)), buffer = static_cast<int16_t>(in.integer(2));
  auto n = static_cast<int16_t>(in.integer(2));
  if (n < 0 || n > room || buffer < 0 || in.left() != static_cast<size_t>(n) * 8) return false;
  d.centroids.resize(static_cast<size_t>(n));
  for (Weighted& c : d.centroids) {
    c.weight = in.f32();
    c.value = in.f32();
  }
  // A float is within 2^-24 of what was rounded to it, or within half of the smallest one.
  d.slack = std::max(std::fabs(d.min), std::fabs(d.max)) * 0x1p-24 + 0x1p-150;
  return true;
}

bool read_tree_small(Bytes& in, Digest& d) {
  d.compression = in.f64();
  uint64_t n = in.integer(4);
  if (in.left() < n * 5) return false;
  d.centroids.resize(n);
  double mean = 0, way = 0;
  for (Weighted& c : d.centroids) {
    double step = in.f32();
    way += std::fabs(step);
    c.value = mean += step;
  }
  d.slack = way * 0x1p-23;  // each step is rounded by at most 2^-24 of it, and adding them up costs far less
  for (Weighted& c : d.centroids) c.weight = varint(in);
  return true;
}

bool read(std::string_view bytes, Digest& d) {
  if (bytes.size() < kMergingSmall) return false;
  Bytes in(bytes);
  uint64_t form = in.integer(4);
  d.min = in.f64();
  d.max = in.f64();
  bool good = false;
  if (form == kVerbose && bytes.size() >= kHead) {
    good = read_verbose(in, d);
  } else if (form == kSmall) {
    Bytes again = in;
    good = read_merging_small(in, d);
    if (!good && bytes.size() >= kHead) {
      d = {d.min, d.max, 0, 0, {}};
      in = again;
      good = read_tree_small(in, d);
    }
  }
  return good && in.done();
}

bool valid(Digest& d) {
  if (!(d.compression > 0) || !std::isfinite(d.compression)) return false;
  if (d.centroids.empty()) return d.min == kInfinity && d.max == -kInfinity;  // as the library starts them
  if (!std::isfinite(d.min) || !std::isfinite(d.max) || d.min > d.max) return false;
  if (d.centroids.size() == 1 && d.centroids[0].weight == 1 && d.min != d.max) return false;  // one value
  // The library's averages drift by a bit of the last place with each value: of 5,000 times 0.1 its tree has centroids at
  // 0.10000000000000002, 0.1 and 0.09999999999999999, in that order.
  d.slack += std::max(std::fabs(d.min), std::fabs(d.max)) * 0x1p-40;
  double last = d.min;
  for (Weighted& c : d.centroids) {
    if (!(c.weight >= 1) || c.weight > kMaxWeight || c.weight != std::trunc(c.weight)) return false;
    if (!std::isfinite(c.value) || c.value < last - d.slack || c.value > d.max + d.slack) return false;
    last = c.value = std::clamp(c.value, last, d.max);
  }
  return true;
}

// The value of rank 1 to `count`. A centroid's mean is the value in the middle of its ranks, and between two of them it grows
// evenly, as the library has it; where each is a single value that is the value itself. The first rank is min, the last max.
double at_rank(const Digest& d, double count, double rank) {
  if (rank <= 1) return d.min;
  if (rank >= count) return d.max;
  double at = rank - 0.5, before = 0, left_at = 0.5, left = d.min;
  auto between = [&](double right_at, double right) {
    double share = right_at > left_at ? (at - left_at) / (right_at - left_at) : 1;
    // lerp never descends, a sum of products may.
    return std::clamp(std::lerp(left, right, share), left, right);
  };
  for (const Weighted& c : d.centroids) {
    double middle = before + c.weight / 2;
    if (at <= middle) return between(middle, c.value);
    before += c.weight;
    left_at = middle;
    left = c.value;
  }
  return between(count - 0.5, d.max);
}

}  // namespace

std::optional<Distribution> read_digest(std::string_view bytes, const std::vector<double>& percentiles) {
  Digest d;
  if (!read(bytes, d) || !valid(d)) return std::nullopt;
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  if (d.centroids.empty()) return Distribution{0, 0, kNone, kNone, kNone, kNone, {}};
  Moments moments = Moments::of(d.centroids.data(), d.centroids.size());
  Distribution out{moments.count(), moments.sum(), d.min, d.max, moments.mean(), moments.stddev(), {}};
  out.percentiles.reserve(percentiles.size());
  for (double p : percentiles)
    out.percentiles.emplace_back(p, at_rank(d, out.count, std::ceil(p / 100 * out.count)));
  return out;
}

}  // namespace runnel::ffwd
