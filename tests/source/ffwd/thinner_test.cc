// Series that come too often.
#include "source/ffwd/thinner.h"

#include "source/ffwd/carbon.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::ffwd;

namespace {

// How many of the lines, which come one after another, are taken out.
size_t thinned(Thinner& thinner, std::initializer_list<const char*> lines, int64_t now_ms = 0) {
  size_t count = 0;
  for (const char* line : lines) {
    Points points;
    decode_carbon(line, points);
    REQUIRE(points.points.size() == 1);
    size_t out = thinner.thin(points, now_ms);
    CHECK(points.points.size() == 1 - out);
    count += out;
  }
  return count;
}

}  // namespace

TEST_CASE("a series that comes too often is thinned by the times its sender said") {
  Thinner thinner;
  CHECK(thinned(thinner, {"a 1 1000", "a 2 1000", "a 3 1000"}) == 0);  // nothing is asked for
  thinner.configure(10'000);
  CHECK(thinned(thinner, {"a 1 1000", "a 2 1000", "a 3 1009.999", "a 4 1010", "a 5 1019"}) == 3);
  // A burst of what was held up is none.
  CHECK(thinned(thinner, {"b 1 1000", "b 2 1010", "b 3 1020", "b 4 1030"}) == 0);
  // Others are others: by tag and host.
  CHECK(thinned(thinner, {"c;k=1 1 1000", "c;k=2 1 1000", "c 1 1000", "d;k=1 1 1000", "c;host=x 1 1000",
                          "c;k=1 1 1001"}) == 1);
  // What is older is taken too, where it is far enough away.
  CHECK(thinned(thinner, {"e 1 1000", "e 1 995", "e 1 900", "e 1 1005"}) == 2);
  // A time that is far away does not keep the others from being thinned.
  CHECK(thinned(thinner, {"g 1 1000", "g 1 9000000000", "g 1 1010", "g 1 1011", "g 1 1019"}) == 2);
  // What was lost is not remembered.
  CHECK(thinned(thinner, {"h 1 1000"}) == 0);
  thinner.forget();
  CHECK(thinned(thinner, {"h 1 1000", "h 2 1000"}) == 1);
  // Without a time it is now.
  CHECK(thinned(thinner, {"f 1", "f 2"}, 5'000'000) == 1);
  CHECK(thinned(thinner, {"f 3"}, 5'010'000) == 0);
}

TEST_CASE("events are never thinned, and what is remembered is bounded") {
  Thinner thinner;
  thinner.configure(1000);
  for (int i = 0; i < 2; i++) {
    Points points;
    points.points.resize(3);
    for (Point& point : points.points) point.key = "k", point.is_event = true;
    CHECK(thinner.thin(points, 1) == 0);
  }
  std::string line;
  for (size_t i = 0; i < Thinner::kMaxSeries; i++) {
    line = "series." + std::to_string(i) + " 1 1000";
    Points points;
    decode_carbon(line, points);
    if (thinner.thin(points, 0) != 0) FAIL("thinned " << line);
  }
  CHECK(thinned(thinner, {"series.0 1 1000"}) == 0);  // all were forgotten
  CHECK(thinned(thinner, {"series.0 1 1000"}) == 1);
}
