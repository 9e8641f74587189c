// The pure parts of the Kafka sink: names of topics, keys, what errors mean, options, statistics. Its way to a broker is
// in kafka_mock_test.cc (what a real one cannot be made to do) and tests/integration/kafka*_test.py (a real one).
#include "outcomes.h"
#include "plugins/sink_host.h"
#include "record_key.h"
#include "settings.h"
#include "statistics.h"
#include "support/catch.h"
#include "topic_pattern.h"

using namespace runnel_test;
using namespace runnel_kafka;

namespace {

runnel_str str(std::string_view text) {
  return {text.data(), text.size()};
}

// A record with the tags site=lon and dc=a.b, the resource build=1.4.2.
struct Sample {
  std::vector<runnel_pair> tags{{str("dc"), str("a.b")}, {str("site"), str("lon")}, {str("void"), str("")}};
  runnel_pair resource{str("build"), str("1.4.2")};
  runnel_record record{};
  explicit Sample(runnel_kind kind = RUNNEL_KIND_GAUGE, std::string_view site = "lon") {
    record.type = kind == RUNNEL_KIND_NONE ? RUNNEL_RECORD_EVENT : RUNNEL_RECORD_METRIC;
    record.kind = kind;
    tags[1].value = str(site);
    record.tags = tags.data();
    record.tag_count = tags.size();
    record.resource = &resource;
    record.resource_count = 1;
    record.host = str("web-1");
    record.series = str("api,dc=a.b,site=lon");
    record.series_on_host = str("api,dc=a.b,host=web-1,site=lon");
  }
};

Options good() {
  return {{"brokers", Strings{"127.0.0.1:9092"}}, {"topic", std::string("metrics")}};
}

const runnel_sink* kafka_sink() {
  static const runnel_sink* const sink = load_sink(RUNNEL_KAFKA_SINK);
  return sink;
}

}  // namespace

TEST_CASE("kafka: names of topics") {
  for (const std::string& name : {std::string("a"), std::string("Metrics_1.x-y"), std::string("_internal"),
                                  std::string("..."), std::string(249, 'x')})
    CHECK(wrong_topic(name) == nullptr);
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string("__consumer_offsets"),
        std::string(250, 'x'), std::string("a b"), std::string("a/b"), std::string("ü"),
        std::string("a\0b", 3), std::string("a\n"), std::string("%{type}")})
    CHECK(wrong_topic(name) != nullptr);
}

TEST_CASE("kafka: a pattern becomes a topic, or says why not") {
  struct Row {
    const char* pattern;
    runnel_kind kind;
    std::string site;
    TopicPattern::Result result;
    std::string topic;
  };
  using R = TopicPattern::Result;
  const Row rows[] = {
      {"metrics", RUNNEL_KIND_GAUGE, "lon", R::kGood, "metrics"},
      {"metrics-%{tag.site}", RUNNEL_KIND_GAUGE, "lon", R::kGood, "metrics-lon"},
      {"%{type}s-%{tag.site}", RUNNEL_KIND_NONE, "lon", R::kGood, "events-lon"},
      {"%{type}s-%{tag.site}", RUNNEL_KIND_COUNTER, "lon", R::kGood, "metrics-lon"},
      {"%{kind}", RUNNEL_KIND_COUNTER, "", R::kGood, "counter"},
      {"%{kind}", RUNNEL_KIND_TOTAL, "", R::kGood, "total"},
      {"%{kind}", RUNNEL_KIND_DISTRIBUTION, "", R::kGood, "distribution"},
      {"%{kind}", RUNNEL_KIND_SET, "", R::kGood, "set"},
      {"%{kind}", RUNNEL_KIND_NONE, "", R::kGood, "event"},
      {"%{host}.%{resource.build}.%{tag.dc}", RUNNEL_KIND_GAUGE, "", R::kGood, "web-1.1.4.2.a.b"},
      {"%{tag.site}", RUNNEL_KIND_GAUGE, "", R::kMissing, ""},
      {"m-%{tag.none}", RUNNEL_KIND_GAUGE, "lon", R::kMissing, "m-"},
      {"m-%{tag.void}", RUNNEL_KIND_GAUGE, "lon", R::kMissing, "m-"},
      {"m-%{resource.site}", RUNNEL_KIND_GAUGE, "lon", R::kMissing, "m-"},
      {"m-%{tag.site}", RUNNEL_KIND_GAUGE, "../etc", R::kWrong, "m-../etc"},
      {"m-%{tag.site}", RUNNEL_KIND_GAUGE, "a b", R::kWrong, "m-a b"},
      {"m-%{tag.site}", RUNNEL_KIND_GAUGE, "a\n", R::kWrong, "m-a\n"},
      {"%{tag.site}", RUNNEL_KIND_GAUGE, "..", R::kWrong, ".."},
      {"%{tag.site}", RUNNEL_KIND_GAUGE, "__consumer_offsets", R::kWrong, "__consumer_offsets"},
      {"_%{tag.site}", RUNNEL_KIND_GAUGE, "_consumer_offsets", R::kWrong, "__consumer_offsets"},
      {"m-%{tag.site}", RUNNEL_KIND_GAUGE, std::string(248, 'x'), R::kWrong, "m-" + std::string(248, 'x')},
      {"m-%{tag.site}", RUNNEL_KIND_GAUGE, std::string(100'000, 'x'), R::kWrong, "m-"},
  };
  for (const Row& row : rows) {
    INFO(row.pattern << " " << row.site.substr(0, 40));
    TopicPattern pattern;
    std::string error, topic = "before";
    REQUIRE(pattern.parse(row.pattern, error));
    CHECK(pattern.expand(Sample(row.kind, row.site).record, topic) == row.result);
    CHECK(topic == row.topic);
    CHECK(pattern.is_static() == (std::string(row.pattern) == "metrics"));
  }
  for (const char* text :
       {"", "a b", "m-%", "m-%s", "m-%{", "m-%{}", "m-%{tag}", "m-%{tag.}", "m-%{tags.site}", "m-%{name}",
        "m-%{type", "__x", ".", "..", "ü", "a/b", "m-}x{", "__m-%{tag.site}", "__%{type}"}) {
    INFO(text);
    std::string error;
    CHECK_FALSE(TopicPattern().parse(text, error));
    CHECK_FALSE(error.empty());
  }
  // What no value can mend.
  std::string error;
  CHECK(TopicPattern().parse(std::string(248, 'x') + "%{tag.site}", error));
  CHECK_FALSE(TopicPattern().parse(std::string(249, 'x') + "%{tag.site}", error));
  CHECK(error == "is longer than 249 bytes");
}

TEST_CASE("kafka: topic_allow") {
  const std::vector<std::string> globs{"metrics-lon", "metrics-us-*", "x[12]"};
  for (const char* topic : {"metrics-lon", "metrics-us-east", "metrics-us-", "x1"})
    CHECK(is_allowed(globs, topic));
  for (const char* topic : {"metrics-lon2", "ametrics-lon", "metrics-us", "x3", ""})
    CHECK_FALSE(is_allowed(globs, topic));
  CHECK(is_allowed({}, "anything"));
}

TEST_CASE("kafka: keys") {
  const auto key = [](const char* mode, runnel_kind kind) {
    RecordKey maker;
    REQUIRE(maker.parse(mode));
    return std::string(maker.of(Sample(kind).record));
  };
  // Merged across hosts: without the host.
  for (const runnel_kind kind : {RUNNEL_KIND_COUNTER, RUNNEL_KIND_DISTRIBUTION, RUNNEL_KIND_SET})
    CHECK(key("series", kind) == "api,dc=a.b,site=lon");
  for (const runnel_kind kind : {RUNNEL_KIND_TOTAL, RUNNEL_KIND_GAUGE, RUNNEL_KIND_NONE})
    CHECK(key("series", kind) == "api,dc=a.b,host=web-1,site=lon");
  CHECK(key("host", RUNNEL_KIND_COUNTER) == "web-1");
  CHECK(key("tag:site", RUNNEL_KIND_COUNTER) == "lon");
  CHECK(key("tag:nowhere", RUNNEL_KIND_COUNTER).empty());
  CHECK(key("none", RUNNEL_KIND_COUNTER).empty());
  for (const char* mode : {"", "Series", "tag", "tag:", "site", "tags:site", "series "})
    CHECK_FALSE(RecordKey().parse(mode));
}

TEST_CASE("kafka: what errors mean") {
  using V = Verdict;
  CHECK(verdict_of(RD_KAFKA_RESP_ERR_NO_ERROR) == V::kDelivered);
  for (const auto error : {RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE})
    CHECK(verdict_of(error) == V::kSplit);
  for (const auto error : {RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                           RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION})
    CHECK(verdict_of(error) == V::kTopic);
  for (const auto error : {RD_KAFKA_RESP_ERR_INVALID_RECORD, RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP})
    CHECK(verdict_of(error) == V::kReject);
  for (const auto error :
       {RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR__AUTHENTICATION,
        RD_KAFKA_RESP_ERR_POLICY_VIOLATION, RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE})
    CHECK(verdict_of(error) == V::kHold);
  // Whatever has no name is tried again: no data is ever given up for it.
  int retried = 0;
  for (int error = RD_KAFKA_RESP_ERR__BEGIN; error < RD_KAFKA_RESP_ERR_END_ALL; ++error)
    retried += verdict_of(static_cast<rd_kafka_resp_err_t>(error)) == V::kRetry;
  CHECK(retried > 250);

  CHECK(needs_operator(RD_KAFKA_RESP_ERR__AUTHENTICATION, "SASL authentication error"));
  CHECK(needs_operator(RD_KAFKA_RESP_ERR__SSL, "SSL handshake failed: certificate verify failed"));
  CHECK(needs_operator(RD_KAFKA_RESP_ERR__TRANSPORT,
                       "Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate"));
  CHECK_FALSE(needs_operator(RD_KAFKA_RESP_ERR__SSL, "SSL handshake failed: Disconnected"));
  CHECK_FALSE(needs_operator(RD_KAFKA_RESP_ERR__TRANSPORT, "Connect failed: Connection refused"));
  CHECK_FALSE(needs_operator(RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "1/1 brokers are down"));

  CHECK(says_nothing(RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "1/1 brokers are down"));
  CHECK(says_nothing(RD_KAFKA_RESP_ERR__TRANSPORT, "a:9092/1: Disconnected (after 600000ms in state UP)"));
  CHECK_FALSE(
      says_nothing(RD_KAFKA_RESP_ERR__TRANSPORT,
                   "a:9092/bootstrap: Disconnected while requesting ApiVersion: might be caused by incorrect "
                   "security.protocol configuration (after 0ms in state APIVERSION_QUERY)"));
  CHECK_FALSE(
      says_nothing(RD_KAFKA_RESP_ERR__TRANSPORT, "a:9092/1: Connect to ipv4#… failed: Connection refused"));
}

TEST_CASE("kafka: check") {
  struct Row {
    Options more;
    Strings errors;
  };
  const auto s = [](const char* text) { return std::string(text); };
  const Row rows[] = {
      {{}, {}},
      {{{"brokers", Strings{"a", "b:9092", "[::1]", "[::1]:9093", "10.0.0.1:1", "a.b-c.example:65535"}}}, {}},
      {{{"topic", s("%{type}s-%{tag.site}")},
        {"topic_default", s("%{type}s-default")},
        {"topic_allow", Strings{"*-lon"}},
        {"topic_limit", int64_t{5}}},
       {}},
      {{{"compression", s("zstd")}, {"compression_level", int64_t{12}}}, {}},
      {{{"acks", s("1")}, {"key", s("tag:site")}, {"message", s("batch")}}, {}},
      {{{"tls", true}, {"tls_ca", s("/c")}, {"tls_cert", s("/c")}, {"tls_key", s("/k")}}, {}},
      {{{"sasl_mechanism", s("PLAIN")}, {"username", s("u")}, {"password_file", s("/p")}}, {}},
      {{{"topic", s("%{tag.site}")}, {"topic_allow", Strings{"a", "m-*", "m-?[a-z]", "x[!0-9].y_z", "..."}}},
       {}},
      {{{"tls", true},
        {"librdkafka",
         Map{{"ssl.cipher.suites", "ECDHE-RSA-AES256-GCM-SHA384"}, {"ssl.crl.location", "/c"}}}},
       {}},
      {{{"librdkafka", Map{{"socket.nagle.disable", "true"}, {"debug", "broker"}, {"batch.size", "100000"}}}},
       {}},

      {{{"brokers", Strings{}}}, {"brokers: is empty (write [\"127.0.0.1:9092\"])"}},
      {{{"brokers", Strings{"", "a:", "a:x", "a:0", "a:65536", ":9092", "::1", "a,b", "a b", "ssl://a:1",
                            "u@a", "[::1", "[::1]x", "a:99999999999999999999"}}},
       {"brokers.: is empty", "brokers.a:: has a port that is not 1 to 65535",
        "brokers.a:x: has a port that is no number", "brokers.a:0: has a port that is not 1 to 65535",
        "brokers.a:65536: has a port that is not 1 to 65535", "brokers.:9092: has no host",
        "brokers.::1: an IPv6 address stands in brackets: [::1]:9092",
        "brokers.a,b: must be HOST or HOST:PORT, one broker an entry",
        "brokers.a b: must be HOST or HOST:PORT, one broker an entry",
        "brokers.ssl://a:1: must be HOST or HOST:PORT (set tls for TLS)",
        "brokers.u@a: must be HOST or HOST:PORT, one broker an entry",
        "brokers.[::1: has no ] after its address", "brokers.[::1]x: must be HOST or HOST:PORT",
        "brokers.a:99999999999999999999: has a port that is not 1 to 65535"}},
      {{{"brokers", Strings{"ä:1", "*", "a\\b", "%41", "a;b:1"}}},
       {"brokers.ä:1: has a host that is no name (letters, digits, '.', '-', '_'; others in their xn-- form)",
        "brokers.*: has a host that is no name (letters, digits, '.', '-', '_'; others in their xn-- form)",
        "brokers.a\\b: has a host that is no name (letters, digits, '.', '-', '_'; others in their xn-- "
        "form)",
        "brokers.%41: has a host that is no name (letters, digits, '.', '-', '_'; others in their xn-- form)",
        "brokers.a;b:1: has a host that is no name (letters, digits, '.', '-', '_'; others in their xn-- "
        "form)"}},
      {{{"brokers", Strings{"[]:1", "[zz]:1", "[a]"}}},
       {"brokers.[]:1: has no host", "brokers.[zz]:1: has no IPv6 address in its brackets",
        "brokers.[a]: has no IPv6 address in its brackets"}},
      {{{"topic", s("a b")}}, {"topic: may have letters, digits, '.', '_', '-' and %{…} only"}},
      {{{"topic", s("__x")}}, {"topic: must not begin with __ (the brokers' own topics do)"}},
      {{{"topic", s("m-%{tag.site}")}, {"topic_default", s("m-%{tag.rack}")}},
       {"topic_default: may have no other field than %{type} inside, which every record has"}},
      {{{"topic", s("m-%{tag.site}")}, {"topic_default", s("__%{type}")}},
       {"topic_default: must not begin with __ (the brokers' own topics do)"}},
      {{{"topic", s("m-%{tag.site}")}, {"topic_default", std::string(244, 'x') + "%{type}"}},
       {"topic_default: becomes " + std::string(244, 'x') + "metric, which is longer than 249 bytes"}},
      {{{"topic", s("%{tag.site}")}, {"topic_allow", Strings{"", "a b", "ü*", "__x", "x[ab", "m/*"}}},
       {"topic_allow.: is empty",
        "topic_allow.a b: is like no topic: those have letters, digits, '.', '_' and '-' only",
        "topic_allow.ü*: is like no topic: those have letters, digits, '.', '_' and '-' only",
        "topic_allow.__x: must not begin with __ (the brokers' own topics do)",
        "topic_allow.x[ab: has no ] after its [",
        "topic_allow.m/*: is like no topic: those have letters, digits, '.', '_' and '-' only"}},
      {{{"timeout", int64_t{1000}}, {"linger", int64_t{1000}}}, {"timeout: must be longer than linger"}},
      {{{"topic_default", s("x")}},
       {"topic_default: has no effect while topic has no field such as %{tag.site} inside"}},
      {{{"key", s("seris")}}, {"key: must be series, host, tag:NAME or none"}},
      {{{"compression", s("gzip")}, {"compression_level", int64_t{10}}},
       {"compression_level: is out of range for gzip (1 to 9, 0 is the default)"}},
      {{{"compression", s("snappy")}, {"compression_level", int64_t{1}}},
       {"compression_level: there is no level to set for snappy"}},
      {{{"client_id", s("a\nb")}}, {"client_id: must not contain control characters"}},
      {{{"tls_ca", s("/c")}}, {"tls_ca: has no effect without tls = true"}},
      {{{"tls", true}, {"tls_cert", s("/c")}}, {"tls_cert: needs tls_key as well"}},
      {{{"tls", true}, {"tls_key_password_file", s("/c")}}, {"tls_key_password_file: needs tls_key as well"}},
      {{{"sasl_mechanism", s("PLAIN")}},
       {"sasl_mechanism: needs username as well", "sasl_mechanism: needs password_file as well"}},
      {{{"username", s("u")}}, {"username: needs sasl_mechanism as well"}},
      {{{"librdkafka", Map{{"no.such", "1"}}}},
       {"librdkafka.no.such: No such configuration property: \"no.such\""}},
      {{{"librdkafka", Map{{"batch.size", "many"}}}},
       {"librdkafka.batch.size: Invalid value for configuration property \"batch.size\""}},
      {{{"librdkafka", Map{{"acks", "1"}, {"sasl.password", "x"}}}},
       {"librdkafka.acks: is made by the sink (set acks)",
        "librdkafka.sasl.password: is made by the sink (set password_file)"}},
      {{{"librdkafka", Map{{"enable.ssl.certificate.verification", "false"}}}},
       {"librdkafka.enable.ssl.certificate.verification: cannot be changed: certificates are always "
        "verified"}},
      {{{"librdkafka", Map{{"plugin.library.paths", "/tmp/x"}}}},
       {"librdkafka.plugin.library.paths: cannot be set: it loads foreign code into the agent"}},
      {{{"librdkafka", Map{{"ssl.engine.location", "/tmp/x"}, {"ssl.ca.pem", "x"}}}},
       {"librdkafka.ssl.ca.pem: is made by the sink (set tls_ca)",
        "librdkafka.ssl.engine.location: cannot be set: it loads foreign code into the agent"}},
      {{{"librdkafka", Map{{"ssl.crl.location", "/c"}}}},
       {"librdkafka.ssl.crl.location: has no effect without tls = true"}},
      {{{"tls", true}, {"librdkafka", Map{{"ssl.cipher.suites", "bogus"}}}},
       {"librdkafka: ssl.cipher.suites failed: error:0A0000B9:SSL routines::no cipher match"}},
      {{{"librdkafka", Map{{"log_level", "99"}}}},
       {"librdkafka.log_level: Configuration property \"log_level\" value 99 is outside allowed range 0..7"}},
      {{{"acks", s("1")}, {"librdkafka", Map{{"enable.idempotence", "true"}}}},
       {"librdkafka: `acks` must be set to `all` when `enable.idempotence` is true"}},
  };
  for (const Row& row : rows) {
    Options options = good();
    for (const auto& [name, value] : row.more) options[name] = value;
    SinkHost host(kafka_sink(), options);
    INFO((row.errors.empty() ? "" : row.errors.front()));
    CHECK(host.check() == row.errors);
  }
}

TEST_CASE("kafka: the library's statistics") {
  struct Seen {
    std::map<std::string, double> values;
  } seen;
  runnel_host host{};
  host.context = &seen;
  host.metric = [](void* context, const char* name, const runnel_pair* tags, size_t count, runnel_metric_kind,
                   double value) {
    std::string key = name;
    for (size_t i = 0; i < count; ++i) key.append(" ").append(tags[i].value.data, tags[i].value.size);
    static_cast<Seen*>(context)->values[key] = value;
  };
  Statistics statistics(&host);
  const std::string text = R"({"msg_cnt":3,"msg_size":600,"txmsgs":100,"tx_bytes":5000,"brokers":{
    "a:1/bootstrap":{"nodename":"a:1","state":"INIT","connects":1,"txretries":1,"rtt":{"avg":0},"throttle":{"avg":0}},
    "a:1/1":{"nodename":"a:1","state":"UP","connects":2,"txretries":3,"rtt":{"avg":2500},"throttle":{"avg":40}},
    "GroupCoordinator":{"nodename":":0","state":"UP"}}})";
  REQUIRE(statistics.report(text));
  CHECK(seen.values == std::map<std::string, double>{{"runnel.kafka.up a:1", 1},
                                                     {"runnel.kafka.rtt a:1", 0.0025},
                                                     {"runnel.kafka.throttle a:1", 0.04},
                                                     {"runnel.kafka.queue", 3},
                                                     {"runnel.kafka.queue_bytes", 600},
                                                     {"runnel.kafka.messages", 100},
                                                     {"runnel.kafka.bytes", 5000},
                                                     {"runnel.kafka.retries", 4},
                                                     {"runnel.kafka.connects", 3}});
  // Totals go on where a producer ended.
  statistics.producer_ended();
  REQUIRE(statistics.report(R"({"txmsgs":1,"tx_bytes":10,"brokers":{}})"));
  CHECK(seen.values["runnel.kafka.messages"] == 101);
  CHECK(seen.values["runnel.kafka.bytes"] == 5010);
  for (const char* bad : {"", "{", "null", "[]", "\xff"}) CHECK_NOTHROW(statistics.report(bad));
}
