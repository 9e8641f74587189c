#include "journal/batch_codec.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

namespace runnel {
namespace {

static_assert(std::endian::native == std::endian::little,
              "FORMAT.md is little-endian, and series are copied as they stand in memory");

constexpr uint8_t kVersion = 1;
enum Mode : uint8_t { kSame = 0, kEach = 1 };                       // of a column of numbers
enum Values : uint8_t { kIntegers = 0, kDoubles = 1, kMixed = 2 };  // of a column of values

uint64_t zigzag(int64_t n) {
  return (static_cast<uint64_t>(n) << 1) ^ static_cast<uint64_t>(n >> 63);
}
int64_t unzigzag(uint64_t n) {
  return static_cast<int64_t>((n >> 1) ^ (~(n & 1) + 1));
}

// ---- out --------------------------------------------------------------------------------------------------------

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  void byte(uint8_t b) { out_.push_back(static_cast<char>(b)); }
  void varint(uint64_t n) {
    char bytes[10];
    size_t size = 0;
    for (; n >= 0x80; n >>= 7) bytes[size++] = static_cast<char>(n | 0x80);
    bytes[size++] = static_cast<char>(n);
    out_.append(bytes, size);
  }
  void text(std::string_view text) {
    varint(text.size());
    out_.append(text);
  }
  void real(double n) {
    char bytes[8];
    std::memcpy(bytes, &n, 8);
    out_.append(bytes, 8);
  }
  void raw(std::string_view bytes) { out_.append(bytes); }

 private:
  std::string& out_;
};

size_t shared_prefix(std::string_view a, std::string_view b) {
  size_t most = std::min(a.size(), b.size()), n = 0;
  for (; n + 8 <= most; n += 8) {
    uint64_t x, y;
    std::memcpy(&x, a.data() + n, 8);
    std::memcpy(&y, b.data() + n, 8);
    if (x != y) return n + static_cast<size_t>(std::countr_zero(x ^ y)) / 8;
  }
  while (n < most && a[n] == b[n]) n++;
  return n;
}

template <class Records>
void series_column(Writer& w, const Batch& batch, const Records& records) {
  std::string_view before;
  for (const auto& record : records) {
    std::string_view bytes = batch.view(record.series).bytes();
    size_t shared = shared_prefix(before, bytes);
    w.varint(shared);
    w.varint(bytes.size() - shared);
    w.raw(bytes.substr(shared));
    before = bytes;
  }
}

// 0: as the one before (at first: empty); else size + 1 and the bytes.
template <class Records, class Get>
void text_column(Writer& w, const Batch& batch, const Records& records, Get get) {
  std::string_view before;
  for (const auto& record : records) {
    std::string_view text = batch.view(get(record));
    if (text == before) {
      w.byte(0);
    } else {
      w.varint(text.size() + 1);
      w.raw(text);
    }
    before = text;
  }
}

template <class Records, class Get>
void number_column(Writer& w, const Records& records, Get get) {
  bool same = true;
  for (const auto& record : records) same = same && get(record) == get(records[0]);
  w.byte(same ? kSame : kEach);
  int64_t before = 0;
  for (const auto& record : records) {
    int64_t n = get(record);
    // As unsigned: the difference of any two is defined, and comes back.
    w.varint(zigzag(static_cast<int64_t>(static_cast<uint64_t>(n) - static_cast<uint64_t>(before))));
    before = n;
    if (same) break;
  }
}

template <class Records>
void value_column(Writer& w, const Records& records) {
  size_t integers = 0;
  for (const auto& record : records) integers += record.value.is_integer() ? 1 : 0;
  Values mode = integers == records.size() ? kIntegers : integers == 0 ? kDoubles : kMixed;
  w.byte(mode);
  for (const auto& record : records) {
    if (mode == kMixed) w.byte(record.value.is_integer() ? 1 : 0);
    if (record.value.is_integer()) {
      w.varint(zigzag(record.value.as_integer()));
    } else {
      w.real(record.value.as_double());
    }
  }
}

int64_t float_bits(float f) {
  return std::bit_cast<int32_t>(f);
}

// ---- in ---------------------------------------------------------------------------------------------------------

// Reads as far as the bytes go; after the first failure everything is 0 and ok() is false.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : at_(bytes.data()), end_(bytes.data() + bytes.size()) {}
  bool ok() const { return ok_; }
  bool at_end() const { return at_ == end_; }
  size_t left() const { return static_cast<size_t>(end_ - at_); }
  void fail() {
    ok_ = false;
    at_ = end_;
  }
  uint8_t byte() {
    if (at_ == end_) return fail(), uint8_t{0};
    return static_cast<uint8_t>(*at_++);
  }
  uint64_t varint() {
    uint64_t n = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      uint8_t b = byte();
      n |= static_cast<uint64_t>(b & 0x7f) << shift;
      if (b < 0x80) return n;
    }
    return fail(), 0;
  }
  std::string_view raw(uint64_t size) {
    if (size > left()) return fail(), std::string_view();
    std::string_view bytes(at_, size);
    at_ += size;
    return bytes;
  }
  std::string_view text() { return raw(varint()); }
  double real() {
    std::string_view bytes = raw(8);
    double n = 0;
    if (ok_) std::memcpy(&n, bytes.data(), 8);
    return n;
  }
  // A number of things of which each takes at least `least` of the bytes that follow.
  size_t count(size_t least) {
    uint64_t n = varint();
    if (n > left() / least) return fail(), 0;
    return n;
  }

 private:
  const char* at_;
  const char* end_;
  bool ok_ = true;
};

// What SeriesView relies on: the sizes inside add up to exactly the whole.
bool sound_series(std::string_view bytes) {
  auto u16 = [&](size_t at) {
    uint16_t n;
    std::memcpy(&n, bytes.data() + at, 2);
    return size_t{n};
  };
  if (bytes.size() < 4) return false;
  size_t tags = u16(2), at = 4 + u16(0);
  for (size_t i = 0; i < tags; i++) {
    if (at + 4 > bytes.size()) return false;
    at += 4 + u16(at) + u16(at + 2);
  }
  return at == bytes.size();
}

template <class Records>
void read_series(Reader& r, Batch& batch, Records& records) {
  std::string series;
  size_t arena = 0;
  for (auto& record : records) {
    uint64_t shared = r.varint();
    std::string_view rest = r.text();
    if (!r.ok() || shared > series.size()) return r.fail();
    series.resize(shared);
    series.append(rest);
    // A short suffix can stand for a long series.
    arena += series.size();
    if (!sound_series(series) || arena > kMaxBatch) return r.fail();
    record.series = batch.series_bytes(series);
  }
}

template <class Records, class Set>
void read_texts(Reader& r, Batch& batch, Records& records, Set set) {
  StringRef before;
  for (auto& record : records) {
    uint64_t code = r.varint();
    if (code > 0) before = batch.string(r.raw(code - 1));
    if (!r.ok()) return;
    set(record, before);
  }
}

template <class Records, class Set>
void read_numbers(Reader& r, Records& records, Set set) {
  bool same = r.byte() == kSame;
  int64_t n = 0;
  bool first = true;
  for (auto& record : records) {
    if (first || !same)
      n = static_cast<int64_t>(static_cast<uint64_t>(n) + static_cast<uint64_t>(unzigzag(r.varint())));
    first = false;
    if (!r.ok()) return;
    set(record, n);
  }
}

template <class Records>
void read_values(Reader& r, Records& records) {
  uint8_t mode = r.byte();
  if (mode > kMixed) return r.fail();
  for (auto& record : records) {
    bool integer = mode == kIntegers || (mode == kMixed && r.byte() == 1);
    record.value = integer ? Number::integer(unzigzag(r.varint())) : Number(r.real());
    if (!r.ok()) return;
  }
}

void read_origins(Reader& r, Batch& batch) {
  size_t count = r.count(2);
  batch.origins.clear();
  for (size_t i = 0; i < count && r.ok(); i++) {
    Origin origin;
    origin.host = r.text();
    size_t pairs = r.count(2);
    for (size_t k = 0; k < pairs && r.ok(); k++) {
      std::string_view key = r.text();
      origin.resource.emplace_back(key, r.text());
    }
    batch.origins.push_back(std::move(origin));
  }
  if (batch.origins.empty()) r.fail();
}

void read_distributions(Reader& r, Batch& batch, size_t count) {
  for (size_t i = 0; i < count && r.ok(); i++) {
    Distribution d;
    for (double* field : {&d.count, &d.sum, &d.min, &d.max, &d.mean, &d.stddev}) *field = r.real();
    size_t percentiles = r.count(16);
    for (size_t k = 0; k < percentiles && r.ok(); k++) {
      double p = r.real();
      d.percentiles.emplace_back(p, r.real());
    }
    batch.add_distribution(std::move(d));
  }
}

void read_samples(Reader& r, Batch& batch) {
  auto& samples = batch.samples;
  read_series(r, batch, samples);
  auto index = [&](size_t limit, auto set) {
    read_numbers(r, samples, [&, set](Sample& s, int64_t n) {
      if (n < 0 || static_cast<uint64_t>(n) >= limit) return r.fail();
      set(s, static_cast<uint32_t>(n));
    });
  };
  index(static_cast<size_t>(Kind::set) + 1, [](Sample& s, uint32_t n) { s.kind = static_cast<Kind>(n); });
  read_texts(r, batch, samples, [](Sample& s, StringRef text) { s.unit = text; });
  index(batch.origins.size(), [](Sample& s, uint32_t n) { s.origin = n; });
  read_numbers(r, samples, [](Sample& s, int64_t n) { s.time_ms = n; });
  index(size_t{UINT32_MAX} + 1, [](Sample& s, uint32_t n) { s.interval_ms = n; });
  read_numbers(r, samples,
               [](Sample& s, int64_t n) { s.ttl_s = std::bit_cast<float>(static_cast<int32_t>(n)); });
  read_numbers(r, samples, [](Sample& s, int64_t n) { s.start_ms = n; });
  read_numbers(r, samples, [&](Sample& s, int64_t n) {
    bool there = n >= 0 && static_cast<uint64_t>(n) < batch.distributions.size();
    if (there) s.distribution = static_cast<uint32_t>(n);
    if (!there && (n != 0 || s.kind == Kind::distribution)) r.fail();
  });
  read_values(r, samples);
}

void read_events(Reader& r, Batch& batch) {
  auto& events = batch.events;
  read_series(r, batch, events);
  read_texts(r, batch, events, [](Event& e, StringRef text) { e.state = text; });
  read_texts(r, batch, events, [](Event& e, StringRef text) { e.description = text; });
  for (Event& e : events) {
    e.tag_count = static_cast<uint32_t>(r.count(1));
    e.tags = static_cast<uint32_t>(batch.event_tags.size());
    for (uint32_t i = 0; i < e.tag_count && r.ok(); i++) batch.event_tags.push_back(batch.string(r.text()));
  }
  read_numbers(r, events, [&](Event& e, int64_t n) {
    if (n < 0 || static_cast<uint64_t>(n) >= batch.origins.size()) return r.fail();
    e.origin = static_cast<uint32_t>(n);
  });
  read_numbers(r, events, [](Event& e, int64_t n) { e.time_ms = n; });
  read_numbers(r, events,
               [](Event& e, int64_t n) { e.ttl_s = std::bit_cast<float>(static_cast<int32_t>(n)); });
  read_numbers(r, events, [](Event& e, int64_t n) { e.has_value = n != 0; });
  read_values(r, events);
}

}  // namespace

size_t encode_batch(const Batch& batch, std::string& out) {
  size_t begin = out.size();
  Writer w(out);
  w.byte(kVersion);
  w.text(batch.source());
  w.varint(batch.samples.size());
  w.varint(batch.events.size());
  w.varint(batch.distributions.size());
  w.varint(batch.origins.size());
  for (const Origin& origin : batch.origins) {
    w.text(origin.host);
    w.varint(origin.resource.size());
    for (const auto& [key, value] : origin.resource) {
      w.text(key);
      w.text(value);
    }
  }
  for (const Distribution& d : batch.distributions) {
    for (double field : {d.count, d.sum, d.min, d.max, d.mean, d.stddev}) w.real(field);
    w.varint(d.percentiles.size());
    for (const auto& [p, value] : d.percentiles) {
      w.real(p);
      w.real(value);
    }
  }
  const auto& samples = batch.samples;
  series_column(w, batch, samples);
  number_column(w, samples, [](const Sample& s) { return static_cast<int64_t>(s.kind); });
  text_column(w, batch, samples, [](const Sample& s) { return s.unit; });
  number_column(w, samples, [](const Sample& s) { return int64_t{s.origin}; });
  number_column(w, samples, [](const Sample& s) { return s.time_ms; });
  number_column(w, samples, [](const Sample& s) { return int64_t{s.interval_ms}; });
  number_column(w, samples, [](const Sample& s) { return float_bits(s.ttl_s); });
  number_column(w, samples, [](const Sample& s) { return s.start_ms; });
  number_column(w, samples,
                [](const Sample& s) { return s.kind == Kind::distribution ? int64_t{s.distribution} : 0; });
  size_t values = out.size() - begin;
  value_column(w, samples);
  const auto& events = batch.events;
  series_column(w, batch, events);
  text_column(w, batch, events, [](const Event& e) { return e.state; });
  text_column(w, batch, events, [](const Event& e) { return e.description; });
  for (const Event& e : events) {
    w.varint(e.tag_count);
    for (uint32_t i = 0; i < e.tag_count; i++) w.text(batch.view(batch.event_tags[e.tags + i]));
  }
  number_column(w, events, [](const Event& e) { return int64_t{e.origin}; });
  number_column(w, events, [](const Event& e) { return e.time_ms; });
  number_column(w, events, [](const Event& e) { return float_bits(e.ttl_s); });
  number_column(w, events, [](const Event& e) { return e.has_value ? 1 : 0; });
  value_column(w, events);
  return values;
}

Result<Batch> decode_batch(std::string_view bytes) {
  Reader r(bytes);
  uint8_t version = r.byte();
  if (version != kVersion) return Error{"a batch of another version"};
  Batch batch(r.text());
  // Each takes at least so many bytes further on: no size alone makes us allocate.
  size_t samples = r.count(4), events = r.count(6), distributions = r.count(49);
  read_origins(r, batch);
  read_distributions(r, batch, distributions);
  if (r.ok()) {
    batch.samples.resize(samples);
    read_samples(r, batch);
  }
  if (r.ok()) {
    batch.events.resize(events);
    read_events(r, batch);
  }
  if (!r.ok()) return Error{"a batch that is cut or not well formed"};
  if (!r.at_end()) return Error{"a batch with bytes behind its end"};
  return batch;
}

}  // namespace runnel
