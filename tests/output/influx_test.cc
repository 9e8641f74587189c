// The influx encoding read back by small parsers written from the format's description, in the two readings
// of the backslash that exist: InfluxDB's (a delimiter is escaped by the byte before it; `\\` is two
// backslashes) and VictoriaMetrics' (backslashes come in pairs; `\\` is one).
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "base/text.h"
#include "output/encode/encoder.h"
#include "output/records.h"
#include "support/catch.h"

using namespace runnel;

namespace {

enum class Reading { influxdb, victoria };

struct Line {
  std::string measurement, time;
  std::vector<std::pair<std::string, std::string>> tags;
  std::map<std::string, std::string> fields;  // value as written, quotes taken off
};

class LineParser {
 public:
  LineParser(std::string_view line, Reading reading) : line_(line), reading_(reading) {}

  std::optional<Line> parse() {
    Line out;
    if (line_.empty() || line_[0] == '#' || line_.find('\n') != std::string_view::npos) return std::nullopt;
    out.measurement = take(", ", ", ");
    while (peek() == ',') {
      at_++;
      std::string key = take(",= ", ",= ");
      if (peek() != '=' || key.empty()) return std::nullopt;
      at_++;
      std::string value = take(",= ", ",= ");
      if (value.empty()) return std::nullopt;
      out.tags.emplace_back(key, value);
    }
    if (peek() != ' ') return std::nullopt;
    do {
      at_++;
      std::string key = take(",= ", ",= ");
      if (peek() != '=' || key.empty()) return std::nullopt;
      at_++;
      std::string value;
      if (peek() == '"') {
        for (at_++; at_ < line_.size() && line_[at_] != '"'; at_++) {
          if (line_[at_] == '\\' && at_ + 1 < line_.size() &&
              (line_[at_ + 1] == '"' || line_[at_ + 1] == '\\'))
            at_++;
          value += line_[at_];
        }
        if (at_++ >= line_.size()) return std::nullopt;
      } else {
        while (at_ < line_.size() && line_[at_] != ',' && line_[at_] != ' ') value += line_[at_++];
        if (!parse_double(value)) return std::nullopt;
      }
      if (!out.fields.emplace(key, value).second) return std::nullopt;
    } while (peek() == ',');
    if (peek() != ' ') return std::nullopt;
    out.time = line_.substr(at_ + 1);
    if (!parse_int(out.time)) return std::nullopt;
    return out;
  }

 private:
  char peek() const { return at_ < line_.size() ? line_[at_] : '\0'; }

  std::string take(std::string_view stops, std::string_view escapes) {
    std::string raw;
    for (; at_ < line_.size(); at_++) {
      if (stops.find(line_[at_]) == std::string_view::npos) {
        raw += line_[at_];
        continue;
      }
      size_t slashes = 0;
      while (slashes < raw.size() && raw[raw.size() - 1 - slashes] == '\\') slashes++;
      bool escaped = reading_ == Reading::influxdb ? slashes > 0 : slashes % 2 == 1;
      if (!escaped) break;
      raw += line_[at_];
    }
    std::string text;
    for (size_t i = 0; i < raw.size(); i++) {
      bool next = raw[i] == '\\' && i + 1 < raw.size();
      if (next && (escapes.find(raw[i + 1]) != std::string_view::npos ||
                   (reading_ == Reading::victoria && raw[i + 1] == '\\')))
        i++;
      text += raw[i];
    }
    return text;
  }

  std::string_view line_;
  Reading reading_;
  size_t at_ = 0;
};

std::optional<Line> parse_line(std::string_view text, Reading reading) {
  if (!text.ends_with('\n')) return std::nullopt;
  return LineParser(text.substr(0, text.size() - 1), reading).parse();
}

bool plain(std::string_view text) {
  return valid_utf8(text) && !has_control(text) && text.find('\\') == text.npos;
}

}  // namespace

TEST_CASE("the test's own line parser refuses what is not a line") {
  for (const char* line : {"", "\n", "a\n", "a 1\n", "a value=1\n", "a value=x 1\n", "# value=1 1\n",
                           "a,k value=1 1\n", "a,k= value=1 1\n", "a,=v value=1 1\n", "a value=1 x\n",
                           "a value=1,value=2 1\n", "a value=\"1 1\n", "a value=1 1", "a,k=v\\ value=1 1\n"})
    CHECK_FALSE(parse_line(line, Reading::influxdb));
  CHECK(parse_line("a,k=v\\ w value=1,s=\"x \\\"y\" 1\n", Reading::victoria)->fields["s"] == "x \"y");
}

TEST_CASE("influx lines of hostile names and values keep their shape for every reader") {
  std::mt19937 random(13);
  auto encoder = find_encoder("influx")->make();
  size_t compared = 0;
  for (int i = 0; i < 8000; i++) {
    Batch batch("test");
    std::string name = test::hostile_text(random, 20), key = "k" + test::hostile_text(random, 12),
                value = test::hostile_text(random, 20), host = test::hostile_text(random, 12);
    Sample s;
    s.series = batch.series(name, {{key, value}, {"z", "last"}});
    s.origin = batch.origin({host, {}});
    s.time_ms = static_cast<int64_t>(random() % 4'000'000'000) * 1000;
    s.value = Number(0.25);
    std::string out;
    REQUIRE(encoder->sample(batch, s, out));
    REQUIRE(valid_utf8(out));
    REQUIRE(std::count_if(out.begin(), out.end(), [](char c) { return (c >= 0 && c < 0x20) || c == 0x7f; }) ==
            1);
    for (Reading reading : {Reading::influxdb, Reading::victoria}) {
      INFO(out);
      auto line = parse_line(out, reading);
      REQUIRE(line);
      std::vector<std::string> keys;
      for (const auto& [k, v] : line->tags) keys.push_back(k);
      size_t hosts = host.empty() ? 0 : 1;
      REQUIRE(line->tags.size() == 3 + hosts);  // host, the hostile one, metric_type, z: no more, no fewer
      if (hosts) CHECK(keys[0] == "host");
      CHECK(keys[1 + hosts] == "metric_type");
      CHECK(line->tags[2 + hosts] == std::pair<std::string, std::string>("z", "last"));
      CHECK(line->fields == std::map<std::string, std::string>{{"value", "0.25"}});
      CHECK(line->time == std::to_string(s.time_ms * 1'000'000));
      if (plain(key) && plain(value)) {
        compared++;
        CHECK(line->tags[hosts] == std::pair(key, value.empty() ? std::string("true") : value));
      }
      if (plain(name) && !name.empty() && name[0] != '#' &&
          (name.find('=') == name.npos || reading == Reading::influxdb))
        CHECK(line->measurement == name);
    }
  }
  CHECK(compared > 200);
}

TEST_CASE("influx events keep their texts") {
  std::mt19937 random(17);
  auto encoder = find_encoder("influx")->make();
  for (int i = 0; i < 3000; i++) {
    Batch batch("test");
    std::string state = test::hostile_text(random, 20), description = test::hostile_text(random, 60);
    Event e;
    e.series = batch.series("deploy", {{"by", "ci"}});
    e.state = batch.string(state), e.description = batch.string(description);
    batch.set_event_tags(e, {state, "x"});
    e.ttl_s = 1.5F;
    std::string out;
    REQUIRE(encoder->event(batch, e, out));
    INFO(out);
    auto line = parse_line(out, Reading::influxdb);
    REQUIRE(line);
    CHECK(line->fields["ttl"] == "1.5");
    CHECK(line->fields.count("state") == (state.empty() ? 0 : 1));
    CHECK(line->fields.count("tags") == 1);
    CHECK(line->fields.count("value") == 0);
    if (valid_utf8(description) && !has_control(description))
      CHECK(line->fields["description"] == description);
  }
}

TEST_CASE("influx times beyond 64 bits of nanoseconds are refused") {
  auto encoder = find_encoder("influx")->make();
  Batch batch("test");
  Sample s;
  Event e;
  s.series = e.series = batch.series("a", {});
  const std::pair<int64_t, bool> rows[] = {{9'223'372'036'854, true},
                                           {9'223'372'036'855, false},
                                           {INT64_MAX, false},
                                           {-9'223'372'036'854, true},
                                           {INT64_MIN, false},
                                           {0, true},
                                           {-1, true}};
  for (auto [time, good] : rows) {
    std::string out;
    s.time_ms = e.time_ms = time;
    CHECK(encoder->sample(batch, s, out) == good);
    CHECK(encoder->event(batch, e, out) == good);
    CHECK(out.empty() != good);
    if (good)
      CHECK(parse_line(out.substr(0, out.find('\n') + 1), Reading::influxdb)->time ==
            std::to_string(time * 1'000'000));
  }
}
