#include "source/script/hook_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "source/script/exec_hook.h"

namespace runnel::script {
namespace {

constexpr size_t kReadBytes = 65'536;  // what a pipe holds: pipe(7)
constexpr int64_t kMs = 1'000'000;

struct SpawnSettings {
  SpawnSettings() {
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
};

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> list;
  for (std::string& text : texts) list.push_back(text.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace

Result<std::unique_ptr<HookRun>> HookRun::start(Loop& loop, const Clock& clock, Supervisor& supervisor,
                                                RunSpec spec, Handlers handlers) {
  std::unique_ptr<HookRun> run(new HookRun(loop, clock, supervisor, std::move(spec), std::move(handlers)));
  if (Status status = run->spawn(); !status) {
    run->phase_ = Phase::ended;
    return Error{status.error()};
  }
  return run;
}

HookRun::HookRun(Loop& loop, const Clock& clock, Supervisor& supervisor, RunSpec spec, Handlers handlers)
    : loop_(loop),
      clock_(clock),
      supervisor_(supervisor),
      spec_(std::move(spec)),
      handlers_(std::move(handlers)),
      timer_(loop, [this] { on_timer(); }) {
  streams_[0].handler = handlers_.on_stdout;
  streams_[1].handler = handlers_.on_stderr;
}

HookRun::~HookRun() {
  if (phase_ == Phase::ended) return;
  kill_all();
  supervisor_.remove(leader_);
}

Status HookRun::spawn() {
  UniqueFd write_ends[2];
  SpawnSettings settings;
  posix_spawn_file_actions_addopen(&settings.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  for (int i = 0; i < 2; i++) {
    int fds[2];
    if (::pipe2(fds, O_CLOEXEC) != 0) return Error{"pipe: " + errno_text(errno)};
    streams_[i].fd.reset(fds[0]);
    write_ends[i].reset(fds[1]);
    ::fcntl(fds[0], F_SETFL, O_NONBLOCK);  // our end alone: a hook may rely on a pipe that blocks
    posix_spawn_file_actions_adddup2(&settings.actions, fds[1], STDOUT_FILENO + i);
  }
  // A session of its own: a process group that no other hook can join, and no terminal.
  posix_spawnattr_setflags(
      &settings.attributes,
      static_cast<short>(POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK));
  sigset_t signals;
  sigfillset(&signals);
  posix_spawnattr_setsigdefault(&settings.attributes, &signals);
  sigemptyset(&signals);
  posix_spawnattr_setsigmask(&settings.attributes, &signals);

  std::vector<std::string> arguments{spec_.trampoline, kExecHookFlag, spec_.user, spec_.path};
  auto argv = pointers(arguments);
  auto envp = pointers(spec_.environment);
  started_ns_ = phase_since_ns_ = clock_.mono_ns();
  int error = ::posix_spawn(&leader_, spec_.trampoline.c_str(), &settings.actions, &settings.attributes,
                            argv.data(), envp.data());
  if (error != 0) return Error{fmt::format("{}: {}", spec_.trampoline, errno_text(error))};
  auto info = process_info(leader_);
  supervisor_.add({leader_, info ? info->start_ticks : 0, spec_.path},
                  [this](int status) { on_exit(status); });
  for (Stream& stream : streams_)
    stream.watch = std::make_unique<FdWatch>(loop_, stream.fd.get(), [this, &stream] { read_some(stream); });
  timer_.start(spec_.timeout_ms);
  return {};
}

bool HookRun::read_some(Stream& stream) {
  if (!stream.fd.valid()) return false;
  static thread_local char buffer[kReadBytes];
  ssize_t n = ::read(stream.fd.get(), buffer, sizeof buffer);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return errno == EINTR;
  if (n <= 0) {
    stream.watch.reset();
    stream.fd.reset();
    return false;
  }
  // What is over the limit is read and thrown away, so that a hook that cleans up upon TERM does not block.
  int64_t room = spec_.max_output - stream.bytes;
  stream.bytes += n;
  if (room > 0) stream.handler({buffer, static_cast<size_t>(std::min<int64_t>(room, n))});
  if (n > room && phase_ == Phase::running) terminate(Ending::too_much_output);
  if (n > room && end_.ending == Ending::exited)
    end_.ending = Ending::too_much_output;  // it was quick to exit
  return true;
}

void HookRun::terminate(Ending why) {
  if (phase_ != Phase::running && phase_ != Phase::lingering) return;
  bool by_itself = phase_ == Phase::lingering;  // its exit code is known and stands
  phase_since_ns_ = clock_.mono_ns();
  if (!by_itself && !std::exchange(ending_known_, true)) end_.ending = why;
  if (leader_gone_) {
    phase_ = Phase::killing;
    timer_.start(0, kCheckMs);
    return;
  }
  phase_ = Phase::terminating;
  ::kill(-leader_, SIGTERM);
  timer_.start(kTermToKillMs);
}

void HookRun::kill_all() {
  // Once the leader has been reaped its number may belong to somebody else.
  if (!leader_gone_) {
    ::kill(-leader_, SIGKILL);
    kill_tree(leader_);
  }
  supervisor_.leftovers(leader_, true);
}

void HookRun::on_timer() {
  if (phase_ == Phase::running) {
    terminate(Ending::timed_out);
  } else if (phase_ == Phase::terminating) {
    phase_ = Phase::killing;
    kill_all();
    timer_.start(0, kCheckMs);
  } else {
    check();
  }
}

void HookRun::on_exit(int status) {
  leader_gone_ = true;
  end_.duration_s = static_cast<double>(clock_.mono_ns() - started_ns_) / 1e9;
  end_.code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  if (!std::exchange(ending_known_, true))
    end_.ending = WIFSIGNALED(status) ? Ending::signalled : Ending::exited;
  bool by_itself = phase_ == Phase::running;
  phase_ = by_itself ? Phase::lingering : Phase::killing;
  phase_since_ns_ = clock_.mono_ns();
  timer_.start(0, kCheckMs);
}

void HookRun::check() {
  int64_t now = clock_.mono_ns();
  if (phase_ == Phase::lingering) {
    size_t left = supervisor_.leftovers(leader_, false);
    if (left == 0) {
      end();
      return;
    }
    if (now - phase_since_ns_ < kLingerMs * kMs) return;
    end_.left_behind = left;
    phase_ = Phase::killing;
    phase_since_ns_ = now;
  }
  if (!leader_gone_) kill_all();
  if (leader_gone_ && supervisor_.leftovers(leader_, true) == 0) {
    end();
    return;
  }
  // Uninterruptible sleep, on a dead NFS server say: nothing can be done but wait and say so.
  if (now - phase_since_ns_ > 5'000 * kMs && now - complained_ns_ > 600'000 * kMs) {
    complained_ns_ = now;
    log::error("scripts",
               "{}: processes cannot be killed; the hook will not run again until they are gone pid={}",
               spec_.path, leader_);
    timer_.start(1'000, 1'000);
  }
}

void HookRun::end() {
  // The last words still stand in the pipes. Nobody is left who could write more, but for a descriptor that was handed
  // to a process outside: hence the bound.
  for (Stream& stream : streams_)
    for (int reads = 0; reads < 64 && read_some(stream);) reads++;
  phase_ = Phase::ended;
  timer_.stop();
  for (Stream& stream : streams_) {
    stream.watch.reset();
    stream.fd.reset();
  }
  supervisor_.remove(leader_);
  supervisor_.sweep_nobodys();
  handlers_.on_end(end_);  // last
}

}  // namespace runnel::script
