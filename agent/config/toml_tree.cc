#include "config/toml_tree.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "config/load.h"

// Debian's CMake target links a shared library; the header alone needs no run-time dependency. Without
// exceptions the result carries the error. Both spellings exist in 3.3 and 3.4.
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#define TOML_MAX_NESTED_VALUES 64
// `[$]` and `[` fail an assertion of 3.3 although the code behind it reports them as any other bad syntax:
// where assertions are live it would abort, and where they are not clang would take it for a promise.
#undef NDEBUG
#define TOML_ASSERT(condition) static_assert(true)
#include <toml++/toml.h>

namespace runnel {
namespace {

// toml++ 3.3 has no limit on the parts of a dotted key, and a table of 400,000 levels ends in a stack
// overflow when it is freed. So the dots of each key are counted before it sees the text. This reads strings
// and comments as TOML does and nothing else; where it is led astray by bad syntax, toml++ has stopped before
// that place.
class KeyDepthScan {
 public:
  explicit KeyDepthScan(std::string_view text) : text_(text) {}

  // True where a key has too many parts; then line() and column() say where.
  bool too_deep() {
    size_t dots = 0;
    while (at_ < text_.size()) {
      char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') advance();
        continue;
      }
      if (c == '"' || c == '\'') {
        skip_string(c);
        continue;
      }
      if (c == '.') {
        if (++dots >= kMaxKeyParts) return true;
      } else if (std::string_view("\n=,[]{}").find(c) != std::string_view::npos) {
        dots = 0;
      }
      advance();
    }
    return false;
  }
  int line() const { return line_; }
  int column() const { return column_; }

 private:
  void advance(size_t n = 1) {
    for (; n > 0 && at_ < text_.size(); n--, at_++) {
      if (text_[at_] == '\n') {
        line_++, column_ = 1;
      } else {
        column_++;
      }
    }
  }
  bool ahead(std::string_view what) const { return text_.substr(at_, what.size()) == what; }

  void skip_string(char quote) {
    const std::string triple(3, quote);
    bool multi = ahead(triple);
    advance(multi ? 3 : 1);
    while (at_ < text_.size()) {
      if (quote == '"' && text_[at_] == '\\') {
        advance(2);
      } else if (multi ? ahead(triple) : text_[at_] == quote) {
        // Up to two quotes may stand before the closing three.
        if (multi) {
          while (at_ + 3 < text_.size() && text_[at_ + 3] == quote) advance();
        }
        advance(multi ? 3 : 1);
        return;
      } else if (!multi && text_[at_] == '\n') {
        return;  // an error that toml++ reports
      } else {
        advance();
      }
    }
  }

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1, column_ = 1;
};

class Converter {
 public:
  Converter(const std::string& file, std::vector<Problem>& errors) : file_(file), errors_(errors) {}

  Position place(const toml::source_region& region) const {
    return {file_, static_cast<int>(region.begin.line), static_cast<int>(region.begin.column)};
  }

  void convert(const toml::node& in, Node& out, size_t depth) {
    out.position = place(in.source());
    if (depth > kMaxDepth) {
      fail(out.position, fmt::format("tables and arrays are nested more than {} deep", kMaxDepth));
      out.unknown = true;
      return;
    }
    if (auto* table = in.as_table()) {
      out.kind = Node::Kind::table;
      for (auto&& [key, value] : *table) {
        if (key.str().find('\0') != std::string_view::npos) {
          fail(place(key.source()), "a key has a NUL byte in it");
          continue;
        }
        Entry& entry = out.entries.emplace_back();
        entry.key = std::string(key.str());
        entry.position = place(key.source());
        convert(value, entry.value, depth + 1);
      }
      std::stable_sort(out.entries.begin(), out.entries.end(), [](const Entry& a, const Entry& b) {
        return std::pair(a.position.line, a.position.column) < std::pair(b.position.line, b.position.column);
      });
    } else if (auto* array = in.as_array()) {
      out.kind = Node::Kind::array;
      for (auto&& item : *array) convert(item, out.items.emplace_back(), depth + 1);
    } else if (auto* boolean = in.as_boolean()) {
      out.kind = Node::Kind::boolean, out.boolean = boolean->get();
    } else if (auto* integer = in.as_integer()) {
      out.kind = Node::Kind::integer, out.integer = integer->get();
    } else if (auto* real = in.as_floating_point()) {
      out.kind = Node::Kind::real, out.real = real->get();
    } else if (auto* string = in.as_string()) {
      out.kind = Node::Kind::string, out.text = string->get();
      // Paths and names go to C interfaces, which would see only what stands before it.
      if (out.text.find('\0') == std::string::npos) return;
      fail(out.position, "a string has a NUL byte in it");
      out.unknown = true;
    } else {
      out.kind = Node::Kind::string, out.unknown = true;
      fail(out.position, "dates and times are not used here (write a string)");
    }
  }

 private:
  void fail(const Position& position, std::string text) { errors_.push_back({position, std::move(text)}); }

  const std::string& file_;
  std::vector<Problem>& errors_;
};

}  // namespace

bool Node::is_table_array() const {
  return is_array() && !items.empty() &&
         std::all_of(items.begin(), items.end(), [](const Node& n) { return n.is_table(); });
}
const Entry* Node::find(std::string_view key) const {
  for (const Entry& e : entries)
    if (e.key == key) return &e;
  return nullptr;
}
Entry* Node::find(std::string_view key) {
  return const_cast<Entry*>(std::as_const(*this).find(key));
}
const Node* Node::get(std::string_view key) const {
  const Entry* e = find(key);
  return e ? &e->value : nullptr;
}

std::string_view kind_name(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::boolean:
      return "a boolean";
    case Node::Kind::integer:
      return "an integer";
    case Node::Kind::real:
      return "a float";
    case Node::Kind::string:
      return "a string";
    case Node::Kind::array:
      return "an array";
    case Node::Kind::table:
      return "a table";
  }
  return "";
}

bool parse_toml(std::string_view text, const std::string& file, Node& root, std::vector<Problem>& errors) {
  root = Node{};
  root.position = {file, 1, 1};
  if (text.size() > kMaxFileBytes) {
    errors.push_back({root.position, fmt::format("the file is larger than {}", format_size(kMaxFileBytes))});
    return false;
  }
  KeyDepthScan scan(text);
  if (scan.too_deep()) {
    errors.push_back(
        {{file, scan.line(), scan.column()}, fmt::format("a key has more than {} parts", kMaxKeyParts)});
    return false;
  }
  toml::parse_result result = toml::parse(text, std::string_view(file));
  Converter converter(file, errors);
  if (!result) {
    Position at = converter.place(result.error().source());
    at.line = std::max(at.line, 1), at.column = std::max(at.column, 1);
    errors.push_back({at, fmt::format("syntax: {}", excerpt(result.error().description(), 300))});
    return false;
  }
  converter.convert(result.table(), root, 0);
  root.position = {file, 1, 1};
  return true;
}

}  // namespace runnel
