#include "sketch/top_names.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "support/catch.h"

using namespace runnel;

namespace {

struct Line {
  std::string name;
  uint64_t lines;
};

using Truth = std::map<std::string, uint64_t>;

void check(const TopNames& names, const Truth& truth) {
  uint64_t total = 0;
  for (auto& [name, lines] : truth) total += lines;
  REQUIRE(names.total() == total);
  auto top = names.top(SIZE_MAX);
  REQUIRE(top.size() <= TopNames::kNames);
  std::map<std::string, TopNames::Entry> kept;
  uint64_t sum = 0;
  for (size_t i = 0; i < top.size(); i++) {
    if (i > 0) REQUIRE(top[i - 1].lines >= top[i].lines);
    REQUIRE(kept.emplace(top[i].name, top[i]).second);
    auto at = truth.find(top[i].name);
    REQUIRE(at != truth.end());
    REQUIRE(top[i].lines - top[i].error <= at->second);
    REQUIRE(at->second <= top[i].lines);
    REQUIRE(top[i].error * TopNames::kNames <= total);
    sum += top[i].lines;
  }
  REQUIRE(sum <= total);
  uint64_t least = top.size() < TopNames::kNames ? 0 : top.back().lines;
  REQUIRE(least * TopNames::kNames <= total);
  for (auto& [name, lines] : truth)
    if (!kept.contains(name)) REQUIRE(lines <= least);
}

// A few heavy names among many light ones, names that all weigh the same, new names only, …
std::vector<Line> stream(std::mt19937_64& random, int shape, size_t n) {
  std::vector<Line> lines;
  for (size_t i = 0; i < n; i++) {
    uint64_t id = 0, weight = 1;
    if (shape == 0) id = static_cast<uint64_t>(std::exp(std::uniform_real_distribution<>(0, 9)(random)));
    if (shape == 1) id = random() % 300;
    if (shape == 2) id = i;
    if (shape == 3) id = random() % 2000, weight = 1 + random() % 1000;
    if (shape == 4) id = random() % 20 ? 1000 + i : random() % 10;
    if (shape == 5) id = i, weight = 1 + i;
    if (shape == 6) id = random() % 256;
    lines.push_back({"app." + std::to_string(id) + (id % 3 ? "" : ".requests.time"), weight});
  }
  return lines;
}

}  // namespace

TEST_CASE("a few names are counted exactly") {
  TopNames names;
  CHECK(names.top(5).empty());
  names.add("b", 2);
  names.add("a", 1);
  names.add("c", 1);
  names.add("a", 4);
  names.add("nothing", 0);
  auto top = names.top(2);
  REQUIRE(top.size() == 2);
  CHECK((top[0].name == "a" && top[0].lines == 5 && top[0].error == 0));
  CHECK((top[1].name == "b" && top[1].lines == 2 && top[1].error == 0));
  CHECK(names.top(9).size() == 3);
  CHECK(names.total() == 8);
  names.clear();
  CHECK(names.total() == 0);
  CHECK(names.top(9).empty());
  std::string longer(1000, 'x');
  names.add(longer + "1", 1);
  names.add(longer + "2", 1);
  names.add("", 1);
  CHECK(names.top(9).size() == 2);
  CHECK(names.top(1)[0].name == longer.substr(0, TopNames::kMaxName));
}

TEST_CASE("what is counted holds for any stream, merged or not") {
  std::mt19937_64 random(4);
  for (int shape = 0; shape < 7; shape++) {
    TopNames reused;
    for (size_t n : {100, 256, 257, 5000, 30'000}) {
      INFO("shape " << shape << ", " << n << " lines");
      auto lines = stream(random, shape, n);
      Truth truth;
      size_t shards = 1 + random() % 4;
      std::vector<TopNames> parts(shards);
      reused.clear();
      for (auto& line : lines) {
        truth[line.name] += line.lines;
        reused.add(line.name, line.lines);
        parts[random() % shards].add(line.name, line.lines);
      }
      check(reused, truth);
      TopNames merged;
      for (const TopNames& part : parts) merged.merge(part);
      check(merged, truth);
      // And goes on after the merge.
      for (auto& line : stream(random, (shape + 1) % 7, 2000)) {
        truth[line.name] += line.lines;
        merged.add(line.name, line.lines);
      }
      check(merged, truth);
    }
  }
}

TEST_CASE("the sender of half of all lines is first among 100,000 names") {
  TopNames names;
  for (int i = 0; i < 100'000; i++) {
    names.add("name." + std::to_string(i), 10);
    if (i % 10 == 0) names.add("the.culprit", 100);
  }
  auto top = names.top(3);
  CHECK(top[0].name == "the.culprit");
  CHECK(top[0].lines - top[0].error <= 1'000'000);
  CHECK(top[0].lines >= 1'000'000);
}
