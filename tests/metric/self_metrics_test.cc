#include "metric/self_metrics.h"

#include "support/catch.h"

using namespace runnel;

TEST_CASE("a report becomes samples and Prometheus text with the same numbers") {
  SourceCounts counts;
  counts.received = 5;
  counts.accepted = 3;
  counts.bad.add("nan");
  counts.dropped.add("max \"series\"\n");
  SelfReport report;
  counts.report(report, "statsd");
  report.add_foreign("runnel.kafka.rtt", Kind::gauge, {{"output", "main"}}, 0.25);

  Batch batch("runnel");
  report.to_batch(batch, 2000, 1000);
  REQUIRE(batch.samples.size() == 5);
  CHECK(batch.view(batch.samples[0].series).name() == "runnel.source.received");
  CHECK(batch.samples[0].value == Number::integer(5));
  CHECK(batch.samples[0].start_ms == 1000);
  CHECK(batch.samples[4].start_ms == 0);

  std::string text = report.to_prometheus();
  CHECK(text.find(
            "# TYPE runnel_source_bad counter\nrunnel_source_bad{reason=\"nan\",source=\"statsd\"} 1\n") !=
        std::string::npos);
  CHECK(text.find("reason=\"max \\\"series\\\"\\n\"") != std::string::npos);
  CHECK(text.find("runnel_kafka_rtt{output=\"main\"} 0.25\n") != std::string::npos);
}
