// What other servers' documentation and tests say of odd lines, and what runnel makes of them: a row each, grouped by the
// project that publishes the case. Where our answer is another than theirs, the row says so.
#include <fmt/format.h>

#include "samples.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

struct Row {
  const char* what;
  std::string payload;
  std::vector<std::string> samples, reasons;
  AggregatorOptions options = {};
};

template <size_t N>
void check(const Row (&rows)[N]) {
  for (const Row& row : rows) {
    INFO(row.what << ": " << escape_control(row.payload));
    Aggregator aggregator(row.options);
    std::vector<std::string> reasons;
    uint64_t refused = 0;
    auto counts = aggregator.add_lines(row.payload, [&](const Aggregator::Judgement& judgement, auto) {
      refused++;
      reasons.emplace_back(judgement.reason);
    });
    CHECK(counts.received == counts.accepted + refused);
    std::vector<std::string> samples;
    for (const Sample& sample : aggregator.direct().samples)
      samples.push_back(fmt::format("{} T{}", text_of(aggregator.direct(), sample), sample.time_ms / 1000));
    for (const std::string& line : flushed(aggregator)) samples.push_back(line);
    CHECK(samples == row.samples);
    CHECK(reasons == row.reasons);
  }
}

AggregatorOptions with(const std::function<void(AggregatorOptions&)>& change) {
  AggregatorOptions options;
  change(options);
  return options;
}

std::string one(const char* text) {
  return text;
}

}  // namespace

// statsd/statsd: test/helpers_tests.js, docs/metric_types.md, stats.js.
TEST_CASE("edge cases of Etsy's statsd") {
  const Row rows[] = {
      {"a value with a decimal comma", "a:0,345345|ms", {}, {"bad_value"}},
      {"a rate with a decimal comma", "a:345345|ms|@0,456456", {}, {"bad_rate"}},
      {"a third field that is no rate is not looked at",
       "a:345345|ms|0,456456",
       {"a distributionms n=1 sum=345345 min=345345 max=345345"},
       {}},
      {"no fields", "foo", {}, {"no_value"}},
      {"signed counters (Etsy refuses both)", "a:+10|c\nb:-10|c", {"a counter 10", "b counter -10"}, {}},
      {"signed gauges are deltas", "a:+10|g\nb:-10|g", {"a gauge 10", "b gauge -10"}, {}},
      {"a rate of 1.0", "a:345345|ms|@1.0", {"a distributionms n=1 sum=345345 min=345345 max=345345"}, {}},
      {"a small rate", "a:100|ms|@0.1", {"a distributionms n=10 sum=1000 min=100 max=100"}, {}},
      {"gauge: set, up, down (metric_types.md)",
       "gaugor:333|g\ngaugor:-10|g\ngaugor:+4|g",
       {"gaugor gauge 327"},
       {}},
      {"gauge: to a negative value by way of 0",
       "gaugor:5|g\ngaugor:0|g\ngaugor:-10|g",
       {"gaugor gauge -10"},
       {}},
      {"sets of anything", "uniques:765|s\nuniques:a b,c|s\nuniques:765|s", {"uniques set 2"}, {}},
      {"several metrics a packet",
       "gorets:1|c\nglork:320|ms\ngaugor:333|g\nuniques:765|s",
       {"gorets counter 1", "glork distributionms n=1 sum=320 min=320 max=320", "gaugor gauge 333",
        "uniques set 1"},
       {}},
      {"several values of one name (Etsy's form)",
       "a:1|c:2|c|@0.1:320|ms",
       {"a counter 21", "a distributionms n=1 sum=320 min=320 max=320"},
       {}},
      {"a name alone before the values (Etsy counts 1)", "a", {}, {"no_value"}},
      {"an empty value (Etsy counts it as 1)", "a:|c", {}, {"no_value"}},
      {"an unknown type (Etsy counts it)", "a:1|q", {}, {"unknown_type"}},
      {"a negative timing (Etsy refuses it)", "a:-1|ms", {"a distributionms n=1 sum=-1 min=-1 max=-1"}, {}},
      {"a rate on a gauge is not used", "a:3|g|@0.1", {"a gauge 3"}, {}},
      {"a rate on a set is not used", "a:3|s|@0.1", {"a set 1"}, {}},
      {"keys as they came", "a b/c$d:1|c", {"a b/c$d counter 1"}, {}},
      {"keys as Etsy makes them", "a  b/c$d;e=f:1|c", {"a_b-cd;e=f counter 1"}, {}, with([](auto& o) {
         o.keys.sanitize = true;
       })},
      {"nothing of a key is left", "$$$:1|c", {}, {"no_name"}, with([](auto& o) { o.keys.sanitize = true; })},
  };
  check(rows);
}

// docs.datadoghq.com, "Datagram Format and Shell Usage" (protocols 1.0 to 1.6); datadog-agent: parse_metrics_test.go.
TEST_CASE("edge cases of DogStatsD") {
  const Row rows[] = {
      {"the page's examples",
       "page.views:1|c\nfuel.level:0.5|g\nsong.length:240|h|@0.5\nusers.uniques:1234|s\n"
       "users.online:1|c|#country:china\nusers.online:1|c|@0.5|#country:china",
       {"page.views counter 1", "fuel.level gauge 0.5",
        "song.length distribution n=2 sum=480 min=240 max=240", "users.uniques set 1",
        "users.online,country=china counter 3"},
       {}},
      {"1.1: packed values of every type but sets",
       "c:666:777|c\ng:666:777|g\nh:21:22|h\nms:21:22|ms\nd:3.5:4.5|d",
       {"c counter 1443", "g gauge 777", "h distribution n=2 sum=43 min=21 max=22",
        "ms distributionms n=2 sum=43 min=21 max=22", "d distribution n=2 sum=8 min=3.5 max=4.5"},
       {}},
      {"1.1: rate and tags are shared",
       "song.length:240:234|h|@0.5|#a:b",
       {"song.length,a=b distribution n=4 sum=948 min=234 max=240"},
       {}},
      {"a set's member may hold ':'", "daemon:abc:def|s\ndaemon:abc|s", {"daemon set 2"}, {}},
      {"empty packed values are skipped", "a::1::2:|c", {"a counter 3"}, {}},
      {"only empty packed values", "a:::|c", {}, {"no_value"}},
      {"1.2: container",
       "page.views:1|g|#env:dev|c:83c0a99c0a54c0c187f461c7980e9b57f3f6a8b0c918c8d93df19a9de6f3fe1d",
       {"page.views,env=dev gauge 1"},
       {}},
      {"1.3: time",
       "page.views:15|c|#env:dev|T1656581400",
       {"page.views,env=dev counter 15 T1656581400"},
       {}},
      {"1.3: time of a gauge",
       "page.views:15|g|T1656581400|#env:dev",
       {"page.views,env=dev gauge 15 T1656581400"},
       {}},
      {"1.4: container by inode", "page.views:1|g|c:in-1234", {"page.views gauge 1"}, {}},
      {"1.4: container by its kind", "page.views:1|g|c:ci-abc,in-1234", {"page.views gauge 1"}, {}},
      {"1.5: external data",
       "page.views:1|g|#env:dev|e:it-false,cn-nginx,pu-75a2b6d5",
       {"page.views,env=dev gauge 1"},
       {}},
      {"1.6: cardinality", "page.views:1|g|#env:dev|card:low", {"page.views,env=dev gauge 1"}, {}},
      {"all fields of all versions",
       "a:1|c|@0.5|#k:v|T1656581400|c:ci-abc|e:it-false|card:none",
       {"a,k=v counter 2 T1656581400"},
       {}},
      {"fields in another order",
       "a:1|c|card:none|e:it-false|c:ci-abc|T1656581400|#k:v|@0.5",
       {"a,k=v counter 2 T1656581400"},
       {}},
      {"origin as tags",
       "a:1|g|#k:v|c:ci-abc|e:it-false,cn-nginx",
       {"a,container=ci-abc,external=it-false,cn-nginx,k=v gauge 1"},
       {},
       with([](auto& o) { o.keys.origin_tags = true; })},
      {"a '#' without tags", "daemon:666|g|#", {"daemon gauge 666"}, {}},
      {"a '#' without tags and a time", "metric:1234|g|#|T1657100430", {"metric gauge 1234 T1657100430"}, {}},
      {"time before rate and tags",
       "metric:1234|g|T1657100540|@0.25|#atag",
       {"metric,atag= gauge 1234 T1657100540"},
       {}},
      {"UTF-8 everywhere", "♬†øU†øU¥ºuT0♪:666|g|#intitulé:T0µ", {"♬†øU†øU¥ºuT0♪,intitulé=T0µ gauge 666"}, {}},
      {"a set of UTF-8", "daemon:♬†øU†øU¥ºuT0♪|s", {"daemon set 1"}, {}},
      {"an unknown field", "daemon:666|g|m:test", {"daemon gauge 666"}, {}},
      {"not enough",
       "daemon:666\ndaemon:666|\ndaemon:|g\n:666|g\nabc666|g",
       {},
       {"no_type", "no_type", "no_value", "no_name", "no_value"}},
      {"no value", "daemon:abc|g", {}, {"bad_value"}},
      {"no type", "daemon:666|unknown", {}, {"unknown_type"}},
      {"no rate", "daemon:666|g|@abc", {}, {"bad_rate"}},
      {"the time is none",
       "metric:1234|g|Tabc\nmetric:1234|g|T\nmetric:1234|g|T1657100430.5\nmetric:1|g|T0",
       {},
       {"bad_timestamp", "bad_timestamp", "bad_timestamp", "bad_timestamp"}},
      {"a time with a sign",
       "metric:1234|g|T-1657100430\nmetric:1234|g|T+1657100430",
       {},
       {"bad_timestamp", "bad_timestamp"}},
      {"a time in milliseconds", "metric:1234|g|T1657100430000", {}, {"bad_timestamp"}},
      {"two times", "metric:1234|g|T1657100430|T1657100430", {}, {"bad_timestamp"}},
      {"a signed gauge with a time is a value",
       "g:10|g\ng:-5|g|T1657100430",
       {"g gauge -5 T1657100430", "g gauge 10"},
       {}},
      {"a sampled counter with a time", "c:3|c|@0.1|T1657100430", {"c counter 30 T1657100430"}, {}},
      {"packed values with a time",
       "h:1:2:3|h|T1657100430\ng:1:2|g|T1657100430",
       {"h distribution n=3 sum=6 min=1 max=3 T1657100430", "g gauge 2 T1657100430"},
       {}},
      {"a set with a time", "s:x|s|T1657100430", {"s set 1 T1657100430"}, {}},
      {"the tag host",
       "a:1|c|#host:web-9,k:v\na:1|c|#host:,k:v",
       {"a,k=v@web-9 counter 1", "a,host=,k=v counter 1"},
       {}},
      {"signed gauges set, as the Datadog agent has it",
       "g:10|g\ng:-5|g",
       {"g gauge -5"},
       {},
       with([](auto& o) { o.absolute_gauges = true; })},
  };
  check(rows);
}

// atlassian/gostatsd: lexer_test.go, README.md.
TEST_CASE("edge cases of gostatsd") {
  const Row rows[] = {
      {"names",
       "da-sh:4|s\nunder_score:4|s\nun1qu3:john|s\na.b:1|c\na_b:2|c",
       {"da-sh set 1", "under_score set 1", "un1qu3 set 1", "a.b counter 1", "a_b counter 2"},
       {}},
      {"rate, tags", "smp.rte:5|c|@0.1|#foo:bar,baz", {"smp.rte,baz=,foo=bar counter 50"}, {}},
      {"empty tags before, between and behind",
       "a:1|g|#f,,\nb:1|g|#,,f\nc:1|g|#f,,z",
       {"a,f= gauge 1", "b,f= gauge 1", "c,f=,z= gauge 1"},
       {}},
      {"sets of numbers", "uniq.usr:joe|s\nuniq.usr:1|s\nuniq.usr:1.0|s", {"uniq.usr set 3"}, {}},
      {"tags with ':' and '='", "field.order:1|c|#a:b:c,d=e", {"field.order,a=b:c,d=e= counter 1"}, {}},
      {"container before tags", "c.id:1|c|c:xyz|#foo:bar|@0.1", {"c.id,foo=bar counter 10"}, {}},
      {"a pipe before the colon", "fOO|bar:bazkk", {}, {"bad_name"}},
      {"an unknown type", "foo.bar.baz:1|q", {}, {"unknown_type"}},
      {"NaN", "NaN.should.be:NaN|g", {}, {"bad_value"}},
      {"a gauge's delta (gostatsd sets)", "a:5|g\na:+3|g\na:-2|g", {"a gauge 6"}, {}},
  };
  check(rows);
}

// prometheus/statsd_exporter: pkg/line/line_test.go, README.md.
TEST_CASE("edge cases of statsd_exporter") {
  const Row rows[] = {
      {"Librato", "foo#tag1=bar,tag2=baz:100|c", {"foo,tag1=bar,tag2=baz counter 100"}, {}},
      {"Influx", "foo,tag1=bar,tag2=baz:100|c", {"foo,tag1=bar,tag2=baz counter 100"}, {}},
      {"SignalFx: within, at the end, at the beginning",
       "foo.[tag1=bar,tag2=baz]test:1|c\nfoo.test[tag1=bar,tag2=baz]:1|c\n[tag1=bar,tag2=baz]foo.test:1|c",
       {"foo.test,tag1=bar,tag2=baz counter 3"},
       {}},
      {"SignalFx without '=' is part of the name (theirs takes it off)",
       "foo.[]test:1|c\nfoo.[tag1,tag2]test:1|c",
       {"foo.[]test counter 1", "foo.[tag1,tag2]test counter 1"},
       {}},
      {"SignalFx without its closing bracket: the ',' is Influx's",
       "[tag1=bar,tag2=bazfoo.test:1|c",
       {"[tag1=bar,tag2=bazfoo.test counter 1"},
       {}},
      {"SignalFx without its opening bracket",
       "tag1=bar,tag2=baz]foo.test:1|c",
       {"tag1=bar,tag2=baz]foo.test counter 1"},
       {}},
      {"keys that Prometheus has not",
       "foo,09digits=0,tag.with.dots=1:1|c",
       {"foo,09digits=0,tag.with.dots=1 counter 1"},
       {}},
      {"tags in the name and behind the type",
       "foo#tag1=foo,tag3=bing:100|c|#tag1:bar\nfoo[tag1=foo]:1|c|#tag1:bar\nfoo,tag1=foo:1|c|@0.1|#tag1:bar",
       {},
       {"bad_tags", "bad_tags", "bad_tags"}},
      {"a '#' in every tag, byte for byte (theirs takes it off)",
       "foo:100|c|#tag1:bar,#tag2:baz",
       {"foo,#tag2=baz,tag1=bar counter 100"},
       {}},
      {"a value with colons", "foo:100|c|@0.1|#tag1:foo:bar", {"foo,tag1=foo:bar counter 1000"}, {}},
      {"a bare tag (theirs drops it)",
       "foo:100|c|#tag_without_a_value,tag:value",
       {"foo,tag=value,tag_without_a_value= counter 100"},
       {}},
      {"empty tags", "foo:100|c|#tag:value,,", {"foo,tag=value counter 100"}, {}},
      {"a key of nothing", "foo:100|c|#:value", {}, {"bad_tags"}},
      {"UTF-8 that is none, in a tag", "foo:100|c|@0.1|#tag1:valid,tag2:\xc3\x28invalid", {}, {"bad_utf8"}},
      {"UTF-8 that is none, in a name", "invalid\xc3\x28utf8:1|c", {}, {"bad_utf8"}},
      {"packed timings with a rate",
       "foo_timing:0.5:120:3000:10:20000:0.01|ms|@0.5|#tag1:bar",
       {"foo_timing,tag1=bar distributionms n=12 sum=46261.02 min=0.01 max=20000"},
       {}},
      {"packed counters (theirs refuses them)", "foo:0.5:120:3000|c", {"foo counter 3120.5"}, {}},
      {"bad line, component, value", "foo\nfoo:1\nfoo:1o|c", {}, {"no_value", "no_type", "bad_value"}},
      {"bad rates (theirs takes them as 1)", "foo:1|c|@bar\nfoo:2|c|@0", {}, {"bad_rate", "bad_rate"}},
      {"a type that is none", "foo:2|t", {}, {"unknown_type"}},
      {"no name", ":100|ms", {}, {"no_name"}},
      {"an empty field (theirs refuses it)",
       "foo:1|c|\nfoo:1|c||#k:v",
       {"foo counter 1", "foo,k=v counter 1"},
       {}},
      {"a metric that a line end cut in two",
       "karafka.cpu_idle_second:  0.111090  -0.055903  -0.195390 (  "
       "2.419002)\n|h|#consumer:Kafka::SharedConfigurationConsumer,partition:1",
       {},
       {"no_type", "bad_name"}},
      {"a container without its colon, or empty (theirs refuses both)",
       "foo:1|c|#k:v|c\nfoo:1|c|#k:v|c:",
       {"foo,k=v counter 2"},
       {}},
      {"a container with colons",
       "foo:1|c|#k:v|c:sha256:abcd1234",
       {"foo,container=sha256:abcd1234,k=v counter 1"},
       {},
       with([](auto& o) { o.keys.origin_tags = true; })},
  };
  check(rows);
}

// influxdata/telegraf: plugins/inputs/statsd/statsd_test.go; opentelemetry-collector-contrib: receiver/statsdreceiver.
TEST_CASE("edge cases of Telegraf and the OTel Collector") {
  const Row rows[] = {
      {"no pipe, no colon", "i.dont.have.a.pipe:45g\ni.dont.have.a.colon45|c", {}, {"no_type", "no_value"}},
      {"an unknown type", "invalid.metric.type:45|e", {}, {"unknown_type"}},
      {"values that are none",
       "invalid.value:foobar|c\ninvalid.value:d11|c\ninvalid.value:1d1|c\nt:42.abc|c",
       {},
       {"bad_value", "bad_value", "bad_value", "bad_value"}},
      {"signs where others take none",
       "p:+10|c\np:+10|ms\np:+10|h\np:+10|s",
       {"p counter 10", "p distribution n=2 sum=20 min=10 max=10", "p set 1"},
       {}},
      {"scientific notation",
       "s:4.6968460083008E-5|c\ns:4.6968460083008E-5|g\ns:4.6968460083008E-5|h",
       {"s counter 4.6968460083008e-05", "s gauge 4.6968460083008e-05",
        "s distribution n=1 sum=4.6968460083008e-05 min=4.6968460083008e-05 max=4.6968460083008e-05"},
       {}},
      {"a rate without '@' is a field nobody knows",
       "invalid.sample.rate:45|c|0.1",
       {"invalid.sample.rate counter 45"},
       {}},
      {"a rate that is none", "t:42|c|@1.0a\nt:45|c|@foo", {}, {"bad_rate", "bad_rate"}},
      {"a tag without a value", "t:42|c|#key1", {"t,key1= counter 42"}, {}},
      {"a field of later versions", "t:42|c|$extra", {"t counter 42"}, {}},
      {"a rate that does not divide (OTel: 52)", "t:42|c|@0.8", {"t counter 52.5"}, {}},
      {"a value without its name or number",
       "test.metric:|c\n:42|c\ntest.metric|c",
       {},
       {"no_value", "no_name", "no_value"}},
      {"gauges of fractions up and down", "t:+42.0|g\nt:-0.5|g", {"t gauge 41.5"}, {}},
      {"several of one name, then another value of it",
       "valid.multiple:0|ms|@0.1:1|c:2|g:x|s",
       {"valid.multiple gauge 2", "valid.multiple distributionms n=10 sum=0 min=0 max=0",
        "valid.multiple counter 1", "valid.multiple set 1"},
       {}},
  };
  check(rows);
}

// What real servers got wrong when they were probed (the list at the end of the StatsD reference): ours, a row each.
TEST_CASE("wrong results of other servers") {
  const Row rows[] = {
      {"Telegraf: float counters are truncated", "a:1.5|c", {"a counter 1.5"}, {}},
      {"Telegraf: overflow becomes -2^63",
       "a:9223372036854775807|c\na:9223372036854775807|c",
       {"a counter 18446744073709551616"},
       {}},
      {"Telegraf: NaN and Inf become -2^63",
       "a:NaN|c\na:Inf|c\na:-inf|c\na:1|c",
       {"a counter 1"},
       {"bad_value", "bad_value", "bad_value"}},
      {"Telegraf: @-1 counts -1", "a:1|c|@-1", {}, {"bad_rate"}},
      {"Telegraf: a name is cut at a space", "a b:1|c\na:1|c", {"a b counter 1", "a counter 1"}, {}},
      {"Telegraf: a.b and a_b merge", "a.b:1|c\na_b:1|c", {"a.b counter 1", "a_b counter 1"}, {}},
      {"gostatsd: gauge deltas", "a:5|g\na:+3|g\na:-2|g", {"a gauge 6"}, {}},
      {"gostatsd: @0 and Inf become -2^63",
       "a:1|c|@0\na:Inf|c\na:2|c",
       {"a counter 2"},
       {"bad_rate", "bad_value"}},
      {"gostatsd: 2^53+1 is rounded", "a:9007199254740993|c", {"a counter 9007199254740993"}, {}},
      {"gostatsd: 2^53+1 is rounded, in sums and gauges",
       "a:9007199254740992|c\na:1|c\ng:9007199254740993|g\nh:9007199254740992|g\nh:+1|g",
       {"a counter 9007199254740993", "g gauge 9007199254740993", "h gauge 9007199254740993"},
       {}},
      {"gostatsd: float counters are truncated", "a:0.5|c\na:0.5|c\na:0.25|c", {"a counter 1.25"}, {}},
      {"gostatsd: timer sums are not scaled",
       "a:10|ms|@0.1\na:20|ms",
       {"a distributionms n=11 sum=120 min=10 max=20"},
       {}},
      {"gostatsd: an empty value counts as 0", "a:|c\na:|g\na:|ms", {}, {"no_value", "no_value", "no_value"}},
      {"statsd_exporter: negative counters are ignored", "a:5|c\na:-3|c", {"a counter 2"}, {}},
      {"statsd_exporter: NaN poisons a counter", "a:1|c\na:nan|c\na:1|c", {"a counter 2"}, {"bad_value"}},
      {"statsd_exporter: no sets", "a:x|s\na:y|s", {"a set 2"}, {}},
      {"statsd_exporter: a-b and a_b merge", "a-b:1|c\na_b:1|c", {"a-b counter 1", "a_b counter 1"}, {}},
      {"OTel: overflow wraps to negative",
       "a:9223372036854775807|c\na:1|c\nb:-9223372036854775808|c\nb:-1|c",
       {"a counter 9223372036854775808", "b counter -9223372036854775808"},
       {}},
      {"brubeck: counters of 16 and more digits become 0",
       "a:1234567890123456|c\na:1234567890123456789|c",
       {"a counter 1235802458013580245"},
       {}},
      {"brubeck: no tags", "a:1|c|#k:v", {"a,k=v counter 1"}, {}},
      {"brubeck: counts of sampled timers are scaled, sums are not",
       "a:7|ms|@0.5",
       {"a distributionms n=2 sum=14 min=7 max=7"},
       {}},
      {"brubeck: an empty name or value", ":1|c\na:|c\n:|c", {}, {"no_name", "no_value", "no_name"}},
      {"hot-shots: an array", "h:1,2|h", {}, {"bad_value"}},
  };
  check(rows);
}

TEST_CASE("line ends, empty lines, limits of numbers and of lengths") {
  std::string longest(Parser::kMaxKey, 'n'), half(Parser::kMaxKey / 2, 't');
  const Row rows[] = {
      {"nothing", "", {}, {}},
      {"only line ends", "\n\r\n\n", {}, {}},
      {"CRLF",
       "a:1|c\r\nb:2|g|#k:v\r\nc:x|s\r\nd:1|c|@0.5\r\n",
       {"a counter 1", "b,k=v gauge 2", "c set 1", "d counter 2"},
       {}},
      {"one CR is stripped, two are not", "a:1|c\r\r\nb:1|c|#k:v\r\r", {}, {"unknown_type", "bad_tags"}},
      {"a CR within", "a\rb:1|c\na:1\r|c\na:1|c|#k\r:v", {}, {"bad_name", "bad_value", "bad_tags"}},
      {"empty lines between", "\n\na:1|c\n\n\na:1|c\n\n", {"a counter 2"}, {}},
      {"no last line end", "a:1|c\nb:1|c", {"a counter 1", "b counter 1"}, {}},
      {"a bad line costs only itself", "a:1|c\nbad\na:2|c", {"a counter 3"}, {"no_value"}},
      {"a space at either end", " a:1|c\na:1|c \na:1 |c", {" a counter 1"}, {"unknown_type", "bad_value"}},
      {"zeros",
       "a:0|c\nb:-0|c\nc:-0.0|g\nd:000|c\ne:0.000|c",
       {"a counter 0", "b counter 0", "c gauge 0", "d counter 0", "e counter 0"},
       {}},
      {"leading zeros", "a:007|c\na:0000000000000000000000001|c\na:-01.5|c", {"a counter 6.5"}, {}},
      {"points at an end", "a:1.|c\na:.5|c\na:-.5|c\na:+.25|c", {"a counter 1.25"}, {}},
      {"what is no number",
       "a:.|c\na:-|c\na:+|c\na:+-1|c\na:-+1|c\na:++1|c\na:--1|c\na:1e|c\na:e5|c\na:1.2.3|c\na:0x1p3|c\na:1_"
       "000|c",
       {},
       std::vector<std::string>(12, "bad_value")},
      {"64 bits",
       "a:9223372036854775807|c\nb:-9223372036854775808|c\nc:9223372036854775808|g\nd:-9223372036854775807|g",
       {"a counter 9223372036854775807", "b counter -9223372036854775808", "c gauge 9223372036854775808",
        "d gauge -9223372036854775807"},
       {}},
      {"back from beyond 64 bits",
       "a:9223372036854775807|c\na:1|c\na:-1|c\na:-9223372036854775807|c",
       {"a counter 0"},
       {}},
      {"the edge of doubles",
       "a:1.7976931348623157e308|g\nb:1e309|g\nc:5e-324|g\nd:-1e-400|g",
       {"a gauge 1.7976931348623157e+308", "c gauge 5e-324", "d gauge 0"},
       {"bad_value"}},
      {"integers written as floats", "a:1e15|c\na:2.0|c", {"a counter 1000000000000002"}, {}},
      {"rates at their limits",
       "a:1|c|@1\na:1|c|@1.0\nb:1|c|@1e-3\nc:1|c|@1.0000000001\nd:1|c|@-0\ne:1|c|@nan\nf:1|c|@inf",
       {"a counter 2", "b counter 1000"},
       {"bad_rate", "bad_rate", "bad_rate", "bad_rate"}},
      {"two rates: the last", "a:1|c|@0.5|@0.1", {"a counter 10"}, {}},
      {"negative sampled counters scale",
       "a:-3|c|@0.1\nb:-1.5|c|@0.5",
       {"a counter -30", "b counter -3"},
       {}},
      {"a third is a third",
       "a:1|c|@0.3333333333333333\na:1|c|@0.3333333333333333\na:1|c|@0.3333333333333333",
       {"a counter 9"},
       {}},
      {"both forms of several values in one line",
       "a:1:2|c|@0.5:3:4|ms|@0.1:5|g|#k:v",
       {"a,k=v gauge 5", "a,k=v counter 6", "a,k=v distributionms n=20 sum=70 min=3 max=4"},
       {}},
      {"one of several sections is bad: nothing of the line counts",
       "a:1|c:x|c\na:1|c:2|c|@0\na:1|c:2\na:1|c:|c",
       {},
       {"bad_value", "bad_rate", "no_type", "no_value"}},
      {"the longest name", longest + ":1|c", {longest + " counter 1"}, {}},
      {"a byte longer", longest + "n:1|c", {}, {"too_long"}},
      {"name and tags together", half + ":1|c|#" + half, {half + "," + half + "= counter 1"}, {}},
      {"a byte more", half + ":1|c|#" + half + "t", {}, {"too_long"}},
      {"two sets of tags", "a:1|c|#k:v|#k:w", {}, {"bad_tags"}},
      {"control bytes", one("a\tb:1|c\na\x7f:1|c\na:1|c|#\x1f"), {}, {"bad_name", "bad_name", "bad_tags"}},
      {"types are case sensitive",
       "a:1|C\na:1|Ms\na:1|G",
       {},
       {"unknown_type", "unknown_type", "unknown_type"}},
      {"names of every printable byte but ':' and '|'",
       "!\"$%&'()*+-./;<=>?@^_`{}~:1|c",
       {"!\"$%&'()*+-./;<=>?@^_`{}~ counter 1"},
       {}},
  };
  check(rows);
}
