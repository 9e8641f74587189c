// The libuv event loop and the handles that the agent uses: the one place that knows how long a uv handle lives.
// Everything here belongs to the loop's thread, except Wakeup::send. Each wrapper owns its handle on the heap and
// closes it in its destructor; libuv frees it in the close callback, so a wrapper may die at any time, also inside its
// own callback (the callback object is kept until it returns). The Loop must outlive its wrappers. http://docs.libuv.org
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

struct uv_loop_s;

namespace runnel {

class Loop {
 public:
  Loop();
  ~Loop();  // runs pending close callbacks; aborts on a leaked handle, because uv_loop_close must return 0
  Loop(const Loop&) = delete;

  void run();  // until stop() or until no handle is left
  void stop();
  void run_once(int64_t timeout_ms);  // for tests: handles what is ready, waits at most that long
  int64_t now_ms() const;             // monotonic, as of the start of this turn of the loop
  uv_loop_s* raw() { return loop_.get(); }

 private:
  std::unique_ptr<uv_loop_s> loop_;
};

// A uv handle and its callback, shared by the wrappers below.
struct LoopHandle;

class Timer {
 public:
  Timer(Loop& loop, std::function<void()> on_time);
  ~Timer();
  Timer(const Timer&) = delete;
  void start(int64_t delay_ms, int64_t repeat_ms = 0);  // restarts a running one; repeat 0: once
  void stop();

 private:
  LoopHandle* handle_;
};

// Wakes the loop from any thread; several sends may become one call.
class Wakeup {
 public:
  Wakeup(Loop& loop, std::function<void()> on_wakeup);
  ~Wakeup();
  Wakeup(const Wakeup&) = delete;
  void send();

 private:
  LoopHandle* handle_;
};

class SignalWatch {
 public:
  SignalWatch(Loop& loop, int signal, std::function<void()> on_signal);
  ~SignalWatch();
  SignalWatch(const SignalWatch&) = delete;

 private:
  LoopHandle* handle_;
};

// Readiness of a descriptor that somebody else owns and closes after this object is gone.
class FdWatch {
 public:
  FdWatch(Loop& loop, int fd, std::function<void()> on_readable);
  ~FdWatch();
  FdWatch(const FdWatch&) = delete;

 private:
  LoopHandle* handle_;
};

// inotify(7) on one directory or file (not below it). `name` is the entry that changed, "" where the kernel does
// not say. Changes come in bursts: callers wait a little before they look.
class PathWatch {
 public:
  static Result<std::unique_ptr<PathWatch>> open(Loop& loop, const std::string& path,
                                                 std::function<void(const std::string& name)> on_change);
  ~PathWatch();
  PathWatch(const PathWatch&) = delete;

 private:
  explicit PathWatch(LoopHandle* handle) : handle_(handle) {}
  LoopHandle* handle_;
};

}  // namespace runnel
