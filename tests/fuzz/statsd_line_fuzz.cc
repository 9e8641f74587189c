// Any bytes as a datagram, line by line into the table of series, and a flush: each line is judged, every value that
// comes out is a finite number of a series with a proper name, and the table stays within its limit.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "base/text.h"
#include "fuzz/check.h"
#include "source/statsd/aggregator.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

constexpr size_t kMaxSeries = 8;  // so small that inputs reach it

void add_lines(Aggregator& aggregator, std::string_view datagram) {
  while (!datagram.empty()) {
    std::string_view line = datagram.substr(0, datagram.find('\n'));
    datagram.remove_prefix(std::min(line.size() + 1, datagram.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    Aggregator::Judgement judgement = aggregator.add(line);
    FUZZ_CHECK((judgement.verdict == Aggregator::Verdict::accepted) == judgement.reason.empty());
  }
}

bool is_word(std::string_view text) {
  return valid_utf8(text) && !has_control(text);
}

void check_distribution(const Distribution& d) {
  for (double value : {d.count, d.sum, d.min, d.max, d.mean, d.stddev}) FUZZ_CHECK(std::isfinite(value));
  FUZZ_CHECK(d.count > 0 && d.min <= d.max && d.stddev >= 0);
  double before = d.min;
  for (auto [percentile, value] : d.percentiles) {
    FUZZ_CHECK(std::isfinite(value) && before <= value && value <= d.max);
    before = value;
  }
}

void check_batch(const Batch& batch) {
  for (const Sample& sample : batch.samples) {
    SeriesView series = batch.view(sample.series);
    FUZZ_CHECK(!series.name().empty() && is_word(series.name()));
    std::string_view before;
    for (Tag tag : series) {
      FUZZ_CHECK(before < tag.key);  // sorted, none empty, none twice
      FUZZ_CHECK(is_word(tag.key) && is_word(tag.value));
      before = tag.key;
    }
    FUZZ_CHECK(sample.origin < batch.origins.size());
    if (sample.kind == Kind::distribution) {
      FUZZ_CHECK(sample.distribution < batch.distributions.size());
      check_distribution(batch.distributions[sample.distribution]);
    } else {
      FUZZ_CHECK(std::isfinite(sample.value.as_double()));
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view datagram(reinterpret_cast<const char*>(data), size);
  AggregatorOptions options;
  options.max_series = kMaxSeries;
  Aggregator aggregator(options);
  // Two intervals: the second meets series that are known and gauges that have a value. The first ends in slices.
  for (size_t cells : {size_t{1}, size_t{1} << 20}) {
    add_lines(aggregator, datagram);
    Batch batch("statsd");
    size_t slices = 0;
    while (!aggregator.flush_some(batch, 10'000, 10'000, cells)) FUZZ_CHECK(++slices < 1000);
    check_batch(batch);
    FUZZ_CHECK(aggregator.series() <= kMaxSeries + 4);  // four: a series for what is beyond, one a type
  }
  // Idle for so long that all is forgotten.
  Batch rest("statsd");
  aggregator.flush(rest, 20'000 + Aggregator::kForgetMs, Aggregator::kForgetMs);
  check_batch(rest);
  return 0;
}
