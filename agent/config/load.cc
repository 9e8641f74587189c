#include "config/load.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/fd.h"
#include "base/text.h"
#include "config/builtin_config.h"
#include "config/environment.h"
#include "config/files.h"
#include "config/schema.h"
#include "config/sections.h"

namespace runnel {
namespace {

const Node kEmptyTable{};

class Loader {
 public:
  Loader(const Catalog& catalog, bool strict, bool built_in)
      : catalog_(catalog), strict_(strict), files_(problems_), context_{catalog, problems_, built_in} {
    config_.built_in = built_in;
  }

  FileLoader& files() { return files_; }

  LoadResult finish() {
    if (files_.has_tree()) read_tree(files_.root());
    problems_.finish(strict_ || config_.agent.unknown_keys != "warn");
    LoadResult result;
    result.errors = problems_.take_errors();
    result.warnings = problems_.take_warnings();
    for (const Problem& p : result.warnings)
      config_.warnings.push_back(fmt::format("{}: {}", to_string(p.position), escape_control(p.text)));
    if (result.errors.empty())
      config_.hash = fmt::format("{:016x}", hash_bytes(print_config(config_, catalog_)));
    result.config = std::move(config_);
    return result;
  }

 private:
  void read_tree(const Node& root) {
    report_unknown_keys(root, "", {"include", "override", "agent", "journal", "source", "output"}, problems_);
    read_keys(section(root, "agent"), "agent", config_.agent, problems_);
    report_unknown_keys(section(root, "agent"), "agent", key_names<AgentConfig>(), problems_);
    read_host(root);
    AgentConfig& agent = config_.agent;
    add_environment(section(root, "agent"), "tags_env_prefix", agent.tags_env_prefix, agent.tags);
    add_environment(section(root, "agent"), "resource_env_prefix", agent.resource_env_prefix, agent.resource);
    check_files(section(root, "agent"));
    read_keys(section(root, "journal"), "journal", config_.journal, problems_);
    report_unknown_keys(section(root, "journal"), "journal", key_names<JournalConfig>(), problems_);
    read_min_free(section(root, "journal"));
    read_sources(root, context_, config_);
    read_outputs(root, context_, config_);
  }

  // The table, or an empty one where the file has none or something else, which is reported once.
  const Node& section(const Node& root, const char* name) {
    const Node* node = root.get(name);
    if (!node) return kEmptyTable;
    if (node->is_table()) return *node;
    std::string text = fmt::format("{} is {}, not a table (write [{}])", name, kind_name(node->kind), name);
    const auto& errors = problems_.errors();
    bool reported =
        std::any_of(errors.begin(), errors.end(), [&](const Problem& p) { return p.text == text; });
    if (!reported) problems_.error(node->position, text);
    return kEmptyTable;
  }

  void read_host(const Node& root) {
    AgentConfig& agent = config_.agent;
    const Node& table = section(root, "agent");
    const Node* node = table.get("host");
    if (node ? node->unknown : problems_.incomplete()) return;
    Position position = node ? node->position : table.position.file.empty() ? root.position : table.position;
    agent.host_from_system = agent.host.empty();
    if (agent.host_from_system) agent.host = system_host_name();
    if (has_control(agent.host))
      problems_.error(position,
                      fmt::format("agent.host \"{}\" has control characters in it", excerpt(agent.host)));
    if (agent.host == "localhost" || agent.host.starts_with("localhost."))
      problems_.warning(
          position,
          fmt::format("the host's name is {}, as on every machine (set agent.host or the host name)",
                      agent.host));
  }

  void add_environment(const Node& table, const char* key, const std::string& prefix, StringMap& tags) {
    if (prefix.empty()) return;
    const Position& position = table.get(key)->position;  // there is no default that is not empty
    if (prefix.find('=') != std::string::npos)
      problems_.error(position,
                      fmt::format("agent.{}: no variable begins with \"{}\"", key, excerpt(prefix)));
    EnvironmentTags found = tags_from_environment(environ, prefix);
    for (const std::string& error : found.errors)
      problems_.error(position, fmt::format("agent.{}: {}", key, error));
    for (const auto& [name, value] : found.tags) tags[name] = value;
  }

  // Both may come later (a tmpfs that is empty until the service starts), so that nothing here is an error.
  void check_files(const Node& table) {
    auto check = [&](const char* key, const std::string& path, const std::string& needed, bool is_folder,
                     const char* what_to_do) {
      const Node* node = table.get(key);
      if (!node || path.empty()) return;
      struct stat info {};
      int error = ::stat(needed.c_str(), &info) != 0 ? errno : 0;
      if (error == 0 && S_ISDIR(info.st_mode) != is_folder) error = is_folder ? ENOTDIR : EISDIR;
      if (error == 0 && !is_folder && ::access(needed.c_str(), R_OK) != 0) error = errno;
      if (error != 0)
        problems_.warning(node->position, fmt::format("agent.{}: {}: {} ({})", key, excerpt(needed, 200),
                                                      errno_text(error), what_to_do));
    };
    const std::string& metrics = config_.agent.metrics_file;
    size_t slash = metrics.rfind('/');
    std::string folder = slash == std::string::npos ? "." : metrics.substr(0, std::max<size_t>(slash, 1));
    check("tags_file", config_.agent.tags_file, config_.agent.tags_file, false,
          "its tags are missing until it can be read");
    check("metrics_file", metrics, folder, true, "nothing is written until the folder is there");
  }

  // "5%" or "1GiB".
  void read_min_free(const Node& table) {
    JournalConfig& journal = config_.journal;
    const Node* node = table.get("min_free");
    if (node == nullptr || node->unknown) return;
    std::string_view text = journal.min_free;
    std::optional<double> percent;
    if (text.ends_with('%')) percent = parse_double(text.substr(0, text.size() - 1));
    auto bytes = parse_size(text);
    if (percent && *percent >= 0 && *percent <= 90) {
      journal.min_free_share = *percent / 100;
      journal.min_free_bytes = 0;
    } else if (!percent && bytes.ok()) {
      journal.min_free_share = 0;
      journal.min_free_bytes = *bytes;
    } else {
      problems_.error(node->position,
                      fmt::format("journal.min_free: \"{}\" is neither a share from 0% to 90% nor a size "
                                  "(as in \"5%\" or \"1GiB\")",
                                  excerpt(text)));
    }
  }

  const Catalog& catalog_;
  bool strict_;
  Problems problems_;
  FileLoader files_;
  LoadContext context_;
  Config config_;
};

}  // namespace

std::string system_host_name() {
  char name[256];  // HOST_NAME_MAX is 64
  if (::gethostname(name, sizeof name) != 0) return "localhost";
  name[sizeof name - 1] = '\0';
  return *name ? name : "localhost";
}

bool is_plain_name(const std::string& name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

bool contains(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string hint(const std::string& word, const std::vector<std::string>& known) {
  std::string near = word.size() <= 64 ? nearest(word, known) : "";
  return near.empty() ? fmt::format(" ({})", join(known)) : fmt::format(" (did you mean \"{}\"?)", near);
}

LoadResult load_config(const std::string& path, const Catalog& catalog, bool strict) {
  Loader loader(catalog, strict, false);
  loader.files().load(path);
  return loader.finish();
}

LoadResult load_builtin_config(const Catalog& catalog) {
  Loader loader(catalog, true, true);
  loader.files().load_text(kBuiltinConfig, "built-in");
  return loader.finish();
}

LoadResult load_config_text(const std::string& text, const std::string& path, const Catalog& catalog,
                            bool strict) {
  Loader loader(catalog, strict, false);
  loader.files().load_text(text, path);
  return loader.finish();
}

}  // namespace runnel
