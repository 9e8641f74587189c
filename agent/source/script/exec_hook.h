// The trampoline between the agent and a hook: `runnel --exec-hook USER PATH`, started by hook_run.cc and by nobody
// else. posix_spawn(3) cannot set limits or drop privileges, and doing that between fork and exec in a process of
// several threads allows next to nothing; a fresh process may do what it likes. It never returns to the caller but with
// an exit code (126: the hook could not be run, 127: it or its interpreter is not there), having said why on stderr,
// which is the hook's.
#pragma once

namespace runnel {

inline constexpr const char* kExecHookFlag = "--exec-hook";

// argv: program, --exec-hook, USER ("" is the user as it is), PATH. The environment is the hook's already.
int exec_hook_main(int argc, char** argv);

}  // namespace runnel
