#include "filter/pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace runnel::filter {
namespace {

// glibc's regcomp unrolls intervals and recurses into groups, so that a short text can cost gigabytes or the
// stack.
constexpr size_t kMaxExpression = 1024;
constexpr size_t kMaxGroups = 32;     // nesting
constexpr double kMaxRepeats = 1000;  // product of the bounds of all intervals

constexpr std::string_view kMeta = "^$[](){}|+?*\\.";

// The literal that the expression spells, if it spells nothing else.
std::optional<std::string> literal_of(std::string_view expression) {
  std::string literal;
  for (size_t i = 0; i < expression.size(); i++) {
    char c = expression[i];
    if (c == '\\' && i + 1 < expression.size() && kMeta.find(expression[i + 1]) != std::string_view::npos) {
      literal += expression[++i];
    } else if (kMeta.find(c) != std::string_view::npos) {
      return std::nullopt;
    } else {
      literal += c;
    }
  }
  return literal;
}

Status check_limits(std::string_view e) {
  if (e.size() > kMaxExpression)
    return Error{fmt::format("a regular expression is at most {} bytes long", kMaxExpression)};
  if (e.find('\0') != std::string_view::npos) return Error{"a regular expression cannot hold a NUL byte"};
  size_t depth = 0;
  double repeats = 1;
  for (size_t i = 0; i < e.size(); i++) {
    if (e[i] == '\\') {
      i++;
      if (i < e.size() && e[i] >= '1' && e[i] <= '9')
        return Error{"back-references are not supported (they can take for ever)"};
    } else if (e[i] == '[') {  // a bracket expression: the first ] is an ordinary one
      size_t from = i + 1;
      if (from < e.size() && e[from] == '^') from++;
      if (from < e.size() && e[from] == ']') from++;
      for (i = from; i < e.size() && e[i] != ']'; i++) {
        if (e[i] != '[' || i + 1 >= e.size()) continue;
        char kind = e[i + 1];  // [:alpha:], [.-.], [=a=]
        if (kind != ':' && kind != '.' && kind != '=') continue;
        char end[] = {kind, ']'};
        size_t close = e.find(std::string_view(end, 2), i + 2);
        i = close == std::string_view::npos ? e.size() : close + 1;
      }
    } else if (e[i] == '(') {
      if (++depth > kMaxGroups)
        return Error{fmt::format("groups of a regular expression nest at most {} deep", kMaxGroups)};
    } else if (e[i] == ')' && depth > 0) {
      depth--;
    } else if (e[i] == '{') {
      double bound = 0, largest = 1;
      for (i++; i < e.size() && ((e[i] >= '0' && e[i] <= '9') || e[i] == ','); i++) {
        bound = e[i] == ',' ? 0 : std::min(bound * 10 + (e[i] - '0'), 1e6);
        largest = std::max(largest, bound);
      }
      i--;
      repeats *= largest;
      if (repeats > kMaxRepeats)
        return Error{fmt::format("repetitions of a regular expression multiply to at most {}", kMaxRepeats)};
    }
  }
  return {};
}

}  // namespace

Pattern Pattern::prefix(std::string_view text) {
  Pattern p;
  p.literal_ = text;
  return p;
}

Result<Pattern> Pattern::regex(std::string_view expression) {
  if (Status status = check_limits(expression); !status) return Error{status.error()};
  Pattern p;
  std::string_view body = expression;
  bool begins = body.starts_with('^');
  if (begins) body.remove_prefix(1);
  bool ends = body.ends_with('$') && !body.ends_with("\\$");
  if (ends) body.remove_suffix(1);
  if (auto literal = literal_of(body); literal && (begins || !ends)) {
    p.kind_ = begins ? (ends ? Kind::equals : Kind::prefix) : Kind::contains;
    p.literal_ = *literal;
    return p;
  }
  auto compiled = std::make_unique<regex_t>();
  int error = regcomp(compiled.get(), std::string(expression).c_str(), REG_EXTENDED | REG_NOSUB);
  if (error != 0) {
    char text[200];
    regerror(error, compiled.get(), text, sizeof text);
    return Error{fmt::format("not a regular expression: {}", text)};
  }
  p.kind_ = Kind::regex;
  p.regex_.reset(compiled.release());
  return p;
}

bool Pattern::matches(std::string_view text) const {
  switch (kind_) {
    case Kind::prefix:
      return text.starts_with(literal_);
    case Kind::contains:
      return text.find(literal_) != std::string_view::npos;
    case Kind::equals:
      return text == literal_;
    case Kind::regex:
      break;
  }
  // REG_STARTEND (BSD and glibc): the text is bounded by its size instead of a NUL that a view does not have.
  regmatch_t range{0, static_cast<regoff_t>(text.size())};
  return regexec(regex_.get(), text.data() ? text.data() : "", 1, &range, REG_STARTEND) == 0;
}

}  // namespace runnel::filter
