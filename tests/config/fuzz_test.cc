// Good files with bytes changed: whatever comes out, there is no crash, every error has a place, and it takes
// no time.
#include <chrono>
#include <random>

#include "config/load.h"
#include "config/support.h"
#include "support/catch.h"

using namespace runnel;

namespace {

const char* const kSeeds[] = {
    R"([agent]
host = "${RUNNEL_FUZZ:-web}"
interval = "10s"
tags = { site = "lon", "a b" = 'x' }
[[source.statsd]]
name = "a"
listen = ["udp://127.0.0.1:8125", "udp://[::1]:0"]
percentiles = [50, 99.9]
[[source.statsd]]
name = "b"
listen = []
[source.host]
collectors = ["default", "-cpu"]
[output.main]
sink = "fake"
url = "http://x"
batch = { max_events = 10, max_age = "1s" }
brokers = ["a:1"]
headers.x = 1
[output.main.codes]
y = """multi
line"""
[output.other]
sink = "squeeze"
)",
    "[output.a]\nsink=\"plain\"\ncompression=\"zstd\"\ncompression_level=3\nfilter=\"a\"\n[journal]\nmax_"
    "bytes=\"1MiB\"\n",
};
const char* const kPieces[] = {"[",
                               "]",
                               "[[",
                               "{",
                               "}",
                               "=",
                               "\"",
                               "'''",
                               "\"\"\"",
                               "\n",
                               ".",
                               "\\",
                               "\\u",
                               "${",
                               "$",
                               "}",
                               "#",
                               ",",
                               "1e999",
                               "-",
                               "0x",
                               "nan",
                               "1979-05-27",
                               "\xff",
                               "\xe2\x82",
                               "true",
                               "\r",
                               "[output.x]\n",
                               "[source]\n",
                               "sink",
                               "\t",
                               " = 1\n",
                               "a.b.c.d.e.f.g.h"};

}  // namespace

TEST_CASE("mutated files never crash, and their errors have places") {
  std::mt19937 random(20240917);
  auto below = [&](size_t n) { return n == 0 ? 0 : random() % n; };
  Catalog catalog = test::make_catalog();
  auto begin = std::chrono::steady_clock::now();
  size_t rounds = 0, accepted = 0, refused = 0;
  // Bounded by work, and by time where the machine is slow.
  for (; rounds < 20'000 && std::chrono::steady_clock::now() - begin < std::chrono::seconds(20); rounds++) {
    std::string text = kSeeds[below(std::size(kSeeds))];
    for (size_t n = 1 + below(4); n > 0; n--) {
      size_t at = below(text.size() + 1);
      switch (below(5)) {
        case 0:
          text.erase(at, 1 + below(8));
          break;
        case 1:
          text.insert(at, kPieces[below(std::size(kPieces))]);
          break;
        case 2:
          text.insert(at, text.substr(below(text.size()), below(40)));
          break;
        case 3:
          if (at < text.size()) text[at] = static_cast<char>(random() & 0xff);
          break;
        default:
          text.resize(at);
          break;
      }
    }
    LoadResult r = load_config_text(text, "f", catalog, below(2) == 0);
    (r.errors.empty() ? accepted : refused)++;
    for (const Problem& p : r.errors) {
      bool good = p.position.file == "f" && p.position.line >= 1 && p.position.column >= 1 &&
                  !p.text.empty() && to_string(p).find('\n') == std::string::npos;
      if (!good) FAIL("round " << rounds << ": " << to_string(p) << " in " << text);
    }
    if (r.errors.empty() && rounds % 16 == 0) {
      LoadResult again = load_config_text(print_config(r.config, catalog), "printed", catalog, false);
      if (!again.errors.empty())
        FAIL("round " << rounds << ": " << to_string(again.errors[0]) << " from " << text);
    }
  }
  CHECK(rounds > 100);
  CHECK(refused > 0);
  CHECK(accepted > 0);
}

TEST_CASE("files that are large in one way take bounded time") {
  std::string keys, tables, arrays, statsd, outputs, unknown;
  for (int i = 0; keys.size() < 1'000'000; i++) keys += "k" + std::to_string(i) + " = 1\n";
  for (int i = 0; tables.size() < 1'000'000; i++) tables += "[a" + std::to_string(i) + ".b]\n";
  for (int i = 0; arrays.size() < 1'000'000; i++) arrays += "[[output.a]]\n";
  for (int i = 0; statsd.size() < 1'000'000; i++)
    statsd += "[[source.statsd]]\nname=\"n" + std::to_string(i) + "\"\n";
  for (int i = 0; outputs.size() < 1'000'000; i++)
    outputs += "[output.o" + std::to_string(i) + "]\nsink=\"plain\"\n";
  unknown = std::string(1'000'000, 'k') + " = 1\n";
  for (const std::string& text :
       {keys, tables, arrays, statsd, outputs, unknown, "x = [" + std::string(500'000, '1') + "]",
        "x = \"" + std::string(1'000'000, '$') + "\"", "[agent.tags]\n" + keys}) {
    INFO(text.substr(0, 40));
    auto begin = std::chrono::steady_clock::now();
    LoadResult r = load_config_text(text, "f", test::make_catalog(), true);
    double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    UNSCOPED_INFO(seconds << " s, " << r.errors.size() << " errors");
    CHECK(r.errors.empty() == (text == outputs));
    CHECK(seconds < 30);  // it is 0.1 to 2 s; what this looks for grows with the square
  }
}
