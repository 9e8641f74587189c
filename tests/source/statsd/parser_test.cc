#include "source/statsd/parser.h"

#include <fmt/format.h>

#include "base/text.h"
#include "samples.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

// `name tags{…} container{…} external{…} T… | type rate: value value | …`; what is not there is not named.
std::string parsed(std::string_view line) {
  Parser parser;
  if (!parser.parse(line)) return std::string(parser.reason());
  std::string text(parser.name());
  for (auto [what, value] : {std::pair{"tags", parser.tags()}, std::pair{"container", parser.container()},
                             std::pair{"external", parser.external()}})
    if (!value.empty()) text += fmt::format(" {}{{{}}}", what, value);
  if (parser.time_ms() != 0) text += fmt::format(" T{}", parser.time_ms());
  for (const Section& section : parser.sections()) {
    constexpr const char* kTypes[] = {"counter", "gauge", "timer", "set"};
    text +=
        fmt::format(" | {}{}", kTypes[static_cast<size_t>(section.type)], section.milliseconds ? "(ms)" : "");
    if (section.rate != 1) text += fmt::format(" @{}", section.rate);
    text += ":";
    for (uint32_t i = section.first; i < section.first + section.count; i++) {
      const Value& value = parser.values()[i];
      text += section.type == Type::set
                  ? fmt::format(" \"{}\"", value.text)
                  : fmt::format(" {}{}", value.relative ? "relative " : "", text_of(value.number));
    }
  }
  return text;
}

}  // namespace

TEST_CASE("what the parser sees in a line") {
  std::pair<const char*, const char*> rows[] = {
      {"a:1|c", "a | counter: 1"},
      {"a:1|m", "a | counter: 1"},
      {"a:1|g", "a | gauge: 1"},
      {"a:+1|g", "a | gauge: relative 1"},
      {"a:-1|g", "a | gauge: relative -1"},
      {"a:-1|c", "a | counter: -1"},
      {"a:1|ms", "a | timer(ms): 1"},
      {"a:1|h", "a | timer: 1"},
      {"a:1|d", "a | timer: 1"},
      {"a:1|s", "a | set: \"1\""},
      {"a::|s", "a | set: \":\""},
      {"a:1:|s", "a | set: \"1:\""},
      {"a:1:2::3|h|@0.5", "a | timer @0.5: 1 2 3"},
      {"a:+1:2:-3|g", "a | gauge: relative 1 2 relative -3"},
      {"a:1|c:2|ms", "a | counter: 1 | timer(ms): 2"},
      {"a:1|c|@0.5:2|ms", "a | counter @0.5: 1 | timer(ms): 2"},
      {"a:1|c:x:y|s", "a | counter: 1 | set: \"x:y\""},
      {"a:1|c|T5:2|g", "a T5000 | counter: 1 | gauge: 2"},
      {"a:1|c|#k:v,b", "a tags{k:v,b} | counter: 1"},
      // A ':' in tags, origin fields and fields that are not known opens no section.
      {"a:1|c|#k:2|ms", "a tags{k:2} | counter: 1"},
      {"a:1|c|c:2|ms", "a container{2} | counter: 1"},
      {"a:1|c|x:2|ms", "a | counter: 1"},
      {"a:1|c|c:in-1|e:it-true,cn-x|card:high", "a container{in-1} external{it-true,cn-x} | counter: 1"},
      {"a:1|c|e:1|e:2|c:1|c:2", "a container{2} external{2} | counter: 1"},
      {"a:1|c|#k|T1657100430|@0.5|c:x", "a tags{k} container{x} T1657100430000 | counter @0.5: 1"},
      {"a:1|c|T253402300799", "a T253402300799000 | counter: 1"},
      {"a:1|c|", "a | counter: 1"},
      {"a:1|c|||", "a | counter: 1"},
      {"a:1|c|#", "a | counter: 1"},
      {"a b\\/,#[]=:1|c", "a b\\/,#[]= | counter: 1"},
  };
  for (auto [line, wanted] : rows) {
    INFO(line);
    CHECK(parsed(line) == wanted);
  }
}

TEST_CASE("what the parser refuses") {
  std::pair<std::string, std::string_view> rows[] = {
      {"", bad::kNoName},
      {":", bad::kNoName},
      {":1|c", bad::kNoName},
      {"a", bad::kNoValue},
      {"a:", bad::kNoValue},
      {"a:|c", bad::kNoValue},
      {"a:|s", bad::kNoValue},
      {"a::|g", bad::kNoValue},
      {"a:1|c:", bad::kNoValue},
      {"a:1|c:|c", bad::kNoValue},
      {"a:1", bad::kNoType},
      {"a:1|", bad::kNoType},
      {"a:1||", bad::kNoType},
      {"a:1|:2|c", bad::kNoType},
      {"a:1|c:2", bad::kNoType},
      {"a:1|c|@1:2", bad::kNoType},
      {"a:1|mss", bad::kType},
      {"a:1|sm", bad::kType},
      {"a:1| c", bad::kType},
      {"a:1|c@0.1", bad::kType},
      {"a:1|c:2|q", bad::kType},
      {"a:x|c", bad::kValue},
      {"a:1:x|c", bad::kValue},
      {"a:1 |c", bad::kValue},
      {"a:+-5|c", bad::kValue},
      {"a:+-5|g", bad::kValue},
      {"a:-+5|c", bad::kValue},
      {"a:1|c|@", bad::kRate},
      {"a:1|c|@0", bad::kRate},
      {"a:1|c|@0.0", bad::kRate},
      {"a:1|c|@-0.5", bad::kRate},
      {"a:1|c|@1.01", bad::kRate},
      {"a:1|c|@ 1", bad::kRate},
      {"a:1|g|@2", bad::kRate},
      {"a:1|c|@+-1", bad::kRate},
      {"a|b:1|c", bad::kName},
      {"|:1|c", bad::kName},
      {"a:1|c|#a|#b", bad::kTags},
      {"a:1|c|#|#b", bad::kTags},
      {"a:1|c|T", bad::kTimestamp},
      {"a:1|c|T0", bad::kTimestamp},
      {"a:1|c|T-1", bad::kTimestamp},
      {"a:1|c|T+1", bad::kTimestamp},
      {"a:1|c|T1.5", bad::kTimestamp},
      {"a:1|c|T1x", bad::kTimestamp},
      {"a:1|c|T253402300800", bad::kTimestamp},
      {"a:1|c|T99999999999999999999", bad::kTimestamp},
      {"a:1|c|T1|T2", bad::kTimestamp},
      {std::string(Parser::kMaxKey + 1, 'a') + ":1|c", bad::kTooLong},
  };
  for (const auto& [line, reason] : rows) {
    INFO(line);
    CHECK(parsed(line) == reason);
  }
}

TEST_CASE("a parser remembers nothing of the line before") {
  Parser parser;
  REQUIRE(parser.parse("a:1:2|c|@0.5|#k:v|T5|c:x|e:y:3|ms"));
  CHECK_FALSE(parser.parse("b:1|c|@9"));
  REQUIRE(parser.parse("c:4|g"));
  CHECK(parser.name() == "c");
  CHECK(parser.tags().empty());
  CHECK(parser.container().empty());
  CHECK(parser.external().empty());
  CHECK(parser.time_ms() == 0);
  REQUIRE(parser.sections().size() == 1);
  CHECK(parser.sections()[0].rate == 1);
  CHECK(parser.sections()[0].first == 0);
  CHECK(parser.sections()[0].count == 1);
}

TEST_CASE("a line may have as many values as it likes") {
  std::string line = "a", counters = "b";
  for (int i = 0; i < 20'000; i++) line += ":1", counters += ":1|c";
  line += "|c";
  Aggregator aggregator({});
  CHECK(aggregator.add(line).verdict == Aggregator::Verdict::accepted);
  CHECK(aggregator.add(counters).verdict == Aggregator::Verdict::accepted);
  CHECK(flushed(aggregator) == std::vector<std::string>{"a counter 20000", "b counter 20000"});
}
