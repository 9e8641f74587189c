#include "sketch/set.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace runnel {
namespace {

constexpr uint32_t kFirst = 8;       // slots: 64 bytes
constexpr uint32_t kKeptSlots = 64;  // that reset() keeps

}  // namespace

void SetCell::swap(SetCell& other) noexcept {
  std::swap(table_, other.table_);
  std::swap(size_, other.size_);
  std::swap(used_, other.used_);
  std::swap(limit_, other.limit_);
}

void SetCell::place(uint64_t hash) {
  size_t mask = size_ - 1, i = hash & mask;
  while (table_[i] != 0) i = (i + 1) & mask;
  table_[i] = hash;
  used_++;
}

void SetCell::rebuild(size_t size) {
  std::unique_ptr<uint64_t[]> old = std::make_unique<uint64_t[]>(size);
  old.swap(table_);
  uint32_t old_size = std::exchange(size_, static_cast<uint32_t>(size));
  used_ = 0;
  for (uint32_t i = 0; i < old_size; i++)
    if (old[i] != 0 && old[i] < limit_) place(old[i]);
}

void SetCell::add(uint64_t hash) {
  hash = std::clamp<uint64_t>(hash, 1, kNoLimit - 1);
  if (hash >= limit_) return;
  if (size_ > 0) {
    size_t mask = size_ - 1;
    for (size_t i = hash & mask; table_[i] != 0; i = (i + 1) & mask)
      if (table_[i] == hash) return;
  }
  if (used_ == 2 * kKept) {
    prune();
    if (hash >= limit_) return;
  }
  // Three quarters full at most: 2 × kKept members fill half of 64 Ki slots.
  if ((used_ + 1) * 4 > size_ * 3) rebuild(size_ == 0 ? kFirst : size_ * 2);
  place(hash);
}

void SetCell::prune() {
  std::vector<uint64_t> all;
  all.reserve(used_);
  for (uint32_t i = 0; i < size_; i++)
    if (table_[i] != 0) all.push_back(table_[i]);
  std::nth_element(all.begin(), all.begin() + kKept, all.end());
  limit_ = all[kKept];
  rebuild(size_);
}

uint64_t SetCell::distinct() const {
  if (limit_ == kNoLimit) return used_;
  // `used_` of the hashes lie below limit_, a fraction limit_/2⁶⁴ of the whole range.
  return static_cast<uint64_t>(
      std::llround(static_cast<double>(used_) * 18446744073709551616.0 / static_cast<double>(limit_)));
}

void SetCell::merge(const SetCell& other) {
  if (other.limit_ < limit_) {
    limit_ = other.limit_;
    rebuild(std::max(size_, kFirst));
  }
  for (uint32_t i = 0; i < other.size_; i++)
    if (other.table_[i] != 0) add(other.table_[i]);
}

void SetCell::reset() {
  if (size_ > kKeptSlots) return release();
  std::fill_n(table_.get(), size_, 0);
  used_ = 0;
  limit_ = kNoLimit;
}

void SetCell::release() {
  table_.reset();
  size_ = used_ = 0;
  limit_ = kNoLimit;
}

}  // namespace runnel
