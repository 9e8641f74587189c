// Distinct members of a set within an interval. Exact up to 2 × kKept, then all hashes below a limit that sinks as more
// come, never fewer than kKept, estimate the rest (k minimum values, Bar-Yossef et al. 2002): standard error 1/√kKept,
// below 1 %. At most 512 KiB a series, however many members. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

namespace runnel {

class SetCell {
 public:
  static constexpr size_t kKept = 16384;

  SetCell() = default;
  SetCell(SetCell&& other) noexcept { swap(other); }
  SetCell& operator=(SetCell&& other) noexcept {
    SetCell(std::move(other)).swap(*this);
    return *this;
  }

  void add(uint64_t hash);  // of a member, all 64 bits evenly spread
  uint64_t distinct() const;
  bool empty() const { return used_ == 0; }
  // The union: exact where it has at most 2 × kKept members and neither had more before.
  void merge(const SetCell& other);
  void reset();    // empty; keeps a small table for the next interval
  void release();  // empty; gives all memory back
  size_t heap_bytes() const { return size_ * sizeof(uint64_t); }

 private:
  static constexpr uint64_t kNoLimit = UINT64_MAX;
  void swap(SetCell& other) noexcept;
  void rebuild(size_t size);  // into a table of that size, without what is not below limit_
  void prune();
  void place(uint64_t hash);

  std::unique_ptr<uint64_t[]> table_;  // open addressing; 0 is a free slot
  uint32_t size_ = 0;                  // a power of two, or 0
  uint32_t used_ = 0;
  uint64_t limit_ = kNoLimit;  // hashes from here on are not kept
};

static_assert(sizeof(SetCell) <= 32);

}  // namespace runnel
