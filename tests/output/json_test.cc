// The json encoding read back by a parser that knows nothing of ours (simdjson, RFC 8259 strict, validates
// UTF-8).
#include <simdjson.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "base/text.h"
#include "output/encode/encoder.h"
#include "output/records.h"
#include "support/catch.h"

using namespace runnel;

namespace {

// What a text must come back as: itself, or with U+FFFD for each byte that is not UTF-8.
std::string repaired(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    size_t n = 1;
    while (n <= 4 && i + n <= text.size() && !valid_utf8(text.substr(i, n))) n++;
    if (n <= 4 && i + n <= text.size()) {
      out += text.substr(i, n);
      i += n;
    } else {
      out += "\xef\xbf\xbd";
      i++;
    }
  }
  return out;
}

std::string get_string(simdjson::dom::element object, std::string_view key) {
  return std::string(std::string_view(object.at_key(key)));
}

}  // namespace

TEST_CASE("json of hostile names and values is valid and reads back") {
  std::mt19937 random(11);
  auto encoder = find_encoder("json")->make();
  simdjson::dom::parser parser;
  std::string out;
  for (int i = 0; i < 5000; i++) {
    Batch batch("test");
    std::string name = test::hostile_text(random, 40), key = test::hostile_text(random, 20),
                value = test::hostile_text(random, 40), host = test::hostile_text(random, 20),
                unit = test::hostile_text(random, 9);
    Sample s;
    s.series = batch.series(name, {{key, value}});
    s.origin = batch.origin({host, {{key, value}}});
    s.unit = batch.string(unit);
    s.ttl_s = random() % 2 ? 0.25F : std::numeric_limits<float>::infinity();
    s.value = Number::integer(static_cast<int64_t>((uint64_t{random()} << 32) ^ random()));
    s.time_ms = s.value.as_integer();
    Event e;
    e.series = s.series, e.origin = s.origin;
    e.state = batch.string(host), e.description = batch.string(value);
    batch.set_event_tags(e, {key, value});
    out.clear();
    REQUIRE(encoder->sample(batch, s, out));
    size_t second = out.size();
    REQUIRE(out.find('\n') == second - 1);
    REQUIRE(encoder->event(batch, e, out));
    REQUIRE(out.find('\n', second) == out.size() - 1);
    for (unsigned char c : out) REQUIRE((c == '\n' || (c >= 0x20 && c != 0x7f)));

    simdjson::dom::element metric;
    INFO(out);
    REQUIRE(parser.parse(out.data(), second).get(metric) == simdjson::SUCCESS);
    CHECK(get_string(metric, "key") == repaired(name));
    CHECK(int64_t(metric["value"]) == s.value.as_integer());
    CHECK(int64_t(metric["time"]) == s.time_ms);
    CHECK(get_string(metric["tags"], repaired(key)) == repaired(value));
    CHECK(get_string(metric["resource"], repaired(key)) == repaired(value));
    CHECK((host.empty() ? metric["host"].error() != simdjson::SUCCESS
                        : get_string(metric, "host") == repaired(host)));
    CHECK((unit.empty() ? metric["unit"].error() != simdjson::SUCCESS
                        : get_string(metric, "unit") == repaired(unit)));
    CHECK((metric["ttl"].error() == simdjson::SUCCESS) == std::isfinite(s.ttl_s));

    simdjson::dom::element event;
    REQUIRE(parser.parse(out.data() + second, out.size() - second).get(event) == simdjson::SUCCESS);
    CHECK(get_string(event, "key") == repaired(name));
    CHECK(std::string(std::string_view(event["tags"].at(1))) == repaired(value));
    CHECK(event["value"].error() == simdjson::NO_SUCH_FIELD);
  }
}

TEST_CASE("json doubles read back to the same bits, integers to the same digits") {
  auto encoder = find_encoder("json")->make();
  Batch batch("test");
  Sample s;
  s.series = batch.series("n", {});
  simdjson::dom::parser parser;
  std::mt19937_64 random(5);
  std::vector<double> values = {0.0,
                                -0.0,
                                5e-324,
                                -5e-324,
                                2.2250738585072014e-308,
                                1.7976931348623157e308,
                                0.1,
                                1e22,
                                1e21,
                                123456789012345680.0,
                                9007199254740991.0,
                                9007199254740992.0,
                                4.35,
                                -1e-7};
  for (int i = 0; i < 20'000; i++) {
    uint64_t bits = random();
    double value;
    std::memcpy(&value, &bits, 8);
    values.push_back(value);
  }
  for (double value : values) {
    std::string out;
    s.value = Number(value);
    REQUIRE(encoder->sample(batch, s, out) == std::isfinite(value));
    if (!std::isfinite(value)) {
      CHECK(out.empty());
      continue;
    }
    INFO(out);
    simdjson::dom::element metric;
    REQUIRE(parser.parse(out).get(metric) == simdjson::SUCCESS);
    double back =
        metric["value"].is_double() ? double(metric["value"]) : static_cast<double>(int64_t(metric["value"]));
    CHECK(std::memcmp(&back, &value, 8) == 0);
  }
  const std::pair<Number, const char*> exact[] = {{Number::integer(INT64_MAX), "9223372036854775807"},
                                                  {Number::integer(INT64_MIN), "-9223372036854775808"},
                                                  {Number::integer(9007199254740993), "9007199254740993"},
                                                  {Number(1e6), "1000000"},
                                                  {Number(36893488147419103232.0), "36893488147419103232.0"},
                                                  {Number(-0.0), "-0.0"},
                                                  {Number(0.5), "0.5"},
                                                  {Number(5e-324), "5e-324"}};
  for (const auto& [value, text] : exact) {
    std::string out;
    s.value = value;
    REQUIRE(encoder->sample(batch, s, out));
    CHECK(out ==
          std::string(R"({"type":"metric","key":"n","kind":"gauge","time":0,"value":)") + text + "}\n");
  }
}

TEST_CASE("a distribution leaves out what is not a number") {
  Batch batch("test");
  Sample s;
  s.series = batch.series("d", {});
  s.kind = Kind::distribution;
  Distribution d;
  d.count = 1, d.mean = std::nan(""), d.stddev = INFINITY, d.min = -INFINITY;
  d.percentiles = {{50, 1}, {std::nan(""), 1}, {99, INFINITY}};
  s.distribution = batch.add_distribution(d);
  std::string json, influx;
  REQUIRE(find_encoder("json")->make()->sample(batch, s, json));
  CHECK(json.find(R"("value":{"count":1,"sum":0,"max":0,"p50":1}})") != std::string::npos);
  REQUIRE(find_encoder("influx")->make()->sample(batch, s, influx));
  CHECK(influx == "d,metric_type=distribution count=1,sum=0,max=0,p50=1 0\n");
  batch.distributions[0] = {NAN, NAN, NAN, NAN, NAN, NAN, {}};
  json.clear(), influx.clear();
  CHECK_FALSE(find_encoder("json")->make()->sample(batch, s, json));
  CHECK(json.empty());
  CHECK_FALSE(find_encoder("influx")->make()->sample(batch, s, influx));
  CHECK(influx.empty());
}
