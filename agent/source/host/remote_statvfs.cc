#include "source/host/remote_statvfs.h"

#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#include "base/log.h"

namespace runnel {

using std::chrono::steady_clock;

int system_statvfs(const char* path, struct statvfs* out) {
  return ::statvfs(path, out) == 0 ? 0 : errno;
}

// Guarded by Shared::mutex, except `path`, which never changes.
struct RemoteStatvfs::Job {
  enum class State { idle, queued, running };
  std::string path;
  State state = State::idle;
  bool answered = false;  // and not yet handed out
  bool stuck = false;
  int error = 0;
  struct statvfs st {};
  std::chrono::nanoseconds took{0};  // the last time
};

struct RemoteStatvfs::Shared {
  std::mutex mutex;
  std::condition_variable to_do, done;
  StatvfsCall call;
  std::deque<std::shared_ptr<Job>> queue;
  int threads = 0;
  int busy = 0;  // of the threads, those in a call
  bool stop = false;
};

RemoteStatvfs::RemoteStatvfs(StatvfsCall call, std::chrono::nanoseconds patience)
    : shared_(std::make_shared<Shared>()), patience_(patience) {
  shared_->call = std::move(call);
}

RemoteStatvfs::~RemoteStatvfs() {
  std::unique_lock lock(shared_->mutex);
  shared_->stop = true;
  shared_->queue.clear();
  shared_->to_do.notify_all();
  shared_->done.wait_for(lock, std::chrono::milliseconds(200),
                         [&] { return shared_->threads == shared_->busy; });
}

void RemoteStatvfs::work(std::shared_ptr<Shared> shared) {
  std::unique_lock lock(shared->mutex);
  for (;;) {
    shared->to_do.wait(lock, [&] { return shared->stop || !shared->queue.empty(); });
    if (shared->stop) break;
    std::shared_ptr<Job> job = std::move(shared->queue.front());
    shared->queue.pop_front();
    job->state = Job::State::running;
    shared->busy++;
    lock.unlock();
    struct statvfs st {};
    auto start = steady_clock::now();
    int error = shared->call(job->path.c_str(), &st);
    auto took = steady_clock::now() - start;
    lock.lock();
    shared->busy--;
    job->state = Job::State::idle;
    job->answered = true;
    job->error = error;
    job->st = st;
    job->took = took;
    shared->done.notify_all();
  }
  shared->threads--;
  shared->done.notify_all();
}

// With the mutex held.
void RemoteStatvfs::start_thread() {
  // Signals are the main thread's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  try {
    std::thread(work, shared_).detach();
    shared_->threads++;
  } catch (const std::system_error& e) {
    log::warning("host", "filesystem: no helper thread for remote file systems: {}", e.what());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

std::vector<RemoteStatvfs::Answer> RemoteStatvfs::ask(const std::vector<std::string>& paths) {
  std::vector<Answer> answers(paths.size());
  std::vector<std::shared_ptr<Job>> jobs;
  std::unique_lock lock(shared_->mutex);
  bool waiting = false;
  for (size_t i = 0; i < paths.size(); i++) {
    auto known =
        std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& job) { return job->path == paths[i]; });
    std::shared_ptr<Job> job = known == jobs_.end() ? std::make_shared<Job>() : *known;
    if (known == jobs_.end()) job->path = paths[i];
    jobs.push_back(job);
    if (job->state != Job::State::idle) {
      // Asked a round ago. One that is only queued waits behind a stuck one, for which a thread is started below.
      if (job->state == Job::State::running || shared_->busy == kMaxThreads) {
        answers[i].newly_stuck = !job->stuck;
        job->stuck = true;
      }
      continue;
    }
    answers[i].newly_answers = job->stuck;
    job->stuck = false;
    if (job->answered)
      answers[i] = {true, job->error, job->st, false, answers[i].newly_answers};  // late, but true
    job->answered = false;
    job->state = Job::State::queued;
    shared_->queue.push_back(job);
  }
  jobs_ =
      std::move(jobs);  // what is no longer mounted is forgotten; a thread that asks for it still holds it
  if (shared_->queue.empty()) return answers;

  if (shared_->threads == shared_->busy && shared_->threads < kMaxThreads) start_thread();
  shared_->to_do.notify_all();
  auto settled = [&] {
    return std::all_of(jobs_.begin(), jobs_.end(), [&](const auto& job) {
      return job->state == Job::State::idle || job->stuck || job->took > patience_;
    });
  };
  waiting = shared_->threads > 0 && !settled();
  if (waiting) shared_->done.wait_for(lock, patience_, settled);
  for (size_t i = 0; i < jobs_.size(); i++) {
    Job& job = *jobs_[i];
    if (job.state != Job::State::idle || !job.answered) continue;
    answers[i].known = true;
    answers[i].newly_answers = answers[i].newly_answers || job.stuck;
    job.stuck = false;
    answers[i].error = job.error;
    answers[i].st = job.st;
    job.answered = false;
  }
  return answers;
}

}  // namespace runnel
