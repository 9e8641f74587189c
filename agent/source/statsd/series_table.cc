#include "source/statsd/series_table.h"

#include <sys/random.h>

#include <algorithm>

namespace runnel::statsd {
namespace {

constexpr size_t kFirstSlots = 1024;
constexpr uint64_t kEscaped = 0x9E3779B97F4A7C15ull;

uint64_t random_seed() {
  uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
    seed = reinterpret_cast<uintptr_t>(&seed);  // early in a boot: the stack's random address has to do
  return seed;
}

}  // namespace

SeriesTable::SeriesTable() : seed_(random_seed()), slots_(kFirstSlots) {}

uint32_t SeriesTable::key_tag(std::string_view name, std::string_view tags, Type type, bool escaped) const {
  return fold(hash(name, tags, type) ^ (escaped ? kEscaped : 0));
}

uint32_t SeriesTable::find_key(std::string_view name, std::string_view tags, Type type, bool escaped) const {
  return find_slot(key_tag(name, tags, type, escaped), name, tags, type);
}

uint32_t SeriesTable::store(std::string_view name, std::string_view tags) {
  auto at = static_cast<uint32_t>(keys_.size());
  keys_.append(name).append(tags);
  return at;
}

uint32_t SeriesTable::add(std::string_view name, std::string_view tags, Type type, bool escaped) {
  uint32_t index = 0;
  if (free_.empty()) {
    index = static_cast<uint32_t>(cells_.size());
    cells_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
    cells_[index] = Cell{};
  }
  Cell& c = cells_[index];
  c.key = store(name, tags);
  c.name_size = static_cast<uint16_t>(name.size());
  c.tags_size = static_cast<uint16_t>(tags.size());
  c.type = type;
  c.escaped = escaped;
  live_++;
  insert({key_tag(name, tags, type, escaped), index + 1});
  return index;
}

void SeriesTable::add_alias(uint64_t hash, std::string_view name, std::string_view tags, uint32_t cell) {
  Alias alias;
  alias.key = store(name, tags);
  alias.name_size = static_cast<uint16_t>(name.size());
  alias.tags_size = static_cast<uint16_t>(tags.size());
  alias.cell = cell;
  alias.tag = fold(hash);
  aliases_.push_back(alias);
  insert({alias.tag, kAlias | static_cast<uint32_t>(aliases_.size())});
}

void SeriesTable::insert(Slot slot) {
  if ((used_ + 1) * 5 > slots_.size() * 4) {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (Slot s : old)
      if (s.ref != 0) place(s);
  }
  place(slot);
  used_++;
}

void SeriesTable::place(Slot slot) {
  size_t mask = slots_.size() - 1;
  size_t i = slot.tag & mask;
  while (slots_[i].ref != 0) i = (i + 1) & mask;
  slots_[i] = slot;
}

// Knuth's algorithm R (TAOCP 6.4): what stands behind the hole and could stand in it moves up.
void SeriesTable::remove(Slot slot) {
  size_t mask = slots_.size() - 1;
  size_t hole = slot.tag & mask;
  while (slots_[hole].ref != slot.ref) hole = (hole + 1) & mask;
  for (size_t i = (hole + 1) & mask; slots_[i].ref != 0; i = (i + 1) & mask) {
    size_t home = slots_[i].tag & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    slots_[hole] = slots_[i];
    hole = i;
  }
  slots_[hole] = {};
  used_--;
}

void SeriesTable::erase(uint32_t index) {
  Cell& c = cells_[index];
  remove({key_tag(name(c), tags(c), c.type, c.escaped), index + 1});
  c.dead = true;
  c.lines = 0;
  dead_bytes_ += size_t{c.name_size} + c.tags_size;
  live_--;
  erased_.push_back(index);
}

void SeriesTable::sweep_aliases(size_t count) {
  for (; count > 0 && sweep_at_ < aliases_.size(); count--) {
    Alias& alias = aliases_[sweep_at_];
    if (!cells_[alias.cell].dead) {
      sweep_at_++;
      continue;
    }
    remove({alias.tag, kAlias | static_cast<uint32_t>(sweep_at_ + 1)});
    dead_bytes_ += size_t{alias.name_size} + alias.tags_size;
    auto last = static_cast<uint32_t>(aliases_.size() - 1);
    if (sweep_at_ != last) {
      // The last one takes the place, and its slot learns that.
      size_t mask = slots_.size() - 1;
      size_t i = aliases_[last].tag & mask;
      while (slots_[i].ref != (kAlias | (last + 1))) i = (i + 1) & mask;
      slots_[i].ref = kAlias | static_cast<uint32_t>(sweep_at_ + 1);
      alias = aliases_[last];
    }
    aliases_.pop_back();
  }
  if (sweep_at_ < aliases_.size()) return;
  // Round: what rested during the whole of it has no alias left. What was erased meanwhile rests for the next one.
  sweep_at_ = 0;
  free_.insert(free_.end(), resting_.begin(), resting_.end());
  resting_.clear();
  resting_.swap(erased_);
}

void SeriesTable::pack() {
  constexpr size_t kWorthIt = 64 << 10;
  if (dead_bytes_ < kWorthIt || dead_bytes_ * 2 < keys_.size()) return;
  std::string packed;
  packed.reserve(key_bytes() + key_bytes() / 8);
  auto move = [&](auto& owner) {
    size_t size = size_t{owner.name_size} + owner.tags_size;
    auto at = static_cast<uint32_t>(packed.size());
    packed.append(keys_, owner.key, size);
    owner.key = at;
  };
  for (Cell& c : cells_)
    if (!c.dead) move(c);
  for (Alias& alias : aliases_) move(alias);
  keys_ = std::move(packed);
  dead_bytes_ = 0;
}

}  // namespace runnel::statsd
