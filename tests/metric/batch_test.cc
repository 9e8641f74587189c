#include "metric/batch.h"

#include "support/catch.h"

using namespace runnel;

TEST_CASE("a series keeps its tags sorted, the last of equal keys wins") {
  Batch batch("test");
  SeriesRef ref = batch.series("api.requests", {{"site", "lon"}, {"az", "1"}, {"site", "ams"}, {"bare", ""}});
  SeriesView view = batch.view(ref);
  CHECK(view.name() == "api.requests");
  REQUIRE(view.tag_count() == 3);
  std::vector<std::pair<std::string, std::string>> tags;
  for (Tag tag : view) tags.emplace_back(tag.key, tag.value);
  CHECK(tags == std::vector<std::pair<std::string, std::string>>{{"az", "1"}, {"bare", ""}, {"site", "ams"}});
  bool found = false;
  CHECK(view.find("site") == "ams");
  CHECK(view.find("nope", &found) == "");
  CHECK_FALSE(found);
  Batch other("copy");
  SeriesView copy = other.view(other.series_bytes(view.bytes()));
  CHECK(copy.name() == "api.requests");
  CHECK(copy.bytes() == view.bytes());
}

TEST_CASE("text beyond the form's limit is cut and never spills into the neighbour") {
  Batch batch("test");
  std::string huge(70'000, 'x');
  SeriesRef first = batch.series(huge, {{"k", huge}});
  SeriesRef second = batch.series("next", {});
  CHECK(batch.view(first).name().size() == Batch::kMaxText);
  CHECK(batch.view(first).find("k").size() == Batch::kMaxText);
  CHECK(batch.view(second).name() == "next");
}

TEST_CASE("numbers stay exact while they are integers") {
  CHECK(Number::integer(INT64_MAX).as_integer() == INT64_MAX);
  CHECK(Number(2.0) == Number::integer(2));
  CHECK_FALSE(Number::integer(INT64_MAX) == Number::integer(INT64_MAX - 1));
}

TEST_CASE("origins and strings that repeat are stored once") {
  Batch batch("test");
  CHECK(batch.origin({}) == 0);
  uint32_t a = batch.origin({"web-1", {}});
  CHECK(a == 1);
  CHECK(batch.origin({"web-1", {}}) == a);
  CHECK(batch.origin({}) == 0);
  StringRef by = batch.string("By");
  CHECK(batch.string("By").offset == by.offset);
  CHECK(batch.view(by) == "By");
  CHECK(batch.string("").size == 0);
}
