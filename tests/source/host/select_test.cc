#include "host_support.h"
#include "support/catch.h"

using namespace runnel;

TEST_CASE("the list of collectors") {
  const std::vector<std::string> all = collector_names();
  std::vector<std::string> no_disk;
  for (const std::string& name : all)
    if (name != "disk") no_disk.push_back(name);
  using Words = std::vector<std::string>;
  struct Case {
    Words words, names;
    std::string error;  // part of it
  };
  const Case kCases[] = {
      {{"all"}, all, ""},
      {{"default"}, all, ""},
      {{"default", "default"}, all, ""},
      {{"cpu"}, {"cpu"}, ""},
      {{"load", "cpu"}, {"cpu", "load"}, ""},  // in the order of the table
      {{"cpu", "cpu"}, {"cpu"}, ""},
      {{"default", "-disk"}, no_disk, ""},
      {{"-disk"}, no_disk, ""},
      {{"cpu", "disk", "-disk"}, {"cpu"}, ""},
      {{"-disk", "disk"}, all, ""},
      {{"cpu", "-memory"}, {"cpu"}, ""},
      {{}, {}, "no collector is left"},
      {{"cpu", "-cpu"}, {}, "no collector is left"},
      {{"memroy"}, {}, "there is no collector \"memroy\" (did you mean \"memory\"?)"},
      {{"defualt"}, {}, "did you mean \"default\""},
      {{"all", "-dsk"}, {}, "there is no collector \"dsk\" (did you mean \"disk\"?)"},
      {{"-all"}, {}, "there is no collector \"all\""},
      {{"-default"}, {}, "there is no collector \"default\""},
      {{"CPU"}, {}, "there is no collector \"CPU\""},
      {{""}, {}, "there is no collector \"\""},
      {{"-"}, {}, "there is no collector \"\""},
      {{"--cpu"}, {}, "there is no collector \"-cpu\""},
      {{"a\nb"}, {}, "there is no collector \"a\\nb\""},
  };
  for (const Case& c : kCases) {
    std::string words;
    for (const std::string& word : c.words) words += "[" + word + "]";
    CAPTURE(words);
    auto names = select_collectors(c.words);
    REQUIRE(names.ok() == c.error.empty());
    if (names) {
      CHECK(*names == c.names);
    } else {
      CHECK(names.error().find(c.error) != std::string::npos);
    }
  }
}

TEST_CASE("the table of collectors is complete") {
  CHECK(list_collectors().size() == 10);
  for (const CollectorInfo& info : list_collectors()) {
    CHECK(!info.help.empty());
    CHECK(find_collector(info.name) != nullptr);
  }
  CHECK(find_collector("cgroup") == nullptr);
}

TEST_CASE("only the collectors that were asked for run") {
  test::Host host(test::fixture("baremetal"), {"load"});
  auto got = host.round_values();
  CHECK(got.size() == 4);
  CHECK(got.at("system.cpu.load_average.1m") == "8.41");
  CHECK(got.at("system.uptime") == "4210563.27");
  SelfReport report;
  host.collectors.report(report);
  REQUIRE(report.rows().size() == 1);
  CHECK(report.rows()[0].value == Number::integer(4));
}
