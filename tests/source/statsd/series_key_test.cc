#include "source/statsd/series_key.h"

#include <fmt/format.h>

#include <random>
#include <regex>

#include "base/text.h"
#include "source/statsd/parser.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

// `name|tags`, or the reason of refusal.
std::string spelled(const RawKey& raw, const KeyRules& rules = {}) {
  SeriesKey key;
  std::string_view reason = make_series_key(raw, rules, key);
  if (!reason.empty()) return std::string(reason);
  CHECK(key.text.size() == key.name().size() + key.tags().size());
  return fmt::format("{}|{}", key.name(), key.tags());
}

// `name,key=value@host`, as a flush has it.
std::string series_of(const SeriesKey& key) {
  Batch batch;
  KeyScratch scratch;
  std::string_view host;
  SeriesView view = batch.view(add_series(batch, key.name(), key.tags(), key.escaped, scratch, host));
  std::string text(view.name());
  for (Tag tag : view) text += fmt::format(",{}={}", tag.key, tag.value);
  return host.empty() ? text : fmt::format("{}@{}", text, host);
}

KeyRules style(TagStyle tag_style, bool sanitize = false, bool origin_tags = false) {
  KeyRules rules;
  rules.tag_style = tag_style;
  rules.sanitize = sanitize;
  rules.origin_tags = origin_tags;
  return rules;
}

constexpr TagStyle kStyles[] = {TagStyle::any, TagStyle::dogstatsd, TagStyle::influx, TagStyle::librato,
                                TagStyle::signalfx};

std::string random_text(std::minstd_rand& random, std::string_view alphabet, size_t longest) {
  std::string text;
  for (size_t n = random() % (longest + 1); n > 0; n--) text += alphabet[random() % alphabet.size()];
  return text;
}

}  // namespace

TEST_CASE("tags behind the type, in their canonical spelling") {
  std::pair<RawKey, const char*> rows[] = {
      {{"a", "", "", ""}, "a|"},
      {{"a", "k:v", "", ""}, "a|k:v"},
      {{"a", "b:2,a:1", "", ""}, "a|a:1,b:2"},
      {{"a", "b,a", "", ""}, "a|a,b"},
      {{"a", "k:", "", ""}, "a|k"},
      {{"a", "k:1,k:2", "", ""}, "a|k:2"},
      {{"a", "k:1,k", "", ""}, "a|k"},
      {{"a", ",,k:1,,", "", ""}, "a|k:1"},
      {{"a", ",", "", ""}, "a|"},
      {{"a", "url:http://x:80/", "", ""}, "a|url:http://x:80/"},
      {{"a", "k::", "", ""}, "a|k::"},
      {{"a", "k=v", "", ""}, "a|k=v"},
      {{"a", "#k:v", "", ""}, "a|#k:v"},
      {{"a", " k : v ", "", ""}, "a| k : v "},
      {{"a", "B:1,a:2,A:3", "", ""}, "a|A:3,B:1,a:2"},
      {{"a", "k.:1,k:2", "", ""}, "a|k:2,k.:1"},
      {{"ü", "ö:ä", "", ""}, "ü|ö:ä"},
      // Origin fields are not part of it, unless asked for.
      {{"a", "k:v", "c1", "e1"}, "a|k:v"},
  };
  for (const auto& [raw, wanted] : rows) {
    INFO(raw.name << "|" << raw.tags);
    for (TagStyle tag_style : kStyles) CHECK(spelled(raw, style(tag_style)) == wanted);
  }
}

TEST_CASE("series that are refused") {
  std::pair<RawKey, std::string_view> rows[] = {
      {{"", "", "", ""}, bad::kNoName},
      {{"", "k:v", "", ""}, bad::kNoName},
      {{"a\x01", "", "", ""}, bad::kName},
      {{"a\x7f", "k:v", "", ""}, bad::kName},
      {{"a", ":v", "", ""}, bad::kTags},
      {{"a", "k:v,:v", "", ""}, bad::kTags},
      {{"a", ":", "", ""}, bad::kTags},
      {{"a", "k:\x1f", "", ""}, bad::kTags},
      {{"\xff", "", "", ""}, bad::kUtf8},
      {{"a", "k:\xc3", "", ""}, bad::kUtf8},
      {{"a", "k:\xed\xa0\x80", "", ""}, bad::kUtf8},  // a surrogate
      {{"a", "k:\xc0\x80", "", ""}, bad::kUtf8},      // longer than need be
  };
  for (const auto& [raw, wanted] : rows) {
    INFO(escape_control(raw.name) << "|" << escape_control(raw.tags));
    for (TagStyle tag_style : kStyles) CHECK(spelled(raw, style(tag_style)) == wanted);
  }
}

TEST_CASE("tags within the name, by style") {
  const std::string kPlain = "plain";  // the name as it is, without tags
  struct {
    const char* name;
    std::string any, influx, librato, signalfx;
  } rows[] = {
      {"a,k=v", "a|k:v", "a|k:v", kPlain, kPlain},
      {"a,y=2,x=1", "a|x:1,y:2", "a|x:1,y:2", kPlain, kPlain},
      {"a,k=1,k=2", "a|k:2", "a|k:2", kPlain, kPlain},
      {"a,k=v=w", "a|k:v=w", "a|k:v=w", kPlain, kPlain},
      {"a#k=v", "a|k:v", kPlain, "a|k:v", kPlain},
      {"a#y=2,x=1", "a|x:1,y:2", "a#y=2|x:1", "a|x:1,y:2", kPlain},
      {"a[k=v]", "a|k:v", kPlain, kPlain, "a|k:v"},
      {"[k=v]a", "a|k:v", kPlain, kPlain, "a|k:v"},
      {"a.[k=v]b", "a.b|k:v", kPlain, kPlain, "a.b|k:v"},
      {"a[y=2,x=1]b", "ab|x:1,y:2", "a[y=2|x:1]b", kPlain, "ab|x:1,y:2"},
      // Without '=' behind the mark a name is a name.
      {"a,b", kPlain, kPlain, kPlain, kPlain},
      {"a#b", kPlain, kPlain, kPlain, kPlain},
      {"a[b]", kPlain, kPlain, kPlain, kPlain},
      {"a[]b", kPlain, kPlain, kPlain, kPlain},
      {"a=b", kPlain, kPlain, kPlain, kPlain},
      {"a[k=v", kPlain, kPlain, kPlain, kPlain},
      {"a]k=v", kPlain, kPlain, kPlain, kPlain},
      {"a=b,c", kPlain, kPlain, kPlain, kPlain},
      // Malformed: every part has a key and a value.
      {"a,k=", "bad_tags", "bad_tags", kPlain, kPlain},
      {"a,=v", "bad_tags", "bad_tags", kPlain, kPlain},
      {"a,=", "bad_tags", "bad_tags", kPlain, kPlain},
      {"a,k=v,", "bad_tags", "bad_tags", kPlain, kPlain},
      {"a,k=v,b", "bad_tags", "bad_tags", kPlain, kPlain},
      {"a,,k=v", "bad_tags", "bad_tags", kPlain, kPlain},
      {"a#k=", "bad_tags", kPlain, "bad_tags", kPlain},
      {"a#k=v,", "bad_tags", kPlain, "bad_tags", kPlain},
      {"a[k=]", "bad_tags", kPlain, kPlain, "bad_tags"},
      {"a[k=v,]", "bad_tags", kPlain, kPlain, "bad_tags"},
      {"a[=v]", "bad_tags", kPlain, kPlain, "bad_tags"},
      // Nothing but tags.
      {",k=v", "no_name", "no_name", kPlain, kPlain},
      {"#k=v", "no_name", kPlain, "no_name", kPlain},
      {"[k=v]", "no_name", kPlain, kPlain, "no_name"},
      // Two sets.
      {"a[k=v],x=1", "bad_tags", "a[k=v]|x:1", kPlain, "a,x=1|k:v"},
      {"a[k=v][x=1]", "bad_tags", kPlain, kPlain, "bad_tags"},
  };
  for (const auto& row : rows) {
    for (TagStyle tag_style : kStyles) {
      const std::string wanted[] = {row.any, kPlain, row.influx, row.librato, row.signalfx};
      std::string got = spelled({row.name, "", "", ""}, style(tag_style)),
                  want = wanted[static_cast<size_t>(tag_style)];
      INFO(row.name << " style " << static_cast<int>(tag_style));
      CHECK(got == (want == kPlain ? fmt::format("{}|", row.name) : want));
      // With tags behind the type as well it is one or the other.
      std::string mixed = spelled({row.name, "q:1", "", ""}, style(tag_style));
      CHECK(mixed == (want == kPlain ? fmt::format("{}|q:1", row.name) : "bad_tags"));
    }
  }
}

TEST_CASE("origin fields as tags") {
  struct {
    RawKey raw;
    std::string spelling, series;
  } rows[] = {
      {{"a", "", "ci-1", ""}, "a|container:ci-1", "a,container=ci-1"},
      {{"a", "", "", "it-false"}, "a|external:it-false", "a,external=it-false"},
      {{"a", "z:1,b:2", "ci-1", "e"},
       "a|b:2,container:ci-1,external:e,z:1",
       "a,b=2,container=ci-1,external=e,z=1"},
      {{"a", "", "", "it-false,cn-x,pu-1"},
       "a|external:it-false\x1f"
       "cn-x\x1fpu-1",
       "a,external=it-false,cn-x,pu-1"},
      {{"a", "", "ci-1,in-2", "e,f"},
       "a|container:ci-1\x1fin-2,external:e\x1f"
       "f",
       "a,container=ci-1,in-2,external=e,f"},
      {{"a", "container:mine,external:mine", "ci-1", "e"},
       "a|container:ci-1,external:e",
       "a,container=ci-1,external=e"},
      {{"a", "container:mine", "", ""}, "a|container:mine", "a,container=mine"},
      {{"a,k=v", "", "ci-1", ""}, "a|container:ci-1,k:v", "a,container=ci-1,k=v"},
      {{"a", "host:web", "ci-1", ""}, "a|container:ci-1,host:web", "a,container=ci-1@web"},
      {{"a", "", "sha256:ab", ""}, "a|container:sha256:ab", "a,container=sha256:ab"},
      {{"a", "", "x\x01", ""}, "bad_tags", ""},
      {{"a", "", "", "x\x1f"}, "bad_tags", ""},
      {{"a", "", "\xff", ""}, "bad_utf8", ""},
  };
  for (const auto& row : rows) {
    INFO(row.raw.name << "|" << row.raw.tags << " " << row.raw.container << " " << row.raw.external);
    CHECK(spelled(row.raw, style(TagStyle::any, false, true)) == row.spelling);
    SeriesKey key;
    if (!make_series_key(row.raw, style(TagStyle::any, false, true), key).empty()) continue;
    CHECK(series_of(key) == row.series);
    CHECK(key.escaped == (row.spelling.find('\x1f') != std::string::npos));
    // The fields are not looked at where they are not used.
    CHECK(make_series_key(row.raw, {}, key).empty());
  }
}

TEST_CASE("the tag host is the sample's host, where it has a value") {
  std::pair<const char*, const char*> rows[] = {
      {"host:web-1", "a@web-1"}, {"host:web-1,k:v", "a,k=v@web-1"}, {"host", "a,host="},
      {"host:a,host:b", "a@b"},  {"Host:web-1", "a,Host=web-1"},    {"hostname:web-1", "a,hostname=web-1"},
  };
  for (auto [tags, wanted] : rows) {
    SeriesKey key;
    REQUIRE(make_series_key({"a", tags, "", ""}, {}, key).empty());
    CHECK(series_of(key) == wanted);
  }
}

// statsd 0.9 and later, stats.js: key.replace(/\s+/g, '_').replace(/\//g, '-').replace(/[^a-zA-Z_\-0-9\.;=]/g, '')
TEST_CASE("names are sanitised as Etsy does it") {
  auto etsy = [](std::string name) {
    name = std::regex_replace(name, std::regex("[ \\t\\n\\v\\f\\r]+"), "_");
    name = std::regex_replace(name, std::regex("/"), "-");
    return std::regex_replace(name, std::regex("[^a-zA-Z_\\-0-9\\.;=]"), "");
  };
  KeyRules rules = style(TagStyle::dogstatsd, true);
  std::minstd_rand random(3);
  for (int i = 0; i < 20'000; i++) {
    std::string name = random_text(random, "ab Z09_-.;=/\\$%&()[]{},#!?*+~\"'<>^`@\t\x01\xc3\xa4", 12);
    std::string wanted = etsy(name);
    INFO(escape_control(name));
    REQUIRE(spelled({name, "", "", ""}, rules) == (wanted.empty() ? "no_name" : wanted + "|"));
  }
  // Tags are not: only the name, whichever way it came by its tags.
  CHECK(spelled({"a b,k=x y/z", "", "", ""}, style(TagStyle::any, true)) == "a_b|k:x y/z");
  CHECK(spelled({"a b", "k:x y/z", "", ""}, style(TagStyle::any, true)) == "a_b|k:x y/z");
  CHECK(spelled({"a[k=v] b", "", "", ""}, style(TagStyle::any, true)) == "a_b|k:v");
}

TEST_CASE("the canonical spelling of a canonical spelling is itself") {
  std::minstd_rand random(11);
  size_t taken = 0;
  for (int i = 0; i < 300'000; i++) {
    std::string name = random_text(random, "ab,#[]=:. /", 10), tags = random_text(random, "ab:,=.#", 10);
    if (random() % 2 == 0) tags.clear();
    std::string container = random() % 4 == 0 ? random_text(random, "ab:,", 4) : "";
    KeyRules rules = style(kStyles[random() % 5], random() % 2 == 0, random() % 2 == 0);
    // A name as Parser gives it.
    std::erase(name, ':');
    if (rules.tag_style != TagStyle::dogstatsd && random() % 2 == 0) name += ",a:b=c"[random() % 6];
    SeriesKey once, twice;
    if (!make_series_key({name, tags, container, ""}, rules, once).empty()) continue;
    taken++;
    if (once.escaped) continue;
    INFO(name << "|" << tags << " style " << static_cast<int>(rules.tag_style) << " → " << once.text);
    REQUIRE(make_series_key({once.name(), once.tags(), "", ""}, rules, twice).empty());
    REQUIRE(twice.name() == once.name());
    REQUIRE(twice.tags() == once.tags());
    REQUIRE(series_of(twice) == series_of(once));
  }
  CHECK(taken > 50'000);
}
