// Bounded mutation fuzzing of every parser: no crash (the sanitizer builds run this too), no line without a verdict, no
// sample that is not finite, and the same result whatever the pieces in which the bytes come.
#include <cmath>
#include <random>

#include "source/script/support.h"

using namespace runnel;
using namespace runnel::script;

namespace {
const std::vector<std::string> kSeeds{
    "queue.depth 42 queue=mail\na 1e3\nb -7.5 x=y z=\n",
    "a:1|c\na:1:2:3|h|@0.5|#x:y,bare\ng:+5|g\ns:user|s\na:1|c:2|ms\n",
    "cpu,host=a,b=c\\ d user=1.5,n=3i,s=\"a \\\" b\",t=true 1763769601234567890\nm v=1u\n",
    "# TYPE h histogram\n# HELP h text\nh_bucket{le=\"+Inf\",p=\"C:\\\\x\\n\"} 4 1763769601000\nh_sum 1.5\n# "
    "EOF\n",
    "[{\"key\":\"a\",\"value\":1,\"tags\":{\"x\":\"y\"}},\n{\"type\":\"event\",\"key\":\"e\",\"tags\":[\"t\"]"
    ",\"state\":\"ok\"}]\n",
    "{\"key\":\"l\",\"kind\":\"distribution\",\"value\":{\"count\":3,\"sum\":60,\"p50\":20}}\n{\"a\":1,\"b\":"
    "2.5}\n",
};
const std::string kTokens[] = {"nan",    "1e400",
                               "-",      "\"",
                               "\\",     "{",
                               "}",      "[",
                               "]",      ",",
                               "=",      ":",
                               "|",      "#",
                               " ",      "\n",
                               "\r",     std::string(1, '\0'),
                               "\xff",   "\xc3",
                               "\x7f",   "18446744073709551616",
                               "\\u0000"};

std::string mutate(std::string text, std::minstd_rand& random) {
  auto pick = [&](size_t n) { return n == 0 ? 0 : random() % n; };
  for (size_t n = 1 + pick(6); n > 0; n--) {
    size_t at = pick(text.size() + 1);
    switch (pick(5)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(random());
        break;
      case 1:
        text.erase(at, pick(8));
        break;
      case 2:
        text.insert(at, kTokens[pick(std::size(kTokens))]);
        break;
      case 3:
        text.insert(at, text.substr(pick(text.size() + 1), pick(40)));
        break;
      default:
        text.resize(at);
    }
  }
  return text;
}
}  // namespace

TEST_CASE("mutated output of every format is judged line by line and never breaks a parser") {
  std::minstd_rand random(7);
  uint64_t accepted = 0, refused = 0;
  for (int round = 0; round < 6'000; round++) {
    std::string text = mutate(kSeeds[random() % kSeeds.size()], random);
    std::optional<Format> format;
    if (random() % 2 == 0) format = kFormats[random() % kFormats.size()];
    bool whole = random() % 4 != 0;
    Reading once(text, format, SIZE_MAX, whole);
    Reading in_pieces(text, format, 1 + random() % 7, whole);
    INFO(escape_control(text));
    REQUIRE(once.balanced());
    REQUIRE(once.samples == in_pieces.samples);
    REQUIRE(once.counts.bad.snapshot() == in_pieces.counts.bad.snapshot());
    for (const Batch& batch : once.batches) {
      for (const Sample& sample : batch.samples) {
        REQUIRE(std::isfinite(sample.value.as_double()));
        SeriesView series = batch.view(sample.series);
        REQUIRE(!series.name().empty());
        REQUIRE(valid_utf8(series.name()));
        REQUIRE(!has_control(series.name()));
        for (Tag tag : series) REQUIRE((valid_utf8(tag.key) && valid_utf8(tag.value)));
      }
    }
    accepted += once.counts.accepted;
    refused += once.counts.bad.sum();
  }
  // The mutations are neither too mild nor too wild.
  CHECK(accepted > 3'000);
  CHECK(refused > 3'000);
}
