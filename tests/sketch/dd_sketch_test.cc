#include "sketch/dd_sketch.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "support/catch.h"

using namespace runnel;

namespace {

using Random = std::mt19937_64;

double decades(Random& random, double from, double to) {
  return std::pow(10, std::uniform_real_distribution<>(from, to)(random));
}

struct Shape {
  std::string name;
  double (*draw)(Random&);
  bool collapses;  // spans more than 17 decades of a sign: bins near zero are merged
};

const Shape kShapes[] = {
    {"17 decades", [](Random& r) { return decades(r, -8.5, 8.5); }, false},
    {"negative", [](Random& r) { return -decades(r, -3, 9); }, false},
    {"both signs", [](Random& r) { return (r() % 2 ? 1 : -1) * decades(r, -5, 5); }, false},
    {"mostly zero", [](Random& r) { return r() % 10 ? 0 : decades(r, -5, 5); }, false},
    {"mixture", [](Random& r) { return r() % 100 ? std::normal_distribution<>(20, 1)(r) : decades(r, 3, 6); },
     false},
    {"integers", [](Random& r) { return static_cast<double>(r() % 1000); }, false},
    {"powers of two", [](Random& r) { return std::ldexp(1, static_cast<int>(r() % 50)); }, false},
    {"below powers of two",
     [](Random& r) { return std::nextafter(std::ldexp(1, static_cast<int>(r() % 50)), 0); }, false},
    {"near the largest",
     [](Random& r) { return (r() % 2 ? 1 : -1) * (r() % 3 ? decades(r, 300, 308) : DBL_MAX); }, false},
    {"near the smallest", [](Random& r) { return (r() % 2 ? 1 : -1) * decades(r, -307.6, -300); }, false},
    {"denormals", [](Random& r) { return (r() % 2 ? 1 : -1) * decades(r, -323, -308); }, false},
    {"one value", [](Random&) { return 42.0; }, false},
    {"600 decades", [](Random& r) { return (r() % 2 ? 1 : -1) * decades(r, -300, 300); }, true},
    {"40 decades", [](Random& r) { return decades(r, -20, 20); }, true},
};

}  // namespace

TEST_CASE("every rank is within 1 %, below the smallest normal double within that") {
  Random random(1);
  for (const Shape& shape : kShapes) {
    for (int round = 0; round < 5; round++) {
      DdSketch sketch;
      std::vector<double> values(5000);
      for (double& value : values) sketch.add(value = shape.draw(random), 1);
      std::sort(values.begin(), values.end());
      // Where bins were merged, values within 17 decades of the largest of their sign are accurate nevertheless.
      double lowest = shape.collapses ? std::max(-values.front(), values.back()) * 1e-17 : 0;
      double worst = 0;
      for (size_t i = 0; i < values.size(); i++) {
        double got = sketch.at_rank(static_cast<double>(i + 1)), want = values[i];
        if (std::fabs(want) < lowest) continue;
        if (std::fabs(want) < DBL_MIN) {
          if (got != 0) worst = 1;
          continue;
        }
        worst = std::max(worst, std::fabs(got / want - 1));
      }
      INFO(shape.name << ": " << worst);
      CHECK(worst <= DdSketch::kAccuracy);
      CHECK(sketch.count() == 5000);
      CHECK(sketch.heap_bytes() <= 33 * 1024);
    }
  }
}

TEST_CASE("no magnitude is further than 1 % from its bin") {
  Random random(2);
  double worst = 0;
  auto look = [&](double value) {
    if (value < DBL_MIN || value > DBL_MAX) return;
    DdSketch sketch;
    sketch.add(value, 1);
    worst = std::max(worst, std::fabs(sketch.at_rank(1) / value - 1));
  };
  for (int exponent = -1022; exponent <= 1023; exponent++) {
    for (int i = 0; i < 100; i++) look(std::ldexp(1 + i / 100.0, exponent));
    look(std::nextafter(std::ldexp(1, exponent), 0));
  }
  look(DBL_MIN);
  look(DBL_MAX);
  // From bin to bin at their edges.
  for (double value = 1; value < 1e6; value *= 1.00001) look(value);
  CHECK(worst <= DdSketch::kAccuracy);
  CHECK(worst > DdSketch::kAccuracy * 0.999);  // nor are bins given away
}

TEST_CASE("any order, any shards and any order of merging give the same bins") {
  Random random(3);
  for (const Shape& shape : kShapes) {
    for (int round = 0; round < 20; round++) {
      INFO(shape.name << ", round " << round);
      struct Weighted {
        double value, weight;
      };
      std::vector<Weighted> values(1 + random() % 600);
      // Runs that rise or fall as well as random ones: the window moves one way, the other, or both.
      for (auto& value : values) value = {shape.draw(random), static_cast<double>(1 + random() % 10)};
      DdSketch whole;
      for (auto value : values) whole.add(value.value, value.weight);
      auto want = whole.bins();
      for (int order = 0; order < 6; order++) {
        auto less = [](Weighted a, Weighted b) { return a.value < b.value; };
        if (order == 0) std::sort(values.begin(), values.end(), less);
        if (order == 1) std::reverse(values.begin(), values.end());
        if (order > 1) std::shuffle(values.begin(), values.end(), random);
        std::vector<DdSketch> shards(1 + random() % 8);
        for (size_t i = 0; i < values.size(); i++) {
          // Neighbours in one shard or spread over all: shards with narrow and with wide windows.
          size_t shard = order % 2 ? i * shards.size() / values.size() : random() % shards.size();
          shards[shard].add(values[i].value, values[i].weight);
        }
        while (shards.size() > 1) {  // a random tree of merges
          std::shuffle(shards.begin(), shards.end(), random);
          shards[shards.size() - 2].merge(shards.back());
          shards.pop_back();
        }
        REQUIRE(shards[0].bins() == want);
        REQUIRE(shards[0].heap_bytes() <= 33 * 1024);
      }
    }
  }
}

TEST_CASE("a narrow distribution costs little") {
  struct Row {
    double low, high;
    size_t bytes;
  };
  for (Row row : {Row{42, 42, 128}, Row{100, 200, 512}, Row{1, 10, 1152}, Row{1, 10'000, 4096},
                  Row{1e-9, 1e9, 17'000}}) {
    DdSketch sketch;
    for (int i = 0; i <= 10'000; i++) sketch.add(row.low * std::pow(row.high / row.low, i / 10'000.0), 1);
    INFO(row.low << " … " << row.high << ": " << sketch.heap_bytes());
    CHECK(sketch.heap_bytes() <= row.bytes);
  }
  CHECK(DdSketch().heap_bytes() == 0);
  CHECK(DdSketch().count() == 0);
}
