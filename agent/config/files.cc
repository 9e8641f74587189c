#include "config/files.h"

#include <fmt/format.h>
#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <unordered_map>

#include "base/fd.h"
#include "base/text.h"

namespace runnel {
namespace {

// Bounds on includes that a person never meets; without them a folder of links could keep the agent from
// starting.
constexpr size_t kMaxIncludeDepth = 8;
constexpr size_t kMaxFiles = 1000;

bool is_name(std::string_view text) {
  auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (text.empty() || !letter(text[0])) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

// glob(3) tells of folders that it cannot read through a function without context.
thread_local int glob_errno;
int on_glob_error(const char*, int error) {
  if (error != ENOENT && error != ENOTDIR) glob_errno = error;
  return 0;
}

}  // namespace

Result<std::string> substitute_environment(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    size_t dollar = text.find('$');
    out += text.substr(0, dollar);
    if (dollar == std::string_view::npos) break;
    text.remove_prefix(dollar);
    if (text.substr(0, 3) == "$${") {
      out += "${";
      text.remove_prefix(3);
      continue;
    }
    if (text.substr(0, 2) != "${") {
      out += '$';
      text.remove_prefix(1);
      continue;
    }
    size_t end = text.find('}');
    if (end == std::string_view::npos) return Error{"\"${\" has no \"}\" (write $${ for a literal one)"};
    std::string_view inside = text.substr(2, end - 2);
    size_t separator = inside.find(":-");
    std::string_view name = inside.substr(0, separator);
    if (!is_name(name))
      return Error{
          fmt::format("\"${{{}}}\" is not the name of an environment variable (write $${{ for a literal ${{)",
                      excerpt(inside))};
    const char* value = std::getenv(std::string(name).c_str());
    if (separator != std::string_view::npos) {
      out += value && *value ? std::string_view(value) : inside.substr(separator + 2);
    } else if (value) {
      out += value;
    } else {
      return Error{fmt::format("the environment variable {} is not set (set it, or write ${{{}:-default}})",
                               excerpt(name), excerpt(name))};
    }
    if (value && !valid_utf8(value))
      return Error{fmt::format("the environment variable {} is not UTF-8", excerpt(name))};
    text.remove_prefix(end + 1);
  }
  return out;
}

void FileLoader::load(const std::string& path) {
  read(path, {path, 1, 1});
}

void FileLoader::load_text(const std::string& text, const std::string& path) {
  add(text, path);
}

void FileLoader::missing(const Position& at, std::string text) {
  problems_.error(at, std::move(text));
  problems_.set_incomplete();
}

void FileLoader::read(const std::string& path, const Position& included_at) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    missing(included_at, fmt::format("cannot read {}: {}", excerpt(path, 200), errno_text(errno)));
    return;
  }
  FileId id{info.st_dev, info.st_ino};
  if (open_.count(id)) {
    problems_.error(included_at, fmt::format("{} includes itself", excerpt(path, 200)));
    return;
  }
  // A main file may be a pipe (`--config <(…)`); one in a folder that is included would make the agent wait
  // for ever.
  if (S_ISDIR(info.st_mode) || (depth_ > 0 && !S_ISREG(info.st_mode))) {
    missing(included_at, fmt::format("cannot read {}: not a file", excerpt(path, 200)));
    return;
  }
  if (!seen_.insert(id).second) return;  // two patterns that both match it
  if (++files_ > kMaxFiles) {
    if (files_ == kMaxFiles + 1)
      missing(included_at, fmt::format("more than {} files are included", kMaxFiles));
    return;
  }
  auto text = read_file(path, kMaxFileBytes);
  if (!text.ok()) {
    std::string reason = text.error().substr(std::min(text.error().size(), path.size() + 2));
    missing(included_at, fmt::format("cannot read {}: {}", excerpt(path, 200), reason));
    return;
  }
  open_.insert(id);
  add(*text, path);
  open_.erase(id);
}

void FileLoader::add(const std::string& text, const std::string& path) {
  problems_.add_file(path);
  Node tree;
  if (!parse_toml(text, path, tree, problems_.errors())) {
    bad_syntax_ = true;
    return;
  }
  substitute(tree);
  Node includes;
  bool has_includes = false, may_override = false;
  if (Entry* e = tree.find("include")) {
    includes = std::move(e->value);
    has_includes = true;
  }
  if (const Entry* e = tree.find("override")) {
    if (e->value.kind == Node::Kind::boolean) {
      may_override = e->value.boolean;
    } else {
      problems_.error(e->value.position, "override must be true or false");
      may_override = true;  // most likely; else every value would be an error more
    }
  }
  std::erase_if(tree.entries, [](const Entry& e) { return e.key == "include" || e.key == "override"; });
  if (first_) {
    root_ = std::move(tree);
    first_ = false;
  } else {
    merge_table(root_, tree, "", may_override);
  }
  if (has_includes) include(includes, path);
}

void FileLoader::include(const Node& list, const std::string& from) {
  if (depth_ >= kMaxIncludeDepth) {
    missing(list.position, fmt::format("includes are nested more than {} deep", kMaxIncludeDepth));
    return;
  }
  depth_++;
  if (list.is_string()) {
    include_pattern(list, from);
  } else if (list.is_array() && !list.is_table_array()) {
    for (const Node& item : list.items) {
      if (item.is_string()) {
        include_pattern(item, from);
      } else {
        missing(item.position, "include takes file names (write include = [\"conf.d/*.toml\"])");
      }
    }
  } else {
    missing(list.position, "include takes file names (write include = [\"conf.d/*.toml\"])");
  }
  depth_--;
}

void FileLoader::include_pattern(const Node& pattern, const std::string& from) {
  std::string path = pattern.text;
  if (pattern.unknown) {
    problems_.set_incomplete();
    return;
  }
  if (path.empty()) {
    missing(pattern.position, "include has an empty file name");
    return;
  }
  // Relative to the name by which the including file was opened, not to what a link resolves to: Kubernetes'
  // mounts and stow both put the other files beside the link.
  size_t slash = from.rfind('/');
  if (path[0] != '/' && slash != std::string::npos) path = from.substr(0, slash + 1) + path;
  if (path.find_first_of("*?[") == std::string::npos) {
    read(path, pattern.position);
    return;
  }
  glob_t found{};
  glob_errno = 0;
  int rc = ::glob(path.c_str(), GLOB_NOSORT, on_glob_error, &found);
  std::vector<std::string> files(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  if (glob_errno != 0 || (rc != 0 && rc != GLOB_NOMATCH)) {
    missing(pattern.position, fmt::format("cannot list {}: {}", excerpt(path, 200),
                                          errno_text(glob_errno ? glob_errno : ENOMEM)));
    return;
  }
  std::sort(files.begin(), files.end());  // by bytes: the order must not depend on the locale
  for (const std::string& file : files) read(file, pattern.position);
}

void FileLoader::substitute(Node& node) {
  if (node.is_string() && !node.unknown && node.text.find('$') != std::string::npos) {
    auto text = substitute_environment(node.text);
    if (text.ok()) {
      node.text = std::move(*text);
    } else {
      problems_.error(node.position, text.error());
      node.unknown = true;
    }
  }
  for (Node& item : node.items) substitute(item);
  for (Entry& e : node.entries) substitute(e.value);
}

void FileLoader::merge_table(Node& into, Node& from, const std::string& path, bool may_override) {
  // Positions in the vector, because it grows while the map is in use.
  std::unordered_map<std::string, size_t> present;
  for (size_t i = 0; i < into.entries.size(); i++) present.emplace(into.entries[i].key, i);
  for (Entry& e : from.entries) {
    auto at = present.find(e.key);
    if (at == present.end()) {
      into.entries.push_back(std::move(e));
    } else {
      merge_entry(into.entries[at->second], e, path + (path.empty() ? "" : ".") + e.key, may_override);
    }
  }
}

void FileLoader::merge_entry(Entry& into, Entry& from, const std::string& path, bool may_override) {
  if (into.value.is_table() && from.value.is_table()) {
    merge_table(into.value, from.value, path, may_override);
  } else if (into.value.is_table_array() && from.value.is_table_array()) {
    merge_arrays(into.value, from.value, path, may_override);
  } else if (may_override) {
    into = std::move(from);
  } else {
    problems_.error(from.position,
                    fmt::format("{} is already set at {} (remove one, or write override = true at the "
                                "top of this file)",
                                excerpt(path, 200), to_string(into.position)));
    // Which of the two is meant is open. In a table the keys are still worth a look.
    if (!into.value.is_table() && !into.value.is_table_array()) into.value.unknown = true;
  }
}

// [[source.statsd]] in several files add up; with override the one of the same name is changed.
void FileLoader::merge_arrays(Node& into, Node& from, const std::string& path, bool may_override) {
  auto name_of = [](const Node& item) {
    const Node* name = item.get("name");
    return name && name->is_string() ? name->text : std::string();
  };
  std::unordered_map<std::string, size_t> present;
  for (size_t i = 0; i < into.items.size(); i++) present.emplace(name_of(into.items[i]), i);
  for (Node& item : from.items) {
    std::string name = name_of(item);
    auto same = may_override && !name.empty() ? present.find(name) : present.end();
    if (same != present.end()) {
      merge_table(into.items[same->second], item, path, may_override);
    } else {
      into.items.push_back(std::move(item));
    }
  }
}

}  // namespace runnel
