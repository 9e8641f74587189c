#include "sketch/top_names.h"

#include <algorithm>

#include "base/text.h"

namespace runnel {

size_t TopNames::find(uint64_t hash, std::string_view name) const {
  if (slots_.empty()) return kNames;
  for (size_t i = hash % kSlots; slots_[i] != 0; i = (i + 1) % kSlots) {
    const Name& kept = names_[slots_[i] - 1];
    if (kept.hash == hash && kept.text == name) return slots_[i] - 1;
  }
  return kNames;
}

void TopNames::index(size_t at) {
  size_t i = names_[at].hash % kSlots;
  while (slots_[i] != 0) i = (i + 1) % kSlots;
  slots_[i] = static_cast<uint16_t>(at + 1);
}

// Takes a name out of the index; what stood behind it moves up where its own place is not passed by (Knuth 6.4 R).
void TopNames::forget(size_t at) {
  size_t free = names_[at].hash % kSlots;
  while (slots_[free] != at + 1) free = (free + 1) % kSlots;
  for (size_t i = (free + 1) % kSlots; slots_[i] != 0; i = (i + 1) % kSlots) {
    size_t home = names_[slots_[i] - 1].hash % kSlots;
    if ((i - home) % kSlots < (i - free) % kSlots) continue;
    slots_[free] = slots_[i];
    free = i;
  }
  slots_[free] = 0;
}

// The first of the heap to where it belongs.
void TopNames::sink() {
  Bound moved = heap_[0];
  size_t i = 0;
  for (size_t child = 1; child < kNames; child = 2 * i + 1) {
    if (child + 1 < kNames && heap_[child + 1].lines < heap_[child].lines) child++;
    if (moved.lines <= heap_[child].lines) break;
    heap_[i] = heap_[child];
    i = child;
  }
  heap_[i] = moved;
}

size_t TopNames::smallest() {
  if (heap_.empty()) {
    for (size_t i = 0; i < kNames; i++) heap_.push_back({names_[i].lines, i});
    std::sort(heap_.begin(), heap_.end(), [](Bound a, Bound b) { return a.lines < b.lines; });
  }
  while (heap_[0].lines != names_[heap_[0].at].lines) {
    heap_[0].lines = names_[heap_[0].at].lines;
    sink();
  }
  return heap_[0].at;
}

uint64_t TopNames::least() const {
  if (used_ < kNames) return 0;
  auto less = [](const Name& a, const Name& b) { return a.lines < b.lines; };
  return std::min_element(names_.begin(), names_.end(), less)->lines;
}

void TopNames::take(size_t at, std::string_view name, uint64_t hash, uint64_t lines, uint64_t error) {
  names_[at].text = name;
  names_[at].hash = hash;
  names_[at].error = error;
  names_[at].lines = lines;
  index(at);
}

void TopNames::add(std::string_view name, uint64_t lines) {
  if (lines == 0) return;
  total_ += lines;
  name = name.substr(0, kMaxName);
  uint64_t hash = hash_bytes(name);
  if (size_t at = find(hash, name); at != kNames) {
    names_[at].lines += lines;
    return;
  }
  if (used_ < kNames) {
    if (slots_.empty()) slots_.resize(kSlots);
    if (used_ == names_.size()) names_.emplace_back();
    take(used_++, name, hash, lines, 0);
    return;
  }
  size_t at = smallest();
  uint64_t least = names_[at].lines;
  forget(at);
  take(at, name, hash, least + lines, least);
  heap_[0].lines = least + lines;
  sink();
}

std::vector<TopNames::Entry> TopNames::top(size_t n) const {
  std::vector<Entry> all;
  all.reserve(used_);
  for (size_t i = 0; i < used_; i++) all.push_back({names_[i].text, names_[i].lines, names_[i].error});
  n = std::min(n, all.size());
  std::partial_sort(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(n), all.end(),
                    [](const Entry& a, const Entry& b) {
                      return a.lines != b.lines ? a.lines > b.lines : a.name < b.name;
                    });
  all.resize(n);
  return all;
}

void TopNames::merge(const TopNames& other) {
  uint64_t my_least = least(), their_least = other.least();
  std::vector<Entry> both = top(kNames);
  for (Entry& entry : both) {
    size_t at = other.find(hash_bytes(entry.name), entry.name);
    entry.lines += at == kNames ? their_least : other.names_[at].lines;
    entry.error += at == kNames ? their_least : other.names_[at].error;
  }
  for (Entry& entry : other.top(kNames)) {
    if (find(hash_bytes(entry.name), entry.name) != kNames) continue;
    entry.lines += my_least;
    entry.error += my_least;
    both.push_back(std::move(entry));
  }
  std::stable_sort(both.begin(), both.end(),
                   [](const Entry& a, const Entry& b) { return a.lines > b.lines; });
  uint64_t total = total_ + other.total_;
  clear();
  if (both.size() > kNames) both.resize(kNames);
  names_.resize(std::max(names_.size(), both.size()));
  slots_.resize(kSlots);
  for (const Entry& entry : both) take(used_++, entry.name, hash_bytes(entry.name), entry.lines, entry.error);
  total_ = total;
}

void TopNames::clear() {
  std::fill(slots_.begin(), slots_.end(), 0);
  heap_.clear();
  used_ = 0;
  total_ = 0;
}

}  // namespace runnel
