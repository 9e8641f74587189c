#include "source/script/supervisor.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "base/log.h"

namespace runnel::script {

Supervisor::Supervisor(Loop& loop) : watch_(loop, SIGCHLD, [this] { reap(); }) {
  if (!become_subreaper())
    log::warning("scripts",
                 "cannot become a subreaper: a hook's processes may outlive it (Linux 3.4 is needed)");
  for (pid_t pid : children_of(::getpid()))
    if (auto info = process_info(pid)) strangers_[pid] = info->start_ticks;
}

void Supervisor::add(Family family, std::function<void(int)> on_exit) {
  pid_t leader = family.leader;
  children_[leader] = {std::move(family), std::move(on_exit), false};
}

void Supervisor::remove(pid_t leader) {
  children_.erase(leader);
}

void Supervisor::reap() {
  int status = 0;
  for (pid_t pid; (pid = ::waitpid(-1, &status, WNOHANG)) > 0;) {
    auto found = children_.find(pid);
    if (found == children_.end() || found->second.exited) continue;  // an orphan
    found->second.exited = true;
    auto on_exit = std::move(found->second.on_exit);
    on_exit(status);  // may remove it
  }
}

size_t Supervisor::leftovers(pid_t leader, bool kill) {
  std::vector<Family> families;
  for (const auto& [pid, child] : children_) families.push_back(child.family);
  size_t left = 0;
  for (pid_t pid : children_of(::getpid())) {
    auto known = children_.find(pid);
    if (known != children_.end() && !known->second.exited) continue;
    auto info = process_info(pid);
    if (!info || info->state == 'Z') continue;
    if (auto stranger = strangers_.find(pid); stranger != strangers_.end()) {
      if (stranger->second == info->start_ticks) continue;
      strangers_.erase(stranger);
    }
    pid_t family = family_of(*info, process_variable(pid, "RUNNEL_SCRIPT"), families, ::getpid() == 1);
    if (family == kNobody || (kill && family == leader)) kill_tree(pid);
    if (family == leader && family != kNobody) left++;
  }
  return left;
}

}  // namespace runnel::script
