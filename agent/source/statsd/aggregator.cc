#include "source/statsd/aggregator.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

#include "base/text.h"
#include "source/statsd/event_parser.h"
#include "source/statsd/sum.h"

namespace runnel::statsd {
namespace {

// Spellings may outnumber series by this factor before further ones are resolved the slow way each time: a sender that
// shuffles its tags cannot grow the table without end.
constexpr size_t kSpellings = 4;
// Key bytes a series, on average, before the table counts as full: long names and tags must not take what max_series was
// meant to bound.
constexpr size_t kKeyBytes = 512;
constexpr std::string_view kOverflow = "runnel.overflow";
// Told apart from what a sender can spell: keys looked up with their origin fields.
constexpr uint64_t kOriginHash = 0xD1B54A32D192ED03ull;

}  // namespace

Aggregator::Aggregator(AggregatorOptions options)
    : options_(std::move(options)), form_(options_.counters), direct_(options_.source) {}

void Aggregator::set_options(AggregatorOptions options) {
  if (flush_at_ > 0) {
    next_options_ = std::move(options);
    return;
  }
  bool rekeys = !(options.keys == options_.keys);
  options_ = std::move(options);
  if (form_ != CounterForm::total) form_ = options_.counters;
  if (rekeys) rekey();
}

// Other rules give other identities. Each series moves to its new one; where two become one, they are merged as shards are
// (of gauges the one that was looked at last wins). A reload's work, all in one go: about 0.2 µs a series.
void Aggregator::rekey() {
  SeriesTable before = std::exchange(table_, SeriesTable());
  for (size_t i = 0; i < before.cells(); i++) {
    Cell& old = before.cell(static_cast<uint32_t>(i));
    if (old.dead) continue;
    RawKey raw{before.name(old), before.tags(old), {}, {}};
    bool same = old.escaped || !make_series_key(raw, options_.keys, key_).empty();
    std::string_view name = same ? raw.name : key_.name(), tags = same ? raw.tags : key_.tags();
    uint32_t index = table_.find_key(name, tags, old.type, old.escaped);
    if (index == SeriesTable::kNone) {
      index = table_.add(name, tags, old.type, old.escaped);
      Cell& moved = table_.cell(index);
      Cell identity = moved;
      moved = old;
      moved.key = identity.key;
      moved.name_size = identity.name_size;
      moved.tags_size = identity.tags_size;
      continue;
    }
    Cell& cell = table_.cell(index);
    cell.lines += old.lines;
    cell.idle_ms = std::min(cell.idle_ms, old.idle_ms);
    if (old.type == Type::counter) {
      add_to_sum(cell, Number::integer(old.whole), 1);
      if (old.rest != 0) remainder(cell).add(rests_[old.rest - 1]);
    } else if (old.type == Type::gauge) {
      cell.real = old.real;
      cell.whole = old.whole;
    } else if (old.type == Type::timer) {
      timers_[cell.index].merge(std::move(timers_[old.index]));
    } else {
      sets_[cell.index].merge(sets_[old.index]);
    }
    free_values(old);
  }
}

bool Aggregator::at_limit() const {
  return table_.live() >= options_.max_series || table_.full() ||
         table_.key_bytes() > options_.max_series * kKeyBytes + (64 << 10);
}

uint32_t Aggregator::new_cell(std::string_view name, std::string_view tags, Type type, bool escaped) {
  uint32_t index = table_.add(name, tags, type, escaped);
  auto take = [](auto& values, std::vector<uint32_t>& free) {
    if (free.empty()) {
      values.emplace_back();
      return static_cast<uint32_t>(values.size() - 1);
    }
    uint32_t at = free.back();
    free.pop_back();
    return at;
  };
  Cell& cell = table_.cell(index);
  if (type == Type::timer) cell.index = take(timers_, free_timers_);
  if (type == Type::set) cell.index = take(sets_, free_sets_);
  return index;
}

uint32_t Aggregator::overflow_cell(Type type) {
  std::string tags = "source:" + options_.source;
  uint32_t cell = table_.find_key(kOverflow, tags, type, false);
  return cell != SeriesTable::kNone ? cell : new_cell(kOverflow, tags, type, false);
}

uint32_t Aggregator::cell_of(const RawKey& raw, Type type, Judgement& judgement) {
  bool origin = options_.keys.origin_tags && (!raw.container.empty() || !raw.external.empty());
  std::string_view tags = raw.tags;
  if (origin) {
    origin_tags_.assign(raw.tags).append("\x1f").append(raw.container).append("\x1f").append(raw.external);
    tags = origin_tags_;
  }
  uint64_t hash = table_.hash(raw.name, tags, type) ^ (origin ? kOriginHash : 0);
  uint32_t cell = table_.find(hash, raw.name, tags, type);
  return cell != SeriesTable::kNone ? cell : intern(raw, raw.name, tags, type, hash, judgement);
}

uint32_t Aggregator::intern(const RawKey& raw, std::string_view name, std::string_view tags, Type type,
                            uint64_t hash, Judgement& judgement) {
  if (std::string_view reason = make_series_key(raw, options_.keys, key_); !reason.empty()) {
    judgement = {Verdict::bad, reason};
    return SeriesTable::kNone;
  }
  uint32_t cell = table_.find_key(key_.name(), key_.tags(), type, key_.escaped);
  if (cell == SeriesTable::kNone) {
    if (at_limit()) {
      // Folded, a gauge would mean nothing; the others keep their totals right.
      if (type != Type::gauge) {
        folded_++;
        return overflow_cell(type);
      }
      judgement = {Verdict::dropped, "max_series"};
      return SeriesTable::kNone;
    }
    cell = new_cell(key_.name(), key_.tags(), type, key_.escaped);
  }
  bool canonical = !key_.escaped && key_.name() == name && key_.tags() == tags;
  if (!canonical && table_.aliases() < kSpellings * options_.max_series && !table_.full() &&
      table_.key_bytes() < 2 * options_.max_series * kKeyBytes)
    table_.add_alias(hash, name, tags, cell);
  return cell;
}

// A line of the common shape, where its series is in the table already. Inlined by force, once for lines without fields and
// once for the others: 300 instructions a line are a promise (tests/bench/statsd_lines_bench.cc).
[[gnu::always_inline]] inline bool Aggregator::add_known(const LineHead& head, std::string_view tags,
                                                         double rate) {
  if (head.type == Type::gauge && options_.forwards_gauges) return false;
  std::string_view name(head.name, head.name_size);
  uint32_t index = table_.find(table_.hash(name, tags, head.type), name, tags, head.type);
  if (index == SeriesTable::kNone) return false;
  Cell& cell = table_.cell(index);
  cell.lines++;
  int64_t sum = 0;
  if (head.type == Type::counter && rate == 1 && head.number.is_integer() &&
      !__builtin_add_overflow(cell.whole, head.number.as_integer(), &sum)) [[likely]] {
    cell.whole = sum;
  } else {
    apply(cell, head.type, head.milliseconds, rate,
          {head.number, {head.value, head.value_size}, head.type == Type::gauge && head.relative()});
  }
  return true;
}

[[gnu::noinline]] const char* Aggregator::add_with_fields(const LineHead& head, const char* end) {
  LineFields fields;
  if (!scan_fields(head.after, end, fields) || (fields.has_origin && options_.keys.origin_tags))
    return nullptr;
  return add_known(head, fields.tags, fields.rate) ? fields.next : nullptr;
}

Aggregator::Counts Aggregator::add_lines(std::string_view payload, const Judged& judged) {
  Counts counts;
  const char* p = payload.data();
  const char* end = p + payload.size();
  while (p < end) {
    LineHead head;
    if (scan_head(p, end, head)) [[likely]] {
      const char* next = nullptr;
      if (head.after == end || *head.after == '\n') [[likely]] {
        if (add_known(head, {}, 1)) [[likely]]
          next = head.after == end ? end : head.after + 1;
      } else {
        next = add_with_fields(LineHead(head), end);
      }
      if (next != nullptr) [[likely]] {
        p = next;
        counts.received++;
        continue;
      }
    }
    const char* stop = static_cast<const char*>(std::memchr(p, '\n', static_cast<size_t>(end - p)));
    std::string_view text(p, static_cast<size_t>((stop == nullptr ? end : stop) - p));
    p = stop == nullptr ? end : stop + 1;
    if (text.ends_with('\r')) text.remove_suffix(1);
    if (text.empty()) continue;
    Judgement judgement = add(text);
    if (judgement.verdict == Verdict::accepted) {
      counts.received++;
      continue;
    }
    if (judgement.verdict != Verdict::forwarded) {
      counts.received++;
      counts.accepted--;  // balances below
    }
    judged(judgement, text);
  }
  counts.accepted += counts.received;
  return counts;
}

Aggregator::Judgement Aggregator::add(std::string_view line) {
  if (is_event_line(line)) {
    if (direct_.records() >= kMaxDirect) return {Verdict::dropped, "queue_full"};
    std::string_view reason = read_event(line, options_.keys.origin_tags, direct_);
    return reason.empty() ? Judgement{} : Judgement{Verdict::bad, reason};
  }
  if (!parser_.parse(line)) return {Verdict::bad, parser_.reason()};
  if (parser_.time_ms() != 0) return add_direct();
  if (options_.forwards_gauges)
    for (const Section& section : parser_.sections())
      if (section.type == Type::gauge) return {Verdict::forwarded, {}};
  Judgement judgement;
  // All cells first, so that a line with a section that is refused changes nothing; those of gauges before the others,
  // because only they find no room (and names and tags are the same for all).
  const std::vector<Section>& sections = parser_.sections();
  line_cells_.assign(sections.size(), SeriesTable::kNone);
  RawKey raw{parser_.name(), parser_.tags(), parser_.container(), parser_.external()};
  for (bool gauges : {true, false})
    for (size_t i = 0; i < sections.size(); i++) {
      if ((sections[i].type == Type::gauge) != gauges) continue;
      line_cells_[i] = cell_of(raw, sections[i].type, judgement);
      if (line_cells_[i] == SeriesTable::kNone) return judgement;
    }
  for (size_t i = 0; i < line_cells_.size(); i++) {
    Cell& cell = table_.cell(line_cells_[i]);
    const Section& section = sections[i];
    cell.lines++;
    for (uint32_t k = section.first; k < section.first + section.count; k++)
      apply(cell, section.type, section.milliseconds, section.rate, parser_.values()[k]);
  }
  return judgement;
}

void Aggregator::apply(Cell& cell, Type type, bool milliseconds, double rate, const Value& value) {
  switch (type) {
    case Type::counter:
      add_to_sum(cell, value.number, rate);
      break;
    case Type::timer:
      cell.milliseconds = milliseconds;
      timers_[cell.index].add(value.number.as_double(), rate);
      break;
    case Type::set:
      sets_[cell.index].add(hash_bytes(value.text));
      break;
    case Type::gauge:
      set_gauge(cell, value);
      break;
  }
}

Remainder& Aggregator::remainder(Cell& cell) {
  if (cell.rest == 0) {
    if (free_rests_.empty()) {
      rests_.emplace_back();
      cell.rest = static_cast<uint32_t>(rests_.size());
    } else {
      cell.rest = free_rests_.back() + 1;
      free_rests_.pop_back();
    }
  }
  return rests_[cell.rest - 1];
}

void Aggregator::add_to_sum(Cell& cell, Number value, double rate) {
  add_scaled(cell.whole, value, rate, [&]() -> Remainder& { return remainder(cell); });
}

void Aggregator::set_gauge(Cell& cell, const Value& value) {
  Number now = cell.real ? Number(cell.real_value) : Number::integer(cell.whole);
  int64_t sum = 0;
  if (!value.relative || options_.absolute_gauges) {
    now = value.number;
  } else if (now.is_integer() && value.number.is_integer() &&
             !__builtin_add_overflow(now.as_integer(), value.number.as_integer(), &sum)) {
    now = Number::integer(sum);
  } else {
    now = Number(finite(now.as_double() + value.number.as_double()));
  }
  cell.real = !now.is_integer();
  if (cell.real) {
    cell.real_value = now.as_double();
  } else {
    cell.whole = now.as_integer();
  }
}

// A line with a time of its own: each section is a sample at once. A gauge's sign is part of its value there: it comes from
// DogStatsD's clients, which know no other meaning.
Aggregator::Judgement Aggregator::add_direct() {
  RawKey raw{parser_.name(), parser_.tags(), parser_.container(), parser_.external()};
  if (std::string_view reason = make_series_key(raw, options_.keys, key_); !reason.empty())
    return {Verdict::bad, reason};
  if (direct_.records() + parser_.sections().size() > kMaxDirect) return {Verdict::dropped, "queue_full"};
  Sample sample;
  std::string_view host;
  sample.series = add_series(direct_, key_.name(), key_.tags(), key_.escaped, key_scratch_, host);
  if (!host.empty()) sample.origin = direct_.origin({std::string(host), {}});
  sample.time_ms = parser_.time_ms();
  for (const Section& section : parser_.sections()) {
    const Value* values = parser_.values() + section.first;
    sample.unit = {};
    switch (section.type) {
      case Type::counter: {
        int64_t whole = 0;
        Remainder rest;
        for (uint32_t i = 0; i < section.count; i++)
          add_scaled(whole, values[i].number, section.rate, [&]() -> Remainder& { return rest; });
        sample.kind = Kind::counter;
        sample.value = sum_of(whole, rest);
        break;
      }
      case Type::gauge:
        sample.kind = Kind::gauge;
        sample.value = values[section.count - 1].number;
        break;
      case Type::timer: {
        DistributionCell cell;
        for (uint32_t i = 0; i < section.count; i++) cell.add(values[i].number.as_double(), section.rate);
        sample.kind = Kind::distribution;
        sample.distribution = direct_.add_distribution(cell.result(options_.percentiles));
        if (section.milliseconds) sample.unit = direct_.string("ms");
        break;
      }
      case Type::set:
        sample.kind = Kind::set;
        sample.value = Number::integer(1);
        break;
    }
    direct_.add(sample);
  }
  return {};
}

std::string Aggregator::describe_growth() const {
  constexpr size_t kSample = 2048;
  std::vector<SampledSeries> sample;
  size_t step = std::max<size_t>(table_.cells() / kSample, 1);
  for (size_t i = 0; i < table_.cells(); i += step) {
    const Cell& cell = table_.cell(static_cast<uint32_t>(i));
    if (!cell.dead && table_.name(cell) != kOverflow)
      sample.push_back({table_.name(cell), table_.tags(cell)});
  }
  return statsd::describe_growth(sample);
}

}  // namespace runnel::statsd
