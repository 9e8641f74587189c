// Lines and bodies of FFWD's JSON.
#include "source/ffwd/json.h"

#include "show.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::ffwd;

using Lines = std::vector<std::string>;

namespace {

std::string nested(size_t depth) {
  return R"({"type":"metric","key":"k","value":1,"x":)" + std::string(depth, '[') + std::string(depth, ']') +
         "}";
}

std::string many_tags(size_t count) {
  std::string text = R"({"type":"metric","key":"k","value":1,"attributes":{)";
  for (size_t i = 0; i < count; i++) text += fmt::format("{}\"k{}\":\"\"", i == 0 ? "" : ",", i);
  return text + "}}";
}

}  // namespace

TEST_CASE("JSON lines that are taken") {
  struct Row {
    std::string line, shown;
  } rows[] = {
      {R"({"type":"metric","key":"k","value":1})", "metric k 1 0"},
      {R"({"type":"metric","key":"k","value":1.5,"time":1700000000})", "metric k 1.5f 1700000000000"},
      {R"({"type":"metric","key":"k","value":-2,"time":1700000000123})", "metric k -2 1700000000123"},
      {R"({"type":"metric","key":"k","value":1,"time":1700000000.25})", "metric k 1 1700000000250"},
      {R"({"type":"metric","key":"k","value":1,"time":1.7e12})", "metric k 1 1700000000000"},
      {R"({"type":"metric","key":"k","value":1,"time":99999999999})", "metric k 1 99999999999000"},
      {R"({"type":"metric","key":"k","value":1,"time":100000000000})", "metric k 1 100000000000"},
      {R"({"type":"metric","key":"k","value":1,"time":253402300799999})", "metric k 1 253402300799999"},
      {R"({"type":"metric","key":"k","value":1,"time":0})", "metric k 1 0"},
      {R"({"type":"metric","key":"k","value":1,"time":null,"host":null,"tags":null,"attributes":null})",
       "metric k 1 0"},
      {R"({"type":"metric","key":"k","value":9223372036854775807})", "metric k 9223372036854775807 0"},
      {R"({"type":"metric","key":"k","value":18446744073709551615})", "metric k 1.8446744073709552e+19f 0"},
      {R"({"type":"metric","key":"k","value":{"doubleValue":2.5}})", "metric k 2.5f 0"},
      {R"({"type":"metric","key":"k","value":1,"host":"h","attributes":{"b":"2","a":"1"}})",
       "metric k a=1 b=2 @h 1 0"},
      {R"({"type":"metric","key":"k","value":1,"tags":["t","a"],"attributes":{"a":"1"}})",
       "metric k a=1 t= 1 0"},
      {R"({"type":"metric","key":"k","value":1,"tags":{"a":"1"},"attributes":{"b":"2"}})",
       "metric k a=1 b=2 1 0"},
      {R"({"type":"metric","key":"k","value":1,"attributes":{"host":"h","a":"1"}})", "metric k a=1 @h 1 0"},
      {R"({"type":"metric","key":"k","value":1,"host":"x","attributes":{"host":"h"}})",
       "metric k host=h @x 1 0"},
      {R"({"type":"metric","key":"k","value":1,"resource":{"z":"1","b":"2"},"proc":"p"})",
       "metric k /b=2 /proc=p /z=1 1 0"},
      {R"({"type":"metric","key":"k","value":1,"proc":"p","resource":{"proc":"q"}})", "metric k /proc=q 1 0"},
      {R"({"type":"metric","resource":{"r":"1"},"key":"k","tags":["t"],"value":1,"attributes":{"a":"1"}})",
       "metric k a=1 t= /r=1 1 0"},
      {R"({"type":"metric","key":"k","value":1,"attributes":{"n":80,"d":1.5,"b":true,"none":null}})",
       "metric k b=true d=1.5 n=80 1 0"},
      {R"({"type":"metric","key":"k","value":1,"unknown":{"deep":[[[1]]]}})", "metric k 1 0"},
      {R"({"type":"metric","key":"größe","value":1})", "metric größe 1 0"},
      {R"({"type":"metric","key":"a\tb\u00fc","value":1})", "metric a\tb\xC3\xBC 1 0"},
      {" \t{\"type\":\"metric\",\"key\":\"k\",\"value\":1}\r", "metric k 1 0"},
      {R"({"type":"metric","key":"k","value":1,"x":NaN,"y":"NaN \" Infinity"})", "metric k 1 0"},
      {R"({"type":"metric","key":"k","value":{"distributionValue":"AAEC"},"attributes":{"z":"1"}})",
       "event k distribution=AAEC z=1 - 0   0"},
      {R"({"type":"event","key":"k"})", "event k - 0   0"},
      {R"({"type":"event","key":"k","value":null})", "event k - 0   0"},
      {R"({"type":"metric","key":"k","value":123456789012345678901234567890})",
       "metric k 1.2345678901234568e+29f 0"},
      {R"({"type":"metric","key":"k","value":-18446744073709551616,"x":"12345678901234567890123"})",
       "metric k -1.8446744073709552e+19f 0"},
      {R"({"type":"event","key":"k","value":NaN})", "event k - 0   0"},
      {R"({"type":"event","key":"k","value":"-Infinity"})", "event k - 0   0"},
      {R"({"type":"event","key":"k","value":2,"time":1700000000,"host":"h","state":"ok","description":"d","ttl":60,)"
       R"("tags":["t","u"],"attributes":{"a":"1"}})",
       "event k a=1 @h [t] [u] 2 1700000000000 ok d 60"},
      {R"({"type":"event","key":"k","ttl":-1})", "event k - 0   0"},
      {R"({"type":"event","key":"k","ttl":9223372036854775807})", "event k - 0   1000000000"},
      {many_tags(kMaxTags), ""},
      {nested(JsonDecoder::kMaxDepth - 2), "metric k 1 0"},
      {R"({"type":"metric","value":1,"key":")" + std::string(kMaxKey, 'k') + R"("})",
       "metric " + std::string(kMaxKey, 'k') + " 1 0"},
  };
  JsonDecoder decoder;
  Points points;
  for (const Row& row : rows) {
    INFO(row.line.substr(0, 200));
    decoder.line(row.line, points);
    Lines lines = show(points);
    REQUIRE(lines.size() == 1);
    if (!row.shown.empty()) CHECK(lines[0] == row.shown);
    CHECK(points.refused.empty());
  }
}

TEST_CASE("JSON lines that are refused") {
  std::string text = std::string(Batch::kMaxText + 1, 'x');
  struct Row {
    std::string line;
    std::string_view reason;
  } rows[] = {
      {"", bad::kSyntax},
      {" ", bad::kSyntax},
      {"hello", bad::kSyntax},
      {"[]", bad::kSyntax},
      {"1", bad::kSyntax},
      {"null", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":1)", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":1}})", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":1}{"type":"metric","key":"k","value":1})", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":1,})", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":01})", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":1e999})", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":tru})", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":NaNa})", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":012345678901234567890123})", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":1e400})", bad::kSyntax},
      {R"({"type":"metric","key":"k","value":1,"time":123456789012345678901234567890})", bad::kTime},
      {R"({"type":"metric","key":"k\q","value":1})", bad::kSyntax},
      {"{\"type\":\"metric\",\"key\":\"k\n\",\"value\":1}", bad::kSyntax},
      {"{\"type\":\"metric\",\"key\":\"\xFF\",\"value\":1}", bad::kUtf8},
      {"{\"type\":\"metric\",\"key\":\"\xED\xA0\x80\",\"value\":1}", bad::kUtf8},
      {nested(JsonDecoder::kMaxDepth + 1), bad::kDeep},
      {nested(10'000), bad::kDeep},
      {std::string(10'000, '['), bad::kSyntax},  // never closed
      {R"({"key":"k","value":1})", bad::kType},
      {R"({"type":null,"key":"k","value":1})", bad::kType},
      {R"({"type":"Metric","key":"k","value":1})", bad::kType},
      {R"({"type":1,"key":"k","value":1})", bad::kType},
      {R"({"type":"metric","value":1})", bad::kNoKey},
      {R"({"type":"metric","key":"","value":1})", bad::kNoKey},
      {R"({"type":"metric","key":null,"value":1})", bad::kNoKey},
      {R"({"type":"event"})", bad::kNoKey},
      {R"({"type":"metric","key":1,"value":1})", bad::kMember},
      {R"({"type":"event","key":"k","state":{}})", bad::kMember},
      {R"({"type":"metric","key":"k"})", bad::kNoValue},
      {R"({"type":"metric","key":"k","value":null})", bad::kNoValue},
      {R"({"type":"metric","key":"k","value":{}})", bad::kNoValue},
      {R"({"type":"metric","key":"k","value":{"distributionValue":""}})", bad::kNoValue},
      {R"({"type":"metric","key":"k","value":NaN})", bad::kNotFinite},
      {R"({"type":"metric","key":"k","value":-Infinity})", bad::kNotFinite},
      {R"({"type":"metric","key":"k","value":"NaN"})", bad::kNotFinite},
      {R"({"type":"metric","key":"k","value":{"doubleValue":"Infinity"}})", bad::kNotFinite},
      {R"({"type":"metric","key":"k","value":"1"})", bad::kValue},
      {R"({"type":"metric","key":"k","value":true})", bad::kValue},
      {R"({"type":"metric","key":"k","value":[1]})", bad::kValue},
      {R"({"type":"metric","key":"k","value":{"doubleValue":"1"}})", bad::kValue},
      {R"({"type":"metric","key":"k","value":{"doubleValue":{"doubleValue":1}}})", bad::kValue},
      {R"({"type":"metric","key":"k","value":{"doubleValue":1,"distributionValue":"AA=="}})", bad::kValue},
      {R"({"type":"metric","key":"k","value":{"longValue":1}})", bad::kValue},
      {R"({"type":"metric","key":"k","value":1,"time":-1})", bad::kTime},
      {R"({"type":"metric","key":"k","value":1,"time":253402300800000})", bad::kTime},
      {R"({"type":"metric","key":"k","value":1,"time":1700000000000000})", bad::kTime},
      {R"({"type":"metric","key":"k","value":1,"time":1e300})", bad::kTime},
      {R"({"type":"metric","key":"k","value":1,"time":18446744073709551615})", bad::kTime},
      {R"({"type":"metric","key":"k","value":1,"time":"1700000000"})", bad::kTime},
      {R"({"type":"metric","key":"k","value":1,"time":NaN})", bad::kTime},
      {R"({"type":"event","key":"k","ttl":-2})", bad::kTtl},
      {R"({"type":"event","key":"k","ttl":"60"})", bad::kTtl},
      {R"({"type":"metric","key":"k","value":1,"tags":"t"})", bad::kTags},
      {R"({"type":"metric","key":"k","value":1,"tags":[1]})", bad::kTags},
      {R"({"type":"metric","key":"k","value":1,"attributes":["t"]})", bad::kTags},
      {R"({"type":"metric","key":"k","value":1,"attributes":{"a":{}}})", bad::kTags},
      {R"({"type":"metric","key":"k","value":1,"attributes":{"":"x"}})", bad::kTags},
      {R"({"type":"metric","key":"k","value":1,"resource":1})", bad::kTags},
      {R"({"type":"metric","key":"k","value":1,"value":2})", bad::kDuplicate},
      {R"({"type":"metric","key":"k","value":null,"value":2})", bad::kDuplicate},
      {R"({"type":"metric","key":"k","value":1,"attributes":{"a":"1","b":"","a":"1"}})", bad::kDuplicate},
      {R"({"type":"metric","key":"k","value":1,"tags":{"a":"1"},"attributes":{"a":"1"}})", bad::kDuplicate},
      {R"({"type":"metric","key":"k","value":1,"resource":{"a":"1","a":"2"}})", bad::kDuplicate},
      {many_tags(kMaxTags + 1), bad::kTooManyTags},
      {R"({"type":"metric","value":1,"key":")" + std::string(kMaxKey + 1, 'k') + R"("})", bad::kTooLong},
      {R"({"type":"metric","value":1,"key":"k","host":")" + text + R"("})", bad::kTooLong},
      {R"({"type":"metric","value":1,"key":"k","attributes":{"a":")" + text + R"("}})", bad::kTooLong},
      {R"({"type":"metric","value":1,"key":"k","tags":[")" + text + R"("]})", bad::kTooLong},
      {R"({"type":"metric","value":{"distributionValue":")" + text + R"("},"key":"k"})", bad::kTooLong},
  };
  JsonDecoder decoder;
  Points points;
  for (const Row& row : rows) {
    INFO(row.line.substr(0, 200));
    decoder.line(row.line, points);
    CHECK(show(points) == Lines{fmt::format("!{}", row.reason)});
    CHECK(points.tags.size() + points.pairs.size() == 0);
    decoder.line(R"({"type":"metric","key":"next","value":1})", points);  // the neighbour
    CHECK(show(points) == Lines{"metric next 1 0"});
  }
}

TEST_CASE("bodies: common tags and resource lie below those of a point") {
  JsonDecoder decoder;
  Points points;
  auto refused = decoder.batch(
      R"({"points":[{"key":"a","tags":{"t":"own","y":"2"},"resource":{"r":"own"},"value":1,"timestamp":1700000000000},)"
      R"({"key":"b","value":{"doubleValue":2.5},"timestamp":1700000000001,"tags":{},"resource":null},)"
      R"({"key":"c","value":{"distributionValue":"AAEC"}},{"key":"d","value":"NaN"},)"
      R"({"key":"e","tags":{"host":"h"},"value":3}],)"
      R"("commonTags":{"t":"common","x":"1"},"commonResource":{"r":"common","s":"2"},"more":1})",
      points);
  REQUIRE_FALSE(refused);
  CHECK(show(points) == Lines{"metric a t=own x=1 y=2 /r=own /s=2 1 1700000000000",
                              "metric b t=common x=1 /r=common /s=2 2.5f 1700000000001",
                              "metric e t=common x=1 @h /r=common /s=2 3 0",
                              "event c distribution=AAEC t=common x=1 /r=common /s=2 - 0   0",
                              "!not_finite"});
  // Nothing of it is in the next one.
  REQUIRE_FALSE(decoder.batch(R"({"points":[{"key":"a","value":1}],"commonTags":null})", points));
  CHECK(show(points) == Lines{"metric a 1 0"});
  REQUIRE_FALSE(decoder.batch(R"({"points":[]})", points));
  CHECK(show(points).empty());
}

TEST_CASE("bodies are refused as a whole, and the message names the point") {
  struct Row {
    std::string body;
    std::string_view reason;
    std::string message;
    size_t points;
  } rows[] = {
      {"", bad::kSyntax, "the body: bad_json", 1},
      {"[]", bad::kSyntax, "the body is no object: bad_json", 1},
      {"{}", bad::kSyntax, "points is no list: bad_json", 1},
      {R"({"points":{}})", bad::kSyntax, "points is no list: bad_json", 1},
      {R"({"points":[]} x)", bad::kSyntax, "the body: bad_json", 1},
      {R"({"points":[],"points":[]})", bad::kDuplicate, "points: duplicate_key", 1},
      {R"({"points":[],"commonTags":[]})", bad::kTags, "commonTags: bad_tags", 1},
      {R"({"points":[],"commonResource":{"a":"1","a":"1"}})", bad::kDuplicate,
       "commonResource: duplicate_key", 1},
      {R"({"points":[1]})", bad::kSyntax, "points[0]: bad_json", 1},
      {R"({"points":[{"key":"a","value":1},{"key":"b\n"},{"key":"c","value":1}]})", bad::kNoValue,
       "points[1] \"b\\n\": no_value", 3},
      {R"({"points":[{"key":"a","value":1},{"value":1}]})", bad::kNoKey, "points[1]: no_key", 2},
      {R"({"points":[{"key":"a","value":"1"}]})", bad::kValue, "points[0] \"a\": bad_value", 1},
      {R"({"points":[{"key":"a","value":1,"timestamp":-5}]})", bad::kTime, "points[0] \"a\": bad_time", 1},
      {R"({"points":[{"key":"a","value":1,"tags":{"k":"1","k":"2"}}]})", bad::kDuplicate,
       "points[0] \"a\": duplicate_key", 1},
      {R"({"points":)" + std::string(10'000, '[') + std::string(10'000, ']') + "}", bad::kDeep,
       "the body: too_deep", 1},
      {"{\"points\":[{\"key\":\"\xFF\",\"value\":1}]}", bad::kUtf8, "the body: bad_utf8", 1},
  };
  JsonDecoder decoder;
  Points points;
  for (const Row& row : rows) {
    INFO(row.body.substr(0, 200));
    auto refused = decoder.batch(row.body, points);
    REQUIRE(refused);
    CHECK(refused->reason == row.reason);
    CHECK(refused->message == row.message);
    CHECK(refused->points == row.points);
    CHECK(points.received() == 0);
  }
  std::string many = R"({"points":[{"key":"a","value":1})";
  for (size_t i = 0; i < kMaxPoints; i++) many += R"(,{"key":"a","value":1})";
  auto refused = decoder.batch(many + "]}", points);
  REQUIRE(refused);
  CHECK(refused->reason == bad::kTooMany);
  CHECK(refused->points == kMaxPoints + 1);
}

TEST_CASE("what common tags and resources make of a body is bounded") {
  std::string many = R"({"key":"a","value":1})", few = many, pairs = R"("k0":"v")", other;
  for (size_t i = 1; i < 60'000; i++) many += R"(,{"key":"a","value":1})";
  for (size_t i = 1; i < 100; i++) few += R"(,{"key":"a","value":1})";
  for (size_t i = 1; i < 900; i++) pairs += fmt::format(R"(,"k{}":"v")", i);
  for (size_t i = 0; i < 20'000; i++)
    other += fmt::format(R"({}{{"key":"a","value":1,"resource":{{"r":"{}"}}}})", i == 0 ? "" : ",", i);
  std::string large = fmt::format(R"("k":"{}")", std::string(60'000, 'x'));
  JsonDecoder decoder;
  Points points;
  auto ask = [&](const char* what, const std::string& common, const std::string& list) {
    INFO(what << ' ' << list.size());
    auto refused = decoder.batch(fmt::format(R"({{"{}":{{{}}},"points":[{}]}})", what, common, list), points);
    // Whatever is refused is refused before it is large.
    CHECK(points.pairs.capacity() * sizeof(Tag) < (128U << 20));
    return refused ? std::string(refused->reason) : "";
  };
  for (const char* what : {"commonTags", "commonResource"}) {
    CHECK(ask(what, R"("site":"lon","role":"web")", many) == "");
    for (const std::string& common : {pairs, large}) {
      CHECK(ask(what, common, few) == "");
      CHECK(points.points.size() == 100);
      CHECK(ask(what, common, many) == bad::kTooMuch);
      CHECK(ask(what, common, other) == bad::kTooMuch);
    }
  }
  auto refused = decoder.batch(fmt::format(R"({{"commonTags":{{{}}},"points":[{}]}})", large, many), points);
  REQUIRE(refused);
  CHECK(refused->message ==
        "points[278]: too_much: with the common tags and resource they are more than 16 MiB, send fewer in a "
        "body");
  CHECK(refused->points == 60'000);
}
