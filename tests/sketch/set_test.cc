#include "sketch/set.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <set>
#include <vector>

#include "support/catch.h"

using namespace runnel;

TEST_CASE("a set is exact while small, near when huge, and bounded") {
  std::mt19937_64 random(1);
  for (size_t n : {0, 1, 6, 7, 48, 49, 5000, 32'768, 32'769, 100'000, 1'000'000}) {
    std::vector<uint64_t> hashes(n);
    for (uint64_t& hash : hashes) hash = random();
    SetCell set;
    for (int round = 0; round < 2; round++)
      for (uint64_t hash : hashes) set.add(hash);
    INFO(n << " members");
    if (n <= 2 * SetCell::kKept) {
      CHECK(set.distinct() == n);
    } else {
      CHECK(static_cast<double>(set.distinct()) == Approx(static_cast<double>(n)).epsilon(0.03));
    }
    CHECK(set.heap_bytes() <= 512 * 1024);
    CHECK(set.empty() == (n == 0));
    set.reset();
    CHECK(set.empty());
    CHECK(set.heap_bytes() <= 512);
    for (uint64_t hash : {uint64_t{0}, uint64_t{0}, UINT64_MAX}) set.add(hash);
    CHECK(set.distinct() == 2);
    set.release();
    CHECK(set.heap_bytes() == 0);
    CHECK(set.distinct() == 0);
  }
}

TEST_CASE("sets merge to the union") {
  std::mt19937_64 random(2);
  const size_t sizes[] = {0, 3, 1000, 20'000, 32'768, 60'000, 300'000};
  for (size_t a : sizes) {
    for (size_t b : sizes) {
      size_t shared = std::min(a, b) / 3;
      SetCell left, right;
      for (size_t i = 0; i < a + b - shared; i++) {
        uint64_t hash = random();
        if (i < a) left.add(hash);
        if (i >= a - shared) right.add(hash);
      }
      left.merge(right);
      INFO(a << " and " << b);
      auto want = static_cast<double>(a + b - shared);
      CHECK(left.heap_bytes() <= 512 * 1024);
      if (want <= 2 * SetCell::kKept) {
        CHECK(static_cast<double>(left.distinct()) == want);
      } else {
        CHECK(static_cast<double>(left.distinct()) == Approx(want).epsilon(0.03));
      }
      uint64_t before = left.distinct();
      left.merge(right);  // nothing new
      CHECK(left.distinct() == before);
      SetCell moved = std::move(left);
      CHECK(moved.distinct() == before);
    }
  }
}
