#include "sketch/distribution.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <random>

#include "support/catch.h"

using namespace runnel;

namespace {
const std::vector<double> kPercentiles{1, 25, 50, 75, 90, 95, 99, 99.9, 100};

double exact(std::vector<double> values, double p) {
  std::sort(values.begin(), values.end());
  double rank = std::ceil(p / 100 * static_cast<double>(values.size()) - 1e-9);
  return values[static_cast<size_t>(std::max(rank, 1.0)) - 1];
}

struct Input {
  double value, rate;
};

DistributionCell cell_of(const std::vector<Input>& inputs) {
  DistributionCell cell;
  for (Input input : inputs) cell.add(input.value, input.rate);
  return cell;
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

TEST_CASE("results, a row each") {
  struct Row {
    std::vector<Input> inputs;
    double count, sum, min, max, mean, stddev, p50;
  };
  const double big = 1.7e308;
  const Row rows[] = {
      {{{5, 1}}, 1, 5, 5, 5, 5, 0, 5},
      {{{-5, 1}, {5, 1}}, 2, 0, -5, 5, 0, 5, -5},
      {{{0.1, 1}, {0.1, 1}, {0.1, 1}}, 3, 0.3, 0.1, 0.1, 0.1, 0, 0.1},
      {{{1, 0.5}, {4, 1}}, 3, 6, 1, 4, 2, std::sqrt(2), 1},
      {{{1, 1}, {4, 0.25}, {9, 1}}, 6, 26, 1, 9, 26.0 / 6, std::sqrt(146.0 / 6 - 676.0 / 36), 4},
      {{{1e16, 1}, {1, 1}, {-1e16, 1}}, 3, 1, -1e16, 1e16, 1.0 / 3, 1e16 * std::sqrt(2.0 / 3), 1},
      // Far from zero: the two passes keep the small spread.
      {{{1e9 + 1, 1}, {1e9 + 2, 1}, {1e9 + 3, 1}},
       3,
       3e9 + 6,
       1e9 + 1,
       1e9 + 3,
       1e9 + 2,
       std::sqrt(2.0 / 3),
       1e9 + 2},
      // The edges of the doubles: only what cannot be told stands at the edge.
      {{{big, 1}, {big, 1}, {big, 1}}, 3, DBL_MAX, big, big, big, 0, big},
      {{{big, 1}, {big, 1}, {-big, 1}, {-big, 1}}, 4, 0, -big, big, 0, big, -big},
      {{{DBL_MAX, 1}, {-DBL_MAX, 1}}, 2, 0, -DBL_MAX, DBL_MAX, 0, DBL_MAX, -DBL_MAX},
      {{{DBL_MAX, 0.001}}, 1000, DBL_MAX, DBL_MAX, DBL_MAX, DBL_MAX, 0, DBL_MAX},
      {{{1e-310, 1}, {3e-310, 1}}, 2, 4e-310, 1e-310, 3e-310, 2e-310, 1e-310, 1e-310},
      {{{1e-200, 1}, {3e-200, 1}}, 2, 4e-200, 1e-200, 3e-200, 2e-200, 1e-200, 1e-200},
      {{{7, 1e-300}, {7, 5e-324}}, 2e18, 14e18, 7, 7, 7, 0, 7},  // a rate below 1e-18 is 1e-18
  };
  for (const Row& row : rows) {
    DistributionCell cell = cell_of(row.inputs);
    for (int again = 0; again < 2; again++) {  // a result may be asked for twice
      Distribution d = cell.result({50});
      INFO("row " << &row - rows);
      CHECK(d.count == Approx(row.count).epsilon(1e-15));
      CHECK(d.sum == Approx(row.sum).epsilon(1e-15));
      CHECK(d.min == row.min);
      CHECK(d.max == row.max);
      CHECK(d.mean == Approx(row.mean).epsilon(1e-15));
      CHECK(d.stddev == Approx(row.stddev).epsilon(1e-14));
      CHECK(d.percentiles == std::vector<std::pair<double, double>>{{50, row.p50}});
    }
  }
  CHECK(DistributionCell().result({50}).count == 0);
}

TEST_CASE("beyond 1000 values sums stay right and finite, whatever the weights") {
  struct Row {
    const char* name;
    Input even, odd;
  };
  const Row rows[] = {
      {"plain", {1, 1}, {3, 1}},
      {"weighted", {1, 0.1}, {3, 0.1}},
      {"two rates", {1, 1}, {3, 0.25}},
      {"large", {1e300, 1}, {-1e300, 1}},
      {"the edge", {DBL_MAX, 1}, {-DBL_MAX, 1}},
      {"far", {1e9, 1}, {1e9 + 2, 1}},
      {"small", {1e-300, 1}, {3e-300, 1}},
  };
  for (const Row& row : rows) {
    for (int pairs : {501, 700, 5000}) {
      DistributionCell cell;
      for (int i = 0; i < pairs; i++) {
        cell.add(row.even.value, row.even.rate);
        cell.add(row.odd.value, row.odd.rate);
        if (i % 333 == 0) cell.result({50});  // asking changes nothing
      }
      double a = 1 / row.even.rate, b = 1 / row.odd.rate;
      double mean = row.even.value * (a / (a + b)) + row.odd.value * (b / (a + b));
      double stddev = std::sqrt(a * b) / (a + b) * std::fabs(row.odd.value / 2 - row.even.value / 2) * 2;
      Distribution d = cell.result({25, 99});
      INFO(row.name << " " << pairs);
      CHECK(d.count == pairs * (a + b));
      CHECK(d.sum == Approx(mean * (a + b) * pairs).epsilon(1e-12));
      CHECK(d.mean == Approx(mean).epsilon(1e-12));
      CHECK(d.stddev == Approx(std::min(stddev, DBL_MAX)).epsilon(1e-9));
      CHECK(d.min == std::min(row.even.value, row.odd.value));
      CHECK(d.max == std::max(row.even.value, row.odd.value));
      CHECK(d.percentiles[1].second == Approx(d.max).epsilon(0.01));
    }
  }
}

TEST_CASE("merging shards is as adding all to one") {
  std::mt19937_64 random(3);
  for (int round = 0; round < 300; round++) {
    INFO("round " << round);
    size_t n = std::uniform_int_distribution<size_t>(1, round % 3 == 0 ? 900 : 4000)(random);
    size_t shards = 1 + random() % 5;
    bool weighted = random() % 2 == 0;
    DistributionCell whole;
    std::vector<DistributionCell> parts(shards);
    std::vector<double> values;
    for (size_t i = 0; i < n; i++) {
      double value =
          std::normal_distribution<>(0, 1)(random) * std::pow(10, static_cast<double>(random() % 6));
      double rate = weighted && random() % 2 == 0 ? 0.125 : 1;
      whole.add(value, rate);
      parts[random() % shards].add(value, rate);
    }
    std::shuffle(parts.begin(), parts.end(), random);
    DistributionCell merged;
    for (DistributionCell& part : parts) {
      merged.merge(std::move(part));
      CHECK(part.empty());
    }
    Distribution want = whole.result(kPercentiles), got = merged.result(kPercentiles);
    CHECK(got.percentiles == want.percentiles);
    CHECK(got.count == want.count);
    CHECK(got.min == want.min);
    CHECK(got.max == want.max);
    CHECK(got.sum == Approx(want.sum).epsilon(1e-12).margin(1e-9));
    CHECK(got.mean == Approx(want.mean).epsilon(1e-12).margin(1e-9));
    CHECK(got.stddev == Approx(want.stddev).epsilon(1e-12));
  }
}

TEST_CASE("a cell with ten values costs 112 bytes, and gives its memory back") {
  DistributionCell cell;
  auto add = [&](int n) {
    for (int i = 0; i < n; i++) cell.add(i, 1);
  };
  CHECK(sizeof(DistributionCell) <= 16);
  CHECK(cell.heap_bytes() == 0);
  add(10);
  CHECK(cell.heap_bytes() == 88);
  cell.reset();
  CHECK(cell.empty());
  CHECK(cell.heap_bytes() == 88);
  cell.add(1, 0.5);  // the array is kept for weights as well
  CHECK(cell.heap_bytes() == 88);
  CHECK(cell.result({}).count == 2);
  cell.release();
  CHECK(cell.heap_bytes() == 0);
  add(1000);
  CHECK(cell.heap_bytes() == 8000);
  CHECK(cell.result({100}).percentiles[0].second == 999);
  add(1);
  CHECK(cell.heap_bytes() < 8000);
  cell.reset();
  CHECK(cell.empty());
  CHECK(cell.heap_bytes() == 0);
  add(5);
  DistributionCell moved = std::move(cell);
  CHECK(moved.result({100}).percentiles[0].second == 4);
  moved.merge(cell_of(std::vector<Input>(1500, {9, 0.5})));
  CHECK(moved.result({100}).count == 3005);
  moved = DistributionCell();
  CHECK(moved.empty());
}
