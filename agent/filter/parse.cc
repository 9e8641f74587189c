// Text → tree, by recursive descent over the bytes.
//
//   any       = all { "or" all }
//   all       = unary { "and" unary }
//   unary     = "not" unary | "(" any ")" | "true" | "false" | condition
//   condition = "type" ( "=" | "!=" ) TYPE | field [ ( "=" | "!=" ) text | "~" pattern ]
//   field     = "key" | "host" | "tag." NAME | "attribute." NAME | "resource." NAME | NAME | quoted
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "filter/tree.h"

namespace runnel::filter {
namespace {

bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}
bool is_keyword(std::string_view word) {
  return word == "and" || word == "or" || word == "not";
}

// The keyword that the word was meant to be: other operators people know, capitals, letters swapped, one
// wrong.
std::string meant_keyword(std::string_view word, const std::vector<std::string>& keywords) {
  auto known = [&](std::string_view k) {
    return std::find(keywords.begin(), keywords.end(), k) != keywords.end();
  };
  for (auto [other, ours] : {std::pair{"&&", "and"}, {"&", "and"}, {"||", "or"}, {"|", "or"}, {"!", "not"}})
    if (word == other && known(ours)) return ours;
  std::string lower(word);
  for (char& c : lower) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  if (known(lower)) return lower;
  for (const std::string& k : keywords)
    if (lower.size() == k.size() && std::is_permutation(lower.begin(), lower.end(), k.begin())) return k;
  return lower.size() < 2 ? "" : nearest(lower, keywords);
}

struct Word {
  std::string text;
  size_t at = 0;  // offset in the filter
  bool quoted = false;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<Node> parse() {
    if (text_.size() > kMaxText)
      return Error{fmt::format("a filter is at most {} long", format_size(kMaxText))};
    skip_space();
    if (at_ < text_.size() && text_[at_] == '[')
      return fail(
          at_,
          "expected a condition, got \"[\" (FFWD's list [\"=\", \"site\", \"lon\"] is written site = lon)");
    auto tree = any();
    if (!tree) return tree;
    if (at_ < text_.size()) return unexpected_after_condition("the end");
    return tree;
  }

 private:
  Result<Node> any() { return chain("or", Node::Op::any_of, &Parser::all); }
  Result<Node> all() { return chain("and", Node::Op::all_of, &Parser::unary); }

  Result<Node> chain(std::string_view keyword, Node::Op op, Result<Node> (Parser::*operand)()) {
    auto first = (this->*operand)();
    if (!first || !next_is(keyword)) return first;
    Node node;
    node.op = op;
    node.children.push_back(std::move(*first));
    while (next_is(keyword)) {
      at_ += keyword.size();
      auto next = (this->*operand)();
      if (!next) return next;
      node.children.push_back(std::move(*next));
    }
    return node;
  }

  Result<Node> unary() {
    skip_space();
    size_t from = at_;
    if (++nodes_ > kMaxNodes) return fail(from, fmt::format("a filter has at most {} conditions", kMaxNodes));
    if (at_ == text_.size()) return fail(from, "expected a condition, got the end");
    bool group = text_[at_] == '(', negate = next_is("not");
    if (!group && !negate) return condition();
    if (++depth_ > kMaxDepth)
      return fail(from, fmt::format("parentheses and \"not\" nest at most {} deep", kMaxDepth));
    at_ += group ? 1 : 3;
    auto inner = group ? any() : unary();
    if (!inner) return inner;
    depth_--;
    if (group) {
      skip_space();
      if (at_ == text_.size() || text_[at_] != ')')
        return unexpected_after_condition(fmt::format("\")\" for the \"(\" in column {}", column(from)));
      at_++;
      last_ = {};
      return inner;
    }
    Node node;
    node.op = Node::Op::negate;
    node.children.push_back(std::move(*inner));
    return node;
  }

  Result<Node> condition() {
    auto left = word("()=~", true);
    if (!left) return Error{left.error()};
    if (!left->quoted) {
      if (left->text.empty()) return unexpected_instead_of_condition(left->at);
      if (is_keyword(left->text))
        return fail(left->at,
                    fmt::format("expected a condition, got \"{0}\" (a tag of that name: \"{0}\" in quotes)",
                                left->text));
      if (left->text == "true" || left->text == "false") {
        Node node;
        node.op = left->text == "true" ? Node::Op::always : Node::Op::never;
        last_ = {};
        return node;
      }
    }
    last_ = *left;
    skip_space();
    bool differs = text_.substr(at_).starts_with("!="), equals = !differs && peek() == '=',
         match = peek() == '~';
    if (!left->quoted && left->text == "type") {
      if (!differs && !equals)
        return fail(
            at_,
            fmt::format("expected \"=\" or \"!=\" after type, got {} (a tag of that name: tag.type)", got()));
      at_ += differs ? 2 : 1;
      return type(differs);
    }
    Node node;
    if (auto status = set_field(node, *left); !status) return Error{status.error()};
    if (!differs && !equals && !match) {
      node.op = Node::Op::present;
      return node;
    }
    at_ += differs ? 2 : 1;
    skip_space();
    if (match) {
      node.op = Node::Op::match;
      auto pattern = this->pattern();
      if (!pattern) return Error{pattern.error()};
      node.pattern = std::move(*pattern);
      return node;
    }
    node.op = Node::Op::equal;
    if (peek() == '=') return fail(at_, "expected a text, got \"=\" (equality is one \"=\")");
    if (peek() == '~') return fail(at_, "expected a text, got \"~\" (a pattern is one \"~\" without \"=\")");
    auto right = word("()", false);
    if (!right) return Error{right.error()};
    if (auto status = check_text(*right); !status) return Error{status.error()};
    node.text = right->text;
    last_ = *right;
    return differs ? negated(std::move(node)) : std::move(node);
  }

  Result<Node> type(bool differs) {
    skip_space();
    auto right = word("()", false);
    if (!right) return Error{right.error()};
    if (auto status = check_text(*right); !status) return Error{status.error()};
    last_ = *right;
    Node node;
    if (right->text == "metric" || right->text == "event") {
      node.op = Node::Op::type_is;
      node.event = right->text == "event";
      return differs ? negated(std::move(node)) : std::move(node);
    }
    std::vector<std::string> names = {"metric", "event"};
    for (Kind kind : {Kind::counter, Kind::total, Kind::gauge, Kind::distribution, Kind::set}) {
      if (right->text == kind_name(kind)) {
        node.op = Node::Op::kind_is;
        node.kind = kind;
        return differs ? negated(std::move(node)) : std::move(node);
      }
      names.emplace_back(kind_name(kind));
    }
    std::string meant = meant_keyword(right->text, names);
    return fail(
        right->at,
        fmt::format("expected metric, event, counter, total, gauge, distribution or set, got \"{}\"{}",
                    excerpt(right->text, 40),
                    meant.empty() ? "" : fmt::format(" (did you mean {}?)", meant)));
  }

  Status set_field(Node& node, const Word& left) {
    node.field = Field::name;
    node.name = left.text;
    if (left.quoted) return {};  // quotes take every special meaning away
    if (left.text == "key") node.field = Field::key;
    if (left.text == "host") node.field = Field::host;
    for (auto [prefix, field] : {std::pair<std::string_view, Field>{"tag.", Field::tag},
                                 {"attribute.", Field::attribute},
                                 {"resource.", Field::resource}}) {
      if (!left.text.starts_with(prefix)) continue;
      node.field = field;
      node.name = left.text.substr(prefix.size());
      if (!node.name.empty()) return {};
      skip_space();
      return Error{fmt::format("column {}: expected a name after \"{}\", got {}",
                               column(left.at + prefix.size()), prefix, got())};
    }
    return {};
  }

  Result<Pattern> pattern() {
    size_t from = at_;
    if (peek() == '=')
      return fail(at_, "expected a pattern, got \"=\" (a pattern is one \"~\" without \"=\")");
    if (peek() == '/') return slashes();
    std::string text;
    if (peek() == '"' || peek() == '\'') {
      // Only the quote itself is unescaped: every other backslash belongs to the regular expression.
      char quote = text_[at_++];
      while (at_ < text_.size() && text_[at_] != quote) {
        if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
          if (text_[at_ + 1] != quote) text += '\\';
          at_++;
        }
        text += text_[at_++];
      }
      if (at_ == text_.size()) return unclosed(from, quote);
      at_++;
    } else {
      int depth = 0;  // parentheses of the expression; a ) that closes none belongs to the filter
      for (; at_ < text_.size() && !is_space(text_[at_]); at_++) {
        if (text_[at_] == '\\' && at_ + 1 < text_.size()) text += text_[at_++];
        if (text_[at_] == '(') depth++;
        if (text_[at_] == ')' && --depth < 0) break;
        text += text_[at_];
      }
      if (text.empty()) return fail(from, fmt::format("expected a pattern, got {}", got()));
      if (is_keyword(text))
        return fail(from,
                    fmt::format("expected a pattern, got \"{0}\" (if it is one: \"{0}\" in quotes)", text));
    }
    last_ = {text, from, true};
    if (text.find_first_of("^$[](){}|+?*\\") == std::string::npos) return Pattern::prefix(text);
    return regex(text, from);
  }

  Result<Pattern> slashes() {
    size_t from = at_++;
    std::string text;
    while (at_ < text_.size() && text_[at_] != '/') {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
        if (text_[at_ + 1] != '/') text += '\\';
        at_++;
      }
      text += text_[at_++];
    }
    if (at_ == text_.size())
      return fail(from,
                  "a regular expression in slashes has no \"/\" at its end (a prefix that begins with / "
                  "needs quotes)");
    at_++;
    if (at_ < text_.size() && !is_space(text_[at_]) && text_[at_] != ')')
      return fail(
          at_,
          fmt::format("expected a space behind the regular expression, got {} (a prefix that begins with / "
                      "needs quotes)",
                      got()));
    last_ = {text, from, true};
    return regex(text, from);
  }

  Result<Pattern> regex(const std::string& text, size_t from) {
    auto compiled = Pattern::regex(text);
    if (!compiled) return fail(from, compiled.error());
    return compiled;
  }

  // A quoted text or the run of bytes up to a space, quote or one of `stops` (and "!=", for the left side).
  Result<Word> word(std::string_view stops, bool stop_at_differs) {
    skip_space();
    Word w;
    w.at = at_;
    if (peek() == '"' || peek() == '\'') {
      w.quoted = true;
      char quote = text_[at_++];
      while (at_ < text_.size() && text_[at_] != quote) {
        if (text_[at_] != '\\') {
          w.text += text_[at_++];
        } else if (auto status = escape(w.text, quote); !status) {
          return Error{status.error()};
        }
      }
      if (at_ == text_.size()) return unclosed(w.at, quote);
      at_++;
      return w;
    }
    for (; at_ < text_.size(); at_++) {
      char c = text_[at_];
      if (is_space(c) || c == '"' || c == '\'' || stops.find(c) != std::string_view::npos) break;
      if (stop_at_differs && text_.substr(at_).starts_with("!=")) break;
      w.text += c;
    }
    return w;
  }

  Status escape(std::string& out, char quote) {
    size_t from = at_++;
    char c = peek();
    at_++;
    switch (c) {
      case 'n':
        out += '\n';
        return {};
      case 't':
        out += '\t';
        return {};
      case 'r':
        out += '\r';
        return {};
      case '\\':
      case '"':
      case '\'':
        out += c;
        return {};
      case 'x': {
        int value = 0, digits = 0;
        for (; digits < 2 && at_ < text_.size(); digits++, at_++) {
          char d = text_[at_];
          int digit = d >= '0' && d <= '9'   ? d - '0'
                      : d >= 'a' && d <= 'f' ? d - 'a' + 10
                      : d >= 'A' && d <= 'F' ? d - 'A' + 10
                                             : -1;
          if (digit < 0) break;
          value = value * 16 + digit;
        }
        if (digits == 2) {
          out += static_cast<char>(value);
          return {};
        }
        break;
      }
      default:
        break;
    }
    if (at_ > text_.size()) return unclosed(from, quote);
    return fail(from, "unknown escape (\\\" \\\\ \\n \\r \\t \\xNN; a backslash itself is \\\\)");
  }

  Status check_text(const Word& right) {
    if (right.quoted) return {};
    if (right.text.empty())
      return fail(right.at, fmt::format("expected a text, got {}{}", got(),
                                        peek() == '(' || peek() == ')' ? "" : " (the empty text is \"\")"));
    if (is_keyword(right.text))
      return fail(right.at,
                  fmt::format("expected a text, got \"{0}\" (if it is one: \"{0}\" in quotes)", right.text));
    return {};
  }

  static Node negated(Node inner) {
    Node node;
    node.op = Node::Op::negate;
    node.children.push_back(std::move(inner));
    return node;
  }

  // ---- errors

  Error fail(size_t at, std::string_view what) const {
    return {fmt::format("column {}: {}", column(at), what)};
  }
  Error unclosed(size_t from, char quote) const {
    return fail(from, fmt::format("a text has no {} at its end", quote));
  }

  Error unexpected_instead_of_condition(size_t at) const {
    if (peek() == '!') return fail(at, "expected a condition, got \"!\" (did you mean not?)");
    return fail(at, fmt::format("expected a condition, got {}", got()));
  }

  // A condition is complete and something follows that does not belong there.
  Error unexpected_after_condition(std::string_view other) const {
    std::string hint;
    std::string_view next = next_token();
    std::string meant = meant_keyword(next, {"and", "or"});
    if (!meant.empty()) {
      hint = fmt::format(" (did you mean {}?)", meant);
    } else if (!last_.quoted && !meant_keyword(last_.text, {"not"}).empty()) {
      hint = fmt::format(" (did you mean not in column {}?)", column(last_.at));
    } else if (next == "!~" || next == "=~" || next == "==") {
      hint = next == "!~" ? " (not … ~ …)" : " (the operators are =, != and ~)";
    } else if (!last_.quoted && !last_.text.empty() && !next.empty() && next[0] != ')' && next[0] != '(') {
      hint = " (a text with spaces needs quotes)";
    }
    return fail(at_, fmt::format("expected and, or or {}, got {}{}", other, got(), hint));
  }

  std::string_view next_token() const {
    size_t end = at_;
    while (end < text_.size() && !is_space(text_[end]) &&
           (end == at_ || (text_[end] != '(' && text_[end] != ')')))
      end++;
    return text_.substr(at_, end - at_);
  }
  std::string got() const {
    return at_ >= text_.size() ? "the end" : fmt::format("\"{}\"", excerpt(next_token(), 40));
  }
  size_t column(size_t at) const {  // in characters: what an editor shows
    std::string_view before = text_.substr(0, at);
    return 1 + static_cast<size_t>(
                   std::count_if(before.begin(), before.end(), [](char c) { return (c & 0xc0) != 0x80; }));
  }

  // ---- bytes

  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) at_++;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool next_is(std::string_view keyword) {
    skip_space();
    if (!text_.substr(at_).starts_with(keyword)) return false;
    size_t behind = at_ + keyword.size();
    if (behind == text_.size()) return true;
    char c = text_[behind];
    return is_space(c) || c == '(' || c == ')' || c == '"' || c == '\'';
  }

  std::string_view text_;
  size_t at_ = 0;
  size_t depth_ = 0, nodes_ = 0;
  Word last_;  // the last word of a condition, for hints
};

}  // namespace

Result<Node> parse(std::string_view text) {
  return Parser(text).parse();
}

}  // namespace runnel::filter
