#include "cli/cli.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "base/text.h"
#include "version.h"

namespace runnel::cli {

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {"run", "[--config FILE] [--once]", "run in the foreground, log to stderr",
       "Collects, aggregates and delivers until SIGTERM or SIGINT; then flushes and gives the outputs\n"
       "agent.shutdown_timeout to deliver what is left. What comes meanwhile is kept in the journal for the\n"
       "next start; without a journal the sources end first. A second signal ends at once. SIGHUP reads the\n"
       "configuration again; a bad file leaves the old one running and says so.\n"
       "Without --config the file is /etc/runnel/runnel.toml; where that does not exist, built-in defaults: "
       "StatsD\n"
       "on 127.0.0.1:8125, Riemann on 127.0.0.1:5555, the host's own metrics, hooks in "
       "/etc/runnel/scripts.d,\n"
       "samples as text to stdout.\n"
       "\n"
       "  --once   one collection round of the host and all hooks, delivered; exit 1 where it was not\n"
       "\n"
       "Exit: 0 after a signal, 2 for a bad configuration.\n",
       true, true, 0, run},
      {"check", "[--config FILE]", "check the whole configuration, plugins and their options",
       "Prints every error in one go, a line each: FILE:LINE:COLUMN: error: what (what to do).\nExit: 0, or "
       "2 with errors.\n",
       true, false, 0, check},
      {"config", "[--config FILE]", "print the effective configuration",
       "Every key with its value, defaults included, commented; secrets are shown as ***. The output is a "
       "valid\nfile. Exit: 0, or 2 with errors.\n",
       true, false, 0, config},
      {"list", "[sources|collectors|encodings|sinks | sink NAME]", "list what this build can do",
       "`list sink NAME` prints the options of a sink: name, type, default, help. NAME may be the absolute "
       "path of\na plugin.\n",
       false, false, 2, list},
      {"quarantine", "[list | show NAME | replay NAME | drop NAME] [--config FILE]",
       "records that an output's other side refused",
       "A file an incident, named OUTPUT.EPOCH-FIRST-LAST; NAME is such a name, an output, or \"all\". "
       "`show` prints "
       "the\nrecords with the answer, a JSON object a line. `replay` sends them to their output again and "
       "removes what "
       "was\ntaken; what is refused again comes back as another file. `drop` removes. The agent may be "
       "running.\n"
       "Exit: 0; 1 where something was refused again, could not be delivered or is not there; 2 for a bad "
       "configuration.\n",
       true, false, 2, quarantine},
      {"help", "[COMMAND]", "print help", "", false, false, 1, help},
  };
  return table;
}

int usage_error(const std::string& text) {
  fmt::print(stderr, "runnel: {} (see: runnel help)\n", text);
  return kExitUsage;
}

std::string config_path(const Arguments& arguments) {
  if (arguments.config) return *arguments.config;
  return ::access(kDefaultConfig, F_OK) == 0 ? kDefaultConfig : "";
}

int main(int argc, char** argv) {
  std::vector<std::string> words(argv + 1, argv + argc);
  if (words.empty()) return usage_error("a command is missing: run, check, config, list, quarantine or help");
  if (words[0] == "--version" || words[0] == "-V") {
    fmt::print("runnel {}\n", kVersion);
    return 0;
  }
  if (words[0] == "--help" || words[0] == "-h") return help({});
  const Command* command = nullptr;
  std::vector<std::string> names;
  for (const Command& c : commands()) {
    names.emplace_back(c.name);
    if (words[0] == c.name) command = &c;
  }
  if (command == nullptr) {
    std::string close = nearest(words[0], names);
    return usage_error(fmt::format("no command \"{}\"{}", excerpt(words[0]),
                                   close.empty() ? "" : fmt::format(", did you mean \"{}\"?", close)));
  }
  Arguments arguments;
  for (size_t i = 1; i < words.size(); i++) {
    const std::string& word = words[i];
    if (word == "--help" || word == "-h") {
      Arguments about;
      about.words = {command->name};
      return help(about);
    }
    bool is_config = word == "--config" || word == "-c" || word.starts_with("--config=");
    if (is_config && command->takes_config) {
      if (word.starts_with("--config=")) {
        arguments.config = word.substr(std::strlen("--config="));
      } else if (++i < words.size()) {
        arguments.config = words[i];
      } else {
        return usage_error("--config wants a file");
      }
      if (arguments.config->empty()) return usage_error("--config wants a file");
    } else if (word == "--once" && command->takes_once) {
      arguments.once = true;
    } else if (word.starts_with('-')) {
      return usage_error(fmt::format("{} does not take the option {}", command->name, excerpt(word)));
    } else if (arguments.words.size() == command->max_words) {
      return usage_error(fmt::format("{} does not take \"{}\"", command->name, excerpt(word)));
    } else {
      arguments.words.push_back(word);
    }
  }
  int code = command->run(arguments);
  // What was printed may sit in a buffer, and the pipe may be closed or the disk full.
  if (std::fflush(stdout) != 0 && code == 0) return 1;
  return code;
}

}  // namespace runnel::cli
