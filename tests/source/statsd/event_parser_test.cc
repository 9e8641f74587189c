#include "source/statsd/event_parser.h"

#include <fmt/format.h>

#include <random>

#include "base/text.h"
#include "source/statsd/parser.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

// `key{attribute=value,…} [tag,…] state "description" @host time`, without what is not set.
std::string text_of(const Batch& batch, const Event& event) {
  SeriesView series = batch.view(event.series);
  std::string line(series.name()), attributes, tags;
  for (Tag tag : series)
    attributes += fmt::format("{}{}={}", attributes.empty() ? "" : ",", tag.key, tag.value);
  for (uint32_t i = 0; i < event.tag_count; i++)
    tags += fmt::format("{}{}", i == 0 ? "" : ",", batch.view(batch.event_tags[event.tags + i]));
  if (!attributes.empty()) line += "{" + attributes + "}";
  if (!tags.empty()) line += " [" + tags + "]";
  if (event.state.size > 0) line += fmt::format(" {}", batch.view(event.state));
  if (event.description.size > 0)
    line += " \"" + escape_control(std::string(batch.view(event.description))) + "\"";
  if (event.origin != 0) line += " @" + batch.origins[event.origin].host;
  if (event.time_ms != 0) line += fmt::format(" {}", event.time_ms);
  return line;
}

std::string event_line(const std::string& title, const std::string& text, const std::string& fields = "") {
  return fmt::format("_e{{{},{}}}:{}|{}{}", title.size(), text.size(), title, text, fields);
}

}  // namespace

TEST_CASE("which lines are events") {
  for (const char* line : {"_e{1,1}:a|b", "_e{", "_sc|", "_sc|a|0"}) CHECK(is_event_line(line));
  for (const char* line :
       {"", "_", "_e", "_e:1|c", "_sc", "_sc:1|c", "_scale:1|c", "a_e{1,1}:a|b", "_E{1,1}:a|b"})
    CHECK_FALSE(is_event_line(line));
}

TEST_CASE("events and service checks that are taken") {
  const std::string long_text(Batch::kMaxText, 'x');
  struct {
    std::string line;
    std::string event;
    bool origin_tags = false;
  } rows[] = {
      {"_e{10,9}:test title|test text", R"(test title "test text")"},
      {"_e{5,0}:title|", "title"},
      {"_e{5,0}:title||t:warning", "title warning"},
      {"_e{5,4}:title|text|", R"(title "text")"},
      {"_e{0005,04}:title|text", R"(title "text")"},
      {"_e{10,9}:test title|test text|t:warning|d:12345|p:low|h:some.host|k:aggKey|s:source "
       "test|#tag1,tag2:test",
       R"(test title{aggregation_key=aggKey,priority=low,source_type=source test,tag2=test} [tag1] warning "test text" @some.host 12345000)"},
      // Lengths are bytes and rule: '|' and ':' within are text.
      {"_e{10,9}:test|title|a|t:error", R"(test|title "a|t:error")"},
      {"_e{7,6}:größe|ü: ä", R"(größe "ü: ä")"},
      {"_e{3,1}:_e{|}", R"(_e{ "}")"},
      // hot-shots counts UTF-16 units: taken where bytes do not fit.
      {"_e{5,4}:größe|ü: ä", R"(größe "ü: ä")"},
      {"_e{4,4}:text|ü: ä|t:error", R"(text error "ü: ä")"},
      {"_e{3,2}:\xf0\x9f\x9a\x80!|\xf0\x9f\x9a\x80|#k:v", "\xf0\x9f\x9a\x80!{k=v} \"\xf0\x9f\x9a\x80\""},
      // Line breaks come as two characters. A title is passed on byte for byte.
      {R"(_e{10,24}:test title|test\line1\nline2\nline3)", R"(test title "test\line1\nline2\nline3")"},
      {R"(_e{4,3}:a\nb|\\n)", R"(a\nb "\\n")"},
      {"_e{1,1}:a|\\", "a \"\\\""},
      {"_e{1,3}:a|b\tc", R"(a "b\tc")"},
      {event_line("a", long_text), "a \"" + long_text + "\""},
      // Each field in any order; of a repeated one the last counts, and an empty one is as if absent.
      {"_e{1,1}:a|b|t:error", R"(a error "b")"},
      {"_e{1,1}:a|b|t:info", R"(a info "b")"},
      {"_e{1,1}:a|b|t:success|p:normal", R"(a{priority=normal} success "b")"},
      {"_e{1,1}:a|b|h:x|d:1|h:y|d:2", R"(a "b" @y 2000)"},
      {"_e{1,1}:a|b|h:|k:|s:|#", R"(a "b")"},
      {"_e{1,1}:a|b|x:1|zzz|@0.1|T12|m:no message here", R"(a "b")"},
      {"_e{1,1}:a|b|d:253402300799", R"(a "b" 253402300799000)"},
      // Tags: a value may hold ':', the last of equal keys wins, fields win over tags, a host moves and `h:` wins.
      {"_e{1,1}:a|b|#env:x:y,,prod,k:,k:2,", R"(a{env=x:y,k=2} [prod] "b")"},
      {"_e{1,1}:a|b|k:field|#aggregation_key:tag,priority:high,source_type:tag|p:low|s:field",
       R"(a{aggregation_key=field,priority=low,source_type=field} "b")"},
      {"_e{1,1}:a|b|#priority:high", R"(a{priority=high} "b")"},
      {"_e{1,1}:a|b|#host:web-9,k:1", R"(a{k=1} "b" @web-9)"},
      {"_e{1,1}:a|b|h:web-1|#host:web-9", R"(a "b" @web-1)"},
      {"_e{1,1}:a|b|#host:,host", R"(a{host=} [host] "b")"},
      // Where it comes from is nobody's attribute unless that is asked for.
      {"_e{1,1}:a|b|c:ci-1|e:it-false,cn-x|card:low", R"(a "b")"},
      {"_e{1,1}:a|b|c:ci-1|e:it-false,cn-x|card:low|#container:mine",
       R"(a{container=ci-1,external=it-false,cn-x} "b")", true},

      {"_sc|agent.up|0", "agent.up ok"},
      {"_sc|agent.up|1", "agent.up warning"},
      {"_sc|agent.up|2|", "agent.up critical"},
      {"_sc|agent.up|3|u:unknown", "agent.up unknown"},
      {"_sc|Redis: connection|2", "Redis: connection critical"},
      {"_sc|agent.up|0|d:21|h:localhost|#tag1:test,tag2|m:this is fine",
       R"(agent.up{tag1=test} [tag2] ok "this is fine" @localhost 21000)"},
      {"_sc|agent.up|0|d:21|h:localhost|h:localhost2|d:22", "agent.up ok @localhost2 22000"},
      {R"(_sc|a|1|m:line\nother m\: x)", R"(a warning "line\nother m: x")"},
      // Datadog's page has the message last, its agent cuts it at '|' like any field and reads on; clients send `c:`
      // behind it.
      {"_sc|a|2|m:timeout|#k:v|c:ci-1", R"(a{k=v} critical "timeout")"},
      {"_sc|a|2|m:timeout|c:ci-1", R"(a{container=ci-1} critical "timeout")", true},
      {"_sc|a|2|m:timeout|retrying", R"(a critical "timeout")"},
      // Fields of events are unknown here.
      {"_sc|a|0|t:error|p:urgent|k:x|s:y", "a ok"},
  };
  for (auto& row : rows) {
    INFO(row.line.substr(0, 200));
    Batch batch("statsd");
    CHECK(read_event(row.line, row.origin_tags, batch) == "");
    REQUIRE(batch.events.size() == 1);
    CHECK(text_of(batch, batch.events[0]) == row.event);
    CHECK(batch.samples.empty());
  }
}

TEST_CASE("events and service checks that are refused add nothing and say why") {
  const std::string long_key(Parser::kMaxKey + 1, 'x'), long_text(Batch::kMaxText + 1, 'x');
  std::pair<std::string, std::string_view> rows[] = {
      {"", bad::kEvent},
      {"a:1|c", bad::kEvent},
      {"_e:title|text", bad::kEvent},
      {"_e|text", bad::kEvent},
      // Lengths.
      {"_e{", bad::kEvent},
      {"_e{}:title|text", bad::kEvent},
      {"_e{,}:title|text", bad::kEvent},
      {"_e{5}:title|text", bad::kEvent},
      {"_e{5,}:title|text", bad::kEvent},
      {"_e{,4}:title|text", bad::kEvent},
      {"_e{5555:title|text", bad::kEvent},
      {"_e{5,4:title|text", bad::kEvent},
      {"_e{5,4}title|text", bad::kEvent},
      {"_e{5,4}", bad::kEvent},
      {"_e{5,4}:", bad::kEvent},
      {"_e{a,1}:title|text", bad::kEvent},
      {"_e{1,a}:title|text", bad::kEvent},
      {"_e{ 5,4}:title|text", bad::kEvent},
      {"_e{5, 4}:title|text", bad::kEvent},
      {"_e{+5,4}:title|text", bad::kEvent},
      {"_e{0x5,4}:title|text", bad::kEvent},
      {"_e{5.0,4}:title|text", bad::kEvent},
      {"_e{5,4,1}:title|text", bad::kEvent},
      {"_e{-123,-987}:", bad::kEvent},
      {"_e{5,-987}:title", bad::kEvent},
      {"_e{10,10}:title|text", bad::kEvent},
      {"_e{5,5}:title|text", bad::kEvent},
      {"_e{5,3}:title|text", bad::kEvent},  // behind the text is no field
      {"_e{4,4}:title|text", bad::kEvent},
      {"_e{5,0}:title", bad::kEvent},
      {"_e{5,0}:title|text", bad::kEvent},
      {"_e{6,4}:größe|text", bad::kEvent},          // neither bytes nor UTF-16 units
      {"_e{5,6}:größe|ü: ä", bad::kEvent},          // the one for the title, the other for the text
      {"_e{1,1}:\xf0\x9f\x9a\x80|b", bad::kEvent},  // half a surrogate pair
      {"_e{18446744073709551615,1}:a|b", bad::kEvent},
      {"_e{1,18446744073709551615}:a|b", bad::kEvent},
      {"_e{18446744073709551615,18446744073709551615}:a|b", bad::kEvent},
      {"_e{9223372036854775807,9223372036854775807}:a|b", bad::kEvent},
      {"_e{4294967297,1}:a|b", bad::kEvent},
      {"_e{18446744073709551617,1}:a|b", bad::kEvent},  // 2^64 + 1
      {"_e{1,99999999999999999999999999}:a|b", bad::kEvent},
      // Names.
      {"_e{0,9}:|test text", bad::kNoName},
      {"_e{0,0}:|", bad::kNoName},
      {"_e{0,4}:text", bad::kNoName},
      {"_e{3,1}:a\nb|c", bad::kName},
      {std::string("_e{3,1}:a\0b|c", 13), bad::kName},
      {"_e{1,1}:\x7f|c", bad::kName},
      {event_line(long_key, "b"), bad::kTooLong},
      {event_line("a", long_text), bad::kTooLong},
      {event_line("a", "b", "|k:" + long_text), bad::kTooLong},
      {event_line("a", "b", "|#" + long_text), bad::kTooLong},
      // Fields. Datadog's agent goes on without the field and warns; here a sender learns of it.
      {"_e{5,4}:title|text|d:abc", bad::kTimestamp},
      {"_e{5,4}:title|text|d:", bad::kTimestamp},
      {"_e{5,4}:title|text|d:0", bad::kTimestamp},
      {"_e{5,4}:title|text|d:-1", bad::kTimestamp},
      {"_e{5,4}:title|text|d:1.5", bad::kTimestamp},
      {"_e{5,4}:title|text|d:1763769600000", bad::kTimestamp},  // milliseconds
      {"_e{5,4}:title|text|d:9223372036854775807", bad::kTimestamp},
      {"_e{5,4}:title|text|p:urgent", bad::kEvent},
      {"_e{5,4}:title|text|p:", bad::kEvent},
      {"_e{5,4}:title|text|t:test", bad::kEvent},
      {"_e{5,4}:title|text|t:Error", bad::kEvent},
      {"_e{5,4}:title|text|h:a\x01", bad::kEvent},
      {"_e{5,4}:title|text|k:a\x01", bad::kEvent},
      {"_e{5,4}:title|text|#a\x01", bad::kTags},
      {"_e{5,4}:title|text|#:v", bad::kTags},
      {"_e{5,4}:title|text|#a:1,:v", bad::kTags},
      {"_e{5,4}:title|text|#a|#b", bad::kTags},
      {"_e{1,1}:\xff|b", bad::kUtf8},
      {"_e{1,2}:a|\xc3\x28", bad::kUtf8},
      {"_e{3,1}:\xc3\xa9\xc3\xa9|b", bad::kEvent},  // the length ends within a character
      {"_e{1,1}:a|b|#k:\xc3", bad::kUtf8},

      {"_sc|", bad::kNoName},
      {"_sc||", bad::kNoName},
      {"_sc||0", bad::kNoName},
      {"_sc|agent.up", bad::kEvent},
      {"_sc|agent.up|", bad::kEvent},
      {"_sc|agent.up||m:x", bad::kEvent},
      {"_sc|agent.up|OK", bad::kEvent},
      {"_sc|agent.up|21", bad::kEvent},
      {"_sc|agent.up|00", bad::kEvent},
      {"_sc|agent.up|4", bad::kEvent},
      {"_sc|agent.up|-1", bad::kEvent},
      {"_sc|agent.up| 0", bad::kEvent},
      {"_sc|agent.up|0#tag", bad::kEvent},
      {"_sc|agent.up|0|d:some_time", bad::kTimestamp},
      {"_sc|agent.up|0|#a|#b", bad::kTags},
      {"_sc|a\tb|0", bad::kName},
      {"_sc|a|0|h:\x7f", bad::kEvent},
      {"_sc|a|0|m:\xff", bad::kUtf8},
      {"_sc|" + long_key + "|0", bad::kTooLong},
      {"_sc|a|0|m:" + long_text, bad::kTooLong},
  };
  Batch batch("statsd");
  const size_t empty = batch.bytes();
  for (auto& [line, reason] : rows) {
    INFO(escape_control(line.substr(0, 200)));
    CHECK(read_event(line, true, batch) == reason);
  }
  CHECK(batch.empty());
  CHECK(batch.origins.size() == 1);
  CHECK(batch.event_tags.empty());
  CHECK(batch.bytes() == empty);
}

TEST_CASE("several events share a batch") {
  Batch batch("statsd");
  CHECK(read_event("_e{1,1}:a|x|h:one|#t", false, batch) == "");
  CHECK(read_event("_e{1,1}:b|y|h:one|p:bad", false, batch) == bad::kEvent);
  CHECK(read_event("_sc|c|2|h:one|#u,v", false, batch) == "");
  REQUIRE(batch.events.size() == 2);
  CHECK(text_of(batch, batch.events[0]) == R"(a [t] "x" @one)");
  CHECK(text_of(batch, batch.events[1]) == "c [u,v] critical @one");
  CHECK(batch.origins.size() == 2);
}

TEST_CASE("any mutation of an event is judged and never harms") {
  const char* seeds[] = {
      "_e{10,9}:test title|test text|t:warning|d:12345|p:low|h:some.host|k:key|s:src|#tag1,tag2:test",
      R"(_e{5,24}:title|test\line1\nline2\nline3|c:ci-1|e:it-0|card:low)", "_e{7,6}:größe|ü: ä",
      R"(_sc|agent.up|0|d:21|h:localhost|#tag1:test,tag2|m:this\nis fine m\: x|c:ci-1)"};
  std::minstd_rand random(7);
  size_t taken = 0;
  for (int i = 0; i < 200'000; i++) {
    std::string line = seeds[random() % 4];
    for (uint32_t n = random() % 4; n-- > 0 && !line.empty();) {
      size_t at = random() % line.size();
      switch (random() % 3) {
        case 0:
          line[at] = static_cast<char>(random());
          break;
        case 1:
          line.erase(at, 1);
          break;
        default:
          line.insert(at, 1, ":|#,{}\\n09"[random() % 10]);
          break;
      }
    }
    Batch batch("statsd");
    std::string_view reason = read_event(line, i % 2 == 0, batch);
    REQUIRE(batch.events.size() == (reason.empty() ? 1 : 0));
    if (!reason.empty()) continue;
    taken++;
    std::string text = text_of(batch, batch.events[0]);
    REQUIRE(valid_utf8(text));
    REQUIRE_FALSE(batch.view(batch.events[0].series).name().empty());
  }
  CHECK(taken > 50'000);
}
