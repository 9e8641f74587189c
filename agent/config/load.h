// Reads configuration files into Config. toml++ stays inside config/toml_tree.cc. Start-up and SIGHUP only,
// main thread.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "runnel_sink.h"

namespace runnel {

// What this build can do, so that names in a file are checked here without this room seeing the others.
struct Catalog {
  std::function<Result<const runnel_sink*>(const std::string& sink)>
      find_sink;                   // a name or a path; may dlopen
  std::vector<std::string> sinks;  // names of the built-in ones, for hints
  std::vector<std::string> encodings;
  std::map<std::string, std::vector<std::string>>
      schemas;  // of encodings that have several, the default first
  std::vector<std::string> compressions;
  std::vector<std::string> collectors;
  // What a source cannot do in this build is an error that says so, a source that it has not got a warning.
  std::vector<std::string> sources{"statsd", "scripts", "host", "riemann", "ffwd"};
  std::map<std::string, std::vector<std::string>> listen_schemes{
      {"statsd", {"udp", "tcp", "unix", "unixgram"}},
      {"riemann", {"tcp", "udp", "tls"}},
      {"ffwd", {"udp+json", "tcp+json", "udp+protobuf", "carbon+tcp", "carbon+udp", "http"}}};
  std::function<Status(const std::string& filter)>
      check_filter;  // error text names the column inside the filter
  // What is wrong with the files of a tls:// listener; may be empty. May dlopen.
  std::function<std::vector<TlsProblem>(const TlsSettings&)> check_tls;
};

struct Problem {
  Position position;
  std::string text;  // `what (what to do)`
  bool is_warning = false;
};
std::string to_string(const Problem& problem);  // "FILE:LINE:COLUMN: error: …" or "…: warning: …"

struct LoadResult {
  Config config;                // complete only where errors is empty
  std::vector<Problem> errors;  // in file and line order
  std::vector<Problem> warnings;
};

// The file and all that it includes. `strict` makes unknown keys errors whatever `unknown_keys` says
// (`check`).
LoadResult load_config(const std::string& path, const Catalog& catalog, bool strict);
// The built-in defaults (config/builtin_config.h): the same loader over an embedded text.
LoadResult load_builtin_config(const Catalog& catalog);
// A text as if it stood in `path`: tests, and the two above.
LoadResult load_config_text(const std::string& text, const std::string& path, const Catalog& catalog,
                            bool strict);

// gethostname(), "localhost" where the kernel has none: what `host = ""` stands for.
std::string system_host_name();

// The effective configuration as a valid file: every key with its help as a comment, secrets as "***". Loaded
// again it gives an equal Config, but for secrets that stand in the file itself.
std::string print_config(const Config& config, const Catalog& catalog);

}  // namespace runnel
