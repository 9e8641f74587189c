#include "loop/loop.h"

#include <fmt/format.h>
#include <uv.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace runnel {

struct LoopHandle {
  union {
    uv_handle_t any;
    uv_timer_t timer;
    uv_async_t async;
    uv_signal_t signal;
    uv_poll_t poll;
    uv_fs_event_t fs_event;
  };
  std::function<void()> call;
  std::function<void(const std::string&)> call_name;
};

namespace {

template <class Raw>
LoopHandle* handle_of(Raw* raw) {
  return static_cast<LoopHandle*>(raw->data);
}

LoopHandle* new_handle(std::function<void()> call) {
  auto* handle = new LoopHandle{};
  handle->any.data = handle;
  handle->call = std::move(call);
  return handle;
}

void check(int code, const char* what) {
  if (code < 0) throw std::runtime_error(fmt::format("{}: {}", what, uv_strerror(code)));
}

void close_handle(LoopHandle* handle) {
  uv_close(&handle->any, [](uv_handle_t* raw) { delete handle_of(raw); });
}

// libuv runs close callbacks at the end of a turn, never inside another callback, so `handle` outlives the call.
template <class Raw>
void dispatch(Raw* raw) {
  handle_of(raw)->call();
}

}  // namespace

Loop::Loop() : loop_(std::make_unique<uv_loop_s>()) {
  check(uv_loop_init(loop_.get()), "uv_loop_init");
}

Loop::~Loop() {
  // Close callbacks only: a handle that is still open must be seen by uv_loop_close, not run.
  uv_run(loop_.get(), UV_RUN_NOWAIT);
  if (int code = uv_loop_close(loop_.get()); code != 0) {
    std::fprintf(stderr, "loop: a handle was leaked: %s\n", uv_strerror(code));
    std::abort();
  }
}

void Loop::run() {
  uv_run(loop_.get(), UV_RUN_DEFAULT);
}
void Loop::stop() {
  uv_stop(loop_.get());
}
int64_t Loop::now_ms() const {
  return static_cast<int64_t>(uv_now(loop_.get()));
}

void Loop::run_once(int64_t timeout_ms) {
  Timer limit(*this, [] {});
  limit.start(timeout_ms);
  uv_run(loop_.get(), UV_RUN_ONCE);
}

Timer::Timer(Loop& loop, std::function<void()> on_time) : handle_(new_handle(std::move(on_time))) {
  check(uv_timer_init(loop.raw(), &handle_->timer), "uv_timer_init");
}
Timer::~Timer() {
  close_handle(handle_);
}
void Timer::start(int64_t delay_ms, int64_t repeat_ms) {
  uv_update_time(handle_->timer.loop);  // libuv counts from the start of the turn, which may be long ago
  uv_timer_start(&handle_->timer, dispatch<uv_timer_t>, static_cast<uint64_t>(delay_ms < 0 ? 0 : delay_ms),
                 static_cast<uint64_t>(repeat_ms));
}
void Timer::stop() {
  uv_timer_stop(&handle_->timer);
}

Wakeup::Wakeup(Loop& loop, std::function<void()> on_wakeup) : handle_(new_handle(std::move(on_wakeup))) {
  check(uv_async_init(loop.raw(), &handle_->async, dispatch<uv_async_t>), "uv_async_init");
}
Wakeup::~Wakeup() {
  close_handle(handle_);
}
void Wakeup::send() {
  uv_async_send(&handle_->async);
}

SignalWatch::SignalWatch(Loop& loop, int signal, std::function<void()> on_signal)
    : handle_(new_handle(std::move(on_signal))) {
  check(uv_signal_init(loop.raw(), &handle_->signal), "uv_signal_init");
  check(uv_signal_start(
            &handle_->signal, [](uv_signal_t* raw, int) { dispatch(raw); }, signal),
        "uv_signal_start");
}
SignalWatch::~SignalWatch() {
  close_handle(handle_);
}

FdWatch::FdWatch(Loop& loop, int fd, std::function<void()> on_readable)
    : handle_(new_handle(std::move(on_readable))) {
  check(uv_poll_init(loop.raw(), &handle_->poll, fd), "uv_poll_init");
  check(uv_poll_start(&handle_->poll, UV_READABLE | UV_DISCONNECT,
                      [](uv_poll_t* raw, int, int) { dispatch(raw); }),
        "uv_poll_start");
}
FdWatch::~FdWatch() {
  close_handle(handle_);
}

Result<std::unique_ptr<PathWatch>> PathWatch::open(Loop& loop, const std::string& path,
                                                   std::function<void(const std::string&)> on_change) {
  LoopHandle* handle = new_handle({});
  handle->call_name = std::move(on_change);
  check(uv_fs_event_init(loop.raw(), &handle->fs_event), "uv_fs_event_init");
  int code = uv_fs_event_start(
      &handle->fs_event,
      [](uv_fs_event_t* raw, const char* name, int, int) { handle_of(raw)->call_name(name ? name : ""); },
      path.c_str(), 0);
  if (code < 0) {
    close_handle(handle);
    return Error{fmt::format("{}: {}", path, uv_strerror(code))};
  }
  return std::unique_ptr<PathWatch>(new PathWatch(handle));
}
PathWatch::~PathWatch() {
  close_handle(handle_);
}

}  // namespace runnel
