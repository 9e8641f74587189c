// The script source: runs the hooks of a folder on their schedules and turns what they print into samples. Loop thread,
// as all below it; one instance in a process, because it reaps all children (supervisor.h) and makes the process a
// child subreaper. What is in the folder decides, at any time: a file that appears is run within two seconds, one that
// goes is stopped, one that changes is read again and run at once.
//
//     Folder ── listing ──► hooks (trust, header) ── AlignedTimer ──► due ── slots ──► HookRun ── bytes ──► LineReader
//                                                                                                 └► Intake ──► inlet
// scripts.d/README.md is the contract with those who write hooks.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/config.h"
#include "loop/loop.h"
#include "metric/batch.h"
#include "metric/self_metrics.h"
#include "source/script/folder.h"
#include "source/script/supervisor.h"

namespace runnel {

struct ScriptContext {
  std::string host;                    // RUNNEL_HOST
  int64_t agent_interval_ms = 10'000;  // where ScriptsConfig::interval_ms is 0
  std::string trampoline;  // the agent's own executable; its main() calls exec_hook_main (exec_hook.h)
  // False while the log is full under `block`: then due runs are skipped and counted.
  std::function<bool()> may_run = [] { return true; };
};

namespace script {
struct Hook;
struct RunEnd;
}  // namespace script

class ScriptSource {
 public:
  // `counts` outlives it.
  ScriptSource(Loop& loop, const Clock& clock, ScriptsConfig config, ScriptContext context, Inlet inlet,
               SourceCounts& counts);
  ~ScriptSource();  // kills what still runs
  ScriptSource(const ScriptSource&) = delete;

  // Looks at the folder and begins. An error says that the folder cannot be read or the user does not exist; with the
  // folder absent the source is running all the same and begins when it appears, so the caller may just warn.
  Status start();
  // No further runs; those under way get TERM, 1.5 s later KILL. Over when idle(). Their good lines still count.
  void stop();
  bool idle() const { return running_ == 0; }
  // Another configuration for a running source; hooks that it does not concern go on undisturbed.
  Status reconfigure(ScriptsConfig config, ScriptContext context);

  // Runs each hook once, now, and calls `done` from the loop when the last has ended: true when there was none that
  // was refused or failed. Instead of start(), not besides it.
  void run_once(std::function<void(bool all_ok)> done);

  void report(SelfReport& report) const;
  size_t hooks() const;  // that are fit to be run

 private:
  using Hook = script::Hook;
  Status prepare();
  Status look(bool settled_only);
  void judge(Hook& hook);
  Status judge_file(Hook& hook);
  void refuse(Hook& hook, std::string text);
  void schedule(Hook& hook);
  bool vanished(Hook& hook);
  void retire(Hook& hook);
  void aligned(Hook& hook, int64_t time_ms);
  void due(Hook& hook, int64_t time_ms);
  void skip(Hook& hook, std::string_view reason);
  void launch(Hook& hook, int64_t time_ms);
  void launch_queued();
  void on_stderr(Hook& hook, std::string_view bytes);
  void on_end(Hook& hook, const script::RunEnd& end);
  void log_outcome(Hook& hook, const script::RunEnd& end, int failures_before);
  void once_done();
  std::vector<std::string> environment(const Hook& hook) const;

  Loop& loop_;
  const Clock& clock_;
  ScriptsConfig config_;
  ScriptContext context_;
  Inlet inlet_;
  SourceCounts& counts_;
  uid_t agent_uid_;
  std::string run_as_;  // config_.user where that means anything
  std::string home_;
  bool warned_root_ = false, warned_absent_ = false, stopping_ = false;
  std::unique_ptr<script::Supervisor> supervisor_;
  std::unique_ptr<script::Folder> folder_;
  std::map<std::string, std::unique_ptr<Hook>> hooks_;
  std::vector<std::unique_ptr<Hook>> retired_;  // gone from the folder, still running or just ended
  std::deque<Hook*> queue_;                     // due, waiting for a slot
  std::vector<std::string> complaints_;         // about the folder, as of the last look
  int64_t running_ = 0;
  std::function<void(bool)> on_once_;
  size_t once_left_ = 0;
  bool once_ok_ = true;
  Timer cleaner_;  // destroys what ended inside a callback of its own
};

}  // namespace runnel
