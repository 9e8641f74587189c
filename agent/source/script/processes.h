// What /proc says about processes below this one, and how all of them are ended. Linux; loop thread.
//
// killpg(2) misses a grandchild that made itself a session of its own. So the agent is a child subreaper
// (PR_SET_CHILD_SUBREAPER, prctl(2)): whatever loses its parent below the agent becomes the agent's own child, an
// *orphan*, can be found among our children, and is reaped when it dies. Whose an orphan is:
//   1. its environment has RUNNEL_SCRIPT of a hook that is running: that hook's (a hook never runs twice at a time);
//      of one that is not: nobody's;
//   2. its process group is that of a running hook: that hook's;
//   3. otherwise (it wiped its environment): it can only come from a hook that was running when it was started, so it
//      is nobody's as soon as none of those runs any more, and the hook's when that one is the only one left. Not where
//      the agent is process 1 of a container: there it inherits strangers too, such as what `docker exec` left.
// Nobody's orphans, and those of a hook that has ended, are killed with all below them.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace runnel::script {

struct ProcessInfo {
  pid_t pid = 0, parent = 0, group = 0;
  char state = '?';          // Z: a zombie
  uint64_t start_ticks = 0;  // since boot, proc(5) field 22
};

bool become_subreaper();
std::optional<ProcessInfo> process_info(pid_t pid);
std::vector<pid_t> children_of(pid_t pid);
// The value of a variable in the environment with which the process was started; nullopt: not set or not readable.
std::optional<std::string> process_variable(pid_t pid, std::string_view name);
// SIGKILL to the process and to all that descends from it now. Returns how many.
size_t kill_tree(pid_t pid);

// A hook that runs, as far as orphans care.
struct Family {
  pid_t leader = 0;
  uint64_t start_ticks = 0;
  std::string script;  // RUNNEL_SCRIPT
};
inline constexpr pid_t kNobody = 0, kUnknown = -1;
// The leader whose family the orphan belongs to, kNobody or kUnknown. Pure. `strangers`: it may come from elsewhere.
pid_t family_of(const ProcessInfo& orphan, const std::optional<std::string>& script,
                const std::vector<Family>& families, bool strangers);

}  // namespace runnel::script
