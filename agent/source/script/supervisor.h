// The parent's duties: reaps hooks and orphans (SIGCHLD), and knows which processes are left of which hook. Loop
// thread. At most one in a process: it waits for all children, and this process has no others.
#pragma once

#include <functional>
#include <map>
#include <vector>

#include "loop/loop.h"
#include "source/script/processes.h"

namespace runnel::script {

class Supervisor {
 public:
  explicit Supervisor(Loop& loop);

  // From the spawn on; `on_exit` gets the status of waitpid(2), once, from the loop.
  void add(Family family, std::function<void(int status)> on_exit);
  // The run is over, whatever became of its processes.
  void remove(pid_t leader);

  // Processes left of a hook whose leader has exited, as far as they can be known; `kill` ends them with their trees.
  // Nobody's orphans are killed on the way.
  size_t leftovers(pid_t leader, bool kill);
  void sweep_nobodys() { leftovers(kNobody, false); }

  // Waits for what is dead; normally upon SIGCHLD.
  void reap();

 private:
  struct Child {
    Family family;
    std::function<void(int)> on_exit;
    bool exited = false;
  };
  std::map<pid_t, Child> children_;
  // Children from before us (of a shell that exec'd the agent) and when they were started.
  std::map<pid_t, uint64_t> strangers_;
  SignalWatch watch_;
};

}  // namespace runnel::script
