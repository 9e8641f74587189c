#include <fcntl.h>
#include <unistd.h>

#include <cstring>

#include "cli/cli.h"
#include "source/script/exec_hook.h"

int main(int argc, char** argv) {
  // Whoever started us may have closed 0, 1 or 2: the next descriptors would take their numbers, and logs and samples
  // would be written into sockets.
  int fd = ::open("/dev/null", O_RDWR);
  while (fd >= 0 && fd <= STDERR_FILENO) fd = ::dup(fd);
  if (fd > STDERR_FILENO) ::close(fd);
  // How hooks are started: see source/script/exec_hook.h. Not for people, so not in the help.
  if (argc > 1 && std::strcmp(argv[1], "--exec-hook") == 0) return runnel::exec_hook_main(argc, argv);
  return runnel::cli::main(argc, argv);
}
