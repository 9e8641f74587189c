// A source with several receivers emits what one receiver would: any lines, dealt to any shards, flushed in any slices.
#include <fmt/format.h>

#include <map>
#include <memory>
#include <random>

#include "samples.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

// A leader and its followers, as receivers make them work together.
class Shards {
 public:
  Shards(size_t count, AggregatorOptions options, unsigned seed) : random_(seed) {
    for (size_t i = 0; i < count; i++) {
      options.forwards_gauges = i > 0;
      shards_.push_back(std::make_unique<Aggregator>(options));
    }
  }
  Aggregator& leader() { return *shards_[0]; }

  // To one of them; a line that it hands on goes to the leader at once, which keeps the order.
  void add(const std::string& line) {
    Aggregator& shard = *shards_[random_() % shards_.size()];
    auto judged = [&](const Aggregator::Judgement& judgement, std::string_view text) {
      if (judgement.verdict == Aggregator::Verdict::forwarded)
        received_ += leader().add_lines(text, [](auto&&...) {}).received;
    };
    received_ += shard.add_lines(line, judged).received;
  }
  uint64_t folded() const {
    uint64_t lines = 0;
    for (const auto& shard : shards_) lines += shard->folded();
    return lines;
  }
  uint64_t received() const { return received_; }

  // A flush in slices of any size; `between` is called within it.
  Batch flush(const std::function<void()>& between = [] {}) {
    std::vector<Shard> taken;
    for (size_t i = 1; i < shards_.size(); i++) {
      Shard shard;
      while (!shards_[i]->take_shard_some(shard, kInterval, slice())) between();
      taken.push_back(std::move(shard));
      between();
    }
    for (Shard& shard : taken)
      for (size_t at = 0; !leader().merge_some(shard, at, slice());) between();
    Batch batch("statsd");
    while (!leader().flush_some(batch, 1'000'000, kInterval, slice())) between();
    return batch;
  }

  static constexpr int64_t kInterval = 10'000;

 private:
  size_t slice() { return 1 + random_() % 40; }
  std::minstd_rand random_;
  std::vector<std::unique_ptr<Aggregator>> shards_;
  uint64_t received_ = 0;
};

std::string random_line(std::minstd_rand& random) {
  auto name = random() % 30;
  switch (random() % 9) {
    case 0:
      return fmt::format("c{}:{}|c|#b:1,a:{}", name, random() % 1000, random() % 3);
    case 1:
      return fmt::format("c{}:-{}|c|@0.5", name, random() % 1000);
    case 2:
      return fmt::format("c{}:{}|c", name,
                         9'000'000'000'000'000'000 - static_cast<int64_t>(random()));  // sums overflow
    case 3:
      return fmt::format("g{}:{}{}|g", name, random() % 2 == 0 ? "+" : "", random() % 1000);
    case 4:
      return fmt::format("g{}:-{}|g|#k:v", name, random() % 1000);
    case 5:
      return fmt::format("t{}:{}|ms{}", name % 5, random() % 1000, random() % 8 == 0 ? "|@0.5" : "");
    case 6:
      return fmt::format("s{}:m{}|s", name, random() % 100);
    case 7:
      return fmt::format("m{}:1|c:2|ms:x{}|s", name, random() % 20);
    default:
      return fmt::format("small{}:{}|c", name, random() % 100);
  }
}

// Overflowing sums are doubles that round by the order of their addends: nearly equal. All else is equal.
void check_same(const Batch& got, const Batch& wanted) {
  auto by_series = [](const Batch& batch) {
    std::map<std::string, const Sample*> samples;
    for (const Sample& sample : batch.samples) {
      std::string key = std::string(batch.view(sample.series).bytes()) + std::string(kind_name(sample.kind));
      REQUIRE(samples.emplace(key, &sample).second);  // one sample a series
    }
    return samples;
  };
  auto a = by_series(got), b = by_series(wanted);
  REQUIRE(a.size() == b.size());
  for (auto i = a.begin(), k = b.begin(); i != a.end(); ++i, ++k) {
    REQUIRE(i->first == k->first);
    const Sample &x = *i->second, &y = *k->second;
    INFO(text_of(got, x) << " and " << text_of(wanted, y));
    REQUIRE(got.view(x.unit) == wanted.view(y.unit));
    if (x.kind == Kind::distribution) {
      const Distribution &d = got.distributions[x.distribution], &e = wanted.distributions[y.distribution];
      REQUIRE(d.count == e.count);
      REQUIRE(d.min == e.min);
      REQUIRE(d.max == e.max);
      REQUIRE(d.sum == Approx(e.sum).epsilon(1e-12));
      REQUIRE(d.stddev == Approx(e.stddev).epsilon(1e-9));
      REQUIRE(d.percentiles == e.percentiles);
    } else if (x.value.is_integer() && y.value.is_integer()) {
      REQUIRE(x.value.as_integer() == y.value.as_integer());
    } else {
      REQUIRE(x.value.as_double() == Approx(y.value.as_double()).epsilon(1e-15));
    }
  }
}

}  // namespace

TEST_CASE("lines dealt to shards make the samples of one") {
  for (size_t count = 1; count <= 4; count++)
    for (unsigned seed = 1; seed <= 3; seed++) {
      INFO(count << " shards, seed " << seed);
      std::minstd_rand random(seed);
      AggregatorOptions options;
      if (seed == 2) options.counters = CounterForm::total;
      if (seed == 3) options.delete_idle = {false, false, false, false};
      Shards shards(count, options, seed);
      Aggregator one(options);
      uint64_t lines = 0;
      for (int interval = 0; interval < 6; interval++) {
        // Few values a series: exact. Many: of the fourth interval the timers are sketches.
        for (int n = interval == 3 ? 60'000 : static_cast<int>(random() % 3000); n > 0; n--) {
          std::string line = random_line(random);
          REQUIRE(one.add(line).verdict == Aggregator::Verdict::accepted);
          shards.add(line);
          lines++;
        }
        Batch wanted("statsd");
        one.flush(wanted, 1'000'000, Shards::kInterval);
        check_same(shards.flush(), wanted);
        CHECK(shards.leader().top().total() == one.top().total());
        auto a = shards.leader().top().top(5), b = one.top().top(5);
        REQUIRE(a.size() == b.size());
        for (size_t i = 0; i < a.size(); i++) {
          CHECK(a[i].name == b[i].name);
          CHECK(a[i].lines == b[i].lines);
        }
      }
      CHECK(shards.received() == lines);
    }
}

TEST_CASE("sums of integers are exact, whichever shards they come from") {
  Shards shards(4, {}, 5);
  std::minstd_rand random(5);
  int64_t sum = 0;
  for (int i = 0; i < 20'000; i++) {
    // Past 2^53 all the time, within 64 bits.
    int64_t value = 9'007'199'254'740'993 + static_cast<int64_t>(random());
    if (i % 2 == 1) value = -value - 1;
    sum += value;
    shards.add(fmt::format("a:{}|c", value));
  }
  Batch batch = shards.flush();
  REQUIRE(batch.samples.size() == 1);
  CHECK(batch.samples[0].value.is_integer());
  CHECK(batch.samples[0].value.as_integer() == sum);
}

TEST_CASE("a line that comes between slices counts in this interval or the next") {
  for (size_t count = 1; count <= 4; count++) {
    Shards shards(count, {}, 7);
    std::minstd_rand random(7);
    int64_t sent = 0, seen = 0;
    double timings = 0, timings_seen = 0;
    auto add = [&] {
      auto name = random() % 200;
      if (random() % 4 == 0) {
        shards.add(fmt::format("t{}:1|ms|@0.5", name));
        timings += 2;
      } else {
        shards.add(fmt::format("c{}:3|c", name));
        sent += 3;
      }
    };
    auto take = [&](const Batch& batch) {
      for (const Sample& sample : batch.samples) {
        if (sample.kind == Kind::counter) seen += sample.value.as_integer();
        if (sample.kind == Kind::distribution) timings_seen += batch.distributions[sample.distribution].count;
      }
    };
    for (int interval = 0; interval < 30; interval++) {
      for (int i = 0; i < 100; i++) add();
      take(shards.flush([&] {
        for (int i = 0; i < 3; i++) add();
      }));
    }
    take(shards.flush());
    INFO(count << " shards");
    CHECK(seen == sent);
    CHECK(timings_seen == timings);
  }
}

TEST_CASE("a sender's operations on a gauge keep their order through any shards") {
  for (size_t count = 2; count <= 4; count++) {
    Shards shards(count, {}, 11);
    std::minstd_rand random(11);
    int64_t value = 0;
    for (int i = 0; i < 5000; i++) {
      auto n = static_cast<int64_t>(random() % 1000);
      switch (random() % 3) {
        case 0:
          shards.add(fmt::format("g:{}|g", value = n));
          break;
        case 1:
          shards.add(fmt::format("g:+{}|g", n));
          value += n;
          break;
        default:
          shards.add(fmt::format("g:-{}|g", n));
          value -= n;
          break;
      }
      if (i % 500 == 499)
        REQUIRE(texts_of(shards.flush()) == std::vector<std::string>{fmt::format("g gauge {}", value)});
    }
  }
}

TEST_CASE("a follower hands on what has a gauge in it, and nothing else") {
  AggregatorOptions options;
  options.forwards_gauges = true;
  Aggregator follower(options);
  for (const char* line : {"g:1|g", "g:+1|g|#k:v", "a:1|c:2|g", "g:1|g:2|c", "g,k=v:1|g", "g:1:2|g"})
    CHECK(follower.add(line).verdict == Aggregator::Verdict::forwarded);
  for (const char* line : {"a:1|c", "a:1|ms", "a:1|s", "g:1|g|T1656581400", "_e{1,1}:a|b", "_sc|a|0"})
    CHECK(follower.add(line).verdict == Aggregator::Verdict::accepted);
  for (const char* line : {"g:x|g", "g:1|g|@2", "g|g"})
    CHECK(follower.add(line).verdict == Aggregator::Verdict::bad);
  CHECK(follower.direct().records() == 3);
  Shard shard;
  CHECK(follower.take_shard_some(shard, 1000, 1000));
  CHECK(shard.series.size() == 3);
  for (const Shard::Series& series : shard.series) CHECK(series.type != Type::gauge);
}

TEST_CASE("beyond max_series shards keep totals right as well") {
  AggregatorOptions options;
  options.max_series = 50;
  Shards shards(3, options, 13);
  int64_t sent = 0;
  for (int i = 0; i < 3000; i++) {
    shards.add(fmt::format("c{}:2|c", i % 500));
    sent += 2;
  }
  int64_t seen = 0;
  Batch batch = shards.flush();
  for (const Sample& sample : batch.samples) seen += sample.value.as_integer();
  CHECK(seen == sent);
  CHECK(batch.samples.size() == 51);
  CHECK(text_of(batch, batch.samples.back()).starts_with("runnel.overflow"));
  // Every line that went there is counted once.
  CHECK(shards.folded() * 2 == static_cast<uint64_t>(batch.samples.back().value.as_integer()));
}

TEST_CASE("series with origin tags meet again in the leader") {
  AggregatorOptions options;
  options.keys.origin_tags = true;
  Shards shards(4, options, 17);
  for (int i = 0; i < 400; i++)
    shards.add("c:1|c|e:it-false,cn-x|c:ci-a,in-1"), shards.add("c:1|c|#external:it-false"),
        shards.add("g:+1|g|c:ci-a");
  CHECK(sorted(texts_of(shards.flush())) ==
        std::vector<std::string>{"c,container=ci-a,in-1,external=it-false,cn-x counter 400",
                                 "c,external=it-false counter 400", "g,container=ci-a gauge 400"});
}
