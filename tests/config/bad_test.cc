// Bad files and exactly what is said about them.
#include "config/load.h"
#include "config/support.h"
#include "support/catch.h"

using namespace runnel;
using Lines = std::vector<std::string>;

namespace {

constexpr char kOutput[] = "\n[output.o]\nsink = \"plain\"\n";

Lines errors_of(const std::string& text, bool strict = true) {
  return test::lines(load_config_text(text, "f", test::make_catalog(), strict).errors);
}

}  // namespace

TEST_CASE("each mistake is named with its place and what to do") {
  struct {
    std::string text;
    Lines errors;
  } table[] = {
      // Tables and keys
      {"[agnet]\ninterval = \"10s\"", {"f:1:2: error: unknown key \"agnet\" (did you mean \"agent\"?)"}},
      {"agent = 1", {"f:1:9: error: agent is an integer, not a table (write [agent])"}},
      {"[agent]\nintervall = \"10s\"",
       {"f:2:1: error: unknown key \"intervall\" in agent (did you mean \"interval\"?)"}},
      {"[journal]\nxxxxxxxxxxxxx = 1",
       {"f:2:1: error: unknown key \"xxxxxxxxxxxxx\" in journal (known: max_bytes, durability, when_full, "
        "on_disk_error, max_memory, min_free, quarantine_max_bytes)"}},
      {"[agent.journal]\n",
       {"f:1:8: error: unknown key \"journal\" in agent (known: host, interval, tags, pinned_tags, "
        "tags_file, tags_env_prefix, resource, resource_env_prefix, state_dir, control, shutdown_timeout, "
        "log_level, unknown_keys, "
        "metrics_file, self_metrics)"}},
      {"[source.statd]\n", {"f:1:9: error: unknown key \"statd\" in source (did you mean \"statsd\"?)"}},
      {"source = 3", {"f:1:10: error: source is not a table (write for example [source.statsd])"}},
      {"[source]\nstatsd = true",
       {"f:2:10: error: source.statsd is a boolean, not a table (write [source.statsd])"}},
      // Types
      {"[agent]\ninterval = 10",
       {"f:2:12: error: agent.interval is 10, an integer, not a duration (write \"10s\")"}},
      {"[agent]\ninterval = 1.5",
       {"f:2:12: error: agent.interval is 1.5, a float, not a duration (write \"1.5s\")"}},
      {"[agent]\ninterval = -1", {"f:2:12: error: agent.interval is -1, an integer, not a duration"}},
      {"[agent]\ninterval = [\"10s\"]", {"f:2:12: error: agent.interval is an array, not a duration"}},
      {"[agent]\ninterval = \"10\"",
       {"f:2:12: error: agent.interval: \"10\" is not a duration such as \"500ms\", \"10s\", \"5m\""}},
      {"[agent]\ninterval = \"ten\\u0007\"",
       {"f:2:12: error: agent.interval: \"ten\\x07\" is not a duration such as \"500ms\", \"10s\", \"5m\""}},
      {"[agent]\nself_metrics = \"no\"",
       {"f:2:16: error: agent.self_metrics is \"no\", a string, not a boolean (write true or false)"}},
      {"[agent]\nself_metrics = 0",
       {"f:2:16: error: agent.self_metrics is 0, an integer, not a boolean (write true or false)"}},
      {"[agent]\nstate_dir = 1",
       {"f:2:13: error: agent.state_dir is 1, an integer, not a string (write \"1\")"}},
      {"[agent]\nstate_dir = \"a\\u0000b\"", {"f:2:13: error: a string has a NUL byte in it"}},
      {"[agent]\ntags = { site = 5 }",
       {"f:2:17: error: agent.tags.site is 5, an integer, not a string (write \"5\")"}},
      {"[agent.tags]\na = true\nb = [1]\n\"\" = \"x\"",
       {"f:2:5: error: agent.tags.a is true, a boolean, not a string (write \"true\")",
        "f:3:5: error: agent.tags.b is an array, not a string", "f:4:1: error: agent.tags has an empty key"}},
      {"[agent]\ntags = \"site=lon\"",
       {"f:2:8: error: agent.tags is \"site=lon\", a string, not a table of strings"}},
      {"[agent]\nhost = \"a\\nb\"", {"f:2:8: error: agent.host \"a\\nb\" has control characters in it"}},
      {"[journal]\nmax_bytes = 1048576",
       {"f:2:13: error: journal.max_bytes is 1048576, an integer, not a size (write \"1MiB\")"}},
      {"[journal]\nmax_bytes = \"1 barrel\"",
       {"f:2:13: error: journal.max_bytes: \"1 barrel\" is not a size such as \"64KiB\" or \"8MiB\""}},
      {"[agent]\nhost = 2024-01-01", {"f:2:8: error: dates and times are not used here (write a string)"}},
      // Ranges and choices
      {"[agent]\ninterval = \"1ms\"",
       {"f:2:12: error: agent.interval is \"1ms\", out of range (100ms to 1d)"}},
      {"[agent]\nshutdown_timeout = \"2h\"",
       {"f:2:20: error: agent.shutdown_timeout is \"2h\", out of range (0s to 1h)"}},
      {"[journal]\nmax_bytes = \"1KiB\"",
       {"f:2:13: error: journal.max_bytes is \"1KiB\", out of range (64KiB to 16384GiB)"}},
      {"[agent]\nlog_level = \"warn\"",
       {"f:2:13: error: agent.log_level is \"warn\", not one of debug, info, warning, "
        "error"}},
      {"[agent]\nlog_level = \"inof\"",
       {"f:2:13: error: agent.log_level is \"inof\", not one of debug, info, warning, "
        "error (did you mean \"info\"?)"}},
      {"[journal]\nwhen_full = \"\"",
       {"f:2:13: error: journal.when_full is \"\", not one of drop_oldest, drop_newest, block"}},
      // The environment
      {"[agent]\nhost = \"${RUNNEL_NOT_SET}\"",
       {"f:2:8: error: the environment variable RUNNEL_NOT_SET is not set (set it, or write "
        "${RUNNEL_NOT_SET:-default})"}},
      {"[agent]\nhost = \"${\"", {"f:2:8: error: \"${\" has no \"}\" (write $${ for a literal one)"}},
      {"[agent]\nhost = \"${a b}\"",
       {"f:2:8: error: \"${a b}\" is not the name of an environment variable (write $${ for a literal ${)"}},
      {"[agent]\nhost = \"${}\"",
       {"f:2:8: error: \"${}\" is not the name of an environment variable (write $${ for a literal ${)"}},
      // Includes
      {"include = 5", {"f:1:11: error: include takes file names (write include = [\"conf.d/*.toml\"])"}},
      {"include = [1, \"\"]",
       {"f:1:12: error: include takes file names (write include = [\"conf.d/*.toml\"])",
        "f:1:15: error: include has an empty file name"}},
      {"override = 1", {"f:1:12: error: override must be true or false"}},
  };
  for (auto& row : table) {
    INFO(row.text);
    CHECK(errors_of(row.text + kOutput) == row.errors);
  }
}

TEST_CASE("outputs: each mistake is named with its place and what to do") {
  struct {
    std::string text;
    Lines errors;
  } table[] = {
      {"", {"f:1:1: error: no output is configured (write [output.main] with sink = \"stdout\")"}},
      {"[agent]\n\n[output]\n",
       {"f:3:1: error: no output is configured (write [output.main] with sink = \"stdout\")"}},
      {"output = 1", {"f:1:10: error: output is not a table (write [output.main] with sink = \"stdout\")"}},
      {"[output]\nsink = \"plain\"",
       {"f:2:1: error: output.sink is a string, not a table (an output has a name: write [output.main])"}},
      {"[[output.main]]\nsink = \"plain\"",
       {"f:1:10: error: output.main is an array, not a table (an output has a name: write [output.main])"}},
      {"[output.\"a b\"]\nsink = \"plain\"",
       {"f:1:9: error: \"a b\" is not a name for an output (letters, digits, - and _, at most 64)"}},
      {"[output.\"\"]\nsink = \"plain\"",
       {"f:1:9: error: \"\" is not a name for an output (letters, digits, - and _, at most 64)"}},
      {"[output.o]",
       {"f:1:1: error: output.o.sink is missing (one of fake, plain, stdout, records, squeeze, broken)"}},
      {"[output.o]\nsink = 1", {"f:2:8: error: output.o.sink is 1, an integer, not a string (write \"1\")"}},
      {"[output.o]\nsink = \"stdot\"",
       {"f:2:8: error: output.o.sink: there is no sink \"stdot\" (did you mean \"stdout\"?)"}},
      {"[output.o]\nsink = \"/x.so\"", {"f:2:8: error: output.o.sink: there is no sink \"/x.so\""}},
      {"[output.o]\nsink = \"plain\"\nencoding = \"jsn\"",
       {"f:3:12: error: output.o.encoding: unknown encoding \"jsn\" (did you mean \"json\"?)"}},
      {"[output.o]\nsink = \"plain\"\nencoding = \"protobuf\"",
       {"f:3:12: error: output.o.encoding: unknown encoding \"protobuf\" (json, influx, pretty)"}},
      {"[output.o]\nsink = \"plain\"\ncompression = \"lz4\"",
       {"f:3:15: error: output.o.compression: unknown compression \"lz4\" (none, gzip, zstd)"}},
      {"[output.o]\nsink = \"plain\"\ncompression = 1",
       {"f:3:15: error: output.o.compression is 1, an integer, not a string (write \"1\")"}},
      {"[output.o]\nsink = \"plain\"\ncompression = \"gzip\"\ncompression_level = 10",
       {"f:4:21: error: output.o.compression_level is 10, out of range for gzip (0 to 9, 0 is the default)"}},
      {"[output.o]\nsink = \"plain\"\ncompression = \"zstd\"\ncompression_level = -1",
       {"f:4:21: error: output.o.compression_level is -1, out of range for zstd (0 to 19, 0 is the "
        "default)"}},
      {"[output.o]\nsink = \"plain\"\ncompression_level = 3",
       {"f:3:21: error: output.o.compression_level is 3, out of range for none (there is no level to set)"}},
      {"[output.o]\nsink = \"plain\"\ncompression_level = \"3\"",
       {"f:3:21: error: output.o.compression_level is \"3\", a string, not an integer (write 3)"}},
      {"[output.o]\nsink = \"records\"\ncompression = \"gzip\"",
       {"f:3:15: error: output.o.compression: the sink records takes single records, which are not "
        "compressed (write "
        "\"none\")"}},
      {"[output.o]\nsink = \"records\"\nencoding = \"pretty\"",
       {"f:3:12: error: output.o.encoding: the sink records does not carry \"pretty\" (json, influx)"}},
      {"[output.o]\nsink = \"plain\"\nencoding = \"influx\"\nschema = \"3\"",
       {"f:4:10: error: output.o.schema: the encoding influx has no schema \"3\" (2, 1)"}},
      {"[output.o]\nsink = \"plain\"\nencoding = \"influx\"\nschema = 1",
       {"f:4:10: error: output.o.schema is 1, an integer, not a string (write \"1\")"}},
      {"[output.o]\nsink = \"plain\"\nschema = \"1\"",
       {"f:3:10: error: output.o.schema: the encoding pretty has no schemas to choose from"}},
      {"[output.o]\nsink = \"squeeze\"\ncompression_level = 3",
       {"f:3:1: error: unknown key \"compression_level\" in output.o (known: sink, encoding, schema, filter, "
        "splay, "
        "when_full, batch, compression)"}},
      {"[output.o]\nsink = \"plain\"\nfilter = \"a (b\"",
       {"f:3:10: error: output.o.filter: column 3: ( without )"}},
      {"[output.o]\nsink = \"plain\"\nbatch = { max_event = 1, max_bytes = 10, max_age = \"2h\" }",
       {"f:3:11: error: unknown key \"max_event\" in output.o.batch (did you mean \"max_events\"?)",
        "f:3:38: error: output.o.batch.max_bytes is 10, an integer, not a size (write \"10\")",
        "f:3:52: error: output.o.batch.max_age is \"2h\", out of range (1ms to 1h)"}},
      {"[output.o]\nsink = \"plain\"\nbatch = 100",
       {"f:3:9: error: output.o.batch is an integer, not a table (write batch = { max_age = \"1s\" })"}},
      {"[output.o]\nsink = \"plain\"\nsplay = 3\nwhen_full = \"drop\"",
       {"f:3:9: error: output.o.splay is 3, an integer, not a duration (write \"3s\")",
        "f:4:13: error: output.o.when_full is \"drop\", not one of \"\", drop_oldest, drop_newest, block"}},
      {"[output.o]\nsink = \"plain\"\nurl = \"x\"",
       {"f:3:1: error: unknown key \"url\" in output.o (known: sink, encoding, schema, compression, "
        "compression_level, filter, "
        "splay, when_full, batch)"}},
      {"[output.o]\nsink = \"broken\"",
       {"f:1:1: error: output.o.encoding: unknown encoding \"morse\" (json, influx, pretty)",
        "f:1:1: error: the sink broken declares the option \"filter\", which is the agent's own (tell its "
        "author)",
        "f:1:1: error: the sink broken has a default for \"count\" that is wrong: it is \"many\", a string, "
        "not an "
        "integer (tell its author)"}},
  };
  for (auto& row : table) {
    INFO(row.text);
    CHECK(errors_of(row.text) == row.errors);
  }
}

TEST_CASE("bad syntax is named with its place") {
  struct {
    std::string text;
    const char* place;
  } table[] = {
      {"a = ", "f:1:"},
      {"[agent]\nhost = \"x", "f:2:"},
      {"[agent]\n[agent]", "f:2:"},
      {"a = 1\na = 2", "f:2:"},
      {"[[a]]\n[a]", "f:2:"},
      {"= 1", "f:1:1"},
      {"a = 1 b = 2", "f:1:7"},
      {"a = \xff", "f:1:"},
      {"a = \"\x01\"", "f:1:"},
      {std::string("a\0", 2), "f:1:"},
      {"{", "f:1:1"},
      {"a = 1e999999", "f:1:"},
      {"[$]", "f:1:2"},
      {"[", "f:1:"},
      {"[\n]", "f:1:"},
      {"[[", "f:1:"},
      {"[.a]", "f:1:2"},
      {"[a.]", "f:1:4"},
      {"[]", "f:1:"},
      {"a = { $ = 1 }", "f:1:7"},
      {"\n\na = 99999999999999999999", "f:3:"},
  };
  for (auto& row : table) {
    INFO(row.text);
    Lines errors = errors_of(row.text);
    REQUIRE(errors.size() == 1);
    CHECK(errors[0].substr(0, std::string(row.place).size()) == row.place);
    CHECK(errors[0].find(": error: syntax: ") != std::string::npos);
    CHECK(errors[0].find('\n') == std::string::npos);
  }
}

TEST_CASE("all that is wrong is told in one go, in the order of the file") {
  CHECK(
      errors_of(R"([output.a]
sink = "nowhere"
splay = 1
[agent]
intervall = "1s"
interval = 7
tags = { a = 1 }
[source.statsd]
listen = ["udp://localhost:1", "udp://127.0.0.1"]
max_series = 0
[output.b]
compression = "none"
[output.c]
sink = "fake"
count = 11
)") ==
      Lines{
          "f:2:8: error: output.a.sink: there is no sink \"nowhere\"",
          "f:3:9: error: output.a.splay is 1, an integer, not a duration (write \"1s\")",
          "f:5:1: error: unknown key \"intervall\" in agent (did you mean \"interval\"?)",
          "f:6:12: error: agent.interval is 7, an integer, not a duration (write \"7s\")",
          "f:7:14: error: agent.tags.a is 1, an integer, not a string (write \"1\")",
          "f:9:11: error: source.statsd.listen: \"udp://localhost:1\": \"localhost\" is not an IP address "
          "(write 127.0.0.1 or [::1] instead of a name)",
          "f:9:32: error: source.statsd.listen: \"udp://127.0.0.1\" has no port (write udp://127.0.0.1:PORT)",
          "f:10:14: error: source.statsd.max_series is 0, out of range (1 to 10000000)",
          "f:11:1: error: output.b.sink is missing (one of fake, plain, stdout, records, squeeze, broken)",
          "f:13:1: error: output.c.url is missing (where to)",
          "f:15:9: error: output.c.count is 11, out of range (1 to 10)",
      });
}

TEST_CASE("unknown keys are warnings where the file says so, but not for check") {
  std::string text =
      std::string("[agent]\nunknown_keys = \"warn\"\nnew_key = 1\n[newer]\nx = 1") + kOutput + "newest = 1\n";
  Lines expected{
      "f:3:1: error: unknown key \"new_key\" in agent (known: host, interval, tags, pinned_tags, tags_file, "
      "tags_env_prefix, resource, resource_env_prefix, state_dir, control, shutdown_timeout, log_level, "
      "unknown_keys, metrics_file, self_metrics)",
      "f:4:2: error: unknown key \"newer\" (known: include, override, agent, journal, source, output)",
      "f:8:1: error: unknown key \"newest\" in output.o (known: sink, encoding, schema, compression, "
      "compression_level, filter, splay, when_full, batch)"};
  CHECK(errors_of(text, true) == expected);
  LoadResult run = load_config_text(text, "f", test::make_catalog(), false);
  CHECK(run.errors.empty());
  for (std::string& line : expected) line.replace(line.find("error"), 5, "warning");
  CHECK(test::lines(run.warnings) == expected);
  CHECK(run.config.warnings.size() == 3);
  // Anything else stays an error, and so do unknown keys by default.
  CHECK(errors_of("[agent]\nunknown_keys = \"warn\"\ninterval = 1" + std::string(kOutput), false).size() ==
        1);
  CHECK(errors_of("[newer]\n" + std::string(kOutput), false).size() == 1);
}

TEST_CASE("what is nested or grown beyond reason is an error and no crash") {
  auto repeat = [](const std::string& what, size_t n) {
    std::string out;
    for (size_t i = 0; i < n; i++) out += what;
    return out;
  };
  struct {
    const char* name;
    std::string text;
    const char* error;
  } table[] = {
      {"dotted key", repeat("a.", 300'000) + "a = 1", "f:1:32: error: a key has more than 16 parts"},
      {"dotted header", "[" + repeat("a.", 300'000) + "a]", "f:1:33: error: a key has more than 16 parts"},
      {"quoted dotted key", repeat("\"a\" . ", 150'000) + "a = 1",
       "f:1:95: error: a key has more than 16 parts"},
      {"after a string", "x = '''\n''''' \n" + repeat("a.", 300'000) + "a = 1",
       "f:3:32: error: a key has more than 16 parts"},
      {"array", "a = " + repeat("[", 500'000), "f:1:"},
      {"inline table", "a = " + repeat("{a=", 300'000), "f:1:"},
      {"inline tables of dotted keys",
       "a = " + repeat("{ a.a.a.a.a.a.a.a.a.a.a.a = ", 60) + "1" + repeat("}", 60), "f:1:"},
      {"large", "# " + std::string(1 << 20, 'x'), "f:1:1: error: the file is larger than 1MiB"},
  };
  for (auto& row : table) {
    INFO(row.name);
    Lines errors = errors_of(row.text);
    REQUIRE_FALSE(errors.empty());
    CHECK(errors[0].substr(0, std::string(row.error).size()) == row.error);
    CHECK(errors[0].size() < 500);
  }
  // Dots that are not in keys.
  CHECK(errors_of("[agent]\nhost = \"a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a\" # "
                  "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a" +
                  std::string(kOutput))
            .empty());
}
