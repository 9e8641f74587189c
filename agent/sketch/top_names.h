// The names that bring most lines, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient computation
// of frequent and top-k elements in data streams", ICDT 2005), weighted. One thread. Owns copies of the names.
//
// For each name kept, lines - error ≤ its true lines ≤ lines; every name with more than total() / kNames lines is kept,
// and one that is not has at most that many. Merging keeps all of it (Agarwal et al.: "Mergeable summaries", PODS 2012):
// a name that one side does not have gets that side's smallest count as lines and as error, the kNames largest stay.
//
// A name that is kept costs a hash, a probe and an addition, 10 ns. A new one takes the place of a name with the smallest
// count, which a heap finds: 100 ns, where a search through all takes 300 (100,000 names at a flush: 10 ms, not 30).
// Counts only grow and the heap is not told; it learns of it when an old count comes to its top.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace runnel {

class TopNames {
 public:
  static constexpr size_t kNames = 256;
  static constexpr size_t kMaxName = 256;  // bytes; longer names that agree so far are one

  struct Entry {
    std::string name;
    uint64_t lines = 0, error = 0;
  };

  void add(std::string_view name, uint64_t lines);
  uint64_t total() const { return total_; }  // lines of all names, kept or not
  std::vector<Entry> top(size_t n) const;    // most lines first, of equals by name
  void merge(const TopNames& other);
  void clear();  // keeps its memory, at most 150 KiB

 private:
  static constexpr size_t kSlots = 4 * kNames;  // of the index: a quarter full
  struct Name {
    std::string text;  // its memory is reused by the next name that takes the place
    uint64_t hash = 0, lines = 0, error = 0;
  };
  struct Bound {
    uint64_t lines;  // no more than those of names_[at]
    size_t at;
  };
  size_t find(uint64_t hash, std::string_view name) const;  // kNames: not there
  void index(size_t at);
  void forget(size_t at);
  size_t smallest();  // only when all places are taken
  void sink();
  uint64_t least() const;  // what a name that is not kept may have had
  void take(size_t at, std::string_view name, uint64_t hash, uint64_t lines, uint64_t error);

  std::vector<Name> names_;
  std::vector<uint16_t> slots_;  // open addressing by hash: position in names_ + 1, 0 is free
  std::vector<Bound> heap_;      // least first; filled when names_ is
  size_t used_ = 0;              // of names_
  uint64_t total_ = 0;
};

}  // namespace runnel
