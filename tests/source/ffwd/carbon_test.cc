// Lines of carbon's plaintext protocol.
#include "source/ffwd/carbon.h"

#include "show.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::ffwd;

using Lines = std::vector<std::string>;

namespace {

Lines decoded(std::string_view line) {
  Points points;
  decode_carbon(line, points);
  return show(points);
}

std::string with_tags(size_t count) {
  std::string path = "k";
  for (size_t i = 0; i < count; i++) path += fmt::format(";k{}=v", i);
  return path + " 1";
}

}  // namespace

TEST_CASE("lines of carbon that are taken") {
  struct Row {
    std::string line, shown;
  } rows[] = {
      {"a.b.c 1 1700000000", "metric a.b.c 1 1700000000000"},
      {"a 1.5 1700000000.25", "metric a 1.5f 1700000000250"},
      {"a -1e3 1700000000123", "metric a -1000f 1700000000123"},
      {"a +2 1700000000", "metric a 2 1700000000000"},
      {"a\t1\t1700000000\r", "metric a 1 1700000000000"},
      {"  a   1   1700000000  ", "metric a 1 1700000000000"},
      {"a 1", "metric a 1 0"},
      {"a 1 -1", "metric a 1 0"},
      {"a 1 N", "metric a 1 0"},
      {"a 9223372036854775807 1", "metric a 9223372036854775807 1000"},
      {"a 9223372036854775808 1", "metric a 9.223372036854776e+18f 1000"},
      {"disk.used;mount=/;dev=sda1 5 1700000000", "metric disk.used dev=sda1 mount=/ 5 1700000000000"},
      {"k;host=web-1;a=b=c 5", "metric k a=b=c @web-1 5 0"},
      {"gr\xC3\xBC\xC3\x9F 1", "metric gr\xC3\xBC\xC3\x9F 1 0"},
      {with_tags(kMaxTags), ""},
  };
  for (const Row& row : rows) {
    INFO(row.line.substr(0, 200));
    Lines lines = decoded(row.line);
    REQUIRE(lines.size() == 1);
    if (!row.shown.empty()) CHECK(lines[0] == row.shown);
    CHECK(lines[0][0] != '!');
  }
  CHECK(decoded("").empty());
  CHECK(decoded(" \t\r").empty());
}

TEST_CASE("lines of carbon that are refused") {
  struct Row {
    std::string line;
    std::string_view reason;
  } rows[] = {
      {"a", bad::kFields},
      {"a 1 1700000000 more", bad::kFields},
      {"GET /ping HTTP/1.1", bad::kValue},
      {"a x 1700000000", bad::kValue},
      {"a 1x 1700000000", bad::kValue},
      {"a 0x10 1700000000", bad::kValue},
      {"a ++1 1700000000", bad::kValue},
      {"a 1e999 1700000000", bad::kValue},
      {"a 1,5 1700000000", bad::kValue},
      {"a nan 1700000000", bad::kNotFinite},
      {"a -inf 1700000000", bad::kNotFinite},
      {"a 1 x", bad::kTime},
      {"a 1 -2", bad::kTime},
      {"a 1 nan", bad::kTime},
      {"a 1 253402300800000", bad::kTime},
      {"a 1 99999999999999999999", bad::kTime},
      {";k=v 1", bad::kNoKey},
      {"a;k 1", bad::kTags},
      {"a; 1", bad::kTags},
      {"a;=v 1", bad::kTags},
      {"a;k= 1", bad::kTags},
      {"a;k=v; 1", bad::kTags},
      {"a;k=v;k=w 1", bad::kDuplicate},
      {with_tags(kMaxTags + 1), bad::kTooManyTags},
      {std::string(kMaxKey + 1, 'a') + " 1", bad::kTooLong},
      {"a;k=" + std::string(Batch::kMaxText, 'v') + " 1", bad::kTooLong},
      {"\xFF 1", bad::kUtf8},
      {"a;k=\xC3 1", bad::kUtf8},
      {std::string("\x80\x02]q\x00(U", 7) + " 1 1", bad::kUtf8},  // the beginning of a pickle
  };
  for (const Row& row : rows) {
    INFO(row.line.substr(0, 200));
    CHECK(decoded(row.line) == Lines{fmt::format("!{}", row.reason)});
    Points points;
    decode_carbon("a;k=v 1", points);
    decode_carbon(row.line, points);
    decode_carbon("b;k=v 1", points);
    CHECK(show(points) == Lines{"metric a k=v 1 0", "metric b k=v 1 0", fmt::format("!{}", row.reason)});
    CHECK(points.pairs.size() == 2);
  }
}
