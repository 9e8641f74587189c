#include "sketch/distribution.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/text.h"
#include "support/catch.h"

using namespace runnel;

namespace {
const std::vector<double> kPercentiles{1, 25, 50, 75, 90, 95, 99, 99.9, 100};

double exact(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  double rank = std::ceil(p / 100 * static_cast<double>(values.size()) - 1e-9);
  return values[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}
}  // namespace

TEST_CASE("the example of the interface page") {
  DistributionCell cell;
  for (double v : {20.0, 10.0, 30.0}) cell.add(v, 1);
  Distribution d = cell.result({50, 90, 95, 99});
  CHECK(d.count == 3);
  CHECK(d.sum == 60);
  CHECK(d.mean == 20);
  CHECK(d.stddev == Approx(8.16496580927726));
  CHECK(d.percentiles == std::vector<std::pair<double, double>>{{50, 20}, {90, 30}, {95, 30}, {99, 30}});
}

TEST_CASE("percentiles are exact to 1000 values and within 1 % beyond") {
  std::mt19937_64 random(1);
  for (size_t n : {1, 2, 20, 100, 999, 1000, 1001, 20'000}) {
    for (int shape = 0; shape < 4; shape++) {
      DistributionCell cell;
      std::vector<double> values;
      for (size_t i = 0; i < n; i++) {
        double v = 0;
        if (shape == 0) v = static_cast<double>(i);
        if (shape == 1) v = std::lognormal_distribution<>(3, 2)(random);
        if (shape == 2) v = std::normal_distribution<>(0, 1000)(random);
        if (shape == 3) v = std::pow(10, std::uniform_real_distribution<>(-8, 8)(random));
        values.push_back(v);
        cell.add(v, 1);
      }
      Distribution d = cell.result(kPercentiles);
      for (auto [p, got] : d.percentiles) {
        double want = exact(values, p);
        INFO("n=" << n << " shape=" << shape << " p" << p << " want " << want << " got " << got);
        if (n <= 1000) CHECK(got == want);
        CHECK(std::fabs(got - want) <= 0.0101 * std::fabs(want));
      }
    }
  }
}

TEST_CASE("weights count") {
  DistributionCell cell;
  cell.add(1, 1);
  cell.add(100, 0.1);
  Distribution d = cell.result({1, 50});
  CHECK(d.count == 11);
  CHECK(d.sum == 1001);
  CHECK(d.mean == 91);
  CHECK(d.percentiles[0].second == 1);
  CHECK(d.percentiles[1].second == 100);
}

TEST_CASE("sketches merge exactly and stay bounded") {
  std::mt19937_64 random(2);
  DdSketch whole, left, right;
  for (int i = 0; i < 50'000; i++) {
    double v = std::lognormal_distribution<>(0, 3)(random) * (i % 3 == 0 ? -1 : 1);
    whole.add(v, 1);
    (i % 2 ? left : right).add(v, 1);
  }
  left.merge(right);
  CHECK(left.count() == whole.count());
  for (double p : {0.01, 0.3, 0.5, 0.9, 0.999}) CHECK(left.at_rank(p * 50'000) == whole.at_rank(p * 50'000));
  // 600 decades, from both ends: no crash, the upper end stays accurate.
  for (bool up : {true, false}) {
    DdSketch wide;
    for (int e = -300; e <= 300; e++) wide.add(std::pow(10, up ? e : -e), 1);
    CHECK(wide.count() == 601);
    CHECK(wide.at_rank(601) == Approx(1e300).epsilon(0.011));
    CHECK(wide.at_rank(600) == Approx(1e299).epsilon(0.011));
  }
}

TEST_CASE("a set is exact while small, near when huge, and bounded") {
  SetCell set;
  for (int round = 0; round < 2; round++)
    for (int i = 0; i < 5000; i++) set.add(hash_bytes(std::to_string(i)));
  CHECK(set.distinct() == 5000);
  for (int i = 0; i < 1'000'000; i++) set.add(hash_bytes(std::to_string(i)));
  CHECK(static_cast<double>(set.distinct()) == Approx(1e6).epsilon(0.03));
  set.reset();
  CHECK(set.empty());
  set.add(0);
  CHECK(set.distinct() == 1);
}
