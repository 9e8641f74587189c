// t-digests. Those in tests/fuzz/corpus/ffwd_digest were written by the Java library (Sender.java write-digests).
#include "source/ffwd/digest.h"

#include <bit>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <string>

#include "source/ffwd/base64.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::ffwd;
using namespace std::string_literals;

namespace {

const std::vector<double> kPercentiles{1, 50, 90, 95, 99, 100};
constexpr double kOne = 130 - 300.1;  // Sender.java, values()
constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::string file(const std::string& name) {
  std::ifstream in(RUNNEL_TESTS_DIR "/fuzz/corpus/ffwd_digest/" + name, std::ios::binary);
  REQUIRE(in);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <class Int>
std::string big_endian(Int value) {
  std::string bytes;
  for (int shift = static_cast<int>(sizeof value) * 8 - 8; shift >= 0; shift -= 8)
    bytes += static_cast<char>(static_cast<uint64_t>(value) >> shift);
  return bytes;
}
std::string i16(int value) {
  return big_endian(static_cast<uint16_t>(value));
}
std::string i32(int64_t value) {
  return big_endian(static_cast<uint32_t>(value));
}
std::string f32(double value) {
  return big_endian(std::bit_cast<uint32_t>(static_cast<float>(value)));
}
std::string f64(double value) {
  return big_endian(std::bit_cast<uint64_t>(value));
}

using Pairs = std::vector<std::pair<double, double>>;  // (weight, mean)

std::string verbose(double min, double max, const Pairs& centroids, double compression = 100) {
  std::string bytes =
      i32(1) + f64(min) + f64(max) + f64(compression) + i32(static_cast<int64_t>(centroids.size()));
  for (auto [weight, mean] : centroids) bytes += f64(weight) + f64(mean);
  return bytes;
}
std::string small(double min, double max, const Pairs& centroids, int room = 210) {
  std::string bytes = i32(2) + f64(min) + f64(max) + f32(100) + i16(room) + i16(500) +
                      i16(static_cast<int>(centroids.size()));
  for (auto [weight, mean] : centroids) bytes += f32(weight) + f32(mean);
  return bytes;
}
std::string tree(double min, double max, const Pairs& centroids) {
  std::string bytes = i32(1) + f64(min) + f64(max) + f64(100) + i32(static_cast<int64_t>(centroids.size()));
  for (auto [weight, mean] : centroids) bytes += f64(mean);
  for (auto [weight, mean] : centroids) bytes += i32(static_cast<int64_t>(weight));
  return bytes;
}
std::string small_tree(double min, double max, const std::vector<double>& steps, const std::string& weights) {
  std::string bytes = i32(2) + f64(min) + f64(max) + f64(100) + i32(static_cast<int64_t>(steps.size()));
  for (double step : steps) bytes += f32(step);
  return bytes + weights;
}

Pairs values(const Distribution& d) {
  return d.percentiles;
}

}  // namespace

TEST_CASE("digests that the Java library wrote") {
  auto exact = read_digest(file("merging_verbose_few_20"), kPercentiles);
  REQUIRE(exact);
  for (std::string kind : {"merging_verbose_", "merging_small_", "tree_verbose_", "tree_small_"}) {
    INFO(kind);
    // Rounded to floats in the small forms; min and max never are.
    double within = kind.find("small") == std::string::npos ? 1e-12 : 1e-6;
    auto none = read_digest(file(kind + "none_20"), kPercentiles);
    REQUIRE(none);
    CHECK((none->count == 0 && none->sum == 0 && std::isnan(none->min) && std::isnan(none->mean) &&
           none->percentiles.empty()));
    auto one = read_digest(file(kind + "one_20"), kPercentiles);
    REQUIRE(one);
    CHECK(one->count == 1);
    CHECK(one->min == kOne);
    CHECK(one->max == kOne);
    CHECK(one->percentiles == Pairs{{1, kOne}, {50, kOne}, {90, kOne}, {95, kOne}, {99, kOne}, {100, kOne}});
    auto ten = read_digest(file(kind + "few_20"), kPercentiles);
    REQUIRE(ten);
    CHECK(ten->count == 10);
    CHECK(ten->min == 93 - 300.1);
    CHECK(ten->max == 970 - 300.1);
    CHECK(ten->sum == Approx(exact->sum).epsilon(within));
    for (size_t i = 0; i < kPercentiles.size(); i++)
      CHECK(ten->percentiles[i].second == Approx(exact->percentiles[i].second).epsilon(within));
    auto many = read_digest(file(kind + "normal_20"), kPercentiles);
    REQUIRE(many);
    CHECK(many->count == 100'000);
    CHECK(many->mean == Approx(-5).margin(0.1 + within));
    CHECK(many->stddev == Approx(10).epsilon(0.02));
    CHECK(many->percentiles[1].second == Approx(-5).margin(0.5));
    CHECK(many->percentiles[4].second == Approx(-5 + 23.26).margin(1));
    CHECK(many->percentiles[5].second == many->max);
    auto wide = read_digest(file(kind + "wide_20"), kPercentiles);
    REQUIRE(wide);
    CHECK(wide->count == 100'000);
    for (size_t i = 1; i < wide->percentiles.size(); i++)
      CHECK(wide->percentiles[i - 1].second < wide->percentiles[i].second);
  }
}

TEST_CASE("values that were not merged come back as they are, at the rank that every distribution has") {
  Pairs singles;
  for (int i = 1; i <= 10; i++) singles.emplace_back(1, i * 10);
  Pairs wanted{{1, 10}, {50, 50}, {90, 90}, {95, 100}, {99, 100}, {100, 100}};
  for (const std::string& bytes : {verbose(10, 100, singles), small(10, 100, singles), tree(10, 100, singles),
                                   small_tree(10, 100, std::vector<double>(10, 10), std::string(10, 1))}) {
    auto d = read_digest(bytes, kPercentiles);
    REQUIRE(d);
    CHECK(values(*d) == wanted);
    CHECK((d->count == 10 && d->sum == 550 && d->mean == 55 && d->min == 10 && d->max == 100));
    CHECK(d->stddev == Approx(28.7228));
  }
}

TEST_CASE("between centroids values grow evenly, and the ends are min and max") {
  auto d = read_digest(verbose(0, 100, {{10, 10}, {80, 50}, {10, 90}}), {1, 5, 10, 50, 90, 95, 99.9, 100});
  REQUIRE(d);
  CHECK(d->count == 100);
  // Rank r lies at r - 0.5; centres at 5, 50, 95.
  Pairs wanted{{1, 0},
               {5, 4 / 4.5 * 10},
               {10, 10 + 4.5 / 45 * 40},
               {50, 10 + 44.5 / 45 * 40},
               {90, 50 + 39.5 / 45 * 40},
               {95, 50 + 44.5 / 45 * 40},
               {99.9, 100},
               {100, 100}};
  REQUIRE(d->percentiles.size() == wanted.size());
  for (size_t i = 0; i < wanted.size(); i++) {
    INFO(wanted[i].first);
    CHECK(d->percentiles[i].second == Approx(wanted[i].second));
  }
}

TEST_CASE("weights beyond a byte, in the tree's small form") {
  auto d = read_digest(small_tree(1, 3, {1, 2}, "\x80\x01\xff\xff\xff\xff\x07"s), {50});
  REQUIRE(d);
  CHECK(d->count == 128 + 2147483647.0);
}

TEST_CASE("what is rounded may be beyond min and max by that much") {
  double min = 0.1, max = 0.3;  // as floats: 0.100000001, 0.300000012
  auto d = read_digest(small(min, max, {{1, min}, {2, 0.2}, {1, max}}), kPercentiles);
  REQUIRE(d);
  CHECK((d->min == min && d->max == max));
  CHECK((d->percentiles.front().second == min && d->percentiles.back().second == max));
  CHECK(!read_digest(small(0.1, 0.3, {{1, 0.1}, {1, 0.30001}}), kPercentiles));
  CHECK(read_digest(small_tree(0.1, 0.3, {0.1, 0.1, 0.1}, "\1\1\1"), kPercentiles));
  CHECK(!read_digest(small_tree(0.1, 0.3, {0.1, 0.1, 0.10001}, "\1\1\1"), kPercentiles));
}

TEST_CASE("the library's averages drift in the last place") {
  auto d = read_digest(tree(0.1, 0.1, {{2, std::nextafter(0.1, 1)}, {3, 0.1}, {4, std::nextafter(0.1, 0)}}),
                       kPercentiles);
  REQUIRE(d);
  CHECK((d->mean == 0.1 && d->stddev == 0));
  for (auto [p, value] : d->percentiles) CHECK(value == 0.1);
  CHECK(!read_digest(tree(0.1, 0.1, {{2, 0.1 + 1e-12}}), kPercentiles));
}

TEST_CASE("what is no digest is refused") {
  const Pairs two{{1, 1}, {2, 2}};
  std::string good = verbose(1, 2, two);
  REQUIRE(read_digest(good, {}));
  std::map<std::string, std::string> rows = {
      {"nothing", ""},
      {"text", "not a digest, of thirty and more bytes"},
      {"version", i32(3) + good.substr(4)},
      {"version 0", i32(0) + good.substr(4)},
      {"cut", good.substr(0, good.size() - 1)},
      {"more", good + "x"},
      {"more centroids than bytes", good.substr(0, 28) + i32(3) + good.substr(32)},
      {"fewer", good.substr(0, 28) + i32(1) + good.substr(32)},
      {"negative n", good.substr(0, 28) + i32(-1) + good.substr(32)},
      {"head alone", good.substr(0, 32)},
      {"of t-digest 3.0", i32(1) + f64(100) + i32(1) + f64(1) + i32(1)},
      {"compression 0", verbose(1, 2, two, 0)},
      {"compression NaN", verbose(1, 2, two, kNan)},
      {"compression infinite", verbose(1, 2, two, kInf)},
      {"weight 0", verbose(1, 2, {{0, 1}, {2, 2}})},
      {"weight below 1", verbose(1, 2, {{0.5, 1}, {2, 2}})},
      {"weight negative", verbose(1, 2, {{-1, 1}, {2, 2}})},
      {"weight NaN", verbose(1, 2, {{kNan, 1}, {2, 2}})},
      {"weight infinite", verbose(1, 2, {{kInf, 1}, {2, 2}})},
      {"weight beyond counting", verbose(1, 2, {{1e16, 1}, {2, 2}})},
      {"mean NaN", verbose(1, 2, {{1, kNan}, {2, 2}})},
      {"mean infinite", verbose(1, kInf, {{1, 1}, {2, kInf}})},
      {"means descend", verbose(1, 2, {{1, 2}, {1, 1}})},
      {"mean below min", verbose(1.5, 2, two)},
      {"mean above max", verbose(1, 1.5, two)},
      {"one value, two ends", verbose(1, 2, {{1, 1.5}})},
      {"min above max", verbose(2, 1, {{1, 1.5}})},
      {"min NaN", verbose(kNan, 2, two)},
      {"max NaN", verbose(1, kNan, two)},
      {"min infinite", verbose(-kInf, 2, two)},
      {"empty with a min", verbose(1, 2, {})},
      {"empty the other way", verbose(-kInf, kInf, {})},
      {"room for fewer", small(1, 2, two, 1)},
      {"room negative", small(1, 2, two, -1)},
      {"small, cut", small(1, 2, two).substr(0, 45)},
      {"small, more", small(1, 2, two) + "x"},
      {"small, a mean beyond floats", small(1, 1e300, {{1, 1}, {1, kInf}})},
      {"tree, weight 0", tree(1, 2, {{0, 1}, {1, 2}})},
      {"tree, weight negative", tree(1, 2, {{-1, 1}, {1, 2}})},
      {"tree, means descend", tree(1, 2, {{1, 2}, {1, 1}})},
      {"small tree, weight 0", small_tree(1, 2, {1, 1}, "\1\0"s)},
      {"small tree, weight missing", small_tree(1, 2, {1, 1}, "\1"s)},
      {"small tree, a weight too many", small_tree(1, 2, {1, 1}, "\1\1\1"s)},
      {"small tree, weight cut", small_tree(1, 2, {1, 1}, "\1\x81"s)},
      {"small tree, weight of six bytes", small_tree(1, 2, {1, 1}, "\1\x81\x80\x80\x80\x80\1"s)},
      {"small tree, weight negative", small_tree(1, 2, {1, 1}, "\1\xff\xff\xff\xff\x0f"s)},
      {"small tree, step back", small_tree(1, 2, {2, -1}, "\1\1"s)},
      {"small tree, step NaN", small_tree(1, 2, {1, kNan}, "\1\1"s)},
      {"small tree, n beyond all", i32(2) + f64(1) + f64(2) + f64(100) + i32(-1) + std::string(100, 1)},
  };
  for (const auto& [name, bytes] : rows) {
    INFO(name);
    CHECK(!read_digest(bytes, kPercentiles));
  }
  for (const auto& entry : std::filesystem::directory_iterator(RUNNEL_TESTS_DIR "/fuzz/corpus/ffwd_digest")) {
    std::string name = entry.path().filename().string(), bytes = file(name);
    if (!name.starts_with("merging_") && !name.starts_with("tree_")) continue;
    INFO(name);
    CHECK(read_digest(bytes, kPercentiles));
    if (name.find("none") != std::string::npos) continue;  // cut, one form is the other
    for (size_t size = 0; size < bytes.size(); size++)
      CHECK(!read_digest(bytes.substr(0, size), kPercentiles));
    CHECK(!read_digest(bytes + '\0', kPercentiles));
  }
}

TEST_CASE("base64, both ways") {
  std::string bytes;
  for (int i = 0; i < 300; i++) {
    std::string text, back;
    append_base64(text, bytes);
    REQUIRE(read_base64(text, back));
    REQUIRE(back == bytes);
    bytes += static_cast<char>(i * 7);
  }
  std::string out;
  for (std::string bad :
       {"A", "AA", "AAA", "AA=A", "A===", "====", "AAAA=", "AA==AAAA", "AA-_", "AB==", "AAB=", "AA\n="}) {
    INFO(bad);
    CHECK(!read_base64(bad, out));
  }
}
