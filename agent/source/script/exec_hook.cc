#include "source/script/exec_hook.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace runnel {
namespace {

constexpr int kCannotRun = 126, kNotFound = 127;  // as in a shell: POSIX, 2.8.2

// Counted by the kernel over all processes and threads of the user id (setrlimit(2)), and not at all for root. A user
// of the hooks' own gets a bound that a working hook never meets. Where hooks run as the agent itself, that may be a
// person's account with a desktop on it: there the bound only keeps a fork bomb from filling the table of processes.
// The tighter bound on the whole service is systemd's TasksMax=.
constexpr rlim_t kProcessesOwnUser = 512, kProcessesSharedUser = 4096;
constexpr rlim_t kOpenFiles = 1024;

int fail(int code, const char* what, int error) {
  std::fprintf(stderr, "cannot run: %s: %s\n", what, std::strerror(error));
  return code;
}

void lower_limit(int resource, rlim_t soft, bool hard_too) {
  rlimit limit{};
  if (getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) return;
  limit.rlim_cur = std::min(limit.rlim_max, soft);
  if (hard_too) limit.rlim_max = limit.rlim_cur;
  setrlimit(static_cast<__rlimit_resource_t>(resource), &limit);
}

int become(const char* user) {
  errno = 0;
  const passwd* entry = getpwnam(user);
  if (entry == nullptr) return fail(kCannotRun, user, errno != 0 ? errno : ENOENT);
  if (entry->pw_uid == geteuid()) return 0;
  if (initgroups(user, entry->pw_gid) != 0) return fail(kCannotRun, "initgroups", errno);
  if (setgid(entry->pw_gid) != 0) return fail(kCannotRun, "setgid", errno);
  if (setuid(entry->pw_uid) != 0) return fail(kCannotRun, "setuid", errno);
  setenv("HOME", entry->pw_dir, 1);
  return 0;
}

// ENOENT and EACCES of execve(2) may mean the interpreter; the kernel does not say which.
void name_interpreter(const char* path) {
  char line[128] = {};
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0 || read(fd, line, sizeof line - 1) < 3 || line[0] != '#' || line[1] != '!') return;
  line[std::strcspn(line, "\n")] = '\0';
  bool carriage_return = std::strchr(line, '\r') != nullptr;
  line[std::strcspn(line, "\r")] = '\0';
  std::fprintf(stderr, "its first line is \"%s\"%s\n", line,
               carriage_return ? " with a Windows line end (sed -i 's/\\r$//' FILE)"
                               : "; is that interpreter installed?");
}

}  // namespace

int exec_hook_main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "%s is how the agent starts its hooks, not a command\n", kExecHookFlag);
    return 64;
  }
  const char* user = argv[2];
  char* path = argv[3];
  lower_limit(RLIMIT_CORE, 0, true);
  lower_limit(RLIMIT_NOFILE, kOpenFiles, false);
  bool own_user = *user != '\0' && geteuid() == 0;
  lower_limit(RLIMIT_NPROC, own_user ? kProcessesOwnUser : kProcessesSharedUser, true);
  if (own_user)
    if (int code = become(user); code != 0) return code;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return fail(kCannotRun, "no_new_privs", errno);
  // If the agent is killed there is nobody left to end the hook. Behind setuid, which clears it.
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  umask(0077);
  if (chdir("/") != 0) return fail(kCannotRun, "chdir /", errno);
  close_range(3, ~0U, 0);

  char* const arguments[] = {path, nullptr};
  // Text file busy: an editor or a copy still has it open for writing. It seldom takes long.
  for (int attempt = 0; attempt < 10; attempt++) {
    execv(path, arguments);
    if (errno != ETXTBSY) break;
    usleep(50'000);
  }
  int error = errno;
  if (error == ENOEXEC) {
    std::fprintf(stderr,
                 "cannot run: %s has no #! line (its first line must name the interpreter: #!/bin/sh)\n",
                 path);
    return kCannotRun;
  }
  int code = fail(error == ENOENT ? kNotFound : kCannotRun, path, error);
  if (error == ENOENT || error == EACCES) name_interpreter(path);
  return code;
}

}  // namespace runnel
