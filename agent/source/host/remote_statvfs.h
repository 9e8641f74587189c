// statvfs(2) of file systems that may never answer: NFS with its server gone blocks the caller for ever. So these are
// asked by helper threads, which exist only while there is something to ask. The object belongs to the main thread; what
// the helpers touch is shared with them and outlives it, because a thread that is stuck in the kernel cannot be ended.
#pragma once

#include <sys/statvfs.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace runnel {

// 0 or errno. Called from helper threads too.
using StatvfsCall = std::function<int(const char* path, struct statvfs* out)>;
int system_statvfs(const char* path, struct statvfs* out);

class RemoteStatvfs {
 public:
  // What is known of one path.
  struct Answer {
    bool known = false;  // an answer came since the last round
    int error = 0;       // errno of statvfs
    struct statvfs st {};
    bool newly_stuck = false;    // still asked since the round before: once
    bool newly_answers = false;  // after having been stuck: once
  };

  // `patience`: how long a round waits for answers. A file server in the same house takes less than a millisecond; one
  // that takes longer is not waited for again, and its answers are used a round late.
  RemoteStatvfs(StatvfsCall call, std::chrono::nanoseconds patience);
  ~RemoteStatvfs();  // leaves threads that are stuck behind
  RemoteStatvfs(const RemoteStatvfs&) = delete;

  // Asks for all paths, those in flight excepted, and returns what is known of each.
  std::vector<Answer> ask(const std::vector<std::string>& paths);

  static constexpr int kMaxThreads = 4;  // so many mounts may be stuck and the others still be asked

 private:
  struct Job;
  struct Shared;
  static void work(std::shared_ptr<Shared> shared);
  void start_thread();

  std::shared_ptr<Shared> shared_;
  std::vector<std::shared_ptr<Job>> jobs_;
  std::chrono::nanoseconds patience_;
};

}  // namespace runnel
