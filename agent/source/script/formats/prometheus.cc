// Prometheus text exposition format 0.0.4, and what OpenMetrics adds that hooks print (# EOF, exemplars, seconds with
// a fraction as times): https://prometheus.io/docs/instrumenting/exposition_formats/
//
//     # TYPE name counter
//     name{label="value",…} 42 [milliseconds]
//
// Counters and the parts of histograms and summaries (_bucket, _sum, _count) are totals; quantiles, gauges and what
// has no type are gauges. Labels stay tags (`le`, `quantile`), so nothing of a histogram is lost.
#include <cmath>
#include <deque>
#include <string>
#include <unordered_map>

#include "base/text.h"
#include "source/script/formats/format.h"

namespace runnel::script {
namespace {

bool name_char(char c, bool first) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' ||
         (!first && c >= '0' && c <= '9');
}

std::string_view take_name(std::string_view& line) {
  size_t n = 0;
  while (n < line.size() && name_char(line[n], n == 0)) n++;
  std::string_view name = line.substr(0, n);
  line.remove_prefix(n);
  return name;
}

void skip_blank(std::string_view& line) {
  while (!line.empty() && (line[0] == ' ' || line[0] == '\t')) line.remove_prefix(1);
}

std::string_view take_word(std::string_view& line) {
  skip_blank(line);
  std::string_view word = line.substr(0, line.find_first_of(" \t"));
  line.remove_prefix(word.size());
  return word;
}

class PrometheusReader final : public Reader {
 public:
  void line(std::string_view line, Intake& intake) override {
    intake.received();
    intake.judged(line, read(line, intake));
  }

  // # HELP, # UNIT, # EOF and free comments say nothing that a sample keeps.
  void comment(std::string_view line, Intake& intake) override {
    std::string_view rest = line.substr(1);
    if (take_word(rest) != "TYPE") return;
    std::string_view name = take_word(rest), type = take_word(rest);
    constexpr std::string_view kTypes[] = {"counter", "gauge", "histogram", "summary",       "untyped",
                                           "unknown", "info",  "stateset",  "gaugehistogram"};
    for (std::string_view known : kTypes) {
      if (type != known || name.empty()) continue;
      types_[std::string(name)] = known;
      return;
    }
    intake.received();
    intake.refused(line,
                   {bad::kType, "a TYPE line is `# TYPE name counter|gauge|histogram|summary|untyped`"});
  }

 private:
  Kind kind_of(std::string_view name) const {
    if (auto type = type_of(name); !type.empty()) return type == "counter" ? Kind::total : Kind::gauge;
    for (std::string_view suffix : {"_bucket", "_sum", "_count", "_total"}) {
      if (!name.ends_with(suffix)) continue;
      std::string_view type = type_of(name.substr(0, name.size() - suffix.size()));
      if (suffix == "_total" ? type == "counter"
                             : type == "histogram" || (type == "summary" && suffix != "_bucket"))
        return Kind::total;
    }
    return Kind::gauge;
  }
  std::string_view type_of(std::string_view name) const {
    auto found = types_.find(std::string(name));
    return found == types_.end() ? std::string_view{} : found->second;
  }

  static Verdict read_labels(std::string_view& line, std::vector<Tag>& tags, std::deque<std::string>& texts) {
    for (;;) {
      skip_blank(line);
      if (line.starts_with('}')) break;
      std::string_view key = take_name(line);
      skip_blank(line);
      if (key.empty() || !line.starts_with('=')) return {bad::kTags, "a label is not name=\"value\""};
      line.remove_prefix(1);
      skip_blank(line);
      if (!line.starts_with('"')) return {bad::kTags, "the value of a label is not in quotes"};
      line.remove_prefix(1);
      std::string& value = texts.emplace_back();
      while (!line.empty() && line[0] != '"') {
        char c = line[0];
        if (c == '\\' && line.size() > 1) {
          line.remove_prefix(1);
          c = line[0];
          if (c == 'n') {
            c = '\n';
          } else if (c != '\\' && c != '"') {
            value += '\\';  // an escape that the format does not know stays as it is
          }
        }
        value += c;
        line.remove_prefix(1);
      }
      if (line.empty()) return {bad::kTags, "the value of a label has no closing quote"};
      line.remove_prefix(1);
      tags.push_back({key, value});
      skip_blank(line);
      if (line.starts_with(',')) {
        line.remove_prefix(1);
      } else if (!line.starts_with('}')) {
        return {bad::kTags, "labels without a comma or a closing brace"};
      }
    }
    line.remove_prefix(1);
    return {};
  }

  Verdict read(std::string_view line, Intake& intake) {
    line = trim(line);
    std::string_view name = take_name(line);
    if (name.empty()) return {bad::kName, "the line does not begin with a name"};
    std::vector<Tag> tags;
    std::deque<std::string> texts;
    skip_blank(line);
    if (line.starts_with('{')) {
      line.remove_prefix(1);
      if (Verdict verdict = read_labels(line, tags, texts); !verdict.good()) return verdict;
    } else if (!line.empty() && line.data() == name.data() + name.size()) {
      return {bad::kName, "a name is made of letters, digits, _ and :"};
    }
    std::string_view text = take_word(line);
    if (text.empty()) return {bad::kNoValue, "a line is `name{label=\"value\"} number`"};
    Value value = read_number(text);
    if (!value.number) return {bad::kValue, value.why};
    int64_t time_ms = 0;
    if (std::string_view stamp = take_word(line); !stamp.empty() && stamp != "#") {
      auto ms = parse_int(stamp);
      auto seconds = parse_double(stamp);
      // Milliseconds in 0.0.4; OpenMetrics has seconds, which it writes with a point.
      if (ms) {
        time_ms = *ms;
      } else if (seconds && std::fabs(*seconds) < 1e12) {
        time_ms = std::llround(*seconds * 1000);
      } else {
        return {bad::kTime, "what follows the value is not a time"};
      }
      if (Verdict verdict = check_time(time_ms); !verdict.good()) return verdict;
      stamp = take_word(line);
      if (!stamp.empty() && stamp != "#") return {bad::kSyntax, "text behind the time"};
    }
    if (Verdict verdict = check_series(name, tags); !verdict.good()) return verdict;
    intake.add(name, tags.data(), tags.size(), *value.number, kind_of(name), time_ms);
    return {};
  }

  std::unordered_map<std::string, std::string_view> types_;
};

}  // namespace

std::unique_ptr<Reader> make_prometheus_reader() {
  return std::make_unique<PrometheusReader>();
}

}  // namespace runnel::script
