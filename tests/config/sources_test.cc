// [source.*]: several of one kind, what is on, listeners, folders, collectors.
#include <pwd.h>
#include <unistd.h>

#include <fmt/format.h>

#include "config/load.h"
#include "config/support.h"
#include "support/catch.h"

using namespace runnel;
using Lines = std::vector<std::string>;

namespace {

LoadResult load(const std::string& text, const Catalog& catalog = test::make_catalog()) {
  return load_config_text(text + "\n[output.o]\nsink = \"plain\"\n", "f", catalog, true);
}

}  // namespace

TEST_CASE("a table that is absent means off, one that is present means on") {
  LoadResult none = load("");
  CHECK(none.errors.empty());
  CHECK(none.config.statsd.empty());
  CHECK(none.config.scripts.empty());
  CHECK(none.config.host.empty());
  CHECK(none.config.riemann.empty());
  CHECK(none.config.ffwd.empty());

  LoadResult some = load("[source.statsd]\n[source.host]\nenabled = false\n[source.scripts]\ndir = \"/\"\n");
  CHECK(test::lines(some.errors) == Lines{});
  REQUIRE(some.config.statsd.size() == 1);
  CHECK(some.config.statsd[0] == StatsdConfig{});
  CHECK(to_string(some.config.statsd[0].position) == "f:1:1");
  REQUIRE(some.config.host.size() == 1);
  CHECK_FALSE(some.config.host[0].enabled);
  REQUIRE(some.config.scripts.size() == 1);
  CHECK(some.config.scripts[0].dir == "/");
}

TEST_CASE("several StatsD sources, each with its name") {
  LoadResult good = load(R"([[source.statsd]]
name = "edge"
listen = ["udp://127.0.0.1:1", "udp://[::1]:1"]
tags = { via = "edge" }
[[source.statsd]]
name = "inner"
listen = ["udp://127.0.0.1:2"]
max_series = 10
percentiles = [50, 99.9])");
  CHECK(test::lines(good.errors) == Lines{});
  REQUIRE(good.config.statsd.size() == 2);
  CHECK(good.config.statsd[0].name == "edge");
  CHECK(good.config.statsd[0].listen.size() == 2);
  CHECK(good.config.statsd[0].tags == StringMap{{"via", "edge"}});
  CHECK(good.config.statsd[1].max_series == 10);
  CHECK(good.config.statsd[1].percentiles == std::vector<double>{50, 99.9});
  // A single one needs no name.
  CHECK(load("[[source.statsd]]\n").errors.empty());
}

TEST_CASE("bad sources are named with their place and what to do") {
  struct {
    const char* text;
    Lines errors;
  } table[] = {
      {"[[source.statsd]]\n[[source.statsd]]\nlisten = [\"udp://127.0.0.1:1\"]",
       {"f:1:1: error: source.statsd.name is missing (each of several [[source.statsd]] needs one)",
        "f:2:1: error: source.statsd.name is missing (each of several [[source.statsd]] needs one)",
        "f:2:1: error: source.statsd.name \"statsd\" is used already at f:1:1 (each needs its own)"}},
      {"[[source.statsd]]\nname = \"host\"\n[[source.statsd]]\nname = \"a b\"\nlisten = "
       "[\"udp://127.0.0.1:1\"]",
       {"f:1:1: error: source.statsd.name \"host\" is another source (each needs its own)",
        "f:3:1: error: source.statsd.name \"a b\" is not a name (letters, digits, - and _)"}},
      {"[[source.host]]\n[[source.host]]", {"f:2:1: error: only one [source.host] is possible"}},
      {"[source]\nhost = []", {"f:2:8: error: source.host is an array, not a table (write [source.host])"}},
      // Listeners
      {"[source.statsd]\nlisten = []",
       {"f:2:10: error: source.statsd.listen names no address (enabled = false turns the source off)"}},
      {"[source.statsd]\nlisten = \"udp://127.0.0.1:1\"",
       {"f:2:10: error: source.statsd.listen is \"udp://127.0.0.1:1\", a string, not an array of strings "
        "(write "
        "[\"udp://127.0.0.1:1\"])"}},
      {"[source.statsd]\nlisten = [1, \"udp://:1\"]",
       {"f:2:11: error: source.statsd.listen[0] is 1, an integer, not a string (write \"1\")",
        "f:2:14: error: source.statsd.listen: \"udp://:1\" has no address (write 127.0.0.1, or 0.0.0.0 or "
        "[::] "
        "for all)"}},
      {"[source.statsd]\nlisten = [\"udp://127.0.0.1:99999\", \"http://127.0.0.1:1\", \"udp://::1:5\"]",
       {"f:2:11: error: source.statsd.listen: \"udp://127.0.0.1:99999\": \"99999\" is not a port (0 to "
        "65535)",
        "f:2:36: error: source.statsd.listen: \"http://127.0.0.1:1\": unknown scheme \"http\" (udp, tcp, "
        "tls, unix, "
        "unixgram)",
        "f:2:58: error: source.statsd.listen: \"udp://::1:5\": an IPv6 address stands in brackets (write "
        "udp://[::1]:PORT)"}},
      {"[source.statsd]\nlisten = [\"tcp://127.0.0.1:1\", \"unixgram:///run/x\", \"tls://127.0.0.1:1\"]",
       {"f:2:53: error: source.statsd.listen: statsd does not listen on tls:// (udp, tcp, unix, unixgram)"}},
      {"[source.statsd]\nlisten = [\"udp://127.0.0.1:1\", \"udp://127.0.0.1:1\"]",
       {"f:2:32: error: source.statsd.listen: udp://127.0.0.1:1 is taken already by f:2:11"}},
      {"[source.statsd]\n[source.riemann]\nlisten = [\"udp://127.0.0.1:8125\", \"tcp://[::1]:1\", "
       "\"tcp://[0::1]:1\"]",
       {"f:3:11: error: source.riemann.listen: udp://127.0.0.1:8125 is taken already by f:1:1",
        "f:3:52: error: source.riemann.listen: tcp://[::1]:1 is taken already by f:3:35"}},
      {"[source.riemann]\nlisten = [\"unix:///x\"]",
       {"f:2:11: error: source.riemann.listen: riemann does not listen on unix:// (tcp, udp, tls)"}},
      {"[source.ffwd]\nlisten = [\"tls://[::1]:5\"]\nport = 19000",
       {"f:2:11: error: source.ffwd.listen: \"tls://[::1]:5\": the scheme \"tls\" is none of ffwd's "
        "(udp+json, tcp+json, "
        "udp+protobuf, http, carbon+tcp, carbon+udp)",
        "f:3:1: error: unknown key \"port\" in source.ffwd (known: enabled, listen, tags, percentiles, "
        "min_interval, "
        "max_connections, idle_timeout, request_timeout, max_body, receive_buffer)"}},
      {"[source.ffwd]",
       {"f:1:1: error: source.ffwd.listen is missing (for example [\"udp+json://127.0.0.1:19000\"])"}},
      {"[source.ffwd]\nlisten = [\"udp://127.0.0.1:1\", \"127.0.0.1\", \"carbon+tcp://x:1\", "
       "\"udp+json://127.0.0.1\", "
       "\"tcp+protobuf://127.0.0.1:1\"]",
       {"f:2:11: error: source.ffwd.listen: \"udp://127.0.0.1:1\": the scheme \"udp\" says not enough "
        "(udp+json, "
        "tcp+json, udp+protobuf, http, carbon+tcp, carbon+udp)",
        "f:2:32: error: source.ffwd.listen: \"127.0.0.1\" has no scheme (write for example "
        "udp+json://127.0.0.1:19000)",
        "f:2:45: error: source.ffwd.listen: \"carbon+tcp://x:1\": \"x\" is not an IP address (write "
        "127.0.0.1 or "
        "[::1] instead of a name)",
        "f:2:65: error: source.ffwd.listen: \"udp+json://127.0.0.1\" has no port (write "
        "udp+json://127.0.0.1:PORT)",
        "f:2:89: error: source.ffwd.listen: \"tcp+protobuf://127.0.0.1:1\": the scheme \"tcp+protobuf\" is "
        "none of "
        "ffwd's (udp+json, tcp+json, udp+protobuf, http, carbon+tcp, carbon+udp)"}},
      {"[source.ffwd]\nlisten = [\"udp+json://127.0.0.1:1\", \"udp+protobuf://127.0.0.1:1\", "
       "\"tcp+json://127.0.0.1:1\", "
       "\"carbon+tcp://127.0.0.1:1\"]",
       {"f:2:37: error: source.ffwd.listen: udp://127.0.0.1:1 is taken already by f:2:11",
        "f:2:93: error: source.ffwd.listen: tcp://127.0.0.1:1 is taken already by f:2:67"}},
      // Numbers
      {"[source.statsd]\npercentiles = [0, 100.5, \"9\", inf]\nmax_series = 1e3\nreceive_buffer = \"1B\"",
       {"f:2:16: error: source.statsd.percentiles is 0, out of range (0.01 to 100)",
        "f:2:19: error: source.statsd.percentiles is 100.5, out of range (0.01 to 100)",
        "f:2:26: error: source.statsd.percentiles[2] is \"9\", a string, not a finite number",
        "f:2:31: error: source.statsd.percentiles[3] is inf, a float, not a finite number",
        "f:3:14: error: source.statsd.max_series is 1000, a float, not an integer",
        "f:4:18: error: source.statsd.receive_buffer is \"1B\", out of range (4KiB to 1GiB)"}},
      // Folders, users, collectors
      {"[source.scripts]\ndir = \"/dev/null/x\"",
       {"f:2:7: error: source.scripts.dir: /dev/null/x: Not a directory (create it, or write enabled = "
        "false)"}},
      {"[source.scripts]\ndir = \"/dev/null\"\ntimeout = 5\nuser = \"nobody-of-that-name\"",
       {"f:2:7: error: source.scripts.dir: /dev/null is not a folder",
        "f:3:11: error: source.scripts.timeout is 5, an integer, not a duration (write \"5s\")",
        "f:4:8: error: source.scripts.user: there is no user \"nobody-of-that-name\""}},
      {"[source.statsd]\nmode = \"rw\"\ngroup = \"no-group-of-that-name\"\ntag_style = "
       "\"graphite\"\nreceivers = 0",
       {"f:2:8: error: source.statsd.mode \"rw\" is not an octal mode (\"0660\")",
        "f:3:9: error: source.statsd.group: there is no group \"no-group-of-that-name\"",
        "f:4:13: error: source.statsd.tag_style is \"graphite\", not one of any, dogstatsd, influx, librato, "
        "signalfx",
        "f:5:13: error: source.statsd.receivers is 0, out of range (1 to 64)"}},
      {"[source.statsd]\ndelete_idle = { counter = true, gauges = \"yes\" }",
       {"f:2:15: error: source.statsd.delete_idle: unknown type \"counter\" (did you mean \"counters\"?)",
        "f:2:15: error: source.statsd.delete_idle.gauges is \"yes\" (write true or false)"}},
      {"[source.statsd]\nrepeat = [\"udp://127.0.0.1:8125\", \"tcp://127.0.0.1:1\", \"udp://127.0.0.1:0\", "
       "\"x\"]",
       {"f:2:11: error: source.statsd.repeat: udp://127.0.0.1:8125 is where this agent listens: a loop",
        "f:2:35: error: source.statsd.repeat: packets go on over udp:// or unixgram://, not tcp://",
        "f:2:56: error: source.statsd.repeat: \"udp://127.0.0.1:0\" has no port to send to",
        "f:2:77: error: source.statsd.repeat: \"x\" has no scheme (write for example udp://127.0.0.1:8125)"}},
      {"[[source.statsd]]\nname = \"a\"\nlisten = [\"udp://0.0.0.0:7\"]\nrepeat = [\"udp://127.0.0.1:8\"]\n"
       "[[source.statsd]]\nname = \"b\"\nlisten = [\"udp://127.0.0.1:8\"]\n"
       "repeat = [\"udp://127.0.0.1:7\", \"udp://10.0.0.1:7\", \"udp://10.0.0.1:7\"]",
       {"f:4:11: error: source.statsd.repeat: udp://127.0.0.1:8 is where this agent listens: a loop",
        "f:8:11: error: source.statsd.repeat: udp://127.0.0.1:7 is where this agent listens: a loop",
        "f:8:52: error: source.statsd.repeat names udp://10.0.0.1:7 twice"}},
      {"[source.statsd]\nmode = \"7777\"\nlisten = [\"unixgram:///tmp/\"]",
       {"f:2:8: error: source.statsd.mode \"7777\" is not an octal mode (\"0660\")",
        "f:3:11: error: source.statsd.listen: \"unixgram:///tmp/\" is a folder (write "
        "unixgram:///tmp/NAME.sock)"}},
      {"[source.host]\nroot = \"/nonexistent\"\ninterval = \"5ms\"",
       {"f:2:8: error: source.host.root: /nonexistent: No such file or directory (create it, or write "
        "enabled = false)",
        "f:3:12: error: source.host.interval is shorter than 100ms (\"0s\" is the agent's)"}},
      {"[source.host]\ncollectors = [\"default\", \"-memry\", \"cpus\", \"-all\", \"\"]",
       {"f:2:26: error: source.host.collectors: unknown collector \"memry\" (did you mean \"memory\"?)",
        "f:2:36: error: source.host.collectors: unknown collector \"cpus\" (did you mean \"cpu\"?)",
        "f:2:44: error: source.host.collectors: unknown collector \"all\" (cpu, memory, disk)",
        "f:2:52: error: source.host.collectors: unknown collector \"\" (cpu, memory, disk, default, all)"}},
      {"[source.host]\ncollectors = []",
       {"f:2:14: error: source.host.collectors names none (write [\"default\"], or enabled = false)"}},
  };
  for (auto& row : table) {
    INFO(row.text);
    CHECK(test::lines(load(row.text).errors) == row.errors);
  }
}

TEST_CASE("a folder of hooks that is absent is a warning, because it may come later") {
  LoadResult absent = load("[source.scripts]\ndir = \"/nonexistent\"");
  CHECK(test::lines(absent.errors) == Lines{});
  CHECK(test::lines(absent.warnings) ==
        Lines{"f:2:7: warning: source.scripts.dir: /nonexistent: No such file or directory (create it: hooks "
              "run once it is there)"});
  CHECK(absent.config.scripts.at(0).enabled);
  CHECK(load("[source.scripts]\ndir = \"/\"").warnings.empty());
  // The file that `runnel config` prints without one is accepted wherever it is put.
  Catalog catalog = test::make_catalog();
  std::string printed = print_config(load_builtin_config(catalog).config, catalog);
  CHECK(test::lines(load_config_text(printed, "f", catalog, true).errors) == Lines{});
}

TEST_CASE("what only matters when a source is on is not held against one that is off") {
  CHECK(load("[source.scripts]\nenabled = false\ndir = \"/nonexistent\"").errors.empty());
  CHECK(load("[source.statsd]\nenabled = false\nlisten = []").errors.empty());
  CHECK(load("[[source.statsd]]\nname = \"a\"\nenabled = false\n[[source.statsd]]\nname = \"b\"")
            .errors.empty());
  // Its values are still checked.
  CHECK(load("[source.statsd]\nenabled = false\nlisten = [\"udp://x:1\"]").errors.size() == 1);
  // Port 0 is a port of its own each time.
  CHECK(load("[source.statsd]\nlisten = [\"udp://127.0.0.1:0\", \"udp://127.0.0.1:0\"]").errors.empty());
}

TEST_CASE("what this build has decides about schemes and sources") {
  Catalog catalog = test::make_catalog();
  std::erase(catalog.sources, "ffwd");
  LoadResult later =
      load("[source.ffwd]\nlisten = [\"udp+json://[::1]:1\"]\n[source.riemann]\nenabled = false\n", catalog);
  CHECK(later.errors.empty());
  CHECK(test::lines(later.warnings) ==
        Lines{"f:1:1: warning: this build does not have the source ffwd yet: it stays off"});
  REQUIRE(later.config.ffwd.size() == 1);
  CHECK(later.config.ffwd[0].enabled);

  catalog.listen_schemes["statsd"] = {"udp", "tcp"};
  LoadResult now = load("[source.riemann]\n[source.statsd]\nlisten = [\"tcp://[::1]:8125\"]", catalog);
  CHECK(test::lines(now.errors) == Lines{});
  CHECK(now.warnings.empty());
  catalog.listen_schemes["riemann"] = {"tcp", "udp"};
  CHECK(test::lines(load("[source.riemann]\nlisten = [\"tls://[::1]:1\"]\nclient_auth = \"none\"\n"
                         "tls_cert = \"c\"\ntls_key = \"k\"",
                         catalog)
                        .errors) ==
        Lines{"f:2:11: error: source.riemann.listen: tls:// is not in this build (use tcp, udp)"});
}

TEST_CASE("what the files of a tls:// listener are judged by is told at the key that names them") {
  Catalog catalog = test::make_catalog();
  TlsSettings asked;
  catalog.check_tls = [&](const TlsSettings& settings) {
    asked = settings;
    return std::vector<TlsProblem>{{TlsProblem::File::ca, false, "bad"},
                                   {TlsProblem::File::certificate, true, "old"},
                                   {TlsProblem::File::key, false, "foreign"}};
  };
  const std::string listen = "[source.riemann]\nlisten = [\"tls://[::1]:1\"]\n";
  LoadResult all = load(listen + "tls_ca = \"a\"\ntls_cert = \"c\"\ntls_key = \"k\"", catalog);
  CHECK(asked == TlsSettings{"a", "c", "k", "require"});
  CHECK(test::lines(all.errors) ==
        Lines{"f:3:10: error: source.riemann.tls_ca: bad", "f:5:11: error: source.riemann.tls_key: foreign"});
  CHECK(test::lines(all.warnings) == Lines{"f:4:12: warning: source.riemann.tls_cert: old"});
  // Nothing is opened where something is missing, off, or there is no such listener.
  asked = {};
  CHECK(load(listen, catalog).errors.size() == 3);
  CHECK(load(listen + "client_auth = \"none\"", catalog).errors.size() == 2);
  CHECK(load(listen + "enabled = false", catalog).errors.empty());
  LoadResult plain = load("[source.riemann]\ntls_key = \"k\"", catalog);
  CHECK(plain.errors.empty());
  CHECK(test::lines(plain.warnings) ==
        Lines{"f:2:11: warning: source.riemann.tls_key has no effect without a tls:// address in listen"});
  CHECK(asked == TlsSettings{});
}

TEST_CASE("what the journal leaves free is a share or a size") {
  CHECK(load("[journal]\nmin_free = \"10%\"").config.journal.min_free_share == Approx(0.1));
  CHECK(load("[journal]\nmin_free = \"2GiB\"").config.journal.min_free_bytes == int64_t{2} << 30);
  for (const char* bad : {"5 per cent", "%", "-1%", "91%", "lots", "5 %%", "nan%", ""})
    CHECK(load(fmt::format("[journal]\nmin_free = \"{}\"", bad)).errors.size() == 1);
  CHECK(load("[journal]\ndurability = \"disk\"").errors.size() == 1);
}

TEST_CASE("files of [agent] that are not there are warnings") {
  test::TemporaryFolder folder;
  std::string tags = folder.write("tags", "a: b\n");
  struct {
    std::string line;
    Lines warnings;
  } table[] = {
      {"tags_file = \"" + tags + "\"", {}},
      {"tags_file = \"\"", {}},
      {"tags_file = \"/nonexistent\"",
       {"f:2:13: warning: agent.tags_file: /nonexistent: No such file or directory (its tags are missing "
        "until "
        "it can be read)"}},
      {"tags_file = \"/dev\"",
       {"f:2:13: warning: agent.tags_file: /dev: Is a directory (its tags are missing until it can be "
        "read)"}},
      {"metrics_file = \"" + folder.path() + "/m.prom\"", {}},
      {"metrics_file = \"/m.prom\"", {}},
      {"metrics_file = \"m.prom\"", {}},
      {"metrics_file = \"\"", {}},
      {"metrics_file = \"/nonexistent/m.prom\"",
       {"f:2:16: warning: agent.metrics_file: /nonexistent: No such file or directory (nothing is written "
        "until "
        "the folder is there)"}},
      {"metrics_file = \"/dev/null/m.prom\"",
       {"f:2:16: warning: agent.metrics_file: /dev/null: Not a directory (nothing is written until the "
        "folder "
        "is there)"}},
  };
  for (auto& row : table) {
    INFO(row.line);
    LoadResult r = load("[agent]\n" + row.line + "\nhost_ = 1");
    CHECK(r.errors.size() == 1);  // host_: warnings come beside errors
    CHECK(test::lines(r.warnings) == row.warnings);
  }
}

TEST_CASE("the host's name") {
  LoadResult own = load("[agent]\nhost = \"web-1\"");
  CHECK(own.config.agent.host == "web-1");
  CHECK_FALSE(own.config.agent.host_from_system);
  CHECK(own.warnings.empty());
  LoadResult system = load("[agent]\nhost = \"\"");
  CHECK(system.config.agent.host == system_host_name());
  CHECK(system.config.agent.host_from_system);
  CHECK_FALSE(system_host_name().empty());
  for (const char* name : {"localhost", "localhost.localdomain"}) {
    LoadResult warned = load(std::string("[agent]\nhost = \"") + name + "\"");
    CHECK(warned.errors.empty());
    CHECK(test::lines(warned.warnings) == Lines{std::string("f:2:8: warning: the host's name is ") + name +
                                                ", as on every machine (set agent.host or the host name)"});
  }
  CHECK(load("[agent]\nhost = \"localhosts\"").warnings.empty());
}
