// Files that include others, override, duplicates, the environment.
#include "config/files.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/environment.h"
#include "config/load.h"
#include "config/support.h"
#include "support/catch.h"

using namespace runnel;
using Lines = std::vector<std::string>;

namespace {

constexpr char kOutput[] = "[output.o]\nsink = \"plain\"\n";

struct Fixture {
  test::TemporaryFolder folder;
  LoadResult load(const std::string& name = "runnel.toml") {
    return load_config(folder.path() + "/" + name, test::make_catalog(), true);
  }
  Lines errors() { return folder.lines(load().errors); }
};

class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) { ::setenv(name, value, 1); }
  ~Environment() { ::unsetenv(name_); }

 private:
  const char* name_;
};

}  // namespace

TEST_CASE("included files are merged in name order") {
  Fixture f;
  f.folder.write(
      "runnel.toml",
      "include = [\"conf.d/*.toml\", \"extra.toml\"]\n[agent]\ninterval = \"20s\"\ntags = { a = \"1\" }\n");
  f.folder.write("conf.d/20.toml", "[output.second]\nsink = \"plain\"\n");
  f.folder.write("conf.d/10.toml", "[output.first]\nsink = \"plain\"\n[agent.tags]\nb = \"2\"\n");
  f.folder.write("conf.d/.hidden.toml", "broken");
  f.folder.write("conf.d/30.toml~", "broken");
  f.folder.write("extra.toml", "include = \"sub/*.toml\"\n[output.third]\nsink = \"plain\"\n");
  f.folder.write("sub/x.toml", "[output.fourth]\nsink = \"plain\"\n");
  LoadResult r = f.load();
  CHECK(f.folder.lines(r.errors) == Lines{});
  REQUIRE(r.config.outputs.size() == 4);
  CHECK(r.config.outputs[0].name == "first");
  CHECK(r.config.outputs[1].name == "second");
  CHECK(r.config.outputs[2].name == "third");
  CHECK(r.config.outputs[3].name == "fourth");
  CHECK(to_string(r.config.outputs[3].position) == f.folder.path() + "/sub/x.toml:1:1");
  CHECK(r.config.agent.interval_ms == 20'000);
  CHECK(r.config.agent.tags == StringMap{{"a", "1"}, {"b", "2"}});
}

TEST_CASE("duplicates across files are errors with both places") {
  Fixture f;
  f.folder.write("runnel.toml",
                 std::string("include = [\"b.toml\"]\n[agent]\ninterval = \"20s\"\ntags.a = \"1\"\n"
                             "[source.statsd]\n[source.host]\n") +
                     kOutput);
  f.folder.write(
      "b.toml",
      "[agent]\ninterval = \"30s\"\ntags = { a = \"2\", b = \"3\" }\nhost = \"x\"\n[[source.statsd]]\n"
      "[source.host]\ncollectors = [\"all\"]\n[output.o]\nsink = \"plain\"\n");
  CHECK(f.errors() == Lines{"b.toml:2:1: error: agent.interval is already set at runnel.toml:3:1 (remove "
                            "one, or write override = true at "
                            "the top of this file)",
                            "b.toml:3:10: error: agent.tags.a is already set at runnel.toml:4:6 (remove one, "
                            "or write override = true at "
                            "the top of this file)",
                            "b.toml:5:10: error: source.statsd is already set at runnel.toml:5:9 (remove "
                            "one, or write override = true at "
                            "the top of this file)",
                            "b.toml:9:1: error: output.o.sink is already set at runnel.toml:8:1 (remove one, "
                            "or write override = true at "
                            "the top of this file)"});
}

TEST_CASE("a file with override may set again what earlier ones set") {
  Fixture f;
  f.folder.write("runnel.toml",
                 std::string("include = [\"role.toml\", \"host.toml\"]\n[agent]\ninterval = \"20s\"\n"
                             "tags = { site = \"lon\", role = \"?\" }\n[[source.statsd]]\nname = \"a\"\n"
                             "[source.host]\ncollectors = [\"default\"]\n") +
                     kOutput);
  f.folder.write("role.toml",
                 "override = true\n[agent.tags]\nrole = \"web\"\n[[source.statsd]]\nname = \"a\"\n"
                 "max_series = 7\n[[source.statsd]]\nname = \"b\"\nlisten = [\"udp://127.0.0.1:1\"]\n");
  f.folder.write("host.toml",
                 "override = true\n[agent]\ninterval = \"5s\"\n[source.host]\ncollectors = [\"cpu\"]\n");
  LoadResult r = f.load();
  CHECK(f.folder.lines(r.errors) == Lines{});
  CHECK(r.config.agent.interval_ms == 5'000);
  CHECK(r.config.agent.tags == StringMap{{"site", "lon"}, {"role", "web"}});
  CHECK(r.config.host.at(0).collectors == std::vector<std::string>{"cpu"});
  REQUIRE(r.config.statsd.size() == 2);
  CHECK(r.config.statsd[0].max_series == 7);
  CHECK(r.config.statsd[1].name == "b");
  // An error in a value that was set again stands where it was set.
  f.folder.write("host.toml", "override = true\n[agent]\ninterval = 5\n");
  CHECK(f.errors() ==
        Lines{"host.toml:3:12: error: agent.interval is 5, an integer, not a duration (write \"5s\")"});
  // It holds for the one file that says it.
  f.folder.write("host.toml", "override = false\n[agent]\ninterval = \"5s\"\n");
  CHECK(f.errors().size() == 1);
}

TEST_CASE("without override [[source.statsd]] of several files add up") {
  Fixture f;
  f.folder.write("runnel.toml", std::string("include = [\"conf.d/*.toml\"]\n") + kOutput);
  f.folder.write("conf.d/a.toml", "[[source.statsd]]\nname = \"a\"\n");
  f.folder.write("conf.d/b.toml", "[[source.statsd]]\nname = \"b\"\nlisten = [\"udp://127.0.0.1:1\"]\n");
  CHECK(f.load().config.statsd.size() == 2);
  f.folder.write("conf.d/b.toml", "[[source.statsd]]\nname = \"a\"\n");
  CHECK(f.errors() ==
        Lines{"conf.d/b.toml:1:1: error: source.statsd.listen: udp://127.0.0.1:8125 is taken already by "
              "conf.d/a.toml:1:1",
              "conf.d/b.toml:1:1: error: source.statsd.name \"a\" is used already at conf.d/a.toml:1:1 (each "
              "needs its own)"});
}

TEST_CASE("errors of several files come in the order in which the files were read") {
  Fixture f;
  f.folder.write("runnel.toml",
                 std::string("include = [\"z.toml\", \"a.toml\"]\n[agent]\nx = 1\n") + kOutput);
  f.folder.write("a.toml", "[journal]\ny = 1\n");
  f.folder.write("z.toml", "[journal]\nz = 1\n");
  Lines errors = f.errors();
  REQUIRE(errors.size() == 3);
  CHECK(errors[0].substr(0, 16) == "runnel.toml:3:1:");
  CHECK(errors[1].substr(0, 11) == "z.toml:2:1:");
  CHECK(errors[2].substr(0, 11) == "a.toml:2:1:");
}

TEST_CASE("files that cannot be read") {
  Fixture f;
  CHECK(f.errors() == Lines{"runnel.toml:1:1: error: cannot read runnel.toml: No such file or directory"});
  f.folder.write("runnel.toml",
                 std::string("include = [\"gone.toml\", \"none/*.toml\", \"sub\", \"pipe\"]\n") + kOutput);
  f.folder.write("sub/x.toml", "");
  REQUIRE(::mkfifo((f.folder.path() + "/pipe").c_str(), 0600) == 0);
  CHECK(f.errors() == Lines{"runnel.toml:1:12: error: cannot read gone.toml: No such file or directory",
                            "runnel.toml:1:40: error: cannot read sub: not a file",
                            "runnel.toml:1:47: error: cannot read pipe: not a file"});
  CHECK(f.folder.lines(f.load("sub").errors) == Lines{"sub:1:1: error: cannot read sub: not a file"});
  f.folder.write("runnel.toml", std::string("include = [\"big.toml\"]\n") + kOutput);
  f.folder.write("big.toml", std::string((1 << 20) + 1, '\n'));
  CHECK(f.errors() == Lines{"runnel.toml:1:12: error: cannot read big.toml: larger than 1048576 bytes"});
}

TEST_CASE("includes that go in circles or too deep are refused") {
  Fixture f;
  f.folder.write("runnel.toml", std::string("include = [\"a.toml\"]\n") + kOutput);
  f.folder.write("a.toml", "include = [\"b.toml\"]\n");
  f.folder.write("b.toml", "\ninclude = [\"a.toml\"]\n");
  CHECK(f.errors() == Lines{"b.toml:2:12: error: a.toml includes itself"});
  f.folder.write("b.toml", "include = [\"*.toml\"]\n");
  CHECK(f.errors().size() == 3);  // itself, a.toml and runnel.toml
  // Through a link it is the same file.
  REQUIRE(::symlink("runnel.toml", (f.folder.path() + "/link.toml").c_str()) == 0);
  f.folder.write("runnel.toml", std::string("include = [\"link.toml\"]\n") + kOutput);
  CHECK(f.errors() == Lines{"runnel.toml:1:12: error: link.toml includes itself"});
  for (int i = 0; i < 9; i++)
    f.folder.write("d" + std::to_string(i), "include = \"d" + std::to_string(i + 1) + "\"\n");
  f.folder.write("d9", "");
  f.folder.write("runnel.toml", std::string("include = \"d0\"\n") + kOutput);
  CHECK(f.errors() == Lines{"d7:1:11: error: includes are nested more than 8 deep"});
}

TEST_CASE("a file that two patterns match is read once") {
  Fixture f;
  f.folder.write("runnel.toml", std::string("include = [\"conf.d/a.toml\", \"conf.d/*.toml\"]\n"));
  f.folder.write("conf.d/a.toml", kOutput);
  CHECK(f.errors() == Lines{});
  CHECK(f.load().config.outputs.size() == 1);
}

TEST_CASE("links are followed, as Kubernetes mounts files") {
  Fixture f;
  f.folder.write("mount/..2024/runnel.toml", std::string("include = [\"conf.d/*.toml\"]\n"));
  REQUIRE(::symlink("..2024", (f.folder.path() + "/mount/..data").c_str()) == 0);
  REQUIRE(::symlink("..data/runnel.toml", (f.folder.path() + "/mount/runnel.toml").c_str()) == 0);
  f.folder.write("mount/conf.d/out.toml", kOutput);
  LoadResult r = f.load("mount/runnel.toml");
  CHECK(f.folder.lines(r.errors) == Lines{});
  CHECK(r.config.outputs.size() == 1);
}

TEST_CASE("a syntax error of an included file is told with those of the others") {
  Fixture f;
  f.folder.write("runnel.toml", std::string("include = [\"conf.d/*.toml\"]\n"));
  f.folder.write("conf.d/a.toml", "a =");
  f.folder.write("conf.d/b.toml", "\nb");
  Lines errors = f.errors();
  REQUIRE(errors.size() == 2);
  CHECK(errors[0].substr(0, 16) == "conf.d/a.toml:1:");
  CHECK(errors[1].substr(0, 16) == "conf.d/b.toml:2:");
}

TEST_CASE("environment variables are put in") {
  Environment set("RUNNEL_TEST_SET", "value ${RUNNEL_TEST_EMPTY}");
  Environment empty("RUNNEL_TEST_EMPTY", "");
  Environment binary("RUNNEL_TEST_BINARY", "\xff");
  struct {
    const char *text, *result;  // nullptr: an error
  } table[] = {
      {"plain", "plain"},
      {"${RUNNEL_TEST_SET}", "value ${RUNNEL_TEST_EMPTY}"},  // not substituted again
      {"a${RUNNEL_TEST_EMPTY}b", "ab"},
      {"${RUNNEL_TEST_EMPTY:-x}", "x"},
      {"${RUNNEL_TEST_NONE:-x}${RUNNEL_TEST_NONE:-}", "x"},
      {"${RUNNEL_TEST_NONE:-a:-b}", "a:-b"},
      {"${RUNNEL_TEST_SET:-x}", "value ${RUNNEL_TEST_EMPTY}"},
      {"a$b$", "a$b$"},
      {"$$", "$$"},
      {"^x$|$y", "^x$|$y"},
      {"$${RUNNEL_TEST_SET}", "${RUNNEL_TEST_SET}"},
      {"$$${", "$${"},
      {"${RUNNEL_TEST_NONE}", nullptr},
      {"${RUNNEL_TEST_SET", nullptr},
      {"${1}", nullptr},
      {"${A B}", nullptr},
      {"${:-x}", nullptr},
      {"${RUNNEL_TEST_BINARY}", nullptr},
  };
  for (auto& row : table) {
    INFO(row.text);
    auto result = substitute_environment(row.text);
    CHECK(result.ok() == (row.result != nullptr));
    if (result.ok() && row.result) CHECK(*result == row.result);
  }
  Fixture f;
  f.folder.write("runnel.toml",
                 "include = [\"${RUNNEL_TEST_EMPTY}out.toml\"]\n[agent]\nhost = \"${RUNNEL_TEST_SET}\"\n"
                 "interval = \"${RUNNEL_TEST_NONE:-7s}\"\ntags = { a = \"${RUNNEL_TEST_EMPTY:-b}\" }\n"
                 "[source.host]\ncollectors = [\"${RUNNEL_TEST_NONE:-cpu}\"]\n");
  f.folder.write("out.toml", kOutput);
  LoadResult r = f.load();
  CHECK(f.folder.lines(r.errors) == Lines{});
  CHECK(r.config.agent.host == "value ${RUNNEL_TEST_EMPTY}");
  CHECK(r.config.agent.interval_ms == 7'000);
  CHECK(r.config.agent.tags == StringMap{{"a", "b"}});
  CHECK(r.config.host.at(0).collectors == std::vector<std::string>{"cpu"});
}

TEST_CASE("tags and the resource from the environment") {
  const char* variables[] = {
      "PATH=/bin",     "T_SITE=lon", "T_Role=a=b", "T_empty=",  "T_=none", "T_SITE2=x\xff",
      "T_site=second", "XT_SITE=no", "T_no_value", "t_site=no", nullptr};
  EnvironmentTags found = tags_from_environment(variables, "T_");
  CHECK(found.tags == StringMap{{"site", "lon"}, {"role", "a=b"}, {"empty", ""}});
  CHECK(found.errors == Lines{"the environment variable T_ names no tag behind the prefix",
                              "the environment variable T_SITE2 is not UTF-8",
                              "the environment variable T_site is the same tag as T_SITE"});

  Environment site("RUNNEL_TEST_TAG_SITE", "lon"), zone("RUNNEL_TEST_RESOURCE_ZONE", "a");
  Fixture f;
  f.folder.write("runnel.toml",
                 std::string("[agent]\ntags_env_prefix = \"RUNNEL_TEST_TAG_\"\n"
                             "resource_env_prefix = \"RUNNEL_TEST_RESOURCE_\"\n"
                             "tags = { site = \"other\", role = \"web\" }\nresource = { build = \"1\" }\n") +
                     kOutput);
  LoadResult r = f.load();
  CHECK(f.folder.lines(r.errors) == Lines{});
  CHECK(r.config.agent.tags == StringMap{{"site", "lon"}, {"role", "web"}});
  CHECK(r.config.agent.resource == StringMap{{"zone", "a"}, {"build", "1"}});

  Environment twice("RUNNEL_TEST_TAG_site", "x");
  f.folder.write(
      "runnel.toml",
      std::string("[agent]\ntags_env_prefix = \"RUNNEL_TEST_TAG_\"\nresource_env_prefix = \"A=\"\n") +
          kOutput);
  r = f.load();
  REQUIRE(r.errors.size() == 2);
  CHECK(f.folder.lines(r.errors)[0].starts_with(
      "runnel.toml:2:19: error: agent.tags_env_prefix: the environment variable "
      "RUNNEL_TEST_TAG_"));
  CHECK(f.folder.lines(r.errors)[1] ==
        "runnel.toml:3:23: error: agent.resource_env_prefix: no variable begins with \"A=\"");
}
