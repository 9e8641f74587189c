// One hook: what is known of its file, when it runs, and its run while there is one. Data with a few helpers; owned
// and driven by ScriptSource, loop thread. Its address does not change while it lives: callbacks of its timer and its
// run hold it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "loop/aligned_timer.h"
#include "source/script/folder.h"
#include "source/script/hook_file.h"
#include "source/script/hook_run.h"
#include "source/script/intake.h"
#include "source/script/line_reader.h"
#include "source/script/schedule.h"
#include "source/script/stderr_lines.h"

namespace runnel::script {

struct Hook {
  Hook(std::string relative, std::string absolute, int64_t interval_ms)
      : name(std::move(relative)), path(std::move(absolute)), folder_interval_ms(interval_ms) {}

  const std::string name;  // relative to the folder: the resource attribute `script`
  const std::string path;
  const int64_t folder_interval_ms;

  FileMark mark;
  mode_t mode = 0;
  bool judged = false;  // this mark was; before, the file may still be being written
  bool fit = false;     // to be run
  std::string refusal;  // why not, as it was logged
  HookOptions options;
  std::unique_ptr<AlignedTimer> timer;
  FailureBackoff backoff;

  bool unaligned = false;          // only the run at once has been due so far
  int64_t launched_ms = 0;         // the last run, monotonic
  int64_t queued_ms = 0;           // the time of the run that waits for a slot
  std::unique_ptr<Intake> intake;  // outlives reader
  std::unique_ptr<LineReader> reader;
  std::unique_ptr<HookRun> run, ended;  // ended: destroyed outside its own callback
  StderrLines errors;

  bool has_run = false;
  int last_code = 0;
  double last_duration_s = 0;
  std::string last_failure;
  int64_t last_pause_ms = 0, bad_logged_ms = 0;
  bool left_behind_logged = false;
  std::map<std::string, uint64_t> skips;  // by reason

  bool running() const { return run != nullptr; }

  void begin(int64_t time_ms, SourceCounts& counts, const Inlet& inlet, bool log_bad) {
    reader.reset();
    intake = std::make_unique<Intake>(name, time_ms, static_cast<uint32_t>(options.interval_ms), counts,
                                      inlet, log_bad);
    reader = std::make_unique<LineReader>(options.format, *intake);
  }
  // The file has changed or is refused: no runs until it has been judged again. One under way goes on to its end.
  void rest() {
    timer.reset();
    judged = fit = false;
    refusal.clear();
    backoff.succeeded();
    last_failure.clear();
    last_pause_ms = bad_logged_ms = 0;
    left_behind_logged = false;
    errors.renew();
  }
  // The source stops, or the file is gone.
  void halt() {
    timer.reset();
    queued_ms = 0;
    if (run) run->stop();
  }
  void clear_ended() {
    if (!ended) return;
    ended.reset();
    if (run) return;
    reader.reset();
    intake.reset();
  }
};

}  // namespace runnel::script
