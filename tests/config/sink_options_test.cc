// Options that a sink's descriptor declares: every type, what is wrong with each, and what the sink sees of
// them.
#include "config/sink_options.h"

#include <unistd.h>

#include "config/load.h"
#include "config/support.h"
#include "support/catch.h"

using namespace runnel;
using Lines = std::vector<std::string>;

namespace {

LoadResult load(const std::string& keys) {
  return load_config_text("[output.o]\nsink = \"fake\"\n" + keys, "f", test::make_catalog(), true);
}
enum {
  kFollow,
  kCount,
  kRatio,
  kUrl,
  kMethod,
  kTimeout,
  kLimit,
  kBrokers,
  kHeaders,
  kPassword,
  kToken,
  kCodes
};

}  // namespace

TEST_CASE("options have the descriptor's defaults") {
  LoadResult r = load("url = \"http://x\"");
  REQUIRE(test::lines(r.errors) == Lines{});
  REQUIRE(r.config.outputs.size() == 1);
  const OutputConfig& o = r.config.outputs[0];
  CHECK(o.encoding == "json");
  CHECK(o.compression == "gzip");
  REQUIRE(o.options.size() == 12);
  CHECK(o.options[kFollow].integer == 1);
  CHECK(o.options[kFollow].has_value);
  CHECK_FALSE(o.options[kFollow].is_set);
  CHECK(o.options[kCount].integer == 3);
  CHECK(o.options[kRatio].number == 0.5);
  CHECK(o.options[kUrl].is_set);
  CHECK(o.options[kMethod].text == "POST");
  CHECK(o.options[kMethod].integer == 1);
  CHECK(o.options[kTimeout].integer == 30'000);
  CHECK(o.options[kLimit].integer == 65'536);
  CHECK(o.options[kBrokers].has_value);
  CHECK(o.options[kBrokers].list.empty());
  CHECK_FALSE(o.options[kPassword].has_value);
}

TEST_CASE("options are read by their types and reach the sink as the ABI says") {
  test::TemporaryFolder folder;
  std::string secret = folder.write("secret", "x\n", 0600);
  LoadResult r = load(R"(url = "http://x"
follow = false
count = 10
ratio = 1
method = "PUT"
timeout = "1.5s"
limit = "2MiB"
brokers = ["a:1", "b:2"]
headers = { b = 5, a = "x", c = true, d = 1.5 }
token = "t"
password_file = ")" + secret +
                      "\"\n[output.o.codes]\nx = \"y\"\n");
  REQUIRE(test::lines(r.errors) == Lines{});
  CHECK(r.warnings.empty());
  NativeValues native(r.config.outputs[0].options);
  REQUIRE(native.size() == 12);
  const runnel_value* v = native.data();
  CHECK(v[kFollow].is_set);
  CHECK(v[kFollow].integer == 0);
  CHECK(v[kCount].integer == 10);
  CHECK(v[kRatio].number == 1.0);
  CHECK(v[kMethod].integer == 2);
  CHECK(std::string(v[kMethod].text.data) == "PUT");
  CHECK(v[kTimeout].integer == 1'500);
  CHECK(v[kLimit].integer == 2 << 20);
  REQUIRE(v[kBrokers].count == 2);
  CHECK(std::string(v[kBrokers].list[1].data, v[kBrokers].list[1].size) == "b:2");
  REQUIRE(v[kHeaders].count == 4);
  const char* const expected[][2] = {{"a", "x"}, {"b", "5"}, {"c", "true"}, {"d", "1.5"}};
  for (size_t i = 0; i < 4; i++) {
    CHECK(std::string(v[kHeaders].map[i].key.data) == expected[i][0]);
    CHECK(std::string(v[kHeaders].map[i].value.data) == expected[i][1]);
  }
  CHECK(std::string(v[kPassword].text.data) == secret);
  CHECK(v[kCodes].count == 1);
}

TEST_CASE("each wrong option is named with its place and what to do") {
  struct {
    std::string keys;
    Lines errors;
  } table[] = {
      {"", {"f:1:1: error: output.o.url is missing (where to)"}},
      {"urll = \"http://x\"",
       {"f:1:1: error: output.o.url is missing (where to)",
        "f:3:1: error: unknown key \"urll\" in output.o (did you mean \"url\"?)"}},
      {"url = \"http://x\"\nfollow = 1",
       {"f:4:10: error: output.o.follow is 1, an integer, not a boolean (write true or false)"}},
      {"url = \"http://x\"\ncount = \"3\"",
       {"f:4:9: error: output.o.count is \"3\", a string, not an integer (write 3)"}},
      {"url = \"http://x\"\ncount = 0", {"f:4:9: error: output.o.count is 0, out of range (1 to 10)"}},
      {"url = \"http://x\"\nratio = \"x\"",
       {"f:4:9: error: output.o.ratio is \"x\", a string, not a number"}},
      {"url = \"http://x\"\nratio = nan", {"f:4:9: error: output.o.ratio is not a finite number"}},
      {"url = \"http://x\"\nratio = 1.5", {"f:4:9: error: output.o.ratio is 1.5, out of range (0 to 1)"}},
      {"url = 5", {"f:3:7: error: output.o.url is 5, an integer, not a string (write \"5\")"}},
      {"url = \"http://x\"\nmethod = \"DELETE\"",
       {"f:4:10: error: output.o.method is \"DELETE\", not one of GET, POST, PUT"}},
      {"url = \"http://x\"\nmethod = \"PSOT\"",
       {"f:4:10: error: output.o.method is \"PSOT\", not one of GET, POST, PUT (did you mean \"POST\"?)"}},
      {"url = \"http://x\"\ntimeout = 30",
       {"f:4:11: error: output.o.timeout is 30, an integer, not a duration (write \"30s\")"}},
      {"url = \"http://x\"\ntimeout = \"1h\"",
       {"f:4:11: error: output.o.timeout is \"1h\", out of range (1ms to 10m)"}},
      {"url = \"http://x\"\nlimit = \"1B\"",
       {"f:4:9: error: output.o.limit is \"1B\", out of range (at least 1KiB)"}},
      {"url = \"http://x\"\nbrokers = \"a:1\"",
       {"f:4:11: error: output.o.brokers is \"a:1\", a string, not an array of strings (write [\"a:1\"])"}},
      {"url = \"http://x\"\nbrokers = [\"a:1\", 2, []]",
       {"f:4:19: error: output.o.brokers[1] is 2, an integer, not a string (write \"2\")",
        "f:4:22: error: output.o.brokers[2] is an array, not a string"}},
      {"url = \"http://x\"\nheaders = \"a: b\"",
       {"f:4:11: error: output.o.headers is \"a: b\", a string, not a table of strings"}},
      {"url = \"http://x\"\n[output.o.headers]\na = [1]\nb = { c = 1 }",
       {"f:5:5: error: output.o.headers.a is an array, not a string",
        "f:6:5: error: output.o.headers.b is a table, not a string"}},
      // The sink's own check, at the option or the entry.
      {"url = \"ftp://x\"", {"f:3:7: error: output.o.url: not http:// (write http://…)"}},
      {"url = \"http://x\"\nbrokers = [\"a:1\", \"b\"]", {"f:4:19: error: output.o.brokers: no port"}},
      {"url = \"http://x\"\n[output.o.headers]\ngood = \"1\"\n\"b d\" = \"2\"",
       {"f:6:1: error: output.o.headers.b d: a space in a header's name"}},
      {"url = \"http://x\"\ntoken = \"secret\"", {"f:1:1: error: output.o: a token without brokers"}},
      // All of them in one go, and what is wrong already is not reported by the sink again.
      {"url = 1\ncount = 0\nbrokers = [\"b\"]",
       {"f:3:7: error: output.o.url is 1, an integer, not a string (write \"1\")",
        "f:4:9: error: output.o.count is 0, out of range (1 to 10)",
        "f:5:12: error: output.o.brokers: no port"}},
      // Secrets are not shown.
      {"url = \"http://x\"\ntoken = 12345",
       {"f:4:9: error: output.o.token is \"***\", an integer, not a string"}},
      {"url = \"http://x\"\ncodes = { a = [1], b = \"fine\" }",
       {"f:4:15: error: output.o.codes.a is an array, not a string"}},
  };
  for (auto& row : table) {
    INFO(row.keys);
    CHECK(test::lines(load(row.keys).errors) == row.errors);
  }
}

TEST_CASE("secret files must be there, readable, and not for everybody") {
  test::TemporaryFolder folder;
  std::string closed = folder.write("closed", "x", 0640), open = folder.write("open", "x", 0644);
  auto check = [&](const std::string& path) {
    return load("url = \"http://x\"\npassword_file = \"" + path + "\"\n");
  };
  LoadResult good = check(closed);
  CHECK(good.errors.empty());
  CHECK(good.warnings.empty());
  CHECK(check("").errors.empty());
  CHECK(folder.lines(check(open).errors) == Lines{});
  CHECK(folder.lines(check(open).warnings) ==
        Lines{"f:4:17: warning: output.o.password_file: open can be read by everybody (chmod o-r open)"});
  CHECK(folder.lines(check(folder.path() + "/gone").errors) ==
        Lines{"f:4:17: error: output.o.password_file: gone: No such file or directory"});
  CHECK(test::lines(check("/tmp").errors) ==
        Lines{"f:4:17: error: output.o.password_file: /tmp is a folder, not a file"});
  // Kubernetes mounts a link that is open to all; what it points at counts.
  REQUIRE(::symlink("closed", (folder.path() + "/link").c_str()) == 0);
  CHECK(check(folder.path() + "/link").warnings.empty());
  if (::geteuid() != 0) {
    std::string unreadable = folder.write("unreadable", "x", 0200);
    CHECK(folder.lines(check(unreadable).errors) ==
          Lines{"f:4:17: error: output.o.password_file: unreadable: Permission denied"});
  }
}

TEST_CASE("compression belongs to the sink that compresses by itself") {
  auto load_sink = [](const std::string& text) {
    return load_config_text("[output.o]\n" + text, "f", test::make_catalog(), true);
  };
  LoadResult own = load_sink("sink = \"squeeze\"\ncompression = \"lz4\"");
  CHECK(test::lines(own.errors) == Lines{});
  CHECK(own.config.outputs[0].options[0].text == "lz4");
  CHECK(own.config.outputs[0].compression == "none");
  CHECK(own.config.outputs[0].schema.empty());
  CHECK(load_sink("sink = \"plain\"\nencoding = \"influx\"").config.outputs[0].schema == "2");
  LoadResult old = load_sink("sink = \"plain\"\nencoding = \"influx\"\nschema = \"1\"");
  CHECK(test::lines(old.errors) == Lines{});
  CHECK(old.config.outputs[0].schema == "1");
  LoadResult records = load_sink("sink = \"records\"\ncompression = \"none\"");
  CHECK(test::lines(records.errors) == Lines{});
  LoadResult plain = load_sink(
      "sink = \"plain\"\ncompression = \"zstd\"\ncompression_level = 19\nwhen_full = \"block\"\n"
      "splay = \"3s\"\nfilter = \"host = a\"\nbatch = { max_bytes = \"2KiB\" }");
  CHECK(test::lines(plain.errors) == Lines{});
  const OutputConfig& o = plain.config.outputs[0];
  CHECK(o.encoding == "pretty");
  CHECK(o.compression_level == 19);
  CHECK(o.when_full == "block");
  CHECK(o.splay_ms == 3'000);
  CHECK(o.filter == "host = a");
  CHECK(o.batch.max_bytes == 2048);
  CHECK(o.batch.max_events == 10'000);
}

TEST_CASE("a descriptor of a longer option struct is stepped through by its own size") {
  struct LongOption {
    runnel_option option;
    const char* later;
  };
  static const LongOption options[] = {{{"a", RUNNEL_OPTION_INT, 0, "1", "first", nullptr, 0, 0}, "later"},
                                       {{"b", RUNNEL_OPTION_INT, 0, "2", "second", nullptr, 0, 0}, "later"}};
  runnel_sink sink{};
  sink.abi_version = RUNNEL_SINK_ABI;
  sink.struct_size = offsetof(runnel_sink, tick);  // older than the fields behind it
  sink.option_size = sizeof(LongOption);
  sink.name = "long";
  sink.options = &options[0].option;
  sink.option_count = 2;
  Catalog catalog = test::make_catalog();
  catalog.find_sink = [&](const std::string&) -> Result<const runnel_sink*> { return &sink; };
  LoadResult r = load_config_text("[output.o]\nsink = \"long\"\nb = 5\n", "f", catalog, true);
  CHECK(test::lines(r.errors) == Lines{});
  CHECK(r.config.outputs[0].options[0].integer == 1);
  CHECK(r.config.outputs[0].options[1].integer == 5);
}
