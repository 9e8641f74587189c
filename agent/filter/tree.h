// The tree that a filter's text is compiled to, between parse.cc and filter.cc.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "filter/pattern.h"
#include "metric/batch.h"

namespace runnel::filter {

// What the left side names. Each yields a text or nothing.
enum class Field {
  key,        // always there
  host,       // nothing where empty
  name,       // tag of a metric, attribute of an event or one of its bare tags (value "")
  tag,        // tag of a metric, bare tag of an event
  attribute,  // of an event
  resource,
};

struct Node {
  enum class Op { always, never, all_of, any_of, negate, type_is, kind_is, present, equal, match };
  Op op = Op::always;
  std::vector<Node> children;      // all_of, any_of, negate
  Field field = Field::key;        // present, equal, match
  std::string name;                // of the tag, attribute or resource
  std::string text;                // equal
  std::optional<Pattern> pattern;  // match
  bool event = false;              // type_is
  Kind kind = Kind::gauge;         // kind_is
};

inline constexpr size_t kMaxText = 64 * 1024;
inline constexpr size_t kMaxDepth = 64;  // parentheses and `not`: bounds the stack of parser and matcher
inline constexpr size_t kMaxNodes = 10'000;

Result<Node> parse(std::string_view text);

}  // namespace runnel::filter
