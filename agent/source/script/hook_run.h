// One run of a hook: from the spawn of the trampoline (exec_hook.h) to the moment when no process of it is left. Loop
// thread. The owner keeps it until on_end has been called and destroys it later than in that call; destroyed earlier,
// it kills what it started and does not wait.
//
//     running ── leader exits ──────────────► lingering ── nothing left ──► ended
//        │ timeout, too much output, stop()       │ 0.3 s
//        ▼                                        ▼
//     terminating (TERM to the group) ─ 1.5 s ► killing (KILL to the group, then to every leftover) ──► ended
//
// So whatever a hook does, it is gone 1.5 s after its timeout.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "loop/loop.h"
#include "source/script/supervisor.h"

namespace runnel::script {

struct RunSpec {
  std::string trampoline;                // the agent's own executable
  std::string user;                      // "": as the agent
  std::string path;                      // absolute; also RUNNEL_SCRIPT
  std::vector<std::string> environment;  // NAME=value, all that the hook gets
  int64_t timeout_ms = 5'000;
  int64_t max_output = 1 << 20;  // bytes, of stdout and of stderr
};

enum class Ending { exited, signalled, timed_out, too_much_output, stopped };

struct RunEnd {
  Ending ending = Ending::exited;
  int code = 0;            // exit code, or 128 + signal
  double duration_s = 0;   // until the leader was reaped
  size_t left_behind = 0;  // processes that had to be killed after the leader had gone by itself
  bool ok() const { return ending == Ending::exited && code == 0; }
};

class HookRun {
 public:
  static constexpr int64_t kTermToKillMs = 1'500, kLingerMs = 300, kCheckMs = 20;

  struct Handlers {
    std::function<void(std::string_view)> on_stdout, on_stderr;  // bytes as they come
    std::function<void(const RunEnd&)> on_end;                   // once, last
  };
  static Result<std::unique_ptr<HookRun>> start(Loop& loop, const Clock& clock, Supervisor& supervisor,
                                                RunSpec spec, Handlers handlers);
  ~HookRun();
  HookRun(const HookRun&) = delete;

  void stop() { terminate(Ending::stopped); }

 private:
  enum class Phase { running, terminating, killing, lingering, ended };
  struct Stream {
    UniqueFd fd;
    std::unique_ptr<FdWatch> watch;
    int64_t bytes = 0;
    std::function<void(std::string_view)> handler;
  };
  HookRun(Loop& loop, const Clock& clock, Supervisor& supervisor, RunSpec spec, Handlers handlers);
  Status spawn();
  bool read_some(Stream& stream);  // false: nothing there, or closed
  void terminate(Ending why);
  void kill_all();
  void on_timer();
  void on_exit(int status);
  void check();
  void end();

  Loop& loop_;
  const Clock& clock_;
  Supervisor& supervisor_;
  RunSpec spec_;
  Handlers handlers_;
  Timer timer_;
  Stream streams_[2];  // stdout, stderr
  Phase phase_ = Phase::running;
  pid_t leader_ = 0;
  bool leader_gone_ = false;
  bool ending_known_ = false;  // by the agent: what the leader's exit says is only a consequence
  int64_t started_ns_ = 0, phase_since_ns_ = 0;
  int64_t complained_ns_ = 0;
  RunEnd end_;
};

}  // namespace runnel::script
