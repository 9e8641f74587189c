#include <fmt/format.h>

#include "cli/cli.h"
#include "version.h"

namespace runnel::cli {

int help(const Arguments& arguments) {
  if (!arguments.words.empty()) {
    for (const Command& command : commands()) {
      if (arguments.words[0] != command.name) continue;
      fmt::print("Usage: runnel {} {}\n{}\n", command.name, command.synopsis, command.summary);
      if (command.help[0] != 0) fmt::print("\n{}", command.help);
      return 0;
    }
    return usage_error(fmt::format("no command \"{}\"", arguments.words[0]));
  }
  fmt::print(
      "runnel {}: collects the metrics and events of this host and forwards them\n\nUsage: runnel "
      "COMMAND\n\n",
      kVersion);
  for (const Command& command : commands()) {
    std::string left = fmt::format("{} {}", command.name, command.synopsis);
    if (left.size() <= 28) {
      fmt::print("  {:<28}  {}\n", left, command.summary);
    } else {
      fmt::print("  {}\n  {:<28}  {}\n", left, "", command.summary);
    }
  }
  fmt::print("  {:<28}  {}\n", "--version", "print the version");
  fmt::print("\n`runnel help COMMAND` says more.\n");
  return 0;
}

}  // namespace runnel::cli
