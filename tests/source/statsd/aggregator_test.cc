#include "source/statsd/aggregator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/text.h"
#include "samples.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

TEST_CASE("lines that are taken") {
  struct {
    std::vector<const char*> lines;
    std::vector<std::string> samples;
  } rows[] = {
      {{"a:1|c"}, {"a counter 1"}},
      {{"a:1|c", "a:2|m"}, {"a counter 3"}},
      {{"a:1.5|c", "a:1|c"}, {"a counter 2.5"}},
      {{"a:-3|c|@0.1"}, {"a counter -30"}},
      {{"a:1|c|@0.5", "a:1|c"}, {"a counter 3"}},
      {{"a:1e3|c"}, {"a counter 1000"}},
      {{"a:+5|c"}, {"a counter 5"}},
      {{"a:1|c|@1e-1"}, {"a counter 10"}},
      // Exact where doubles are not: 2^53 + 1, and the largest.
      {{"a:9007199254740993|c", "a:1|c"}, {"a counter 9007199254740994"}},
      {{"a:9223372036854775806|c", "a:1|c"}, {"a counter 9223372036854775807"}},
      {{"a:9223372036854775807|c", "a:1|c"},
       {"a counter 9223372036854775808"}},  // overflow: a double, never negative
      {{"a:9223372036854775807:1:-2|c"}, {"a counter 9223372036854775806"}},  // the order does not matter
      {{"a:0.1|c", "a:0.2|c", "a:0.3|c"}, {"a counter 0.6"}},                 // compensated
      {{"a:5|g"}, {"a gauge 5"}},
      {{"a:5|g", "a:+3|g", "a:-2|g"}, {"a gauge 6"}},
      {{"a:-2|g"}, {"a gauge -2"}},  // a delta on an unset gauge starts at 0
      {{"a:1.5|g", "a:+1|g"}, {"a gauge 2.5"}},
      {{"a:10|ms", "a:20|ms", "a:30|ms"}, {"a distributionms n=3 sum=60 min=10 max=30"}},
      {{"a:10|h"}, {"a distribution n=1 sum=10 min=10 max=10"}},
      {{"a:-5|ms"}, {"a distributionms n=1 sum=-5 min=-5 max=-5"}},
      {{"a:10|ms|@0.1"}, {"a distributionms n=10 sum=100 min=10 max=10"}},
      {{"a:x|s", "a:y|s", "a:x|s"}, {"a set 2"}},
      {{"a:x:y|s"}, {"a set 1"}},  // a member may hold ':'
      // Both multi-value forms and their mixture.
      {{"a:1:2:3|c"}, {"a counter 6"}},
      {{"a:1::3|h"}, {"a distribution n=2 sum=4 min=1 max=3"}},
      {{"a:1|c:2|ms"}, {"a counter 1", "a distributionms n=1 sum=2 min=2 max=2"}},
      {{"a:1:2|c:3:4|ms|#t:v"}, {"a,t=v counter 3", "a,t=v distributionms n=2 sum=7 min=3 max=4"}},
      {{"a:1|c|@0.5:2|ms"}, {"a counter 2", "a distributionms n=1 sum=2 min=2 max=2"}},
      // Tags: any order is one series, bare ones are empty, the last of equal keys wins, a host moves.
      {{"a:1|c|#b:2,a:1", "a:1|c|#a:1,b:2"}, {"a,a=1,b=2 counter 2"}},
      {{"a:1|c|#prod,env:x:y"}, {"a,env=x:y,prod= counter 1"}},
      {{"a:1|c|#k:1,k:2"}, {"a,k=2 counter 1"}},
      {{"a:1|c|#,k:1,"}, {"a,k=1 counter 1"}},
      {{"a:1|c|#host:web-9,k:1"}, {"a,k=1@web-9 counter 1"}},
      {{"a:1|c|#k:1|@0.5"}, {"a,k=1 counter 2"}},
      // Fields that this version does not know, in any order.
      {{"a:1|c|c:abc|e:it-false|card:low|#k:1|zzz"}, {"a,k=1 counter 1"}},
      {{"a b/c:1|c", "a_b:1|c"}, {"a b/c counter 1", "a_b counter 1"}},  // byte for byte
      {{"größe:1|g"}, {"größe gauge 1"}},
      {{"_e:1|c"}, {"_e counter 1"}},
  };
  for (auto& row : rows) {
    INFO(row.lines[0]);
    Aggregator aggregator({});
    for (const char* line : row.lines) CHECK(aggregator.add(line).verdict == Aggregator::Verdict::accepted);
    CHECK(flushed(aggregator) == row.samples);
  }
}

TEST_CASE("lines that are refused change nothing and say why") {
  std::string long_name(5000, 'x');
  std::pair<std::string, std::string_view> rows[] = {
      {"", bad::kNoName},
      {"nonsense", bad::kNoValue},
      {":1|c", bad::kNoName},
      {"a:", bad::kNoValue},
      {"a:|c", bad::kNoValue},
      {"a::|c", bad::kNoValue},
      {"a:1", bad::kNoType},
      {"a:1|", bad::kNoType},
      {"a:1|x", bad::kType},
      {"a:1|C", bad::kType},
      {"a:1|cc", bad::kType},
      {"a:1|c:2|zz", bad::kType},  // nothing of the line counts
      {"a:1:x|c", bad::kValue},
      {"a:nan|c", bad::kValue},
      {"a:NaN|g", bad::kValue},
      {"a:inf|g", bad::kValue},
      {"a:-Infinity|ms", bad::kValue},
      {"a:1e400|c", bad::kValue},
      {"a:0x10|c", bad::kValue},
      {"a:1,2|h", bad::kValue},  // hot-shots with an array
      {"a: 1|c", bad::kValue},
      {"a:--1|c", bad::kValue},
      {"a:1|c|@0", bad::kRate},
      {"a:1|c|@-1", bad::kRate},
      {"a:1|c|@1.5", bad::kRate},
      {"a:1|c|@x", bad::kRate},
      {"a:1|c|@", bad::kRate},
      {"a|b:1|c", bad::kName},
      {std::string("a\x01:1|c"), bad::kName},
      {std::string("a\0b:1|c", 7), bad::kName},
      {std::string("a:1|c|#k:\x02"), bad::kTags},
      {"a:1|c|#:v", bad::kTags},
      {"a:1|c|#a:1|#b:2", bad::kTags},
      {"\xff\xfe:1|c", bad::kUtf8},
      {"a:1|c|#k:\xc3", bad::kUtf8},
      {long_name + ":1|c", bad::kTooLong},
      {"a:1|c|#" + long_name, bad::kTooLong},
      {"_e{1,2}:a|b", bad::kEvent},
      {"_sc|name|9", bad::kEvent},
      {"a:1|c|T0", bad::kTimestamp},
  };
  Aggregator aggregator({});
  for (auto& [line, reason] : rows) {
    INFO(escape_control(line));
    auto judgement = aggregator.add(line);
    CHECK(judgement.verdict == Aggregator::Verdict::bad);
    CHECK(judgement.reason == reason);
  }
  CHECK(flushed(aggregator).empty());
}

TEST_CASE("no sum leaves as infinity") {
  Aggregator aggregator({});
  for (int i = 0; i < 3; i++)
    for (const char* line : {"c:1.7e308|c", "g:+1.7e308|g", "t:1.7e308|ms", "t:-1.7e308|ms"})
      aggregator.add(line);
  for (const std::string& line : flushed(aggregator)) {
    INFO(line);
    CHECK(line.find("inf") == std::string::npos);
    CHECK(line.find("nan") == std::string::npos);
  }
}

TEST_CASE("counters start anew each interval, gauges stay, idle series are forgotten") {
  Aggregator aggregator({});
  aggregator.add("c:1|c");
  aggregator.add("g:7|g");
  CHECK(flushed(aggregator).size() == 2);
  CHECK(flushed(aggregator) == std::vector<std::string>{"g gauge 7"});
  aggregator.add("g:+1|g");
  aggregator.add("c:2|c");
  CHECK(flushed(aggregator) == std::vector<std::string>{"c counter 2", "g gauge 8"});
  CHECK(flushed(aggregator, AggregatorOptions{}.gauge_ttl_ms).size() == 1);
  CHECK(flushed(aggregator, 1'000).empty());
  for (int i = 0; i < 1000; i++) aggregator.add(fmt::format("n{}:1|c|#b:1,a:2", i));
  aggregator.add("g:1|g");
  CHECK(aggregator.series() == 1002);
  CHECK(flushed(aggregator).size() == 1001);
  for (int i = 0; i < 12; i++) {
    aggregator.add("kept:1|c|#z:1,y:2");
    aggregator.add("g:+1|g");
    flushed(aggregator, 60'000);
  }
  CHECK(aggregator.series() == 2);
  aggregator.add("kept:1|c|#z:1,y:2");
  aggregator.add("n1:1|c|#a:2,b:1");
  aggregator.add("g:+1|g");
  auto last = flushed(aggregator);
  CHECK(std::find(last.begin(), last.end(), "kept,y=2,z=1 counter 1") != last.end());
  CHECK(std::find(last.begin(), last.end(), "n1,a=2,b=1 counter 1") != last.end());
  CHECK(std::find(last.begin(), last.end(), "g gauge 14") != last.end());
}

TEST_CASE("beyond the limit new series fold, old ones keep flowing, totals stay right") {
  AggregatorOptions options;
  options.max_series = 10;
  options.source = "dev";
  Aggregator aggregator(options);
  for (int round = 0; round < 2; round++)
    for (int i = 0; i < 25; i++)
      CHECK(aggregator.add(fmt::format("c{}:1|c", i)).verdict == Aggregator::Verdict::accepted);
  auto gauge = aggregator.add("g:1|g");
  CHECK(gauge.verdict == Aggregator::Verdict::dropped);
  CHECK(gauge.reason == "max_series");
  auto lines = flushed(aggregator);
  CHECK(lines.size() == 11);
  CHECK(lines[0] == "c0 counter 2");
  CHECK(lines.back() == "runnel.overflow,source=dev counter 30");
}

TEST_CASE("a sender that shuffles tags cannot grow the table without end") {
  AggregatorOptions options;
  options.max_series = 4;
  Aggregator aggregator(options);
  std::vector<std::string> tags{"a:1", "b:2", "c:3", "d:4", "e:5"};
  uint64_t sent = 0;
  do {
    aggregator.add(fmt::format("x:1|c|#{}", fmt::join(tags, ",")));
    sent++;
  } while (std::next_permutation(tags.begin(), tags.end()));
  CHECK(flushed(aggregator) ==
        std::vector<std::string>{fmt::format("x,a=1,b=2,c=3,d=4,e=5 counter {}", sent)});
}

TEST_CASE("a flush in slices loses no line that comes in between") {
  Aggregator aggregator({});
  for (int i = 0; i < 100; i++) aggregator.add(fmt::format("c{}:1|c", i));
  double total = 0;
  auto count = [&](const Batch& batch) {
    for (const Sample& sample : batch.samples) total += sample.value.as_double();
  };
  Batch first("statsd"), second("statsd");
  while (!aggregator.flush_some(first, 1, 1, 7)) aggregator.add("c50:1|c"), total -= 1;
  aggregator.flush(second, 2, 1);
  count(first);
  count(second);
  CHECK(total == 100);
}

TEST_CASE("any mutation of a line is judged and never harms") {
  const char* seeds[] = {"a.b:1|c|@0.1|#k:v,bare", "a:1:2:3|h", "a:1|c:2|ms", "a:x|s", "g:-1|g|T1|c:x"};
  Aggregator aggregator({});
  std::minstd_rand random(7);
  for (int i = 0; i < 200'000; i++) {
    std::string line = seeds[random() % 5];
    for (uint32_t n = random() % 4; n-- > 0 && !line.empty();) {
      size_t at = random() % line.size();
      switch (random() % 3) {
        case 0:
          line[at] = static_cast<char>(random());
          break;
        case 1:
          line.erase(at, 1);
          break;
        default:
          line.insert(at, 1, ":|#@,+-.c"[random() % 9]);
          break;
      }
    }
    auto judgement = aggregator.add(line);
    REQUIRE((judgement.verdict == Aggregator::Verdict::accepted) == judgement.reason.empty());
  }
  Batch batch("statsd");
  aggregator.flush(batch, 1, 1);
  for (const Sample& sample : batch.samples) REQUIRE(std::isfinite(sample.value.as_double()));
}
