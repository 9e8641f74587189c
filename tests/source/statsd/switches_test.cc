// What the options of a source change, and what a reload of them keeps.
#include <fmt/format.h>

#include <functional>
#include <random>

#include "samples.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

using Lines = std::vector<std::string>;

AggregatorOptions with(const std::function<void(AggregatorOptions&)>& change) {
  AggregatorOptions options;
  change(options);
  return options;
}

AggregatorOptions counting(CounterForm form) {
  return with([=](auto& o) { o.counters = form; });
}

void add(Aggregator& aggregator, const Lines& lines) {
  for (const std::string& line : lines) {
    INFO(line);
    REQUIRE(aggregator.add(line).verdict == Aggregator::Verdict::accepted);
  }
}

// Emptied intervals of that length, until `ms` have passed.
void idle(Aggregator& aggregator, int64_t ms, int64_t interval_ms = 60'000) {
  for (int64_t passed = 0; passed < ms; passed += interval_ms) flushed(aggregator, interval_ms);
}

Batch batch_of(Aggregator& aggregator, int64_t time_ms, int64_t interval_ms = 10'000) {
  Batch batch("statsd");
  aggregator.flush(batch, time_ms, interval_ms);
  return batch;
}

constexpr size_t at(Type type) {
  return static_cast<size_t>(type);
}

}  // namespace

TEST_CASE("gauge_sign: a sign is a delta or part of the value") {
  const Lines lines{"a:10|g", "a:-3|g", "a:+5|g", "b:+2|g", "c:-2|g", "d:1.5|g", "d:-0.25|g"};
  Aggregator delta({}), absolute(with([](auto&o) { o.absolute_gauges = true; }));
  add(delta, lines);
  add(absolute, lines);
  CHECK(flushed(delta) == Lines{"a gauge 12", "b gauge 2", "c gauge -2", "d gauge 1.25"});
  CHECK(flushed(absolute) == Lines{"a gauge 5", "b gauge 2", "c gauge -2", "d gauge -0.25"});
  // A reload: values stay, signs change their meaning.
  absolute.set_options({});
  add(absolute, {"a:+1|g"});
  CHECK(flushed(absolute)[0] == "a gauge 6");
}

TEST_CASE("counters = total: a sum since a start that stays") {
  Aggregator aggregator(counting(CounterForm::total));
  std::minstd_rand random(1);
  int64_t sum = 0, time_ms = 1'000'000;
  for (int interval = 0; interval < 50; interval++) {
    for (auto n = random() % 4; n > 0; n--) {
      auto value = static_cast<int64_t>(random() % 1000);
      sum += value;
      add(aggregator, {fmt::format("a:{}|c", value)});
    }
    if (aggregator.series() == 0) continue;
    time_ms += 10'000;
    Batch batch = batch_of(aggregator, time_ms);
    // Also after an interval without a line.
    REQUIRE(texts_of(batch) == Lines{fmt::format("a total {}", sum)});
    static int64_t start_ms = time_ms - 10'000;
    CHECK(batch.samples[0].start_ms == start_ms);
    CHECK(batch.samples[0].time_ms == time_ms);
    CHECK(batch.samples[0].interval_ms == 0);
  }
  // Fractions and what does not fit 64 bits are part of it.
  add(aggregator, {"b:0.5|c", "c:9223372036854775807|c"});
  flushed(aggregator);
  add(aggregator, {"b:0.25|c", "c:1|c"});
  CHECK(flushed(aggregator) ==
        Lines{fmt::format("a total {}", sum), "b total 0.75", "c total 9223372036854775808"});
  // Forgotten like any other; what comes then is a new one, with a new start.
  idle(aggregator, Aggregator::kForgetMs + 60'000);
  CHECK(aggregator.series() == 0);
  add(aggregator, {"a:1|c"});
  Batch batch = batch_of(aggregator, 99'000'000);
  CHECK(texts_of(batch) == Lines{"a total 1"});
  CHECK(batch.samples[0].start_ms == 98'990'000);
}

TEST_CASE("counters = rate: by second, whatever the interval") {
  Aggregator aggregator(counting(CounterForm::rate));
  struct {
    Lines lines;
    int64_t interval_ms;
    std::string sample;
  } rows[] = {
      {{"a:5|c"}, 10'000, "a gauge 0.5"},    {{"a:5|c", "a:1.5|c"}, 1'000, "a gauge 6.5"},
      {{"a:-30|c"}, 60'000, "a gauge -0.5"}, {{"a:1|c|@0.1"}, 2'500, "a gauge 4"},
      {{"a:1|c"}, 0, "a gauge 1000"},  // never a division by 0
  };
  for (const auto& row : rows) {
    add(aggregator, row.lines);
    Batch batch = batch_of(aggregator, 1'000'000, row.interval_ms);
    CHECK(texts_of(batch) == Lines{row.sample});
    CHECK(batch.view(batch.samples[0].unit) == "1/s");
    CHECK(batch.samples[0].interval_ms == 0);
  }
  CHECK(flushed(aggregator).empty());
}

TEST_CASE("a reload of counters loses and repeats nothing") {
  for (CounterForm from : {CounterForm::delta, CounterForm::total, CounterForm::rate})
    for (CounterForm to : {CounterForm::delta, CounterForm::total, CounterForm::rate}) {
      INFO(static_cast<int>(from) << " to " << static_cast<int>(to));
      Aggregator aggregator(counting(from));
      // What the samples say in all, of two counters, one with a fraction.
      double said = 0, sent = 0, last_total[2] = {0, 0};
      auto flush = [&] {
        Batch batch = batch_of(aggregator, 1'000'000, 1'000);
        for (const Sample& sample : batch.samples) {
          double value = sample.value.as_double();
          size_t which = batch.view(sample.series).name() == "b";
          said += value;
          if (sample.kind == Kind::total) said -= std::exchange(last_total[which], value);
        }
      };
      auto send = [&](double value) {
        add(aggregator, {fmt::format("a:{}|c", value), fmt::format("b:{}|c", value + 0.5)});
        sent += 2 * value + 0.5;
      };
      send(5);
      flush();
      flush();
      send(7);
      flush();
      send(11);
      aggregator.set_options(counting(to));  // within an interval
      send(13);
      flush();
      CHECK(said == sent);
      flush();
      CHECK(said == sent);
      send(17);
      flush();
      CHECK(said == sent);
      if (to != CounterForm::total) CHECK(flushed(aggregator).empty());
    }
}

TEST_CASE("a reload while a flush is under way comes into force behind it") {
  const AggregatorOptions changes[] = {with([](auto& o) { o.keys.sanitize = true; }),
                                       counting(CounterForm::delta), counting(CounterForm::rate),
                                       with([](auto& o) { o.keys.tag_style = TagStyle::dogstatsd; })};
  for (const AggregatorOptions& change : changes) {
    AggregatorOptions before = counting(CounterForm::total);
    before.delete_idle = {false, false, false, false};
    Aggregator aggregator(before);
    for (int i = 0; i < 100; i++)
      add(aggregator, {fmt::format("c {}:1|c", i), fmt::format("g {}:7|g", i), fmt::format("t {}:1|ms", i)});
    flushed(aggregator);
    for (int i = 0; i < 100; i++) add(aggregator, {fmt::format("c {}:1|c", i)});
    Batch batch("statsd");
    CHECK_FALSE(aggregator.flush_some(batch, 1'000'000, 1'000, 150));
    aggregator.set_options(change);
    while (!aggregator.flush_some(batch, 1'000'000, 1'000, 150)) {
    }
    Lines lines = sorted(texts_of(batch));
    CHECK(lines.size() == 300);
    CHECK(std::adjacent_find(lines.begin(), lines.end()) == lines.end());
    CHECK(std::count_if(lines.begin(), lines.end(),
                        [](const std::string& l) { return l.ends_with(" total 2"); }) == 100);
    // The interval that has begun ends as totals, as with a reload within one.
    auto ending_with = [&](const char* end) {
      return std::count_if(lines.begin(), lines.end(),
                           [&](const std::string& l) { return l.ends_with(end); });
    };
    add(aggregator, {"c 5:3|c"});
    lines = flushed(aggregator, 1'000);
    CHECK(ending_with(" gauge 7") == 100);
    CHECK(ending_with("5 total 5") == 1);
    add(aggregator, {"c 5:3|c"});
    lines = flushed(aggregator, 1'000);
    CHECK(ending_with(change.counters == CounterForm::delta ? "5 counter 3" : "5 gauge 3") == 1);
  }
}

TEST_CASE("delete_idle, by type") {
  struct {
    Type type;
    const char* line;
    std::string first, idle;
  } rows[] = {
      {Type::counter, "a:5|c", "a counter 5", "a counter 0"},
      {Type::gauge, "a:5|g", "a gauge 5", "a gauge 5"},
      {Type::timer, "a:5|ms", "a distributionms n=1 sum=5 min=5 max=5",
       "a distributionms n=0 sum=0 min=0 max=0"},
      {Type::set, "a:5|s", "a set 1", "a set 0"},
  };
  for (const auto& row : rows) {
    INFO(row.line);
    Aggregator deletes(with([&](auto& o) { o.delete_idle[at(row.type)] = true; }));
    Aggregator keeps(with([&](auto& o) {
      o.delete_idle[at(row.type)] = false;
      o.gauge_ttl_ms = 0;
    }));
    add(deletes, {row.line});
    add(keeps, {row.line});
    CHECK(flushed(deletes) == Lines{row.first});
    CHECK(flushed(keeps) == Lines{row.first});
    for (int i = 0; i < 3; i++) {
      CHECK(flushed(deletes).empty());
      CHECK(flushed(keeps) == Lines{row.idle});
    }
    // A deleted gauge is not emitted, but until it is forgotten it is what a delta adds to.
    idle(deletes, Aggregator::kForgetMs);
    idle(keeps, 3 * Aggregator::kForgetMs);
    CHECK(deletes.series() == 0);
    CHECK(keeps.series() == 1);
    CHECK(flushed(keeps) == Lines{row.idle});
    add(keeps, {row.line});
    CHECK(flushed(keeps) == Lines{row.first});
    // A reload lets it go.
    keeps.set_options(with([&](auto& o) { o.delete_idle[at(row.type)] = true; }));
    idle(keeps, Aggregator::kForgetMs + 60'000);
    CHECK(keeps.series() == 0);
  }
}

TEST_CASE("no distribution of an idle timer holds anything but numbers") {
  Aggregator aggregator(with([](auto& o) { o.delete_idle[at(Type::timer)] = false; }));
  add(aggregator, {"a:5|ms"});
  flushed(aggregator);
  Batch batch = batch_of(aggregator, 1);
  REQUIRE(batch.distributions.size() == 1);
  const Distribution& d = batch.distributions[0];
  for (double value : {d.count, d.sum, d.min, d.max, d.mean, d.stddev}) CHECK(value == 0);
  for (auto [p, value] : d.percentiles) CHECK(value == 0);
}

TEST_CASE("gauge_ttl: how long an idle gauge is emitted") {
  struct {
    int64_t ttl_ms;
    int emitted;  // idle intervals of 60 s in which it is, of 20
  } rows[] = {{300'000, 5}, {60'000, 1}, {59'999, 0}, {1, 0}, {660'000, 11}, {1'200'000, 20}, {0, 20}};
  for (const auto& row : rows) {
    Aggregator aggregator(with([&](auto& o) { o.gauge_ttl_ms = row.ttl_ms; }));
    add(aggregator, {"g:7|g"});
    CHECK(flushed(aggregator, 60'000).size() == 1);
    int emitted = 0;
    for (int i = 0; i < 20; i++) emitted += flushed(aggregator, 60'000) == Lines{"g gauge 7"};
    INFO("ttl " << row.ttl_ms);
    CHECK(emitted == row.emitted);
    // Forgotten: a delta starts at 0 again.
    add(aggregator, {"g:+1|g"});
    CHECK(flushed(aggregator) == Lines{row.emitted == 20 ? "g gauge 8" : "g gauge 1"});
  }
}

TEST_CASE("percentiles are those asked for") {
  Aggregator aggregator(with([](auto& o) { o.percentiles = {0.5, 50, 99.9, 100}; }));
  auto percentiles = [&] {
    for (int i = 1; i <= 1000; i++) add(aggregator, {fmt::format("t:{}|ms", i)});
    return batch_of(aggregator, 1).distributions.at(0).percentiles;
  };
  using Wanted = std::vector<std::pair<double, double>>;
  CHECK(percentiles() == Wanted{{0.5, 5}, {50, 500}, {99.9, 999}, {100, 1000}});
  aggregator.set_options(with([](auto& o) { o.percentiles = {}; }));
  CHECK(percentiles().empty());
  aggregator.set_options({});
  CHECK(percentiles() == Wanted{{50, 500}, {90, 900}, {95, 950}, {99, 990}});
}

TEST_CASE("origin: two pods' gauges merge or do not") {
  const Lines lines{"g:1|g|c:ci-a", "g:2|g|c:ci-b", "g:+1|g|c:ci-a", "g:4|g|c:ci-b|e:x,y"};
  Aggregator none({}), tags(with([](auto&o) { o.keys.origin_tags = true; }));
  add(none, lines);
  add(tags, lines);
  CHECK(flushed(none) == Lines{"g gauge 4"});
  const Lines apart{"g,container=ci-a gauge 2", "g,container=ci-b gauge 2",
                    "g,container=ci-b,external=x,y gauge 4"};
  CHECK(flushed(tags) == apart);
  // What a sender spells like that is its own series, and none of another's.
  add(tags, {"g:9|g|#container:ci-b,external:x"});
  CHECK(sorted(flushed(tags)).size() == 4);
  // A reload: the series that are there keep their tags.
  tags.set_options({});
  CHECK(flushed(tags).size() == 4);
  add(tags, {"g:5|g|c:ci-a"});
  CHECK(flushed(tags).back() == "g gauge 5");
}

TEST_CASE("a reload of key rules moves every series, values and all") {
  Aggregator aggregator({});
  add(aggregator, {"g/1:5|g", "g 2:1.5|g", "c 1:1|c", "c_1:2|c", "c 1:0.5|c", "c_1:0.25|c", "t 1:10|ms",
                   "t_1:20|ms", "t_1:30|ms", "s 1:x|s", "s_1:x|s", "s_1:y|s", "plain:1|c|#k:v"});
  aggregator.set_options(with([](auto& o) { o.keys.sanitize = true; }));
  CHECK(aggregator.series() == 6);
  CHECK(sorted(flushed(aggregator)) == Lines{"c_1 counter 3.75", "g-1 gauge 5", "g_2 gauge 1.5",
                                             "plain,k=v counter 1", "s_1 set 2",
                                             "t_1 distributionms n=3 sum=60 min=10 max=30"});
  // The old spellings lead to them, old cells are no one's.
  add(aggregator, {"g/1:+1|g", "c 1:1|c", "t 1:5|ms", "s 1:z|s", "g 2:+1|g"});
  CHECK(sorted(flushed(aggregator)) == Lines{"c_1 counter 1", "g-1 gauge 6", "g_2 gauge 2.5", "s_1 set 1",
                                             "t_1 distributionms n=1 sum=5 min=5 max=5"});
  // Back: a name that was sanitised stays so, the sender's is another again.
  aggregator.set_options({});
  add(aggregator, {"g/1:+1|g"});
  CHECK(sorted(flushed(aggregator)) == Lines{"g-1 gauge 6", "g/1 gauge 1", "g_2 gauge 2.5"});
}

TEST_CASE("a reload of the tag style") {
  Aggregator aggregator(with([](auto& o) { o.keys.tag_style = TagStyle::dogstatsd; }));
  add(aggregator, {"a,k=v:1|c", "a:2|c|#k:v", "g,x=1:5|g", "bad,k=:1|c"});
  aggregator.set_options({});
  // A name that the new rules refuse stays what it was, until it is forgotten.
  CHECK(sorted(flushed(aggregator)) == Lines{"a,k=v counter 3", "bad,k= counter 1", "g,x=1 gauge 5"});
  add(aggregator, {"a,k=v:1|c", "g,x=1:+1|g"});
  CHECK(aggregator.add("worse,k=:1|c").reason == bad::kTags);
  CHECK(sorted(flushed(aggregator)) == Lines{"a,k=v counter 1", "g,x=1 gauge 6"});
}

TEST_CASE("totals that become one keep the earlier start") {
  for (bool first : {true, false}) {
    Aggregator aggregator(counting(CounterForm::total));
    add(aggregator, {first ? "a b:1|c" : "a_b:1|c"});
    flushed(aggregator);
    add(aggregator, {first ? "a_b:2|c" : "a b:2|c"});
    batch_of(aggregator, 2'000'000);
    aggregator.set_options(with([](auto& o) {
      o.counters = CounterForm::total;
      o.keys.sanitize = true;
    }));
    Batch batch = batch_of(aggregator, 3'000'000);
    CHECK(texts_of(batch) == Lines{"a_b total 3"});
    CHECK(batch.samples[0].start_ms == 990'000);
  }
}

TEST_CASE("max_series: totals stay right, gauges are dropped, what folds is counted") {
  Aggregator aggregator(with([](auto& o) {
    o.max_series = 10;
    o.source = "edge";
  }));
  for (int i = 0; i < 10; i++) add(aggregator, {fmt::format("c{}:1|c", i)});
  CHECK(aggregator.folded() == 0);
  for (int i = 10; i < 30; i++)
    add(aggregator, {fmt::format("c{}:2|c|@0.5", i), fmt::format("t{}:{}|ms", i, i),
                     fmt::format("s:m{}|s", i), "c1:1|c"});
  CHECK(aggregator.folded() == 60);
  for (int i = 0; i < 5; i++) {
    auto judgement = aggregator.add(fmt::format("g{}:1|g", i));
    CHECK(judgement.verdict == Aggregator::Verdict::dropped);
    CHECK(judgement.reason == "max_series");
  }
  CHECK(aggregator.folded() == 60);
  CHECK(aggregator.add("x y:1|c|#:v").reason == bad::kTags);  // bad is bad, full or not
  Lines lines = flushed(aggregator);
  CHECK(lines.size() == 13);
  CHECK(lines[1] == "c1 counter 21");
  CHECK(Lines(lines.begin() + 10, lines.end()) ==
        Lines{"runnel.overflow,source=edge counter 80",
              "runnel.overflow,source=edge distributionms n=20 sum=390 min=10 max=29",
              "runnel.overflow,source=edge set 20"});
  // A line that is dropped for one of its sections has changed nothing.
  auto judgement = aggregator.add("new:1|c:2|g");
  CHECK(judgement.verdict == Aggregator::Verdict::dropped);
  CHECK(aggregator.folded() == 60);
  CHECK(flushed(aggregator).empty());
  // A reload makes room.
  aggregator.set_options({});
  add(aggregator, {"g0:1|g", "c29:1|c"});
  CHECK(flushed(aggregator) == Lines{"g0 gauge 1", "c29 counter 1"});
}

TEST_CASE("a line that is dropped leaves no series behind") {
  Aggregator aggregator(with([](auto& o) {
    o.max_series = 1;
    o.delete_idle = {false, false, false, false};
  }));
  CHECK(aggregator.add("a:1|c:2|g").verdict != Aggregator::Verdict::bad);
  size_t series = aggregator.series();
  CHECK(aggregator.add("b:1|c:2|g").verdict == Aggregator::Verdict::dropped);
  CHECK(aggregator.series() == series);
}

TEST_CASE("forgotten series make room") {
  Aggregator aggregator(with([](auto& o) { o.max_series = 100; }));
  for (int round = 0; round < 5; round++) {
    for (int i = 0; i < 100; i++) add(aggregator, {fmt::format("round{}.c{}:1|c|#b:1,a:1", round, i)});
    CHECK(flushed(aggregator).size() == 100);
    CHECK(aggregator.folded() == 0);
    CHECK(aggregator.series() == 100);
    idle(aggregator, Aggregator::kForgetMs + 60'000);
    CHECK(aggregator.series() == 0);
  }
}

TEST_CASE("values of forgotten series do not come back in others") {
  Aggregator aggregator({});
  std::minstd_rand random(9);
  for (int round = 0; round < 30; round++) {
    Lines wanted;
    for (int i = 0; i < 50; i++) {
      // Each type in turn, so that cells, remainders, arrays and tables of members change hands.
      std::string name = fmt::format("r{}.{}", round, i);
      switch (random() % 4) {
        case 0:
          add(aggregator, {name + ":0.5|c", name + ":1|c"});
          wanted.push_back(name + " counter 1.5");
          break;
        case 1:
          add(aggregator, {name + ":+2.5|g"});
          wanted.push_back(name + " gauge 2.5");
          break;
        case 2:
          for (int k = 0; k < 100; k++) add(aggregator, {name + ":4|h"});
          wanted.push_back(name + " distribution n=100 sum=400 min=4 max=4");
          break;
        default:
          for (int k = 0; k < 20; k++) add(aggregator, {fmt::format("{}:{}|s", name, k)});
          wanted.push_back(name + " set 20");
          break;
      }
    }
    REQUIRE(sorted(flushed(aggregator)) == sorted(wanted));
    idle(aggregator, Aggregator::kForgetMs + 60'000);
    REQUIRE(aggregator.series() == 0);
  }
}

TEST_CASE("long keys fill the table before max_series does") {
  Aggregator aggregator(with([](auto& o) { o.max_series = 1000; }));
  std::string tail(Parser::kMaxKey - 10, 'x');
  for (int i = 0; i < 1000; i++) add(aggregator, {fmt::format("c{}{}:1|c", i, tail)});
  CHECK(aggregator.series() < 200);
  CHECK(aggregator.folded() > 800);
  double sum = 0;
  Batch batch = batch_of(aggregator, 1);
  for (const Sample& sample : batch.samples) sum += sample.value.as_double();
  CHECK(sum == 1000);
  // Spellings of one series cost too, and are bounded as well; what they mean stays right.
  for (int i = 0; i < 3000; i++)
    add(aggregator, {fmt::format("c0{}:1|c|#{}", tail.substr(0, 2000),
                                 std::string(static_cast<size_t>(i % 2000) + 1, ','))});
}
