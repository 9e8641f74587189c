#include "source/script/script_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "base/trust.h"
#include "loop/aligned_timer.h"
#include "source/script/hook.h"

namespace runnel {

using namespace script;

namespace {

constexpr const char* kComponent = "scripts";
constexpr const char* kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr size_t kHeaderBytes = 8'192;
constexpr int64_t kBadLinesEveryMs = 60'000;  // a hook that is always wrong is told so once a minute

std::string component_of(const Hook& hook) {
  return "scripts/" + escape_control(hook.name);
}

// The beginning of a file; the name has been found trustworthy. O_NONBLOCK: a FIFO put in its place does not hang us.
Result<std::string> read_beginning(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  std::string text(kHeaderBytes, '\0');
  ssize_t n = fd.valid() ? ::pread(fd.get(), text.data(), text.size(), 0) : -1;
  if (n < 0) return Error{fmt::format("{}: {}", path, errno_text(errno))};
  text.resize(static_cast<size_t>(n));
  return text;
}

std::string absolute(const std::string& path) {
  char cwd[PATH_MAX];
  if (path.starts_with('/') || ::getcwd(cwd, sizeof cwd) == nullptr) return path;
  return fmt::format("{}/{}", cwd, path);
}

}  // namespace

ScriptSource::ScriptSource(Loop& loop, const Clock& clock, ScriptsConfig config, ScriptContext context,
                           Inlet inlet, SourceCounts& counts)
    : loop_(loop),
      clock_(clock),
      config_(std::move(config)),
      context_(std::move(context)),
      inlet_(std::move(inlet)),
      counts_(counts),
      agent_uid_(::geteuid()),
      cleaner_(loop, [this] {
        for (auto& [name, hook] : hooks_) hook->clear_ended();
        std::erase_if(retired_, [](auto& hook) {
          hook->clear_ended();
          return !hook->running();
        });
        if (on_once_ && once_left_ == 0) once_done();
      }) {}

ScriptSource::~ScriptSource() {
  on_once_ = {};
  hooks_.clear();  // a HookRun kills what it started
  retired_.clear();
  // What was killed, also just before we became idle, dies a moment later: no zombie is left behind. Bounded, because
  // process 1 of a container has children that are not ours.
  for (int i = 0; supervisor_ && i < 50 && !children_of(::getpid()).empty(); i++) {
    supervisor_->reap();
    ::usleep(10'000);
  }
}

Status ScriptSource::prepare() {
  if (!supervisor_) supervisor_ = std::make_unique<Supervisor>(loop_);
  passwd entry{}, *found = nullptr;
  char buffer[4096];
  home_ = getpwuid_r(agent_uid_, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr
              ? entry.pw_dir
              : "/";
  run_as_.clear();
  if (!config_.user.empty()) {
    if (getpwnam_r(config_.user.c_str(), &entry, buffer, sizeof buffer, &found) != 0 || found == nullptr)
      return Error{
          fmt::format("source.scripts: there is no user \"{}\" (create it, or set user to one that exists)",
                      config_.user)};
    if (agent_uid_ == 0) {
      run_as_ = config_.user;
    } else if (entry.pw_uid != agent_uid_) {
      log::warning(kComponent, "hooks run as the agent's own user: only root can run them as user={}",
                   config_.user);
    }
  } else if (agent_uid_ == 0 && !std::exchange(warned_root_, true)) {
    log::warning(kComponent, "hooks run as root (set user in [source.scripts] to run them as somebody else)");
  }
  std::string dir = absolute(config_.dir);
  if (!folder_ || folder_->dir() != dir)
    folder_ = std::make_unique<Folder>(loop_, clock_, dir, [this] { (void)look(true); });
  return {};
}

Status ScriptSource::start() {
  if (Status status = prepare(); !status) return status;
  warned_absent_ = true;  // the caller says it
  return look(true);
}

Status ScriptSource::reconfigure(ScriptsConfig config, ScriptContext context) {
  bool again = config.interval_ms != config_.interval_ms || config.timeout_ms != config_.timeout_ms ||
               context.agent_interval_ms != context_.agent_interval_ms;
  bool moved = absolute(config.dir) != absolute(config_.dir);
  config_ = std::move(config);
  context_ = std::move(context);
  if (Status status = prepare(); !status) return status;
  if (moved)
    while (!hooks_.empty()) retire(*hooks_.begin()->second);
  if (again)
    for (auto& [name, hook] : hooks_) hook->judged = false;
  warned_absent_ = true;
  return look(true);
}

void ScriptSource::stop() {
  stopping_ = true;
  if (folder_) folder_->stop();
  queue_.clear();
  for (auto& [name, hook] : hooks_) hook->halt();
  for (auto& hook : retired_) hook->halt();
}

void ScriptSource::run_once(std::function<void(bool)> done) {
  on_once_ = std::move(done);
  once_ok_ = true;
  once_left_ = 0;
  if (Status status = prepare(); !status) {
    log::error(kComponent, "{}", status.error());
    once_ok_ = false;
  } else if (status = look(false); !status) {
    log::warning(kComponent, "{}", status.error());
  } else {
    folder_->stop();
    for (auto& [name, hook] : hooks_) once_ok_ = once_ok_ && hook->refusal.empty();
    for (auto& [name, hook] : hooks_)
      if (hook->fit) once_left_++;
    for (auto& [name, hook] : hooks_)
      if (hook->fit) due(*hook, clock_.wall_ms());
  }
  cleaner_.start(0);
}

void ScriptSource::once_done() {
  auto done = std::exchange(on_once_, {});
  if (done) done(once_ok_);
}

size_t ScriptSource::hooks() const {
  return static_cast<size_t>(
      std::count_if(hooks_.begin(), hooks_.end(), [](auto& h) { return h.second->fit; }));
}

// ---- the folder

Status ScriptSource::look(bool settled_only) {
  auto listing = folder_->list();
  if (!listing) {
    while (!hooks_.empty()) retire(*hooks_.begin()->second);
    if (!std::exchange(warned_absent_, true)) log::warning(kComponent, "{}", listing.error());
    return Error{listing.error()};
  }
  warned_absent_ = false;
  for (const std::string& complaint : listing->complaints)
    if (std::find(complaints_.begin(), complaints_.end(), complaint) == complaints_.end())
      log::warning(kComponent, "{}", complaint);
  complaints_ = std::move(listing->complaints);
  std::vector<std::string> gone;
  for (const auto& entry : hooks_)
    if (std::none_of(listing->files.begin(), listing->files.end(),
                     [&](auto& file) { return file.name == entry.first; }))
      gone.push_back(entry.first);
  for (const std::string& name : gone) retire(*hooks_[name]);
  for (const Folder::File& file : listing->files) {
    auto& hook = hooks_[file.name];
    if (!hook) hook = std::make_unique<Hook>(file.name, file.path, file.interval_ms);
    FileMark mark = mark_of(file.st);
    if (mark != hook->mark) {
      if (hook->fit) log::info(component_of(*hook), "has changed");
      hook->mark = mark;
      hook->mode = file.st.st_mode;
      hook->rest();
    }
    // Refused ones are looked at each time: what was wrong may have been a folder above.
    if ((file.settled || !settled_only) && (!hook->judged || !hook->refusal.empty())) judge(*hook);
  }
  return {};
}

void ScriptSource::judge(Hook& hook) {
  bool replaced = !hook.judged;
  hook.judged = true;
  HookOptions before = hook.options;
  bool was_fit = hook.fit;
  hook.fit = false;
  if ((hook.mode & S_IFMT) == S_IFREG && (hook.mode & (S_IXUSR | S_IXGRP | S_IXOTH)) == 0) {
    // Notes and data may lie here; what begins like a program was meant to be one.
    auto text = read_beginning(hook.path);
    if (text && text->starts_with("#!") && replaced)
      log::warning(component_of(hook), "is not executable and is not run: chmod +x {}",
                   shell_word(hook.path));
    hook.rest();
    hook.judged = true;
    return;
  }
  if (Status status = judge_file(hook); !status) {
    hook.fit = was_fit;
    if (vanished(hook)) return;
    refuse(hook, status.error());
    return;
  }
  hook.refusal.clear();
  hook.fit = true;
  if (was_fit && hook.timer && before == hook.options) return;
  schedule(hook);
}

Status ScriptSource::judge_file(Hook& hook) {
  std::string file_name = hook.name.substr(hook.name.find('/') + 1);
  if (!safe_name(file_name))
    return Error{
        fmt::format("the name has characters other than letters, digits, '_', '.' and '-': rename {}",
                    shell_word(hook.path))};
  if (Status status = check_trust(hook.path, agent_uid_); !status) return status;
  auto text = read_beginning(hook.path);
  if (!text) return Error{text.error()};
  HookOptions options;
  options.interval_ms = config_.interval_ms > 0 ? config_.interval_ms : context_.agent_interval_ms;
  options.timeout_ms = config_.timeout_ms;
  if (hook.folder_interval_ms > 0) options.interval_ms = hook.folder_interval_ms;
  if (auto named = interval_of_file(file_name)) options.interval_ms = *named;
  auto read = read_header(*text, options);
  if (!read) return Error{fmt::format("{} {}", hook.path, read.error())};
  hook.options = *read;
  return {};
}

void ScriptSource::refuse(Hook& hook, std::string text) {
  std::string before = std::exchange(hook.refusal, std::move(text));
  std::string now = hook.refusal;
  hook.rest();
  hook.judged = true;
  hook.refusal = now;
  if (before != now) log::error(component_of(hook), "is not run: {}", now);
}

void ScriptSource::schedule(Hook& hook) {
  if (stopping_ || on_once_) return;
  log::info(component_of(hook), "interval={} timeout={} format={}", format_duration(hook.options.interval_ms),
            format_duration(hook.options.timeout_ms),
            hook.options.format ? format_name(*hook.options.format) : "auto");
  hook.timer = std::make_unique<AlignedTimer>(
      loop_, clock_, hook.options.interval_ms, splay_ms(hook.name, hook.options.interval_ms),
      [this, &hook](const Tick& tick) { aligned(hook, tick.time_ms); });
  hook.timer->start();
  hook.unaligned = true;
  hook.launched_ms = INT64_MIN / 2;
  due(hook, clock_.wall_ms());
}

// Removed since the last look, which is no fault of anybody's; the next look retires it. Should it be back by then, it
// counts as changed.
bool ScriptSource::vanished(Hook& hook) {
  struct stat st {};
  if (::stat(hook.path.c_str(), &st) == 0 || errno != ENOENT) return false;
  if (hook.fit) log::info(component_of(hook), "is gone");
  hook.rest();
  hook.mark = {};
  return true;
}

void ScriptSource::retire(Hook& hook) {
  if (hook.fit) log::info(component_of(hook), "is gone");
  std::erase(queue_, &hook);
  hook.halt();
  auto node = hooks_.extract(hook.name);
  retired_.push_back(std::move(node.mapped()));
  cleaner_.start(0);
}

// ---- runs

// The first aligned run may come right after the one at once. Its counters would claim a whole interval for a moment.
void ScriptSource::aligned(Hook& hook, int64_t time_ms) {
  int64_t since_ms = clock_.mono_ns() / 1'000'000 - hook.launched_ms;
  if (std::exchange(hook.unaligned, false) && since_ms < hook.options.interval_ms / 2) return;
  due(hook, time_ms);
}

void ScriptSource::due(Hook& hook, int64_t time_ms) {
  if (stopping_) return;
  if (!context_.may_run()) {
    skip(hook, "log_full");
  } else if (hook.running() || hook.queued_ms != 0) {
    skip(hook, "overlap");
  } else if (hook.backoff.waiting(clock_.mono_ns() / 1'000'000)) {
    skip(hook, "backoff");
  } else if (running_ >= std::max<int64_t>(1, config_.max_running)) {
    hook.queued_ms = time_ms;
    queue_.push_back(&hook);
  } else {
    launch(hook, time_ms);
  }
}

void ScriptSource::skip(Hook& hook, std::string_view reason) {
  hook.skips[std::string(reason)]++;
  if (on_once_) {
    once_ok_ = false;
    once_left_--;
  }
}

std::vector<std::string> ScriptSource::environment(const Hook& hook) const {
  std::string seconds;
  append_double(seconds, static_cast<double>(hook.options.interval_ms) / 1000);
  return {fmt::format("PATH={}", kPath),
          "LANG=C.UTF-8",
          fmt::format("HOME={}", home_),
          fmt::format("RUNNEL_HOST={}", context_.host),
          fmt::format("RUNNEL_INTERVAL={}", seconds),
          fmt::format("RUNNEL_SCRIPT={}", hook.path)};
}

void ScriptSource::launch(Hook& hook, int64_t time_ms) {
  // Again before each run: what was trustworthy a minute ago may have been swapped since.
  if (Status status = check_trust(hook.path, agent_uid_); !status) {
    if (vanished(hook)) {
      if (on_once_) once_left_--;
      return;
    }
    skip(hook, "refused");
    refuse(hook, status.error());
    return;
  }
  int64_t now_ms = clock_.mono_ns() / 1'000'000;
  bool log_bad = hook.bad_logged_ms == 0 || now_ms - hook.bad_logged_ms >= kBadLinesEveryMs;
  RunSpec spec{context_.trampoline,     run_as_,           hook.path, environment(hook),
               hook.options.timeout_ms, config_.max_output};
  HookRun::Handlers handlers{[&hook](std::string_view bytes) { hook.reader->feed(bytes); },
                             [this, &hook](std::string_view bytes) { on_stderr(hook, bytes); },
                             [this, &hook](const RunEnd& end) { on_end(hook, end); }};
  hook.begin(time_ms, counts_, inlet_, log_bad);
  auto run = HookRun::start(loop_, clock_, *supervisor_, std::move(spec), std::move(handlers));
  if (!run) {
    hook.reader.reset();
    hook.intake.reset();
    skip(hook, "spawn");
    int64_t pause = hook.backoff.failed(hook.options.interval_ms, now_ms);
    log::error(component_of(hook), "cannot be started: {}{}", run.error(),
               pause > 0 ? fmt::format(" next={}", format_duration(pause)) : "");
    return;
  }
  hook.run = std::move(run).value();
  hook.launched_ms = now_ms;
  running_++;
}

void ScriptSource::launch_queued() {
  while (!queue_.empty() && !stopping_ && running_ < std::max<int64_t>(1, config_.max_running)) {
    Hook& hook = *queue_.front();
    queue_.pop_front();
    int64_t time_ms = std::exchange(hook.queued_ms, 0);
    if (hook.fit) launch(hook, time_ms);  // it may have changed while it waited
  }
}

void ScriptSource::on_stderr(Hook& hook, std::string_view bytes) {
  hook.errors.feed(bytes, clock_.mono_ns() / 1'000'000,
                   [&](std::string_view line) { log::warning(component_of(hook), "stderr: {}", line); });
}

void ScriptSource::on_end(Hook& hook, const RunEnd& end) {
  running_--;
  bool whole = end.ending == Ending::exited || end.ending == Ending::signalled;
  hook.reader->finish(whole);
  hook.intake->finish();
  int64_t now_ms = clock_.mono_ns() / 1'000'000;
  hook.errors.finish(now_ms,
                     [&](std::string_view line) { log::warning(component_of(hook), "stderr: {}", line); });
  if (hook.intake->bad_lines() > 0 &&
      (hook.bad_logged_ms == 0 || now_ms - hook.bad_logged_ms >= kBadLinesEveryMs))
    hook.bad_logged_ms = now_ms;
  hook.last_code = end.code;
  hook.last_duration_s = end.duration_s;
  hook.has_run = true;
  log_outcome(hook, end, hook.backoff.failures());
  hook.ended = std::move(hook.run);
  if (on_once_) {
    once_ok_ = once_ok_ && end.ok();
    once_left_--;
  }
  cleaner_.start(0);
  launch_queued();
}

void ScriptSource::log_outcome(Hook& hook, const RunEnd& end, int failures_before) {
  std::string component = component_of(hook);
  if (end.left_behind > 0 && !std::exchange(hook.left_behind_logged, true))
    log::warning(component, "left {} processes running behind it; they were ended", end.left_behind);
  if (end.ending == Ending::stopped) return;
  if (end.ok()) {
    if (failures_before > 0) log::info(component, "works again after {} failures", failures_before);
    hook.backoff.succeeded();
    return;
  }
  int64_t pause = hook.backoff.failed(hook.options.interval_ms, clock_.mono_ns() / 1'000'000);
  std::string what;
  switch (end.ending) {
    case Ending::timed_out:
      what = fmt::format("was stopped after its timeout of {}", format_duration(hook.options.timeout_ms));
      break;
    case Ending::too_much_output:
      what = fmt::format("printed more than {} and was stopped", format_size(config_.max_output));
      break;
    case Ending::signalled:
      what = fmt::format("was killed by signal {}", end.code - 128);
      break;
    default:
      what = fmt::format("failed with exit code {}", end.code);
  }
  // The first failure, another kind of failure, and each longer pause; not each of a hundred equal ones.
  bool longer = pause > hook.last_pause_ms;
  if (failures_before > 0 && what == hook.last_failure && !longer) return;
  hook.last_failure = what;
  hook.last_pause_ms = pause;
  log::error(
      component, "{} duration={:.3f}s good_lines={}{}", what, end.duration_s, hook.intake->good_lines(),
      pause > 0 ? fmt::format(" failures={} next={}", hook.backoff.failures(), format_duration(pause)) : "");
}

void ScriptSource::report(SelfReport& report) const {
  for (const auto& [name, hook] : hooks_) {
    if (hook->has_run) {
      report.add(self::kScriptExit, {{"script", name}}, Number::integer(hook->last_code));
      report.add(self::kScriptDuration, {{"script", name}}, Number(hook->last_duration_s));
    }
    for (const auto& [reason, n] : hook->skips)
      report.add(self::kScriptSkipped, {{"script", name}, {"reason", reason}},
                 Number::integer(static_cast<int64_t>(n)));
  }
}

}  // namespace runnel
