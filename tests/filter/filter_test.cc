#include "filter/filter.h"

#include <random>
#include <string>
#include <vector>

#include "filter/pattern.h"
#include "support/catch.h"

using namespace runnel;

namespace {

// Two records that the tables ask about.
struct Subjects {
  Batch batch{"test"};
  Sample sample;
  Event event;
  Subjects() {
    batch.origins[0] = {"web-1", {{"build", "1.4.2"}, {"zone", "a"}}};
    sample.series = batch.series("api.requests", {{"site", "lon"},
                                                  {"prod", ""},
                                                  {"path", "/var/log (old)"},
                                                  {"key", "k"},
                                                  {"type", "t"},
                                                  {"and", "x"},
                                                  {"naïve", "ü"}});
    sample.kind = Kind::counter;
    event.series = batch.series("deploy", {{"by", "ci"}, {"site", "ams"}});
    batch.set_event_tags(event, {"web", "key"});
  }
};

struct Row {
  const char* filter;
  bool sample, event;
};

}  // namespace

TEST_CASE("filters match what they say") {
  Subjects s;
  const Row rows[] = {
      {"", true, true},
      {"  \t\n", true, true},
      {"true", true, true},
      {"false", false, false},
      {"not false", true, true},
      {"key = api.requests", true, false},
      {"key=api.requests", true, false},
      {"key=\"api.requests\"", true, false},
      {"key='api.requests'", true, false},
      {"key = api", false, false},
      {"key != api.requests", false, true},
      {"key!=api.requests", false, true},
      {"key ~ api", true, false},
      {"key ~ pi", false, false},
      {"host = web-1", true, true},
      {"host ~ web-", true, true},
      {"host", true, true},
      {"key", true, true},
      {"type = metric", true, false},
      {"type = event", false, true},
      {"type != event", true, false},
      {"type = counter", true, false},
      {"type = gauge", false, false},
      {"type != gauge", true, true},
      {"site", true, true},
      {"site = lon", true, false},
      {"site = ams", false, true},
      {"site != lon", false, true},
      {"nope", false, false},
      {"nope = x", false, false},
      {"nope != x", true, true},
      {"nope ~ x", false, false},
      {"nope = \"\"", false, false},
      // Bare tags have the value "".
      {"prod", true, false},
      {"prod = \"\"", true, false},
      {"web", false, true},
      {"web = ''", false, true},
      // The explicit forms.
      {"tag.site = lon", true, false},
      {"tag.site = ams", false, false},
      {"attribute.site = ams", false, true},
      {"attribute.site = lon", false, false},
      {"tag.key = k", true, false},
      {"tag.key", true, true},
      {"tag.type = t", true, false},
      {"\"key\" = k", true, false},
      {"\"and\" = x", true, false},
      {"tag.and = x", true, false},
      {"resource.build = 1.4.2", true, true},
      {"resource.build", true, true},
      {"resource.nope", false, false},
      {"build", false, false},
      {"naïve = ü", true, false},
      // Precedence: not, and, or.
      {"false and false or true", true, true},
      {"true or false and false", true, true},
      {"(true or false) and false", false, false},
      {"not false and false", false, false},
      {"not (false and false)", true, true},
      {"not not true", true, true},
      {"not site = lon", false, true},
      {"(((site = lon)))", true, false},
      {"(site = lon)and(prod)", true, false},
      {"not(prod)", false, true},
      {"type = metric and site = lon or type = event and by = ci", true, true},
      {"android", false, false},
      {"notary or oracle", false, false},
      // Patterns: a prefix, or a regular expression where the text has one of its characters.
      {"path ~ \"/var/log\"", true, false},
      {"path ~ /log/", true, false},
      {"path ~ /^\\/var\\/log \\(old\\)$/", true, false},
      {"path ~ \"\\(old\\)$\"", true, false},
      {"key ~ ^api\\.", true, false},
      {"key ~ ^api\\.requests$", true, false},
      {"key ~ requests$", true, false},
      {"key ~ (requests|deploy)", true, true},
      {"(key ~ ^(api|web)\\.(requests|errors)$)", true, false},
      {"(key ~ ^dep)", false, true},
      {"key ~ [ae]p", true, true},
      {"key ~ api.", true, false},  // no such character: a prefix
      {"key ~ apiX", false, false},
      {"key ~ ^pi", false, false},
      {"key ~ .*", true, true},
      {"key ~ //", true, true},
      {"key ~ ^$", false, false},
      {"site ~ ^l.n$ and not key ~ \"deploy\"", true, false},
      {"key = \"api\\x2erequests\"", true, false},
  };
  for (const Row& row : rows) {
    INFO(row.filter);
    auto filter = Filter::compile(row.filter);
    if (!filter) FAIL(filter.error());
    CHECK(filter->matches(s.batch, s.sample) == row.sample);
    CHECK(filter->matches(s.batch, s.event) == row.event);
  }
  CHECK(Filter::compile(" ")->matches_all());
  CHECK_FALSE(Filter::compile("site = lon")->matches_all());
}

TEST_CASE("a filter that is wrong says where and what was expected") {
  const std::pair<const char*, const char*> rows[] = {
      {"and", "column 1: expected a condition, got \"and\" (a tag of that name: \"and\" in quotes)"},
      {"site = lon adn prod", "column 12: expected and, or or the end, got \"adn\" (did you mean and?)"},
      {"site = lon AND prod", "column 12: expected and, or or the end, got \"AND\" (did you mean and?)"},
      {"site = lon && prod", "column 12: expected and, or or the end, got \"&&\" (did you mean and?)"},
      {"site = lon || prod", "column 12: expected and, or or the end, got \"||\" (did you mean or?)"},
      {"nto prod", "column 5: expected and, or or the end, got \"prod\" (did you mean not in column 1?)"},
      {"site = new york",
       "column 12: expected and, or or the end, got \"york\" (a text with spaces needs quotes)"},
      {"site =", "column 7: expected a text, got the end (the empty text is \"\")"},
      {"site = and prod", "column 8: expected a text, got \"and\" (if it is one: \"and\" in quotes)"},
      {"site == lon", "column 7: expected a text, got \"=\" (equality is one \"=\")"},
      {"site =~ lon", "column 7: expected a text, got \"~\" (a pattern is one \"~\" without \"=\")"},
      {"site ~= lon", "column 7: expected a pattern, got \"=\" (a pattern is one \"~\" without \"=\")"},
      {"site !~ lon", "column 6: expected and, or or the end, got \"!~\" (not … ~ …)"},
      {"!prod = x and", "column 14: expected a condition, got the end"},
      {"= lon", "column 1: expected a condition, got \"=\""},
      {"!= lon", "column 1: expected a condition, got \"!\" (did you mean not?)"},
      {"(site = lon", "column 12: expected and, or or \")\" for the \"(\" in column 1, got the end"},
      {"(site = lon))", "column 13: expected and, or or the end, got \")\""},
      {"()", "column 2: expected a condition, got \")\""},
      {"not", "column 4: expected a condition, got the end"},
      {"prod or", "column 8: expected a condition, got the end"},
      {"type", "column 5: expected \"=\" or \"!=\" after type, got the end (a tag of that name: tag.type)"},
      {"type ~ m", "column 6: expected \"=\" or \"!=\" after type, got \"~\" (a tag of that name: tag.type)"},
      {"type = guage",
       "column 8: expected metric, event, counter, total, gauge, distribution or set, got \"guage\" (did you "
       "mean gauge?)"},
      {"type = 7", "column 8: expected metric, event, counter, total, gauge, distribution or set, got \"7\""},
      {"tag. = x", "column 5: expected a name after \"tag.\", got \"=\""},
      {"resource.", "column 10: expected a name after \"resource.\", got the end"},
      {"key = \"abc", "column 7: a text has no \" at its end"},
      {"key = 'abc\"", "column 7: a text has no ' at its end"},
      {"key ~ \"abc", "column 7: a text has no \" at its end"},
      {"key = \"a\\qb\"",
       "column 9: unknown escape (\\\" \\\\ \\n \\r \\t \\xNN; a backslash itself is \\\\)"},
      {"naïve = ü or", "column 13: expected a condition, got the end"},
      {"key ~ /a(/", "column 7: not a regular expression: Unmatched ( or \\("},
      {"key ~ [a", "column 7: not a regular expression: Unmatched [, [^, [:, [., or [="},
      {"key ~ /abc",
       "column 7: a regular expression in slashes has no \"/\" at its end (a prefix that begins with / needs "
       "quotes)"},
      {"key ~ /var/log",
       "column 12: expected a space behind the regular expression, got \"log\" (a prefix that begins with / "
       "needs quotes)"},
      {"key ~", "column 6: expected a pattern, got the end"},
      {"key ~ and b", "column 7: expected a pattern, got \"and\" (if it is one: \"and\" in quotes)"},
      {"key ~ /(a)\\1/", "column 7: back-references are not supported (they can take for ever)"},
      {"key ~ ((a{200}){200}){200}",
       "column 7: repetitions of a regular expression multiply to at most 1000"},
      {"[\"=\", \"site\", \"lon\"]",
       "column 1: expected a condition, got \"[\" (FFWD's list [\"=\", \"site\", \"lon\"] is written site = "
       "lon)"},
      {"a \x1b[31m",
       "column 3: expected and, or or the end, got \"\\x1b[31m\" (a text with spaces needs quotes)"},
  };
  for (auto [text, error] : rows) {
    INFO(text);
    auto filter = Filter::compile(text);
    REQUIRE_FALSE(filter.ok());
    CHECK(filter.error() == error);
  }
}

TEST_CASE("nesting, size and expressions are bounded") {
  auto nested = [](size_t n, std::string open) {
    std::string text;
    for (size_t i = 0; i < n; i++) text += open;
    text += "prod";
    if (open == "(") text += std::string(n, ')');
    return text;
  };
  CHECK(Filter::compile(nested(64, "(")).ok());
  CHECK(Filter::compile(nested(64, "not ")).ok());
  CHECK(Filter::compile(nested(65, "(")).error() ==
        "column 65: parentheses and \"not\" nest at most 64 deep");
  CHECK(Filter::compile(nested(30'000, "(")).error() ==
        "column 65: parentheses and \"not\" nest at most 64 deep");
  CHECK(Filter::compile(nested(65, "not ")).error() ==
        "column 257: parentheses and \"not\" nest at most 64 deep");
  CHECK(Filter::compile(std::string(65'537, ' ') + "prod").error() == "a filter is at most 64KiB long");
  std::string many = "a";
  for (int i = 1; i < 10'000; i++) many += " or a";
  CHECK(Filter::compile(many).ok());
  CHECK(Filter::compile(many + " or a").error() == "column 50001: a filter has at most 10000 conditions");
  CHECK(Filter::compile("key ~ /" + std::string(1025, 'a') + "/").error() ==
        "column 7: a regular expression is at most 1024 bytes long");
  CHECK(Filter::compile("key ~ /" + std::string(33, '(') + std::string(33, ')') + "/").error() ==
        "column 7: groups of a regular expression nest at most 32 deep");
}

TEST_CASE("a pattern is the cheapest thing that does the same") {
  using filter::Pattern;
  const std::pair<const char*, Pattern::Kind> rows[] = {
      {"^api", Pattern::Kind::prefix},   {"^api\\.", Pattern::Kind::prefix},
      {"^api$", Pattern::Kind::equals},  {"api\\.v1", Pattern::Kind::contains},
      {"^$", Pattern::Kind::equals},     {"^api.", Pattern::Kind::regex},
      {"api$", Pattern::Kind::regex},    {"^a|b", Pattern::Kind::regex},
      {"a\\$", Pattern::Kind::contains}, {"^a\\\\$", Pattern::Kind::regex},
      {"[a]", Pattern::Kind::regex},     {"\\w", Pattern::Kind::regex},
  };
  for (auto [expression, kind] : rows) {
    INFO(expression);
    auto pattern = Pattern::regex(expression);
    REQUIRE(pattern.ok());
    CHECK(pattern->kind() == kind);
  }
  CHECK(Pattern::regex("^api\\.")->matches("api.x"));
  CHECK_FALSE(Pattern::regex("^api\\.")->matches("apix"));
  CHECK(Pattern::regex("a\\$")->matches("xa$y"));
  // A view is bounded by its size: nothing behind it is read, a NUL inside does not end it.
  CHECK_FALSE(Pattern::regex("a.c")->matches(std::string_view("abc", 2)));
  CHECK(Pattern::regex("a.c")->matches(std::string_view("\0abc", 4)));
  CHECK(Pattern::regex("^a*$")->matches(std::string_view()));
}

TEST_CASE("mutated filters compile or say a column, and never more") {
  const std::string seeds[] = {
      "site = lon and not (key ~ ^debug or host != \"web-1\")",
      "type = counter or resource.build ~ /^1\\.[0-9]+/ and tag.key",
      "key ~ (a|b){1,3} and \"a b\" = 'c\\x41d'",
  };
  const std::string pieces[] = {"(",    ")",    "not ", " and ", " or ", "=", "!=", "~",
                                "/",    "\"",   "'",    "\\",    "{9}",  "[", "]",  "*",
                                "type", "tag.", "\xff", "ü",     " ",    "$", "^"};
  std::mt19937 random(7);
  Subjects s;
  size_t good = 0, bad = 0;
  for (int i = 0; i < 20'000; i++) {
    std::string text = seeds[random() % std::size(seeds)];
    for (unsigned n = 1 + random() % 4; n > 0; n--) {
      size_t at = random() % (text.size() + 1);
      switch (random() % 3) {
        case 0:
          text.erase(at, 1 + random() % 3);
          break;
        case 1:
          text.insert(at, pieces[random() % std::size(pieces)]);
          break;
        default:
          if (at < text.size()) text[at] = static_cast<char>(random());
      }
    }
    auto filter = Filter::compile(text);
    if (filter) {
      good++;
      // Exactly one of a filter and its opposite holds.
      auto opposite = Filter::compile("not (" + text + ")");
      if (!opposite) continue;  // a pattern at the end may swallow the parenthesis
      CHECK(filter->matches(s.batch, s.sample) != opposite->matches(s.batch, s.sample));
      CHECK(filter->matches(s.batch, s.event) != opposite->matches(s.batch, s.event));
    } else {
      bad++;
      if (filter.error().find("column ") != 0 || filter.error().find('\n') != std::string::npos)
        FAIL(text << ": " << filter.error());
    }
  }
  CHECK(good > 1000);
  CHECK(bad > 1000);
}
