// A TOML text as a tree of our own, each key and value with its place. The one room that knows toml++ is
// toml_tree.cc. Start-up and SIGHUP only. A tree owns its memory; pointers into it last until it is changed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"

namespace runnel {

struct Problem;
struct Entry;

struct Node {
  enum class Kind { boolean, integer, real, string, array, table };
  Kind kind = Kind::table;
  Position position;
  // Something was said about it already (a variable that is not set, a value set twice), and what it would have
  // been nobody knows: it is there, but nothing more is said about it.
  bool unknown = false;
  bool boolean = false;
  int64_t integer = 0;
  double real = 0;
  std::string text;
  std::vector<Node> items;     // of an array
  std::vector<Entry> entries;  // of a table, in the order of the file

  bool is_table() const { return kind == Kind::table; }
  bool is_array() const { return kind == Kind::array; }
  bool is_string() const { return kind == Kind::string; }
  bool is_table_array() const;  // [[name]], or an array of nothing but tables
  const Entry* find(std::string_view key) const;
  Entry* find(std::string_view key);
  const Node* get(std::string_view key) const;  // the value, nullptr where there is none
};

struct Entry {
  std::string key;
  Position position;  // of the key
  Node value;
};

// "a string", "an integer", … for messages
std::string_view kind_name(Node::Kind kind);

// Bounds that a hand-written file never meets. A text beyond them is an error, not a crash: toml++ builds and
// frees nested tables by recursion.
inline constexpr size_t kMaxFileBytes = 1 << 20;
inline constexpr size_t kMaxKeyParts = 16;  // a.b.c has three
inline constexpr size_t kMaxDepth = 32;     // of tables and arrays in each other

// Parses `text` as if it stood in `file`. False where the syntax is wrong (one error, toml++ stops at the
// first). What has no place in a configuration (dates, NUL bytes, too deep nesting) is an error each and an
// unknown value in the tree.
bool parse_toml(std::string_view text, const std::string& file, Node& root, std::vector<Problem>& errors);

}  // namespace runnel
