#include "source/statsd/growth.h"

#include <fmt/format.h>

#include "source/statsd/aggregator.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

std::string described(const std::vector<std::pair<std::string, std::string>>& series) {
  std::vector<SampledSeries> sample;
  for (const auto& [name, tags] : series) sample.push_back({name, tags});
  return describe_growth(sample);
}

// `n` series, `%` in name and tags is their number.
std::vector<std::pair<std::string, std::string>> many(size_t n, std::string name, std::string tags) {
  std::vector<std::pair<std::string, std::string>> series;
  for (size_t i = 0; i < n; i++) {
    auto with = [&](std::string text) {
      for (size_t at; (at = text.find('%')) != std::string::npos;) text.replace(at, 1, std::to_string(i));
      return text;
    };
    series.emplace_back(with(name), with(tags));
  }
  return series;
}

std::vector<std::pair<std::string, std::string>> operator+(
    std::vector<std::pair<std::string, std::string>> a,
    const std::vector<std::pair<std::string, std::string>>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace

TEST_CASE("what fills a table, in words") {
  struct {
    std::vector<std::pair<std::string, std::string>> series;
    std::string says;
  } rows[] = {
      {{}, ""},
      {{{"a", ""}}, "name=\"a\" share=100%"},
      {{{"a.b", ""}}, "prefix=\"a.\" share=100%"},
      // A tag of one name has very many values.
      {many(100, "api.requests", "user_id:%"), "name=\"api.requests\" tag=\"user_id\" share=100%"},
      {many(100, "api.requests", "env:prod,user_id:%,zone:a") + many(25, "web.%", ""),
       "name=\"api.requests\" tag=\"user_id\" share=80%"},
      {many(40, "api.requests", "id:%") + many(60, "x%.y%", ""),
       "name=\"api.requests\" tag=\"id\" share=40%"},
      {many(50, "a", "bare%"), "name=\"a\" tag=\"bare0\" share=100%"},  // a bare tag is its own key
      // Very many names below a prefix.
      {many(100, "web.user.%.clicks", ""), "prefix=\"web.user.\" share=100%"},
      {many(93, "web.user.%", "") + many(7, "db%.q", ""), "prefix=\"web.user.\" share=93%"},
      {many(60, "a.b.c%", "") + many(40, "a.d.c%", ""), "prefix=\"a.b.\" share=60%"},
      {many(30, "a.b.c%", "") + many(30, "a.d.c%", "") + many(40, "z%", ""), "prefix=\"a.\" share=60%"},
      // Names without dots, or with the number first.
      {many(100, "req_%_time", "") + many(5, "app.m%", ""), "prefix=\"req_\" share=95%"},
      {many(100, "n%", ""), "prefix=\"n\" share=100%"},
      {many(10, "n%.x", ""), "prefix=\"n\" share=100%"},
      {many(100, "%.hits", ""), "suffix=\".hits\" share=100%"},
      {{{"a", ""}, {"b", ""}, {"c", ""}}, "names without a common part, such as \"a\""},
      // Names are shown as what they are.
      {{{"a\"b\\", ""}}, "name=\"a\\\"b\\\\\" share=100%"},
  };
  for (const auto& row : rows) CHECK(described(row.series) == row.says);
}

TEST_CASE("a full aggregator says what fills it") {
  AggregatorOptions options;
  options.max_series = 5000;
  Aggregator aggregator(options);
  CHECK(aggregator.describe_growth().empty());
  for (int i = 0; i < 1000; i++) aggregator.add(fmt::format("other{}:1|c", i));
  for (int i = 0; i < 9000; i++) aggregator.add(fmt::format("api.requests:1|c|#user:{}", i));
  std::string says = aggregator.describe_growth();
  INFO(says);
  CHECK(says.starts_with("name=\"api.requests\" tag=\"user\" share="));
}
