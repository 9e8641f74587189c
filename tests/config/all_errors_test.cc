// Everything that is wrong is told in one go, and nothing that only follows from something else.
#include "config/load.h"
#include "config/support.h"
#include "support/catch.h"

using namespace runnel;
using Lines = std::vector<std::string>;

namespace {

constexpr char kSecondary[] = "[output.o]\nsink = \"stdot\"\n[agent]\nintervall = \"1s\"\n";

Lines all_of(const LoadResult& r) {
  Lines out = test::lines(r.errors);
  for (const std::string& line : test::lines(r.warnings)) out.push_back(line);
  return out;
}

Lines load(const std::string& text) {
  return all_of(load_config_text(text, "f", test::make_catalog(), true));
}

std::string unset(const std::string& place) {
  return place + ": error: the environment variable ZZ is not set (set it, or write ${ZZ:-default})";
}

}  // namespace

TEST_CASE("an unset variable does not hide other mistakes") {
  CHECK(load(std::string("journal.max_bytes = \"${ZZ}\"\nagent.host = 2024-01-01\n") + "[output.o]\n" +
             "sink = \"stdot\"\n[source.statd]\n") ==
        Lines{unset("f:1:21"), "f:2:14: error: dates and times are not used here (write a string)",
              "f:4:8: error: output.o.sink: there is no sink \"stdot\" (did you mean \"stdout\"?)",
              "f:5:9: error: unknown key \"statd\" in source (did you mean \"statsd\"?)"});
}

TEST_CASE("a duplicate, a missing or a circular include does not hide other mistakes") {
  test::TemporaryFolder folder;
  auto lines = [&](const std::string& include, const std::string& other) {
    std::string path = folder.write("main", "include = [\"" + include + "\"]\n" + kSecondary);
    folder.write("other", other);
    return folder.lines(load_config(path, test::make_catalog(), true).errors);
  };
  const Lines secondary{
      "main:3:8: error: output.o.sink: there is no sink \"stdot\" (did you mean \"stdout\"?)",
      "main:5:1: error: unknown key \"intervall\" in agent (did you mean \"interval\"?)"};
  auto with = [&](std::string first) { return Lines{std::move(first), secondary[0], secondary[1]}; };
  CHECK(lines("gone", "") == with("main:1:12: error: cannot read gone: No such file or directory"));
  CHECK(lines("main", "") == with("main:1:12: error: main includes itself"));
  // The sink is unknown, because two are named: neither is looked for.
  CHECK(lines("other", "[output.o]\nsink = \"nowhere\"\n[journal]\nwhen_full = \"x\"\n") ==
        Lines{secondary[1],
              "other:2:1: error: output.o.sink is already set at main:3:1 (remove one, or write override = "
              "true at the top of this file)",
              "other:4:13: error: journal.when_full is \"x\", not one of drop_oldest, drop_newest, block"});
  // Syntax alone stops: of a file that was not understood nobody knows what it sets.
  Lines syntax = lines("other", "a =");
  REQUIRE(syntax.size() == 1);
  CHECK(syntax[0].find("other:1:") == 0);
}

TEST_CASE("what is absent may stand in the file that could not be read") {
  const std::string gone = "f:1:11: error: cannot read gone: No such file or directory";
  for (const char* rest :
       {"", "[output.o]\n", "[output.o]\nsink = \"fake\"\n", "[output.o]\nsink = \"fake\"\ntoken = \"t\"\n",
        "[output.o]\nsink = \"plain\"\ncompression_level = 3\n", "[[source.statsd]]\n[[source.statsd]]\n",
        "[source.scripts]\n[source.statsd]\n[source.host]\n"}) {
    INFO(rest);
    CHECK(load(std::string("include = \"gone\"\n") + rest) == Lines{gone});
  }
  CHECK(load("include = \"${ZZ}\"\n") == Lines{unset("f:1:11")});
  // What does not depend on it is told.
  CHECK(load("include = \"gone\"\n[output.o]\nsink = \"fake\"\nurl = \"x\"\n") ==
        Lines{gone, "f:4:7: error: output.o.url: not http:// (write http://…)"});
}

TEST_CASE("an unset variable leads to no further errors") {
  struct {
    const char* text;
    const char* place;
  } table[] = {
      {"[agent]\nhost = \"${ZZ}\"", "f:2:8"},
      {"[agent]\ninterval = \"${ZZ}\"", "f:2:12"},
      {"[agent]\nlog_level = \"${ZZ}\"", "f:2:13"},
      {"[agent.tags]\na = \"${ZZ}\"", "f:2:5"},
      {"[journal]\ndurability = \"${ZZ}\"", "f:2:14"},
      {"[source.scripts]\ndir = \"${ZZ}\"", "f:2:7"},
      {"[source.scripts]\ndir = \"/\"\nuser = \"${ZZ}\"", "f:3:8"},
      {"[source.host]\nenabled = \"${ZZ}\"\nroot = \"/nonexistent\"", "f:2:11"},
      {"[source.host]\ncollectors = [\"cpu\", \"-${ZZ}\"]", "f:2:22"},
      {"[source.statsd]\npercentiles = [\"${ZZ}\", 5]", "f:2:16"},
      {"[[source.statsd]]\nlisten = [\"${ZZ}\"]\n[[source.statsd]]\nname = \"b\"", "f:2:11"},
      {"[output.p]\nsink = \"${ZZ}\"\nurl = \"x\"", "f:2:8"},
      {"[output.p]\nsink = \"plain\"\nencoding = \"${ZZ}\"", "f:3:12"},
      {"[output.p]\nsink = \"plain\"\ncompression = \"${ZZ}\"\ncompression_level = 19", "f:3:15"},
      {"[output.p]\nsink = \"plain\"\nfilter = \"${ZZ}(\"", "f:3:10"},
      {"[output.p]\nsink = \"plain\"\nbatch = { max_age = \"${ZZ}\" }", "f:3:21"},
      {"[output.p]\nsink = \"fake\"\nurl = \"${ZZ}\"", "f:3:7"},
      {"[output.p]\nsink = \"fake\"\nurl = \"http://x\"\ntoken = \"${ZZ}\"", "f:4:9"},
      {"[output.p]\nsink = \"fake\"\nurl = \"http://x\"\ntoken = \"t\"\nbrokers = [\"${ZZ}\"]", "f:5:12"},
      {"[output.p]\nsink = \"fake\"\nurl = \"http://x\"\nheaders = { a = \"${ZZ}\" }", "f:4:17"},
      {"[output.p]\nsink = \"fake\"\nurl = \"http://x\"\npassword_file = \"${ZZ}\"", "f:4:17"},
      {"[output.p]\nsink = \"fake\"\nurl = \"http://x\"\nmethod = \"${ZZ}\"", "f:4:10"},
  };
  for (auto& row : table) {
    INFO(row.text);
    Lines lines = load(row.text + std::string("\n[output.o]\nsink = \"plain\"\n"));
    // Two of [[source.statsd]]: the first has no name, which is an error of its own.
    std::erase_if(lines, [](const std::string& line) { return line.find("name is missing") != line.npos; });
    CHECK(lines == Lines{unset(row.place)});
  }
}

TEST_CASE("beside an unset variable the other entries are checked") {
  CHECK(
      load(
          "[source.statsd]\nlisten = [\"${ZZ}\", \"udp://127.0.0.1\"]\n[source.host]\n"
          "collectors = [\"${ZZ}\", \"cpus\"]\n[output.o]\nsink = \"fake\"\nurl = \"x\"\ntoken = \"${ZZ}\"\n")
          .size() == 6);
}
