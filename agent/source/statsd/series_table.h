// The table of series of one StatsD shard: what senders spelled → a cell. It persists between intervals: a line costs one
// hash, one probe and one comparison; nothing is interned again. One thread.
//
// A counter that idles costs its key's bytes (once), a cell of 32 bytes and 8 to 16 bytes of slots: 75 bytes for a name of
// 32. Spellings that differ from the canonical one (series_key.h) are aliases: a key of their own, the same cell.
//
// Erasing is done a cell at a time, so that a flush can do it in slices: slots are closed up at once (backward shift), the
// cell is used again when sweep_aliases() has passed all aliases, key bytes are packed when half of them are dead.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "source/statsd/parser.h"
#include "source/statsd/series_hash.h"

namespace runnel::statsd {

struct Cell {
  uint32_t key = 0;  // of the canonical spelling, in the table's key bytes
  uint16_t name_size = 0, tags_size = 0;
  union {
    int64_t whole = 0;  // of a counter: the integral part of its sum; of a gauge, unless `real`
    double real_value;  // of a gauge
    uint32_t index;     // of a timer or set: in the vector of its type
  };
  uint32_t lines = 0;    // since the last flush; 0: untouched
  uint32_t rest = 0;     // of a counter: index + 1 of its Remainder; 0: none
  uint32_t idle_ms = 0;  // since the last line, counted at flushes
  Type type = Type::counter;
  bool milliseconds : 1 = false;
  bool real : 1 = false;     // of a gauge: the value is a double
  bool escaped : 1 = false;  // SeriesKey::escaped
  bool dead : 1 = false;
};
static_assert(sizeof(Cell) == 32);

class SeriesTable {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  SeriesTable();

  uint64_t hash(std::string_view name, std::string_view tags, Type type) const;
  // The cell of a spelling, canonical or not.
  uint32_t find(uint64_t hash, std::string_view name, std::string_view tags, Type type) const;
  // The cell of a canonical spelling; `escaped` ones are found by this only, never by what a sender wrote.
  uint32_t find_key(std::string_view name, std::string_view tags, Type type, bool escaped) const;
  // A new cell; nothing of that key exists.
  uint32_t add(std::string_view name, std::string_view tags, Type type, bool escaped);
  void add_alias(uint64_t hash, std::string_view name, std::string_view tags, uint32_t cell);
  void erase(uint32_t cell);
  // Forgets aliases of erased cells: `count` of them are looked at, round and round.
  void sweep_aliases(size_t count);
  // Packs the key bytes where half of them are dead: about 20 ns a series, at most once a flush.
  void pack();

  Cell& cell(uint32_t index) { return cells_[index]; }
  const Cell& cell(uint32_t index) const { return cells_[index]; }
  std::string_view name(const Cell& c) const { return {keys_.data() + c.key, c.name_size}; }
  std::string_view tags(const Cell& c) const { return {keys_.data() + c.key + c.name_size, c.tags_size}; }
  size_t cells() const { return cells_.size(); }  // dead ones included: the indices of a walk
  size_t live() const { return live_; }
  size_t aliases() const { return aliases_.size(); }
  size_t key_bytes() const { return keys_.size() - dead_bytes_; }
  bool full() const { return keys_.size() > kMaxKeyBytes || cells_.size() >= kAlias - 1; }

 private:
  static constexpr uint32_t kAlias = 1u << 31;
  static constexpr size_t kMaxKeyBytes = size_t{3} << 30;  // offsets are 32 bits
  struct Alias {
    uint32_t key = 0;
    uint16_t name_size = 0, tags_size = 0;
    uint32_t cell = kNone;
    uint32_t tag = 0;  // as in its slot
  };
  struct Slot {
    uint32_t tag = 0;  // hash; the home of a slot is tag & mask
    uint32_t ref = 0;  // index + 1 of a cell, or kAlias | index + 1 of an alias; 0: free
  };

  static uint32_t fold(uint64_t hash) { return static_cast<uint32_t>(hash ^ (hash >> 32)); }
  uint32_t key_tag(std::string_view name, std::string_view tags, Type type, bool escaped) const;
  uint32_t store(std::string_view name, std::string_view tags);
  bool equals(uint32_t key, std::string_view name, std::string_view tags) const;
  uint32_t find_slot(uint32_t tag, std::string_view name, std::string_view tags, Type type) const;
  void insert(Slot slot);
  void place(Slot slot);
  void remove(Slot slot);

  uint64_t seed_;
  std::vector<Slot> slots_;  // a power of two, at most 4/5 full
  size_t used_ = 0;
  std::string keys_;
  size_t dead_bytes_ = 0;
  std::vector<Cell> cells_;
  size_t live_ = 0;
  std::vector<Alias> aliases_;
  size_t sweep_at_ = 0;
  // Erased cells: those from before the sweep's last start may be used again when it has come round.
  std::vector<uint32_t> free_, resting_, erased_;
};

// ---- inline part: the way of every line --------------------------------------------------------------------------

[[gnu::always_inline]] inline uint64_t SeriesTable::hash(std::string_view name, std::string_view tags,
                                                         Type type) const {
  uint64_t h = hash_text(name, seed_ + static_cast<uint64_t>(type));
  return tags.empty() ? h : hash_text(tags, h);
}

[[gnu::always_inline]] inline uint32_t SeriesTable::find(uint64_t hash, std::string_view name,
                                                         std::string_view tags, Type type) const {
  return find_slot(fold(hash), name, tags, type);
}

[[gnu::always_inline]] inline bool SeriesTable::equals(uint32_t key, std::string_view name,
                                                       std::string_view tags) const {
  const char* bytes = keys_.data() + key;
  return same_bytes(bytes, name.data(), name.size()) &&
         (tags.empty() || same_bytes(bytes + name.size(), tags.data(), tags.size()));
}

[[gnu::always_inline]] inline uint32_t SeriesTable::find_slot(uint32_t tag, std::string_view name,
                                                              std::string_view tags, Type type) const {
  const Slot* slots = slots_.data();
  size_t mask = slots_.size() - 1;
  for (size_t i = tag & mask;; i = (i + 1) & mask) {
    uint32_t ref = slots[i].ref - 1;  // 0 becomes kNone
    if (slots[i].tag == tag) [[likely]] {
      if ((ref & kAlias) == 0) [[likely]] {
        const Cell& c = cells_[ref];
        if (c.name_size == name.size() && c.tags_size == tags.size() && c.type == type &&
            equals(c.key, name, tags)) [[likely]]
          return ref;
      } else if (ref != kNone) {
        const Alias& a = aliases_[ref & ~kAlias];
        if (a.name_size == name.size() && a.tags_size == tags.size() && equals(a.key, name, tags)) {
          const Cell& c = cells_[a.cell];
          if (c.type == type && !c.dead) return a.cell;
        }
      }
    }
    if (ref == kNone) return kNone;
  }
}

}  // namespace runnel::statsd
