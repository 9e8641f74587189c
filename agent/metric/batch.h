// Batch: samples and events that travel together, and the memory they point into. A source fills one, the pipeline
// completes it, the log freezes it (shared_ptr<const Batch>), outputs read it. One thread owns a Batch until it is
// frozen; then any number may read. Views returned here live as long as the Batch and until the next call that adds.
//
// A series (name and sorted tags) is one run of bytes in the arena, so that a batch is a handful of allocations
// whatever its size:   u16 name size · u16 tags · name · { u16 key size · u16 value size · key · value } …
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace runnel {

enum class Kind : uint8_t { counter, total, gauge, distribution, set };
std::string_view kind_name(Kind kind);  // "counter", … as on the wire

struct Tag {
  std::string_view key, value;
  bool operator==(const Tag&) const = default;
  auto operator<=>(const Tag&) const = default;
};

// A number that stays exact while it is an integer of 64 bits.
class Number {
 public:
  Number() = default;
  Number(double value) : double_(value) {}
  static Number integer(int64_t value) {
    Number n;
    n.integer_ = true;
    n.int_ = value;
    return n;
  }
  bool is_integer() const { return integer_; }
  int64_t as_integer() const { return int_; }  // only where is_integer()
  double as_double() const { return integer_ ? static_cast<double>(int_) : double_; }
  bool operator==(const Number& other) const {
    return integer_ && other.integer_ ? int_ == other.int_ : as_double() == other.as_double();
  }

 private:
  bool integer_ = false;
  union {
    int64_t int_;
    double double_ = 0;
  };
};

// Position of a series' bytes in its batch.
struct SeriesRef {
  uint32_t offset = 0;
};
// A string in the arena. size 0: empty or absent.
struct StringRef {
  uint32_t offset = 0;
  uint32_t size = 0;
};

class SeriesView {
 public:
  explicit SeriesView(const char* bytes) : bytes_(bytes) {}
  std::string_view name() const { return {bytes_ + 4, u16(0)}; }
  size_t tag_count() const { return u16(2); }
  std::string_view find(std::string_view key, bool* found = nullptr) const;  // value, "" where absent

  class Iterator {
   public:
    Iterator(const char* at, size_t left) : at_(at), left_(left) {}
    Tag operator*() const;
    Iterator& operator++();
    bool operator!=(const Iterator& other) const { return left_ != other.left_; }

   private:
    const char* at_;
    size_t left_;
  };
  Iterator begin() const { return {bytes_ + 4 + u16(0), tag_count()}; }
  Iterator end() const { return {nullptr, 0}; }
  size_t byte_size() const;
  std::string_view bytes() const { return {bytes_, byte_size()}; }

 private:
  uint16_t u16(size_t at) const;
  const char* bytes_;
};

// Appends the bytes of a series to `out`: for those who keep series outside of a batch. Tags in any order, the last of
// equal keys wins; sorted input costs no allocation.
void append_series_bytes(std::string& out, std::string_view name, const Tag* tags, size_t count);

// Who sent it, shared by many records. Tags of the resource describe the sender and are not part of the identity.
struct Origin {
  std::string host;  // "": the agent's own, filled in by the pipeline
  std::vector<std::pair<std::string, std::string>> resource;  // sorted by key
  bool operator==(const Origin&) const = default;
};

struct Distribution {
  double count = 0;                                        // weighted by 1/rate, so not always whole
  double sum = 0, min = 0, max = 0, mean = 0, stddev = 0;  // stddev of the population
  std::vector<std::pair<double, double>> percentiles;      // (50, value at p50), ascending
};

struct Sample {
  SeriesRef series;
  StringRef unit;       // UCUM, "By", "s", "1"
  uint32_t origin = 0;  // index in Batch::origins
  Kind kind = Kind::gauge;
  int64_t time_ms = 0;        // since 1970; 0 is filled in by the pipeline
  uint32_t interval_ms = 0;   // 0: none
  float ttl_s = 0;            // 0: none
  int64_t start_ms = 0;       // of a total: when it was 0; 0: not known
  Number value;               // unless kind is distribution
  uint32_t distribution = 0;  // index in Batch::distributions, where kind is distribution
};

struct Event {
  SeriesRef series;  // name is the key, tags are the attributes
  StringRef state, description;
  uint32_t tags = 0;  // first index in Batch::event_tags
  uint32_t tag_count = 0;
  uint32_t origin = 0;
  int64_t time_ms = 0;
  float ttl_s = 0;
  bool has_value = false;
  Number value;
};

class Batch {
 public:
  explicit Batch(std::string_view source = {}) : source_(source) {}
  Batch(Batch&&) = default;
  Batch& operator=(Batch&&) = default;
  Batch(const Batch&) = delete;

  // Limits of the form in the arena; a source refuses longer input before it comes here.
  static constexpr size_t kMaxText = 65535;
  static constexpr size_t kMaxArena = size_t{1} << 31;

  // Adds a series, as append_series_bytes does.
  SeriesRef series(std::string_view name, std::initializer_list<Tag> tags);
  SeriesRef series(std::string_view name, const Tag* tags, size_t count);
  SeriesRef series_bytes(std::string_view bytes);  // as SeriesView::bytes() of another batch gave them
  StringRef string(std::string_view text);         // the same text twice in a row is stored once
  uint32_t origin(Origin origin);                  // the same as the last one is stored once
  void add(const Sample& sample) { samples.push_back(sample); }
  void add(const Event& event) { events.push_back(event); }
  uint32_t add_distribution(Distribution d);
  void set_event_tags(Event& event, const std::vector<std::string_view>& tags);
  void copy_record(const Batch& from, size_t record);  // `record`: an index, samples before events

  SeriesView view(SeriesRef ref) const { return SeriesView(arena_.data() + ref.offset); }
  std::string_view view(StringRef ref) const { return {arena_.data() + ref.offset, ref.size}; }
  const std::string& source() const { return source_; }  // who pushed it: "statsd", "host", …
  size_t records() const { return samples.size() + events.size(); }
  bool empty() const { return samples.empty() && events.empty(); }
  size_t bytes() const;  // memory held, about

  std::vector<Sample> samples;
  std::vector<Event> events;  // in a log, record i of a batch is samples[i], then events[i - samples.size()]
  std::vector<Origin> origins{Origin{}};  // [0] is the agent itself
  std::vector<Distribution> distributions;
  std::vector<StringRef> event_tags;

 private:
  std::string source_;
  std::string arena_;
  StringRef last_string_;
};

// What a source pushes its batches into: the pipeline, or a vector in a test. Main thread.
using Inlet = std::function<void(Batch&&)>;

}  // namespace runnel
