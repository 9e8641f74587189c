#include <cstring>

#include "cli/cli.h"
#include "source/script/exec_hook.h"

int main(int argc, char** argv) {
  // How hooks are started: see source/script/exec_hook.h. Not for people, so not in the help.
  if (argc > 1 && std::strcmp(argv[1], "--exec-hook") == 0) return runnel::exec_hook_main(argc, argv);
  return runnel::cli::main(argc, argv);
}
