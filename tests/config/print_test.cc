// What `runnel config` prints loads again as the same; the defaults; the manual names every key.
#include <chrono>
#include <fstream>
#include <sstream>

#include "config/load.h"
#include "config/schema.h"
#include "config/support.h"
#include "config/value.h"
#include "support/catch.h"

using namespace runnel;
using Lines = std::vector<std::string>;

namespace {

std::string read(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void check_round_trip(const Config& config) {
  Catalog catalog = test::make_catalog();
  std::string text = print_config(config, catalog);
  INFO(text);
  LoadResult again = load_config_text(text, "printed", catalog, true);
  REQUIRE(test::lines(again.errors) == Lines{});
  CHECK(test::same_settings(config, again.config));
  CHECK(print_config(again.config, catalog) == text);
  CHECK(again.config.hash == config.hash);
}

}  // namespace

TEST_CASE("the built-in defaults load, quickly, and are what the manual says") {
  ::setenv("RUNNEL_SCRIPTS_DIR", "/nonexistent/hooks", 1);
  Catalog catalog = test::make_catalog();
  double best_ms = 1e9;
  LoadResult r;
  for (int i = 0; i < 20; i++) {
    auto begin = std::chrono::steady_clock::now();
    r = load_builtin_config(catalog);
    best_ms = std::min(
        best_ms, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  ::unsetenv("RUNNEL_SCRIPTS_DIR");
  REQUIRE(test::lines(r.errors) == Lines{});
  UNSCOPED_INFO("load " << best_ms << " ms");
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  CHECK(best_ms <= 2.0);
#endif
  const Config& c = r.config;
  CHECK(c.built_in);
  CHECK(c.agent.host == system_host_name());
  REQUIRE(c.statsd.size() == 1);
  CHECK(c.statsd[0] == StatsdConfig{});
  REQUIRE(c.scripts.size() == 1);
  CHECK(c.scripts[0].dir == "/nonexistent/hooks");
  REQUIRE(c.host.size() == 1);
  CHECK(c.host[0] == HostConfig{});
  REQUIRE(c.riemann.size() == 1);
  CHECK(c.riemann[0] == RiemannConfig{});
  CHECK(c.ffwd.empty());
  REQUIRE(c.outputs.size() == 1);
  CHECK(c.outputs[0].name == "stdout");
  CHECK(c.outputs[0].sink == "stdout");
  CHECK(c.outputs[0].encoding == "pretty");
  CHECK(c.outputs[0].batch.max_age_ms == 100);
  CHECK(c.hash.size() == 16);
  CHECK(load_builtin_config(catalog).config.scripts[0].dir == "/etc/runnel/scripts.d");
}

TEST_CASE("what is printed loads again as the same") {
  test::TemporaryFolder folder;
  std::string secret = folder.write("secret", "x", 0600);
  Catalog catalog = test::make_catalog();
  std::string texts[] = {
      "[output.o]\nsink = \"plain\"\n",
      "[agent]\nhost = \"web-1\"\ninterval = \"90s\"\ntags = { \"a b\" = \"\\\"x\\\\ \\t\\n\\u0001 grün $x "
      "$${y}\", \"\\\"\" = \"\" , "
      "\"${A}\" = \"\" }\nunknown_keys = \"warn\"\nself_metrics = false\nshutdown_timeout = \"0s\"\n"
      "[journal]\nmax_bytes = \"65537B\"\ndurability = \"memory\"\nwhen_full = \"block\"\n"
      "[[source.statsd]]\nname = \"a\"\npercentiles = [1, 99.99]\n[[source.statsd]]\nname = \"b\"\nenabled = "
      "false\n"
      "[source.host]\ncollectors = [\"all\", \"-cpu\"]\n[source.riemann]\n[source.ffwd]\nenabled = false\n"
      "[source.scripts]\ndir = \"/\"\nmax_output = \"1MiB\"\n"
      "[output.z]\nsink = \"squeeze\"\ncompression = \"snappy\"\n[output.a]\nsink = "
      "\"records\"\nbatch.max_age = \"1ms\"\n"
      "[output.fake]\nsink = \"fake\"\nurl = \"http://x\"\nratio = 0.25\nlimit = \"1000kB\"\nbrokers = "
      "[\"a:1\", \"b,:2\"]\n"
      "headers = { x = \"y\", \"ü\" = \"1\" }\ntimeout = \"10m\"\nfilter = \"key ~ ^a$${b}\"\npassword_file "
      "= \"" +
          secret + "\"\n",
      "[source.statsd]\nname = \"other\"\n[output.o]\nsink = \"fake\"\nurl = \"http://x\"\nratio = "
      "1e-7\nheaders = {}\nbrokers = []\n",
  };
  for (const std::string& text : texts) {
    INFO(text);
    LoadResult r = load_config_text(text, "f", catalog, true);
    REQUIRE(test::lines(r.errors) == Lines{});
    check_round_trip(r.config);
  }
  check_round_trip([&] {
    LoadResult r = load_builtin_config(catalog);
    r.config.scripts[0].dir = "/";  // must exist where it is configured
    r.config.hash = load_config_text(print_config(r.config, catalog), "f", catalog, true).config.hash;
    return r.config;
  }());
}

TEST_CASE("secrets are not printed and passwords not in URLs") {
  Catalog catalog = test::make_catalog();
  LoadResult r = load_config_text(
      "[output.o]\nsink = \"fake\"\nurl = \"http://me:hunter2@x/a@b\"\ntoken = \"hunter2\"\n"
      "brokers = [\"a:1\"]\ncodes = { door = \"hunter2\" }\n",
      "f", catalog, true);
  REQUIRE(test::lines(r.errors) == Lines{});
  std::string text = print_config(r.config, catalog);
  CHECK(text.find("hunter2") == std::string::npos);
  CHECK(text.find("\nurl = \"http://me:***@x/a@b\"") != std::string::npos);
  CHECK(text.find("\ntoken = \"***\"") != std::string::npos);
  CHECK(text.find("\ncodes = { door = \"***\" }") != std::string::npos);
  CHECK(test::lines(load_config_text(text, "printed", catalog, true).errors) == Lines{});
  // The hash tells configurations apart, but not by their secrets.
  std::string hash = r.config.hash;
  CHECK(load_config_text("[output.o]\nsink = \"fake\"\nurl = \"http://me:other@x/a@b\"\ntoken = \"other\"\n"
                         "brokers = [\"a:1\"]\ncodes = { door = \"other\" }\n",
                         "g", catalog, true)
            .config.hash == hash);
  CHECK(
      load_config_text("[output.o]\nsink = \"fake\"\nurl = \"http://x\"\n", "g", catalog, true).config.hash !=
      hash);

  struct {
    const char *url, *shown;
  } urls[] = {{"http://x/", "http://x/"},
              {"http://u@x", "http://u@x"},
              {"http://u:p@x", "http://u:***@x"},
              {"http://u:p@q@x", "http://u:***@x"},
              {"http://x/?a=b:c@d", "http://x/?a=b:c@d"},
              {"a:b@c", "a:b@c"},
              {"http://:p@x", "http://:***@x"},
              {"", ""},
              {"://:@", "://:***@"}};
  for (auto& row : urls) CHECK(redact_url(row.url) == row.shown);
}

TEST_CASE("every key is printed with its help") {
  Catalog catalog = test::make_catalog();
  LoadResult r = load_config_text(
      "[source.statsd]\n[source.host]\n[source.riemann]\n[source.ffwd]\nenabled = "
      "false\n[source.scripts]\ndir = \"/\"\n"
      "[output.o]\nsink = \"plain\"\n",
      "f", catalog, true);
  REQUIRE(r.errors.empty());
  std::string text = print_config(r.config, catalog);
  for (const SectionText& section : describe_sections())
    for (const KeyText& key : section.keys) {
      INFO(section.name << " " << key.name);
      bool in_batch = key.name.rfind("batch.", 0) == 0;
      CHECK(text.find((in_batch ? " " + key.name.substr(6) : "\n" + key.name) + " = ") != std::string::npos);
      if (!in_batch) CHECK(text.find("# " + key.help) != std::string::npos);
    }
}

TEST_CASE("the manual names every key with its type, default and help") {
  std::string manual = read(RUNNEL_SOURCE_DIR "/docs/configuration.md");
  auto escape = [](std::string text) {
    for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.insert(at, "\\");
    return text;
  };
  for (const SectionText& section : describe_sections()) {
    INFO("docs/configuration.md must have this section: ### `" << section.name << "`");
    size_t at = manual.find("### `" + section.name + "`");
    REQUIRE(at != std::string::npos);
    std::string body = manual.substr(at, manual.find("\n##", at + 1) - at);
    for (const KeyText& key : section.keys) {
      bool literal = key.default_value.find("'s") == std::string::npos && key.default_value != "required";
      std::string row = "| `" + key.name + "` | " + key.type + " | " +
                        (literal ? "`" + key.default_value + "`" : key.default_value) + " | " +
                        escape(key.help) + " |\n";
      INFO("docs/configuration.md must have this line: " << row);
      CHECK(body.find(row) != std::string::npos);
    }
  }
}

TEST_CASE("the packaged sample passes check where its folders exist") {
  test::TemporaryFolder folder;
  std::string text = read(RUNNEL_SOURCE_DIR "/packaging/runnel.toml");
  REQUIRE(text.size() > 100);
  // Everything but the folders of hooks and of the metrics file, which a test may not create.
  for (std::string path : {"/etc/runnel/scripts.d", "/run/runnel"}) {
    size_t at = text.find(path);
    REQUIRE(at != std::string::npos);
    text.replace(at, path.size(), folder.path());
  }
  LoadResult r = load_config(folder.write("runnel.toml", text), test::make_catalog(), true);
  CHECK(folder.lines(r.errors) == Lines{});
  CHECK(folder.lines(r.warnings) == Lines{});
  CHECK_FALSE(r.config.outputs.empty());
  CHECK(r.config.statsd.size() + r.config.riemann.size() + r.config.scripts.size() + r.config.host.size() ==
        4);
  // What runnel.socket binds is what is listened on.
  std::string socket = read(RUNNEL_SOURCE_DIR "/systemd/runnel.socket");
  std::vector<std::string> urls = r.config.statsd[0].listen;
  urls.insert(urls.end(), r.config.riemann[0].listen.begin(), r.config.riemann[0].listen.end());
  for (const std::string& url : urls) {
    std::string key = url.starts_with("udp://") ? "\nListenDatagram=" : "\nListenStream=";
    INFO(url);
    CHECK(socket.find(key + url.substr(6) + "\n") != std::string::npos);
  }
}
