// The command line: one file a command. Exit codes are INTERFACE's: 0, 1 what was asked for failed, 2 bad
// configuration, 64 wrong usage (sysexits.h EX_USAGE).
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace runnel::cli {

inline constexpr int kExitConfig = 2;
inline constexpr int kExitUsage = 64;

struct Arguments {
  std::optional<std::string> config;
  bool once = false;
  std::vector<std::string> words;  // what is not an option
};

// One row of `runnel help`.
struct Command {
  const char* name;
  const char* synopsis;  // behind the name
  const char* summary;   // one line
  const char* help;      // the rest of `runnel help NAME`
  bool takes_config, takes_once;
  size_t max_words;
  int (*run)(const Arguments& arguments);
};
const std::vector<Command>& commands();

int run(const Arguments& arguments);
int check(const Arguments& arguments);
int config(const Arguments& arguments);
int list(const Arguments& arguments);
int quarantine(const Arguments& arguments);
int help(const Arguments& arguments);

int main(int argc, char** argv);

// One line to stderr; returns kExitUsage.
int usage_error(const std::string& text);

inline constexpr char kDefaultConfig[] = "/etc/runnel/runnel.toml";
// --config, else the default file where it exists, else "" (the built-in defaults).
std::string config_path(const Arguments& arguments);

}  // namespace runnel::cli
