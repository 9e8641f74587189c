// The values of a timer or histogram within an interval: exact up to kExact values, beyond that a DdSketch with at most
// 1 % relative error. Weighted: a value sampled at rate r counts 1/r times. One thread. A cell owns its heap memory.
//
// There are 100,000 of them, most with a few values an interval, and a StatsD line pays for each value; so a cell is 16
// bytes and a value is only appended to an array: min, max, sums and percentiles are found at the flush. Ten values
// cost 16 + 96 bytes. Beyond kExact the array is a buffer of kBuffer values, folded into the sketch when full.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "metric/batch.h"
#include "sketch/dd_sketch.h"
#include "sketch/set.h"  // the other cell of a StatsD table

namespace runnel {

struct Weighted;

class DistributionCell {
 public:
  static constexpr size_t kExact = 1000;

  DistributionCell() = default;
  DistributionCell(DistributionCell&& other) noexcept { swap(other); }
  DistributionCell& operator=(DistributionCell&& other) noexcept {
    DistributionCell(std::move(other)).swap(*this);
    return *this;
  }
  ~DistributionCell() { release(); }

  // A finite value; 0 < rate ≤ 1, and below 1e-18 it counts as 1e-18.
  void add(double value, double rate) {
    if (size_ < room_ && rate == 1) [[likely]] {
      values_[size_++] = value;
    } else {
      add_weighted(value, weight_of(rate));
    }
  }
  bool empty() const { return size_ == 0 && form_ != Form::sketch; }

  // Percentile p is the value at rank ceil(p/100·n) of the values sorted ascending; of weighted values the first up to
  // which the weights sum to p/100 of all. Sorts in place; may be asked again, and values may be added in between.
  Distribution result(const std::vector<double>& percentiles);

  void reset();    // empty; keeps an array of up to kKept doubles for the next interval
  void release();  // empty; gives all memory back: for a series that was idle

  // Adds what `other` holds and empties it. Exact while both together have at most kExact values; beyond that the bins
  // are those of one sketch of all values.
  void merge(DistributionCell&& other);

  size_t heap_bytes() const;

 private:
  // values_ points at doubles; at Weighted, size_ and capacity_ still counting doubles; or at the buffer of a State.
  enum class Form : uint8_t { plain, weighted, sketch };
  static constexpr uint16_t kBuffer = 64;
  static constexpr uint16_t kKept = 64;
  struct State;

  void swap(DistributionCell& other) noexcept;
  static double weight_of(double rate);
  void add_weighted(double value, double weight);
  void append(double value, double weight);
  size_t values() const { return form_ == Form::weighted ? size_ / 2u : size_; }  // in the array
  void resize(size_t capacity);
  void to_weighted();
  State& to_sketch();
  void take(State& state);
  State& state() const;
  Weighted* weighted() const;
  double percentile(double p, double count) const;

  double* values_ = nullptr;
  uint16_t size_ = 0;
  uint16_t room_ =
      0;  // up to here values of weight 1 may be appended as they are: 0 while others have another weight
  uint16_t capacity_ = 0;
  Form form_ = Form::plain;
};

static_assert(sizeof(DistributionCell) == 16 || sizeof(void*) != 8);

}  // namespace runnel
