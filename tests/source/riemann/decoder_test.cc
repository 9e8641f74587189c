// Bytes to messages, and messages to a batch.
#include "source/riemann/decoder.h"

#include <cmath>
#include <limits>

#include "source/riemann/mapping.h"
#include "support/catch.h"
#include "wire.h"

using namespace runnel;
using namespace runnel::riemann;
using namespace std::string_literals;

namespace {

std::string varint_field(uint32_t number, uint64_t value) {
  return fields([=](protozero::pbf_writer& w) { w.add_uint64(number, value); });
}
std::string ttl(float value) {
  return fields([=](protozero::pbf_writer& w) { w.add_float(8, value); });
}
std::string time_s(int64_t value) {
  return fields([=](protozero::pbf_writer& w) { w.add_int64(1, value); });
}
std::string micros(int64_t value) {
  return fields([=](protozero::pbf_writer& w) { w.add_int64(10, value); });
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("every field of an event") {
  std::string bytes = msg({{"cpu",
                            "web-1",
                            "ok",
                            "fine",
                            {"prod", "lon"},
                            {{"type", "load"}, {"plugin", "cpu"}},
                            metric_d(3.5) + ttl(20) + time_s(1'700'000'000)}});
  Message m;
  REQUIRE(decode(bytes, m) == "");
  REQUIRE(m.events.size() == 1);
  const EventView& e = m.events[0];
  CHECK(e.service == "cpu");
  CHECK(e.host == "web-1");
  CHECK(e.state == "ok");
  CHECK(e.description == "fine");
  CHECK(e.has_metric);
  CHECK(e.metric == Number(3.5));
  CHECK(e.time_ms == 1'700'000'000'000);
  CHECK(e.ttl_s == 20);
  CHECK(e.tag_count == 2);
  CHECK(m.tags == std::vector<std::string_view>{"prod", "lon"});
  CHECK(e.attribute_count == 2);
  CHECK(m.attributes == std::vector<Tag>{{"type", "load"}, {"plugin", "cpu"}});
  CHECK(m.received == 1);
  CHECK_FALSE(m.has_query);
}

TEST_CASE("metrics and times in the order of the protocol") {
  struct Row {
    std::string raw;
    std::optional<Number> metric;
    int64_t time_ms;
  } rows[] = {
      {"", std::nullopt, 0},
      {metric_d(1) + metric_f(2) + metric_sint(-3), Number::integer(-3), 0},
      {metric_f(2) + metric_d(1.25), Number(1.25), 0},
      {metric_f(0.5F), Number(0.5), 0},
      {metric_sint(0), Number::integer(0), 0},
      {metric_sint(INT64_MIN), Number::integer(INT64_MIN), 0},
      {metric_d(kNan) + metric_sint(1), Number::integer(1), 0},  // the one that counts is good
      {metric_d(1) + metric_d(2), Number(2.0), 0},               // of a field that is there twice the last
      {time_s(5) + micros(1'999), std::nullopt, 1},
      {micros(2'000) + time_s(5), std::nullopt, 2},
      {micros(-1), std::nullopt, -1},
      {micros(-1'000), std::nullopt, -1},
      {time_s(-5), std::nullopt, -5'000},
      {time_s(253'402'300'799), std::nullopt, 253'402'300'799'000},
  };
  for (const Row& row : rows) {
    Message m;
    INFO(&row - rows);
    std::string bytes = msg({{"s", {}, {}, {}, {}, {}, row.raw}});
    REQUIRE(decode(bytes, m) == "");
    REQUIRE(m.events.size() == 1);
    CHECK(m.events[0].has_metric == row.metric.has_value());
    if (row.metric) CHECK(m.events[0].metric == *row.metric);
    CHECK(m.events[0].time_ms == row.time_ms);
  }
}

TEST_CASE("an event that means nothing costs only itself") {
  std::string long_text(Batch::kMaxText + 1, 'x');
  WireEvent many{"s", {}, {}, {}, std::vector<std::string>(kMaxTags + 1, "t"), {}, {}};
  WireEvent just{"s", {}, {}, {}, std::vector<std::string>(kMaxTags, "t"), {}, {}};
  struct Row {
    WireEvent event;
    std::string_view reason;  // "": taken
  } rows[] = {
      {{"s", {}, {}, {}, {}, {}, metric_d(kNan)}, "bad_metric"},
      {{"s", {}, {}, {}, {}, {}, metric_d(-kInf)}, "bad_metric"},
      {{"s", {}, {}, {}, {}, {}, metric_f(std::numeric_limits<float>::infinity())}, "bad_metric"},
      {{"s", {}, {}, {}, {}, {}, metric_d(1e308)}, ""},
      {{"", "h", "ok", {}, {}, {}, metric_d(1)}, "no_service"},
      {{std::string(kMaxService, 'x'), {}, {}, {}, {}, {}, {}}, ""},
      {{std::string(kMaxService + 1, 'x'), {}, {}, {}, {}, {}, {}}, "too_long"},
      {{"s", {}, {}, long_text, {}, {}, {}}, "too_long"},
      {{"s", {}, {}, long_text.substr(1), {}, {}, {}}, ""},
      {{"gr\xC3\xBC\xC3\x9F", {}, {}, {}, {}, {}, {}}, ""},
      {{"twelve bytes\xC3", {}, {}, {}, {}, {}, {}}, "bad_utf8"},
      {{"s", "\xFF", {}, {}, {}, {}, {}}, "bad_utf8"},
      {{"s", {}, "\xED\xA0\x80", {}, {}, {}, {}}, "bad_utf8"},
      {{"s", {}, {}, "\xC0\xAF", {}, {}, {}}, "bad_utf8"},
      {{"s", {}, {}, {}, {"\x80"}, {}, {}}, "bad_utf8"},
      {{"s", {}, {}, {}, {}, {{"\xFE", "v"}}, {}}, "bad_utf8"},
      {{"s", {}, {}, {}, {}, {{"k", "\xFE"}}, {}}, "bad_utf8"},
      {{"s", {}, {}, {}, {}, {{"", "v"}}, {}}, "empty_key"},
      {{"s", {}, {}, {}, {}, {{"k", ""}}, {}}, ""},
      {{"s", {}, {}, {}, {""}, {}, {}}, ""},
      {many, "too_many_tags"},
      {just, ""},
      {{"s", {}, {}, {}, {}, {}, ttl(-1)}, "bad_ttl"},
      {{"s", {}, {}, {}, {}, {}, ttl(std::numeric_limits<float>::quiet_NaN())}, "bad_ttl"},
      {{"s", {}, {}, {}, {}, {}, ttl(0)}, ""},
      {{"s", {}, {}, {}, {}, {}, time_s(253'402'300'800)}, "bad_time"},
      {{"s", {}, {}, {}, {}, {}, time_s(INT64_MIN)}, "bad_time"},
      {{"s", {}, {}, {}, {}, {}, micros(INT64_MAX)}, "bad_time"},
      {{"s", {}, {}, {}, {}, {}, varint_field(99, 1) + varint_field(6, 1) + varint_field(12, 7)}, ""},
  };
  for (const Row& row : rows) {
    INFO(&row - rows << " " << row.reason);
    Message m;
    std::string bytes =
        msg({{"before", {}, {}, {}, {"a"}, {{"b", "c"}}, {}}, row.event, {"after", {}, "x", {}, {}, {}, {}}});
    REQUIRE(decode(bytes, m) == "");
    CHECK(m.received == 3);
    CHECK(m.events.size() == (row.reason.empty() ? 3 : 2));
    CHECK(m.events.front().service == "before");
    CHECK(m.events.back().service == "after");
    for (size_t i = 0; i < kRefusals; i++) CHECK(m.refused[i] == (kRefusalNames[i] == row.reason ? 1 : 0));
    if (!row.reason.empty()) CHECK(m.tags.size() + m.attributes.size() == 2);  // nothing of it is left
  }
}

TEST_CASE("a Msg that is none is refused as a whole, in every build type") {
  auto length_delimited = [](uint32_t number, std::string_view bytes) {
    return fields([=](protozero::pbf_writer& w) { w.add_string(number, bytes.data(), bytes.size()); });
  };
  std::string good = msg({{"s", {}, "ok", {}, {}, {}, metric_d(1)}});
  std::string too_long(11, '\x80');
  struct Row {
    std::string bytes;
    std::string_view reason;
  } rows[] = {
      {"", ""},
      {good, ""},
      {varint_field(2, 1) + length_delimited(3, "e"), ""},  // an answer
      {length_delimited(5, length_delimited(1, "true")), ""},
      {varint_field(7, 1) + varint_field(18'999, 1), ""},  // unknown fields
      {good.substr(0, good.size() - 1), "bad_message"},
      {good + "\x32"s, "bad_message"},
      {good + "\x32\x05"s, "bad_message"},
      {good + "\x32\xFF\xFF\xFF\xFF\x0F"s, "bad_message"},
      {"\x00"s, "bad_message"},      // field 0
      {"\x33"s, "bad_message"},      // a group, which proto2 has given up
      {"\x37\x00"s, "bad_message"},  // no wire type at all
      {"\x10"s + too_long, "bad_message"},
      {msg({{"s", {}, {}, {}, {}, {}, "\x08"s + too_long + "\x01"}}), "bad_message"},
      {varint_field(6, 1), "wrong_type"},
      {varint_field(4, 1), "wrong_type"},
      {varint_field(5, 1), "wrong_type"},
      {length_delimited(2, "x"), "wrong_type"},
      {varint_field(3, 0), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, length_delimited(1, "x")}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, varint_field(2, 1)}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, varint_field(3, 1)}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, varint_field(7, 1)}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, varint_field(8, 1)}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, varint_field(9, 1)}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, length_delimited(10, "x")}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, length_delimited(13, "x")}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, varint_field(14, 1)}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, varint_field(15, 1)}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, metric_d(1).replace(0, 1, "\x79")}}), "wrong_type"},  // 15 as a fixed64
      {msg({{"s", {}, {}, {}, {}, {}, length_delimited(6, "x")}}, 4), "wrong_type"},        // once of a state
      {msg({{"s", {}, {}, {}, {}, {}, length_delimited(9, length_delimited(2, "v"))}}), "missing_key"},
      {msg({{"s", {}, {}, {}, {}, {}, length_delimited(9, "")}}), "missing_key"},
      {msg({{"s", {}, {}, {}, {}, {}, length_delimited(9, varint_field(1, 1))}}), "wrong_type"},
      {msg({{"s", {}, {}, {}, {}, {}, length_delimited(9, "\x0a\x05x")}}), "bad_message"},
      {msg(std::vector<WireEvent>(kMaxEvents + 1)), "too_many_events"},
  };
  for (const Row& row : rows) {
    INFO(&row - rows);
    Message m;
    CHECK(decode(row.bytes, m) == row.reason);
  }
  Message m;
  CHECK(decode(length_delimited(5, length_delimited(1, "true")) + good, m) == "");
  CHECK(m.has_query);
  CHECK(m.events.size() == 1);
}

TEST_CASE("legacy states are events without a metric") {
  Message m;
  std::string bytes = msg({{"old", "h", "ok", "d", {"t"}, {}, varint_field(6, 1) + time_s(3) + ttl(9)}}, 4);
  REQUIRE(decode(bytes, m) == "");
  REQUIRE(m.events.size() == 1);
  CHECK(m.events[0].service == "old");
  CHECK(m.events[0].state == "ok");
  CHECK(m.events[0].time_ms == 3'000);
  CHECK(m.events[0].ttl_s == 9);
  CHECK_FALSE(m.events[0].has_metric);
  CHECK(m.tags == std::vector<std::string_view>{"t"});
}

TEST_CASE("samples and events in a batch") {
  std::string bytes = msg({{"both",
                            "h1",
                            "ok",
                            "d",
                            {"b", "a", "b"},
                            {{"z", "1"}, {"a", "2"}, {"z", "3"}},
                            metric_d(1.5) + ttl(4) + time_s(7)},
                           {"sample", "h1", {}, {}, {}, {}, metric_sint(3)},
                           {"state", "h2", "down", {}, {}, {}, {}},
                           {"bare", {}, {}, {}, {}, {}, {}}});
  Message m;
  REQUIRE(decode(bytes, m) == "");
  auto texts = [](const Batch& batch, SeriesRef ref) {
    std::string text(batch.view(ref).name());
    for (Tag tag : batch.view(ref)) text.append(" ").append(tag.key).append("=").append(tag.value);
    return text;
  };
  Mapper mapper;
  Batch both("riemann");
  CHECK(mapper.append(m, Keep::automatic, both) == 0);
  REQUIRE(both.samples.size() == 2);
  CHECK(texts(both, both.samples[0].series) == "both a=2 b= z=3");
  CHECK(both.samples[0].kind == Kind::gauge);
  CHECK(both.samples[0].value == Number(1.5));
  CHECK(both.samples[0].time_ms == 7'000);
  CHECK(both.samples[0].ttl_s == 4);
  CHECK(both.origins[both.samples[0].origin].host == "h1");
  CHECK(both.samples[1].origin == both.samples[0].origin);
  CHECK(both.samples[1].value.is_integer());
  REQUIRE(both.events.size() == 3);
  CHECK(texts(both, both.events[0].series) == "both a=2 z=3");
  CHECK(both.view(both.events[0].state) == "ok");
  CHECK(both.view(both.events[0].description) == "d");
  CHECK(both.events[0].tag_count == 3);
  CHECK(both.view(both.event_tags[both.events[0].tags]) == "b");
  CHECK(both.events[0].has_value);
  CHECK(both.events[0].ttl_s == 4);
  CHECK(both.origins[both.events[1].origin].host == "h2");
  CHECK(both.events[2].origin == 0);
  CHECK_FALSE(both.events[2].has_value);

  Batch events("riemann");
  CHECK(mapper.append(m, Keep::events, events) == 0);
  CHECK(events.samples.empty());
  CHECK(events.events.size() == 4);
  Batch metrics("riemann");
  CHECK(mapper.append(m, Keep::metrics, metrics) == 2);
  CHECK(metrics.samples.size() == 2);
  CHECK(metrics.events.empty());
  CHECK(find_keep("auto") == Keep::automatic);
  CHECK(find_keep("events") == Keep::events);
  CHECK(find_keep("metrics") == Keep::metrics);
  CHECK_FALSE(find_keep("all"));
}
