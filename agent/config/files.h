// From files to one tree: reads a file and what it includes, puts environment variables in and merges. Main
// thread.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "config/problems.h"
#include "config/toml_tree.h"

namespace runnel {

// `${NAME}` is the environment variable, an error where it is not set; `${NAME:-default}` takes the default
// where it is not set or empty (as sh does); `$${` is a literal `${`. Every other `$` stands for itself, so
// that regular expressions need no escapes. What a variable holds is not substituted again.
Result<std::string> substitute_environment(std::string_view text);

class FileLoader {
 public:
  explicit FileLoader(Problems& problems) : problems_(problems) {}

  void load(const std::string& path);
  void load_text(const std::string& text, const std::string& path);

  // Merged. False: a file's syntax is wrong or the main file could not be read, so that there is nothing to
  // check.
  bool has_tree() const { return !first_ && !bad_syntax_; }
  const Node& root() const { return root_; }

 private:
  using FileId = std::pair<uint64_t, uint64_t>;  // device and inode: what a path resolves to

  void read(const std::string& path, const Position& included_at);
  void missing(const Position& at, std::string text);  // an error, and something to include is not there
  void add(const std::string& text, const std::string& path);
  void include(const Node& list, const std::string& from);
  void include_pattern(const Node& pattern, const std::string& from);
  void substitute(Node& node);
  void merge_table(Node& into, Node& from, const std::string& path, bool may_override);
  void merge_entry(Entry& into, Entry& from, const std::string& path, bool may_override);
  void merge_arrays(Node& into, Node& from, const std::string& path, bool may_override);

  Problems& problems_;
  Node root_;
  bool first_ = true, bad_syntax_ = false;
  size_t depth_ = 0, files_ = 0;
  std::set<FileId> seen_, open_;  // all files so far; those that are being included from one another
};

}  // namespace runnel
