// Reads configuration files into Config. toml++ stays inside config/toml_tree.cc. Start-up and SIGHUP only, main thread.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "runnel_sink.h"

namespace runnel {

// What this build can do, so that names in a file are checked here without this room seeing the others.
struct Catalog {
  std::function<Result<const runnel_sink*>(const std::string& sink)> find_sink;  // a name or a path; may dlopen
  std::vector<std::string> encodings;
  std::vector<std::string> compressions;
  std::vector<std::string> collectors;
  std::function<Status(const std::string& filter)> check_filter;  // error text names the column inside the filter
};

struct Problem {
  Position position;
  std::string text;  // `what (what to do)`
};
std::string to_string(const Problem& problem);  // "FILE:LINE:COLUMN: error: …"

struct LoadResult {
  Config config;                  // complete only where errors is empty
  std::vector<Problem> errors;    // in file and line order
  std::vector<Problem> warnings;
};

// The file and all that it includes. `strict` makes unknown keys errors whatever `unknown_keys` says (`check`).
LoadResult load_config(const std::string& path, const Catalog& catalog, bool strict);
// The built-in defaults (config/builtin.toml.h): the same loader over an embedded text.
LoadResult load_builtin_config(const Catalog& catalog);
// A text as if it stood in `path`: tests, and the two above.
LoadResult load_config_text(const std::string& text, const std::string& path, const Catalog& catalog, bool strict);

// The effective configuration as a valid file: every key with its help as a comment, secrets as "***".
std::string print_config(const Config& config, const Catalog& catalog);

}  // namespace runnel
