#include "sketch/distribution.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>
#include <type_traits>
#include <utility>

#include "sketch/moments.h"

namespace runnel {
namespace {

// Of a count only 64 bits mean anything; with this bound no sum of weights leaves the doubles.
constexpr double kMaxWeight = 1e18;

// 5, 11, 23, 47, 71, 107 …: odd numbers of doubles, which fill the blocks of glibc's malloc (16·k - 8 bytes) wholly.
size_t next_capacity(size_t capacity) {
  if (capacity == 0) return 5;
  return capacity < 32 ? 2 * capacity + 1 : (capacity + capacity / 2) | 1;
}

}  // namespace

struct DistributionCell::State {
  double buffer[kBuffer];  // first, so that values_ points at the State as well
  double weight = 1;       // of each value in the buffer: a client keeps its rate
  DdSketch sketch;
  Moments moments;
};

DistributionCell::State& DistributionCell::state() const {
  static_assert(std::is_standard_layout_v<State>);
  return *reinterpret_cast<State*>(values_);
}

Weighted* DistributionCell::weighted() const {
  return reinterpret_cast<Weighted*>(values_);
}

void DistributionCell::swap(DistributionCell& other) noexcept {
  std::swap(values_, other.values_);
  std::swap(size_, other.size_);
  std::swap(room_, other.room_);
  std::swap(capacity_, other.capacity_);
  std::swap(form_, other.form_);
}

double DistributionCell::weight_of(double rate) {
  return std::min(1 / rate, kMaxWeight);
}

void DistributionCell::resize(size_t capacity) {
  void* wider = std::realloc(values_, capacity * sizeof(double));
  if (!wider) throw std::bad_alloc();
  values_ = static_cast<double*>(wider);
  capacity_ = static_cast<uint16_t>(capacity);
  if (form_ == Form::plain) room_ = capacity_;
}

void DistributionCell::to_weighted() {
  form_ = Form::weighted;
  room_ = 0;
  if (size_ * 2u > capacity_) resize(size_ * 2u + 1);
  for (size_t i = size_; i-- > 0;) weighted()[i] = {values_[i], 1};
  size_ *= 2;
}

// Moves what stands in the array or buffer of this cell into `state`, its own or another's. The weights of an array
// stand beside the values.
void DistributionCell::take(State& state) {
  if (size_ == 0) return;
  if (form_ == Form::weighted) {
    state.moments.merge(Moments::of(weighted(), values()));
    for (size_t i = 0; i < values(); i++) state.sketch.add(weighted()[i].value, weighted()[i].weight);
  } else {
    double weight = form_ == Form::sketch ? this->state().weight : 1;
    state.moments.merge(Moments::of(values_, size_, weight));
    state.sketch.add(values_, size_, weight);
  }
  size_ = 0;
}

DistributionCell::State& DistributionCell::to_sketch() {
  if (form_ == Form::sketch) return state();
  auto* fresh = new State;
  take(*fresh);
  release();
  values_ = fresh->buffer;
  room_ = capacity_ = kBuffer;
  form_ = Form::sketch;
  return *fresh;
}

void DistributionCell::add_weighted(double value, double weight) {
  if (form_ != Form::sketch) {
    if (values() < kExact) return append(value, weight);
    to_sketch();
  }
  State& state = this->state();
  if (size_ == kBuffer || weight != state.weight) {
    take(state);
    state.weight = weight;
    room_ = weight == 1 ? kBuffer : 0;
  }
  values_[size_++] = value;
}

// To the array, which has fewer than kExact values.
void DistributionCell::append(double value, double weight) {
  if (form_ == Form::plain && weight != 1) to_weighted();
  size_t more = form_ == Form::weighted ? 2 : 1;
  if (size_ + more > capacity_) resize(std::min(next_capacity(capacity_), more * kExact));
  values_[size_++] = value;
  if (form_ == Form::weighted) values_[size_++] = weight;
}

double DistributionCell::percentile(double p, double count) const {
  // 95/100·20 is 19.000000000000004 in doubles: shave what is no more than rounding.
  double rank = p / 100 * count * (1 - 1e-12);
  if (form_ == Form::sketch) {
    State& s = state();
    return std::clamp(s.sketch.at_rank(std::max(std::ceil(rank), 1.0)), s.moments.min(), s.moments.max());
  }
  if (form_ == Form::plain) {
    double at = std::clamp(std::ceil(rank), 1.0, static_cast<double>(size_));
    return values_[static_cast<size_t>(at) - 1];
  }
  double seen = 0;
  for (size_t i = 0; i < values(); i++) {
    seen += weighted()[i].weight;
    if (seen >= rank) return weighted()[i].value;
  }
  return weighted()[values() - 1].value;
}

Distribution DistributionCell::result(const std::vector<double>& percentiles) {
  Distribution d;
  if (empty()) return d;
  Moments moments;
  if (form_ == Form::sketch) {
    take(state());
    moments = state().moments;
  } else if (form_ == Form::weighted) {
    std::sort(weighted(), weighted() + values(), [](Weighted a, Weighted b) { return a.value < b.value; });
    moments = Moments::of(weighted(), values());
  } else {
    std::sort(values_, values_ + size_);
    moments = Moments::of(values_, size_, 1);
  }
  d.count = moments.count();
  d.sum = moments.sum();
  d.min = moments.min();
  d.max = moments.max();
  d.mean = moments.mean();
  d.stddev = moments.stddev();
  d.percentiles.reserve(percentiles.size());
  for (double p : percentiles) d.percentiles.emplace_back(p, percentile(p, d.count));
  return d;
}

void DistributionCell::reset() {
  if (form_ == Form::sketch || capacity_ > kKept) return release();
  size_ = 0;
  room_ = capacity_;
  form_ = Form::plain;
}

void DistributionCell::release() {
  if (form_ == Form::sketch) {
    delete &state();
  } else {
    std::free(values_);
  }
  values_ = nullptr;
  size_ = room_ = capacity_ = 0;
  form_ = Form::plain;
}

void DistributionCell::merge(DistributionCell&& other) {
  if (other.empty()) return;
  if (empty()) {
    swap(other);
  } else if (form_ != Form::sketch && other.form_ != Form::sketch && values() + other.values() <= kExact) {
    for (size_t i = 0; i < other.values(); i++) {
      if (other.form_ == Form::weighted) {
        add_weighted(other.weighted()[i].value, other.weighted()[i].weight);
      } else {
        add_weighted(other.values_[i], 1);
      }
    }
  } else {
    State& state = to_sketch();
    other.take(state);
    if (other.form_ == Form::sketch) {
      state.sketch.merge(other.state().sketch);
      state.moments.merge(other.state().moments);
    }
  }
  other.reset();
}

size_t DistributionCell::heap_bytes() const {
  if (form_ == Form::sketch) return sizeof(State) + state().sketch.heap_bytes();
  return capacity_ * sizeof(double);
}

}  // namespace runnel
