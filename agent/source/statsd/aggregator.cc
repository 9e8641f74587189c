#include "source/statsd/aggregator.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>

#include "base/text.h"

namespace runnel::statsd {
namespace {

// Spellings may outnumber series by this factor before further ones are resolved the slow way each time: a sender that
// shuffles its tags cannot grow the table without end.
constexpr size_t kSpellings = 4;

uint64_t hash_key(std::string_view name, std::string_view tags, Type type) {
  uint64_t h = hash_bytes(name);
  if (!tags.empty()) h ^= hash_bytes(tags) * 0x9E3779B97F4A7C15ull;
  return h + static_cast<uint64_t>(type) * 0xD1B54A32D192ED03ull;
}

double finite(double value) {
  if (std::isnan(value)) return 0;
  return std::clamp(value, -DBL_MAX, DBL_MAX);
}

// Sorted by key, the last of equal keys wins, empty parts skipped: `b:1,a,,b:2` → a, b:2.
std::vector<Tag> sorted_tags(std::string_view raw) {
  std::vector<Tag> tags;
  for (std::string_view part : split(raw, ',')) {
    if (part.empty()) continue;
    size_t colon = part.find(':');
    Tag tag{part.substr(0, colon),
            colon == std::string_view::npos ? std::string_view{} : part.substr(colon + 1)};
    auto at = std::lower_bound(tags.begin(), tags.end(), tag.key,
                               [](const Tag& t, std::string_view k) { return t.key < k; });
    if (at != tags.end() && at->key == tag.key) {
      *at = tag;
    } else {
      tags.insert(at, tag);
    }
  }
  return tags;
}

std::string spell(const std::vector<Tag>& tags) {
  std::string text;
  for (const Tag& tag : tags) {
    if (!text.empty()) text += ',';
    text.append(tag.key);
    if (!tag.value.empty()) text.append(":").append(tag.value);
  }
  return text;
}

}  // namespace

void Aggregator::Sum::add(Number value, double rate) {
  double scaled = value.as_double();
  int64_t addend = 0, sum = 0;
  bool integral = rate == 1 && value.is_integer();
  if (integral) {
    addend = value.as_integer();
  } else {
    scaled /= rate;
    // 1@0.1 is ten: what is integral after scaling stays in the integer.
    integral = scaled == std::trunc(scaled) && std::fabs(scaled) < 9007199254740992.0;
    if (integral) addend = static_cast<int64_t>(scaled);
  }
  if (integral && !__builtin_add_overflow(whole, addend, &sum)) {
    whole = sum;
    return;
  }
  exact = false;
  double t = part + scaled;
  error += std::fabs(part) >= std::fabs(scaled) ? (part - t) + scaled : (scaled - t) + part;
  part = t;
}

Number Aggregator::Sum::value() const {
  if (exact) return Number::integer(whole);
  return Number(finite(static_cast<double>(whole) + (part + (std::isfinite(error) ? error : 0))));
}

Aggregator::Aggregator(AggregatorOptions options) : options_(std::move(options)), slots_(1024) {}

uint32_t Aggregator::lookup(uint64_t hash, std::string_view name, std::string_view tags, Type type) const {
  size_t mask = slots_.size() - 1;
  for (size_t i = hash & mask; slots_[i] != 0; i = (i + 1) & mask) {
    const Key& key = key_table_[slots_[i] - 1];
    if (key.hash != hash || key.name_size != name.size() || key.tags_size != tags.size()) continue;
    const char* bytes = keys_.data() + key.offset;
    if (std::memcmp(bytes, name.data(), name.size()) != 0) continue;
    if (!tags.empty() && std::memcmp(bytes + name.size(), tags.data(), tags.size()) != 0) continue;
    if (cells_[key.cell].type == type) return key.cell;
  }
  return kNone;
}

uint32_t Aggregator::cell_of(std::string_view name, std::string_view tags, Type type, Judgement& judgement) {
  uint64_t hash = hash_key(name, tags, type);
  uint32_t cell = lookup(hash, name, tags, type);
  return cell != kNone ? cell : intern(name, tags, type, hash, judgement);
}

uint32_t Aggregator::intern(std::string_view name, std::string_view tags, Type type, uint64_t hash,
                            Judgement& judgement) {
  if (std::string_view reason = check_key(name, tags); !reason.empty()) {
    judgement = {Verdict::bad, reason};
    return kNone;
  }
  std::vector<Tag> sorted = sorted_tags(tags);
  std::string canonical = spell(sorted);
  bool same = canonical == tags;
  uint64_t canonical_hash = same ? hash : hash_key(name, canonical, type);
  uint32_t cell = same ? kNone : lookup(canonical_hash, name, canonical, type);
  if (cell == kNone) {
    if (cells_.size() >= options_.max_series) {
      // Folded, a gauge would mean nothing; the others keep their totals right.
      if (type != Type::gauge) return overflow_cell(type);
      judgement = {Verdict::dropped, "max_series"};
      return kNone;
    }
    cell = new_cell(name, sorted, type);
    insert_key(canonical_hash, name, canonical, cell);
  }
  if (!same && key_table_.size() < kSpellings * options_.max_series) insert_key(hash, name, tags, cell);
  return cell;
}

uint32_t Aggregator::new_cell(std::string_view name, const std::vector<Tag>& tags, Type type) {
  Cell cell;
  cell.type = type;
  std::vector<Tag> own;
  std::string_view host;
  for (const Tag& tag : tags) {
    if (tag.key == "host" && !tag.value.empty()) {
      host = tag.value;  // DogStatsD: the tag `host` is the sample's host
    } else {
      own.push_back(tag);
    }
  }
  cell.series = static_cast<uint32_t>(series_.size());
  auto host_size = static_cast<uint16_t>(host.size());
  series_.append(reinterpret_cast<const char*>(&host_size), 2).append(host);
  append_series_bytes(series_, name, own.data(), own.size());
  switch (type) {
    case Type::counter:
      cell.value = static_cast<uint32_t>(sums_.size());
      sums_.emplace_back();
      break;
    case Type::gauge:
      cell.value = static_cast<uint32_t>(gauges_.size());
      gauges_.push_back(Number::integer(0));
      break;
    case Type::timer:
      cell.value = static_cast<uint32_t>(timers_.size());
      timers_.emplace_back();
      break;
    case Type::set:
      cell.value = static_cast<uint32_t>(sets_.size());
      sets_.emplace_back();
      break;
  }
  cells_.push_back(cell);
  return static_cast<uint32_t>(cells_.size() - 1);
}

uint32_t Aggregator::overflow_cell(Type type) {
  uint32_t& cell = overflow_[static_cast<size_t>(type)];
  if (cell == kNone) cell = new_cell("runnel.overflow", {{"source", options_.source}}, type);
  return cell;
}

void Aggregator::insert_key(uint64_t hash, std::string_view name, std::string_view tags, uint32_t cell) {
  Key key;
  key.hash = hash;
  key.offset = static_cast<uint32_t>(keys_.size());
  key.name_size = static_cast<uint16_t>(name.size());
  key.tags_size = static_cast<uint16_t>(tags.size());
  key.cell = cell;
  keys_.append(name).append(tags);
  key_table_.push_back(key);
  if (key_table_.size() * 2 > slots_.size()) {
    slots_.assign(slots_.size() * 2, 0);
    for (uint32_t i = 0; i < key_table_.size(); i++) place(i);
  } else {
    place(static_cast<uint32_t>(key_table_.size() - 1));
  }
}

void Aggregator::place(uint32_t key) {
  size_t mask = slots_.size() - 1;
  size_t i = key_table_[key].hash & mask;
  while (slots_[i] != 0) i = (i + 1) & mask;
  slots_[i] = key + 1;
}

Aggregator::Judgement Aggregator::add(std::string_view line) {
  if (!parser_.parse(line)) return {Verdict::bad, parser_.reason()};
  Judgement judgement;
  // All cells first, so that a line with a section that is refused changes nothing.
  line_cells_.clear();
  for (const Section& section : parser_.sections()) {
    uint32_t cell = cell_of(parser_.name(), parser_.tags(), section.type, judgement);
    if (cell == kNone) return judgement;
    line_cells_.push_back(cell);
  }
  for (size_t i = 0; i < line_cells_.size(); i++)
    apply(cells_[line_cells_[i]], parser_.sections()[i], parser_.values());
  return judgement;
}

void Aggregator::apply(Cell& cell, const Section& section, const Value* values) {
  cell.touched = true;
  cell.idle_ms = 0;
  cell.milliseconds = section.milliseconds;
  for (uint32_t i = section.first; i < section.first + section.count; i++) {
    const Value& value = values[i];
    switch (cell.type) {
      case Type::counter:
        sums_[cell.value].add(value.number, section.rate);
        break;
      case Type::timer:
        timers_[cell.value].add(value.number.as_double(), section.rate);
        break;
      case Type::set:
        sets_[cell.value].add(hash_bytes(value.text));
        break;
      case Type::gauge: {
        Number& gauge = gauges_[cell.value];
        int64_t sum = 0;
        if (!value.relative) {
          gauge = value.number;
        } else if (gauge.is_integer() && value.number.is_integer() &&
                   !__builtin_add_overflow(gauge.as_integer(), value.number.as_integer(), &sum)) {
          gauge = Number::integer(sum);
        } else {
          gauge = Number(finite(gauge.as_double() + value.number.as_double()));
        }
        break;
      }
    }
  }
}

void Aggregator::emit(Cell& cell, Batch& out, int64_t time_ms, int64_t interval_ms) {
  Sample sample;
  sample.time_ms = time_ms;
  sample.interval_ms = static_cast<uint32_t>(interval_ms);
  switch (cell.type) {
    case Type::counter:
      sample.kind = Kind::counter;
      sample.value = sums_[cell.value].value();
      sums_[cell.value] = {};
      break;
    case Type::gauge:
      sample.kind = Kind::gauge;
      sample.interval_ms = 0;
      sample.value = gauges_[cell.value];
      break;
    case Type::timer: {
      sample.kind = Kind::distribution;
      Distribution d = timers_[cell.value].result(options_.percentiles);
      for (double* number : {&d.sum, &d.mean, &d.stddev}) *number = finite(*number);
      sample.distribution = out.add_distribution(std::move(d));
      timers_[cell.value].reset();
      if (cell.milliseconds) sample.unit = out.string("ms");
      break;
    }
    case Type::set:
      sample.kind = Kind::set;
      sample.value = Number::integer(static_cast<int64_t>(sets_[cell.value].distinct()));
      sets_[cell.value].reset();
      break;
  }
  const char* at = series_.data() + cell.series;
  uint16_t host_size = 0;
  std::memcpy(&host_size, at, 2);
  if (host_size > 0) sample.origin = out.origin({std::string(at + 2, host_size), {}});
  sample.series = out.series_bytes(SeriesView(at + 2 + host_size).bytes());
  out.add(sample);
}

bool Aggregator::flush_some(Batch& out, int64_t time_ms, int64_t interval_ms, size_t cells) {
  if (flush_at_ == 0) idle_cells_ = 0;
  size_t end = std::min(cells_.size(), flush_at_ + cells);
  for (; flush_at_ < end; flush_at_++) {
    Cell& cell = cells_[flush_at_];
    bool touched = cell.touched;
    if (!touched)
      cell.idle_ms = static_cast<uint32_t>(std::min<int64_t>(cell.idle_ms + interval_ms, INT32_MAX));
    cell.touched = false;
    if (touched || (cell.type == Type::gauge && cell.idle_ms <= kGaugeTtlMs))
      emit(cell, out, time_ms, interval_ms);
    if (cell.idle_ms > kForgetMs) idle_cells_++;
  }
  if (flush_at_ < cells_.size()) return false;
  flush_at_ = 0;
  // Compacting costs a walk over everything: only when a good part of it is dead.
  if (idle_cells_ > 64 && idle_cells_ * 4 > cells_.size()) forget_idle();
  return true;
}

void Aggregator::flush(Batch& out, int64_t time_ms, int64_t interval_ms) {
  while (!flush_some(out, time_ms, interval_ms, SIZE_MAX / 2)) {
  }
}

void Aggregator::forget_idle() {
  Aggregator kept(options_);
  for (const Key& key : key_table_) {
    Cell& old = cells_[key.cell];
    if (old.idle_ms > kForgetMs) continue;
    std::string_view name(keys_.data() + key.offset, key.name_size);
    std::string_view tags(keys_.data() + key.offset + key.name_size, key.tags_size);
    // The sorted spelling was inserted before any other of its cell.
    std::vector<Tag> sorted = sorted_tags(tags);
    std::string canonical = spell(sorted);
    uint32_t cell = kept.lookup(hash_key(name, canonical, old.type), name, canonical, old.type);
    if (cell == kNone) {
      cell = kept.new_cell(name, sorted, old.type);
      Cell& fresh = kept.cells_[cell];
      fresh.milliseconds = old.milliseconds;
      fresh.touched = old.touched;
      fresh.idle_ms = old.idle_ms;
      switch (old.type) {
        case Type::counter:
          kept.sums_[fresh.value] = sums_[old.value];
          break;
        case Type::gauge:
          kept.gauges_[fresh.value] = gauges_[old.value];
          break;
        case Type::timer:
          kept.timers_[fresh.value] = std::move(timers_[old.value]);
          break;
        case Type::set:
          kept.sets_[fresh.value] = std::move(sets_[old.value]);
          break;
      }
    }
    kept.insert_key(key.hash, name, tags, cell);
  }
  // An overflow cell has no key: what it holds moves over by hand.
  for (size_t type = 0; type < 4; type++) {
    if (overflow_[type] == kNone || cells_[overflow_[type]].idle_ms > kForgetMs) continue;
    const Cell& old = cells_[overflow_[type]];
    Cell& fresh = kept.cells_[kept.overflow_cell(static_cast<Type>(type))];
    fresh.touched = old.touched;
    fresh.idle_ms = old.idle_ms;
    if (old.type == Type::counter) kept.sums_[fresh.value] = sums_[old.value];
    if (old.type == Type::timer) kept.timers_[fresh.value] = std::move(timers_[old.value]);
    if (old.type == Type::set) kept.sets_[fresh.value] = std::move(sets_[old.value]);
  }
  *this = std::move(kept);
}

}  // namespace runnel::statsd
