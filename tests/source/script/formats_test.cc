#include <algorithm>

#include "source/script/support.h"

using namespace runnel;
using namespace runnel::script;

namespace {
struct Good {
  std::string line;
  std::vector<std::string> samples;
};
struct Refused {
  std::string line;
  std::string_view reason;
};
void check_good(Format format, const std::vector<Good>& rows) {
  for (const Good& row : rows) {
    INFO(row.line);
    Reading reading(row.line + "\n", format);
    CHECK(reading.samples == row.samples);
    CHECK(reading.counts.bad.sum() == 0);
    CHECK(reading.balanced());
  }
}
void check_refused(Format format, const std::vector<Refused>& rows) {
  for (const Refused& row : rows) {
    INFO(escape_control(row.line));
    Reading reading(row.line + "\n", format);
    CHECK(reading.samples.empty());
    CHECK(reading.counts.bad.snapshot().count(row.reason) == 1);
    CHECK(reading.counts.bad.sum() == 1);
    CHECK(reading.balanced());
  }
}
const std::string kLong(5000, 'x');
}  // namespace

TEST_CASE("simple lines") {
  check_good(Format::simple, {
                                 {"queue.depth 42", {"queue.depth 42"}},
                                 {"queue.depth 42 queue=mail", {"queue.depth{queue=mail} 42"}},
                                 {"\tqueue.depth   4.5\tb=2 a=1  ", {"queue.depth{a=1,b=2} 4.5"}},
                                 {"a -7\r", {"a -7"}},
                                 {"a +7", {"a 7"}},
                                 {"a 1e3", {"a 1000"}},
                                 {"a 9007199254740993", {"a 9007199254740993"}},
                                 {"größe/x:y 1 o=ü", {"größe/x:y{o=ü} 1"}},
                                 {"a 1 url=http://x/?q=1", {"a{url=http://x/?q=1} 1"}},
                                 {"a 1 empty=", {"a{empty=} 1"}},
                                 {"# a comment", {}},
                                 {"   ", {}},
                             });
  check_refused(Format::simple, {
                                    {"queue.depth", bad::kNoValue},
                                    {"Connection refused by peer", bad::kValue},
                                    {"a nan", bad::kValue},
                                    {"a Inf", bad::kValue},
                                    {"a 1e400", bad::kValue},
                                    {"a 0x10", bad::kValue},
                                    {"a 42%", bad::kValue},
                                    {"a 1,5", bad::kValue},
                                    {"a +-1", bad::kValue},
                                    {"a 1 mail", bad::kTags},
                                    {"a 1 =mail", bad::kTags},
                                    {"a 1 q=\x01", bad::kTags},
                                    {"a\x07 1", bad::kName},
                                    {"a{b=\"c\"} 1", bad::kName},
                                    {"a\xff 1", bad::kUtf8},
                                    {"a 1 q=\xc3", bad::kUtf8},
                                    {kLong + " 1", bad::kTooLong},
                                    {"a 1 q=" + kLong, bad::kTooLong},
                                    {std::string("a\0b 1", 5), bad::kName},
                                });
}

TEST_CASE("influx lines") {
  check_good(Format::influx, {
                                 {"cpu value=1", {"cpu.value 1"}},
                                 {"cpu,host=a,b=c user=1.5,n=3i,u=4u,up=true,down=F",
                                  {"cpu.user{b=c,host=a} 1.5", "cpu.n{b=c,host=a} 3", "cpu.u{b=c,host=a} 4",
                                   "cpu.up{b=c,host=a} 1", "cpu.down{b=c,host=a} 0"}},
                                 {"cpu v=1 1763769601234567890", {"cpu.v 1 @1763769601234"}},
                                 {R"(my\ cpu,a\,b=c\ d\=e f\=g=2)", {R"(my cpu.f=g{a,b=c d=e} 2)"}},
                                 {R"(log msg="a, b=c \" d",lines=3i)", {"log.lines 3"}},
                                 {R"(log msg="only text")", {}},
                                 {R"(a\b v=1)", {R"(a\b.v 1)"}},
                                 {"n v=18446744073709551615u", {"n.v 18446744073709551616"}},
                             });
  check_refused(Format::influx, {
                                    {"cpu", bad::kNoValue},
                                    {"cpu,host=a", bad::kNoValue},
                                    {"cpu 1", bad::kSyntax},
                                    {"cpu =1", bad::kSyntax},
                                    {"cpu,host v=1", bad::kSyntax},
                                    {"cpu,=a v=1", bad::kTags},
                                    {",host=a v=1", bad::kNoName},
                                    {"cpu v=", bad::kValue},
                                    {"cpu v=abc", bad::kValue},
                                    {"cpu v=NaN", bad::kValue},
                                    {"cpu v=1e400", bad::kValue},
                                    {"cpu v=1.5i", bad::kValue},
                                    {"cpu v=-1u", bad::kValue},
                                    {"cpu v=99999999999999999999i", bad::kValue},
                                    {"cpu good=1,v=oops", bad::kValue},
                                    {"cpu v=\"open", bad::kSyntax},
                                    {"cpu v=\"a\"b", bad::kSyntax},
                                    {"cpu v=1 yesterday", bad::kTime},
                                    {"cpu v=1 1763769600", bad::kTime},
                                    {"cpu v=1,", bad::kNoValue},
                                    {"cpu\x01 v=1", bad::kName},
                                    {"cpu,a=\xff v=1", bad::kUtf8},
                                });
}

TEST_CASE("Prometheus text") {
  check_good(
      Format::prometheus,
      {
          {"up 1", {"up 1"}},
          {"# TYPE http_requests counter\nhttp_requests{code=\"200\", method=\"get\",} 1027 1763769601000",
           {"http_requests{code=200,method=get} 1027 total @1763769601000"}},
          {"# TYPE t gauge\n# HELP t text\nt -1.5e-3", {"t -0.0015"}},
          {"# TYPE lat histogram\nlat_bucket{le=\"0.1\"} 3\nlat_bucket{le=\"+Inf\"} 4\nlat_sum "
           "1.5\nlat_count 4",
           {"lat_bucket{le=0.1} 3 total", "lat_bucket{le=+Inf} 4 total", "lat_sum 1.5 total",
            "lat_count 4 total"}},
          {"# TYPE s summary\ns{quantile=\"0.5\"} 7\ns_sum 9\ns_count 2",
           {"s{quantile=0.5} 7", "s_sum 9 total", "s_count 2 total"}},
          {"# TYPE n counter\nn_total 5 1763769601.5 # {id=\"x\"} 1\n# EOF",
           {"n_total 5 total @1763769601500"}},
          {R"(a{p="C:\\x",q="say \"hi\"",n="a\nb",z="\d"} 1)", {"a{n=a\nb,p=C:\\x,q=say \"hi\",z=\\d} 1"}},
          {"a{} 2", {"a 2"}},
          {"a {b=\"c\"} 2", {"a{b=c} 2"}},
          {"sum_count 3", {"sum_count 3"}},
      });
  check_refused(Format::prometheus, {
                                        {"queue.depth 1", bad::kName},
                                        {"1up 1", bad::kName},
                                        {"{a=\"b\"} 1", bad::kName},
                                        {"up", bad::kNoValue},
                                        {"up{a=\"b\"}", bad::kNoValue},
                                        {"up NaN", bad::kValue},
                                        {"up +Inf", bad::kValue},
                                        {"up 1e400", bad::kValue},
                                        {"up one", bad::kValue},
                                        {"up 1 now", bad::kTime},
                                        {"up 1 1763769600", bad::kTime},
                                        {"up 1 1763769601000 x", bad::kSyntax},
                                        {"up{a=b} 1", bad::kTags},
                                        {"up{a=\"b} 1", bad::kTags},
                                        {"up{a=\"b\" c=\"d\"} 1", bad::kTags},
                                        {"up{=\"b\"} 1", bad::kTags},
                                        {"up{a=\"b\"", bad::kTags},
                                        {"up{a=\"\xff\"} 1", bad::kUtf8},
                                        {"# TYPE up", bad::kType},
                                        {"# TYPE up speed", bad::kType},
                                    });
}

TEST_CASE("StatsD lines of a run are added up") {
  Reading reading("a:1|c\na:1|c\ng:5|g\ng:+2|g\nt:10|ms|#q:mail\nt:30|ms|#q:mail\nbroken\na:x|c\n");
  CHECK(reading.detected == Format::statsd);
  std::sort(reading.samples.begin(), reading.samples.end());
  CHECK(reading.samples == std::vector<std::string>{"a 2 counter", "g 7", "t{q=mail} n2 distribution"});
  CHECK(reading.counts.accepted == 6);
  CHECK(reading.counts.bad.sum() == 2);
  CHECK(reading.balanced());
  REQUIRE(reading.batches.size() == 1);
  for (const Sample& sample : reading.batches[0].samples) {
    const Origin& origin = reading.batches[0].origins[sample.origin];
    CHECK(origin.resource == std::vector<std::pair<std::string, std::string>>{{"script", "test.sh"}});
    if (sample.kind == Kind::counter) CHECK(sample.interval_ms == 10'000);
  }
}

TEST_CASE("JSON records") {
  check_good(
      Format::json,
      {
          {R"({"key":"a","value":1})", {"a 1"}},
          {R"({"type":"metric","key":"api.requests","kind":"counter","time":1763769601000,"interval":5000,"host":"web-1","tags":{"site":"lon"},"resource":{"build":"1"},"unit":"1","ttl":60,"value":42})",
           {"api.requests{site=lon} 42 counter @1763769601000"}},
          {R"({"key":"l","kind":"distribution","value":{"count":3,"sum":60,"min":10,"max":30,"mean":20,"stddev":8.1,"p50":20,"p99.9":30}})",
           {"l n3 distribution"}},
          {R"([{"key":"a","value":1},{"key":"b","value":2.5,"kind":"total","start":1763769600000}])",
           {"a 1", "b 2.5 total"}},
          {R"({"queue.depth":42,"load":0.5,"up":true})", {"queue.depth 42", "load 0.5", "up 1"}},
          {"[\n  {\"key\": \"a\",\n   \"value\": 1\n  }\n]", {"a 1"}},
          {"{\"key\":\"a\",\"value\":1}\n\n{\"key\":\"b\",\"value\":2}", {"a 1", "b 2"}},
          {R"({"key":"a","value":1,"sketch":[1,2],"members":null,"unit":null})", {"a 1"}},
          {R"({"key":"a","value":18446744073709551615})", {"a 18446744073709551616"}},
          {R"({"key":"a","value":1,"tags":{"port":80,"tls":true}})", {"a{port=80,tls=true} 1"}},
          {"[]", {}},
          {"{}", {}},
      });
  check_refused(Format::json, {
                                  {"queue.depth 42", bad::kSyntax},
                                  {R"({"key":"a","value":1)", bad::kSyntax},
                                  {R"({"key":"a","value":1}})", bad::kSyntax},
                                  {R"({"key":"a" "value":1})", bad::kSyntax},
                                  {R"({"key":"a)", bad::kSyntax},
                                  {R"({"key":"a","value":NaN})", bad::kSyntax},
                                  {R"({"key":"a","value":1e400})", bad::kSyntax},
                                  {R"({"key":"a"})", bad::kNoValue},
                                  {R"({"key":"a","value":"1"})", bad::kValue},
                                  {R"({"key":"a","value":{"x":1}})", bad::kValue},
                                  {R"({"key":"a","kind":"distribution","value":3})", bad::kValue},
                                  {R"({"key":"a","kind":"distribution","value":{"count":1}})", bad::kValue},
                                  {R"({"key":"a","kind":"speed","value":3})", bad::kType},
                                  {R"({"type":"span","key":"a","value":3})", bad::kType},
                                  {R"({"type":"metric","value":3})", bad::kNoName},
                                  {R"({"key":"","value":3})", bad::kNoName},
                                  {R"({"key":7,"value":3})", bad::kSyntax},
                                  {R"({"key":"a\u0001","value":3})", bad::kName},
                                  {R"({"key":"a","value":3,"tags":["x"]})", bad::kTags},
                                  {R"({"key":"a","value":3,"tags":{"x":{}}})", bad::kTags},
                                  {R"({"key":"a","value":3,"tags":{"":"x"}})", bad::kTags},
                                  {R"({"key":"a","value":3,"time":1763769600})", bad::kTime},
                                  {R"({"key":"a","value":3,"time":1.5})", bad::kTime},
                                  {R"({"key":"a","value":3,"ttl":-1})", bad::kTime},
                                  {R"({"key":"a","value":3,"interval":-1})", bad::kTime},
                                  {R"(["a"])", bad::kSyntax},
                                  {R"({"status":"ok"})", bad::kValue},
                                  {"{\"key\":\"\xff\",\"value\":1}", bad::kSyntax},
                                  {"{\"key\":\"" + kLong + "\",\"value\":1}", bad::kTooLong},
                              });
}

TEST_CASE("a JSON event keeps all its parts") {
  Reading reading(
      R"({"type":"event","key":"deploy","time":1763769601000,"host":"web-1","state":"ok","description":"v42\nline","ttl":60,"tags":["web","x"],"attributes":{"by":"ci"},"resource":{"script":"forged","build":"7"},"value":1})");
  REQUIRE(reading.batches.size() == 1);
  const Batch& batch = reading.batches[0];
  REQUIRE(batch.events.size() == 1);
  const Event& event = batch.events[0];
  CHECK(batch.view(event.series).name() == "deploy");
  CHECK(batch.view(event.series).find("by") == "ci");
  CHECK(batch.view(event.state) == "ok");
  CHECK(batch.view(event.description) == "v42\nline");
  REQUIRE(event.tag_count == 2);
  CHECK(batch.view(batch.event_tags[event.tags + 1]) == "x");
  CHECK(batch.origins[event.origin].host == "web-1");
  // Which hook it was is not for the hook to say.
  CHECK(batch.origins[event.origin].resource ==
        std::vector<std::pair<std::string, std::string>>{{"build", "7"}, {"script", "test.sh"}});
  CHECK(event.time_ms == 1'763'769'601'000);
  CHECK(event.ttl_s == 60);
  CHECK(event.has_value);
  CHECK(event.value.as_integer() == 1);
}

TEST_CASE("a JSON distribution keeps its figures") {
  Reading reading(
      R"({"key":"l","kind":"distribution","value":{"count":4,"sum":60,"min":10,"max":30,"p99":30,"p50":20}})");
  REQUIRE(reading.batches.size() == 1);
  REQUIRE(reading.batches[0].distributions.size() == 1);
  const Distribution& d = reading.batches[0].distributions[0];
  CHECK(d.mean == 15);
  CHECK(d.max == 30);
  CHECK(d.percentiles == std::vector<std::pair<double, double>>{{50, 20}, {99, 30}});
  CHECK(reading.batches[0].samples[0].interval_ms == 10'000);
}

TEST_CASE("good JSON records survive bad neighbours") {
  struct Row {
    std::string output;
    std::vector<std::string> samples;
    uint64_t refused;
  };
  for (const Row& row : std::vector<Row>{
           {"{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\"\n", {"a 1"}, 1},
           {"{\"key\":\"b\",\"value\":\n{\"key\":\"a\",\"value\":1}\n{\"key\":\"c\",\"value\":2}\n",
            {"a 1", "c 2"},
            1},
           {"[{\"key\":\"a\",\"value\":1},{\"key\":\"b\",\"value\":\"x\"},{\"key\":\"c\",\"value\":2}]",
            {"a 1", "c 2"},
            1},
           {"[\n{\"key\":\"a\",\"value\":1},\n{\"key\":\"b\",\"value\":2},\n{\"key\":\"c\",\"va",
            {"a 1", "b 2"},
            1},
           {"{\"a\":1,\"b\":\"x\",\"c\":null,\"d\":2}", {"a 1", "d 2"}, 2},
           {"Traceback\n{\"key\":\"a\",\"value\":1}\n", {"a 1"}, 1},
       }) {
    INFO(row.output);
    Reading reading(row.output, Format::json);
    CHECK(reading.samples == row.samples);
    CHECK(reading.counts.bad.sum() == row.refused);
    CHECK(reading.balanced());
  }
}

TEST_CASE("the format is seen from the first lines") {
  struct Row {
    std::string output;
    Format format;
    uint64_t good;
  };
  for (const Row& row : std::vector<Row>{
           {"a 1\nb 2\n", Format::simple, 2},
           {"a 1", Format::simple, 1},
           {"queue.depth 1 q=mail\n", Format::simple, 1},
           {"a 1\nb{c=\"d\"} 2\n", Format::prometheus, 2},
           {"a 1\n# TYPE b counter\nb 2\n", Format::prometheus, 2},
           {"# HELP a text\na 1\n", Format::prometheus, 1},
           {"a 1 1763769601000\n", Format::prometheus, 1},
           {"a:1|c\n", Format::statsd, 1},
           {"cpu,host=x v=1\n", Format::influx, 1},
           {"cpu v=1i 1763769601000000000\n", Format::influx, 1},
           {"{\"a\":1}", Format::json, 1},
           {"[\n{\"key\":\"a\",\"value\":1}\n]", Format::json, 1},
           {"[INFO] starting\na.b 1\n", Format::simple, 1},
           {"Starting up...\ncpu v=1\n", Format::influx, 1},
           {"# nothing but comments\n", Format::simple, 0},
           {"no such file\n", Format::simple, 0},
           {"", Format::simple, 0},
       }) {
    INFO(row.output);
    for (size_t piece : {size_t{1}, size_t{3}, SIZE_MAX}) {
      Reading reading(row.output, {}, piece);
      CHECK(reading.detected == row.format);
      CHECK(reading.counts.accepted == row.good);
      CHECK(reading.balanced());
    }
  }
}

TEST_CASE("lines are cut off the stream with bounded memory") {
  std::string huge(200'000, 'x');
  Reading long_line("a 1\n" + huge + "\nb 2\n", {}, 4096);
  CHECK(long_line.samples == std::vector<std::string>{"a 1", "b 2"});
  CHECK(long_line.counts.bad.snapshot().at("too_long") == 1);
  CHECK(long_line.balanced());

  std::string array = "[";
  for (int i = 0; i < 5000; i++) array += (i ? "," : "") + std::string("{\"key\":\"k\",\"value\":1}");
  CHECK(Reading(array + "]", {}, 4096).samples.size() == 5000);  // a JSON document may be one long line

  Reading cut("a 1\nb 2", {}, SIZE_MAX, false);
  CHECK(cut.samples == std::vector<std::string>{"a 1"});
  CHECK(cut.counts.bad.snapshot().at("cut_off") == 1);
  CHECK(cut.balanced());

  std::string many;
  for (int i = 0; i < 25'000; i++) many += "k 1\n";
  Reading pushed(many, {});
  CHECK(pushed.samples.size() == 25'000);
  CHECK(pushed.batches.size() == 3);
}
