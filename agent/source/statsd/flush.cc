// Aggregator's end of an interval: emitting, forgetting, and what passes between shards.
#include <algorithm>
#include <utility>

#include "source/statsd/aggregator.h"
#include "source/statsd/sum.h"

namespace runnel::statsd {

bool Aggregator::is_emitted(const Cell& cell) const {
  if (cell.lines > 0) return true;
  if (cell.type == Type::counter && form_ == CounterForm::total) return true;
  if (options_.delete_idle[static_cast<size_t>(cell.type)]) return false;
  return cell.type != Type::gauge || options_.gauge_ttl_ms == 0 || cell.idle_ms <= options_.gauge_ttl_ms;
}

bool Aggregator::is_forgotten(const Cell& cell) const {
  if (cell.idle_ms <= kForgetMs) return false;
  if (options_.delete_idle[static_cast<size_t>(cell.type)]) return true;
  return cell.type == Type::gauge && options_.gauge_ttl_ms != 0 && cell.idle_ms > options_.gauge_ttl_ms;
}

// What the cell holds outside of itself is free for another one.
void Aggregator::free_values(Cell& cell) {
  if (cell.rest != 0) {
    rests_[cell.rest - 1] = {};
    free_rests_.push_back(cell.rest - 1);
  }
  if (cell.type == Type::timer) {
    timers_[cell.index].release();
    free_timers_.push_back(cell.index);
  }
  if (cell.type == Type::set) {
    sets_[cell.index].release();
    free_sets_.push_back(cell.index);
  }
}

// One slice of a flush: `emit` is called for each cell that has something to say.
bool Aggregator::walk(int64_t interval_ms, size_t cells, const std::function<void(Cell&)>& emit) {
  size_t end = std::min(table_.cells(), flush_at_ + cells);
  for (; flush_at_ < end; flush_at_++) {
    Cell& cell = table_.cell(static_cast<uint32_t>(flush_at_));
    if (cell.dead) continue;
    if (cell.lines > 0) {
      cell.idle_ms = 0;
      top_.add(table_.name(cell), cell.lines);
    } else {
      // A second interval without a value: an array that is kept for the next one is given back.
      if (cell.idle_ms > 0 && cell.type == Type::timer) timers_[cell.index].release();
      if (cell.idle_ms > 0 && cell.type == Type::set) sets_[cell.index].release();
      cell.idle_ms = static_cast<uint32_t>(std::min<int64_t>(cell.idle_ms + interval_ms, UINT32_MAX));
    }
    if (is_emitted(cell)) emit(cell);
    cell.lines = 0;
    if (is_forgotten(cell)) {
      free_values(cell);
      table_.erase(static_cast<uint32_t>(flush_at_));
    }
  }
  table_.sweep_aliases(cells);
  if (flush_at_ < table_.cells()) return false;
  flush_at_ = 0;
  table_.pack();
  std::swap(top_, last_top_);
  top_.clear();
  form_ = options_.counters;
  if (next_options_) set_options(*std::exchange(next_options_, std::nullopt));
  return true;
}

void Aggregator::emit(Cell& cell, Batch& out, int64_t time_ms, int64_t interval_ms) {
  Sample sample;
  sample.time_ms = time_ms;
  sample.interval_ms = static_cast<uint32_t>(interval_ms);
  switch (cell.type) {
    case Type::counter:
      emit_counter(cell, sample, out, time_ms, interval_ms);
      break;
    case Type::gauge:
      sample.kind = Kind::gauge;
      sample.interval_ms = 0;
      sample.value = cell.real ? Number(cell.real_value) : Number::integer(cell.whole);
      break;
    case Type::timer:
      sample.kind = Kind::distribution;
      sample.distribution = out.add_distribution(timers_[cell.index].result(options_.percentiles));
      timers_[cell.index].reset();
      if (cell.milliseconds) sample.unit = out.string("ms");
      break;
    case Type::set:
      sample.kind = Kind::set;
      sample.value = Number::integer(static_cast<int64_t>(sets_[cell.index].distinct()));
      sets_[cell.index].reset();
      break;
  }
  std::string_view host;
  sample.series = add_series(out, table_.name(cell), table_.tags(cell), cell.escaped, key_scratch_, host);
  if (!host.empty()) sample.origin = out.origin({std::string(host), {}});
  out.add(sample);
}

void Aggregator::emit_counter(Cell& cell, Sample& sample, Batch& out, int64_t time_ms, int64_t interval_ms) {
  static constexpr Remainder kNothing;
  sample.kind = Kind::counter;
  if (form_ == CounterForm::total) {
    Remainder& rest = remainder(cell);
    if (rest.start_ms == 0) rest.start_ms = time_ms - interval_ms;
    sample.kind = Kind::total;
    sample.interval_ms = 0;
    sample.start_ms = rest.start_ms;
    sample.value = sum_of(cell.whole, rest);
    if (options_.counters == CounterForm::total) return;
    cell.whole = 0;  // the last one
    rest = {};
    return;
  }
  sample.value = sum_of(cell.whole, cell.rest != 0 ? rests_[cell.rest - 1] : kNothing);
  cell.whole = 0;
  if (cell.rest != 0) rests_[cell.rest - 1] = {};
  if (form_ == CounterForm::rate) {
    sample.kind = Kind::gauge;
    sample.interval_ms = 0;
    sample.value =
        Number(sample.value.as_double() * 1000 / static_cast<double>(std::max<int64_t>(interval_ms, 1)));
    sample.unit = out.string("1/s");
  }
}

bool Aggregator::flush_some(Batch& out, int64_t time_ms, int64_t interval_ms, size_t cells) {
  return walk(interval_ms, cells, [&](Cell& cell) { emit(cell, out, time_ms, interval_ms); });
}

void Aggregator::flush(Batch& out, int64_t time_ms, int64_t interval_ms) {
  while (!flush_some(out, time_ms, interval_ms, SIZE_MAX / 2)) {
  }
}

void Aggregator::flush_changed(Batch& out, int64_t time_ms, int64_t interval_ms) {
  walk(interval_ms, SIZE_MAX / 2, [&](Cell& cell) {
    if (cell.lines > 0) emit(cell, out, time_ms, interval_ms);
  });
}

bool Aggregator::take_shard_some(Shard& out, int64_t interval_ms, size_t cells) {
  return walk(interval_ms, cells, [&](Cell& cell) {
    if (cell.lines == 0) return;  // only the leader goes on with what idles
    Shard::Series series;
    series.key = static_cast<uint32_t>(out.keys.size());
    out.keys.append(table_.name(cell)).append(table_.tags(cell));
    series.name_size = cell.name_size;
    series.tags_size = cell.tags_size;
    series.type = cell.type;
    series.milliseconds = cell.milliseconds;
    series.escaped = cell.escaped;
    series.lines = cell.lines;
    if (cell.type == Type::counter) {
      series.whole = std::exchange(cell.whole, 0);
      if (cell.rest != 0) {
        out.rests.push_back(std::exchange(rests_[cell.rest - 1], {}));
        series.index = static_cast<uint32_t>(out.rests.size());
      }
    } else if (cell.type == Type::timer) {
      series.index = static_cast<uint32_t>(out.timers.size());
      out.timers.push_back(std::move(timers_[cell.index]));
      timers_[cell.index].reset();
    } else {
      series.index = static_cast<uint32_t>(out.sets.size());
      out.sets.push_back(std::exchange(sets_[cell.index], SetCell()));
    }
    out.series.push_back(series);
  });
}

bool Aggregator::merge_some(Shard& shard, size_t& at, size_t count) {
  for (; count > 0 && at < shard.series.size(); count--, at++) {
    const Shard::Series& series = shard.series[at];
    std::string_view name(shard.keys.data() + series.key, series.name_size);
    std::string_view tags(shard.keys.data() + series.key + series.name_size, series.tags_size);
    uint32_t index = table_.find_key(name, tags, series.type, series.escaped);
    if (index == SeriesTable::kNone) {
      bool folds = at_limit();
      if (folds) folded_ += series.lines;
      index = folds ? overflow_cell(series.type) : new_cell(name, tags, series.type, series.escaped);
    }
    Cell& cell = table_.cell(index);
    cell.lines += series.lines;
    cell.milliseconds = series.milliseconds;
    if (series.type == Type::counter) {
      if (series.whole != 0) add_to_sum(cell, Number::integer(series.whole), 1);
      if (series.index == 0) continue;
      remainder(cell).add(shard.rests[series.index - 1]);
    } else if (series.type == Type::timer) {
      timers_[cell.index].merge(std::move(shard.timers[series.index]));
    } else {
      sets_[cell.index].merge(shard.sets[series.index]);
    }
  }
  return at == shard.series.size();
}

}  // namespace runnel::statsd
