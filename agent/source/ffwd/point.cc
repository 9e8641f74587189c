#include "source/ffwd/point.h"

#include <algorithm>
#include <cmath>

namespace runnel::ffwd {
namespace {

constexpr int64_t kMilliseconds = 100'000'000'000;  // from here on
constexpr size_t kFew = 24;                         // tags up to which insertion beats a sort that allocates

}  // namespace

std::optional<int64_t> time_from(int64_t number) {
  if (number < 0) return std::nullopt;
  int64_t ms = number < kMilliseconds ? number * 1000 : number;
  return ms <= kMaxTimeMs ? std::optional(ms) : std::nullopt;
}

std::optional<int64_t> time_from(double number) {
  if (!(number >= 0) || number > 1e15) return std::nullopt;
  if (number < static_cast<double>(kMilliseconds)) number *= 1000;  // fractions of a second
  int64_t ms = std::llround(number);
  return ms <= kMaxTimeMs ? std::optional(ms) : std::nullopt;
}

bool sort_pairs(std::vector<Tag>& pairs, size_t from) {
  auto before = [](const Tag& a, const Tag& b) { return a.key < b.key; };
  size_t count = pairs.size() - from;
  if (count < 2) return true;
  auto first = pairs.begin() + static_cast<std::ptrdiff_t>(from);
  if (count > kFew) {
    std::stable_sort(first, pairs.end(), before);
  } else {
    for (size_t i = from + 1; i < pairs.size(); i++)
      for (size_t j = i; j > from && before(pairs[j], pairs[j - 1]); j--) std::swap(pairs[j], pairs[j - 1]);
  }
  size_t kept = from;
  for (size_t i = from; i < pairs.size(); i++) {
    if (kept > from && pairs[kept - 1].key == pairs[i].key) kept--;
    pairs[kept++] = pairs[i];
  }
  bool each_once = kept == pairs.size();
  pairs.resize(kept);
  return each_once;
}

}  // namespace runnel::ffwd
