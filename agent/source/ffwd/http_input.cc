#include "source/ffwd/http_input.h"

#include <algorithm>
#include <utility>

namespace runnel::ffwd {
namespace {

constexpr int kAcceptsATurn = 64;
constexpr int kAcceptsAtEnd = 4096;  // the whole backlog
constexpr int64_t kPauseMs = 100;    // without accepting, where descriptors or memory have run out
constexpr size_t kMaxHeld = 32 << 20;

runnel_httpd_limits limits_of(const FfwdConfig& config) {
  runnel_httpd_limits limits{};
  limits.max_connections = static_cast<uint32_t>(config.max_connections);
  limits.idle_ms = config.idle_timeout_ms;
  limits.request_ms = config.request_timeout_ms;
  limits.max_body = static_cast<size_t>(config.max_body);
  limits.max_held = std::max(kMaxHeld, 2 * limits.max_body);
  return limits;
}

}  // namespace

HttpInput::HttpInput(Loop& loop, Intake& intake, std::function<bool()> blocked)
    : loop_(loop),
      intake_(intake),
      blocked_(std::move(blocked)),
      timer_(loop, [this] { serve(); }),
      pause_(loop, [this] { watch_listeners(); }) {}

Result<std::unique_ptr<HttpInput>> HttpInput::make(Loop& loop, Intake& intake, std::function<bool()> blocked,
                                                   const FfwdConfig& config) {
  std::unique_ptr<HttpInput> input(new HttpInput(loop, intake, std::move(blocked)));
  HttpHandlers handlers;
  HttpInput* raw = input.get();
  handlers.request = [raw](uint64_t id, std::string_view method, std::string_view path, std::string_view body,
                           const Peer& peer) { raw->request(id, method, path, body, peer); };
  handlers.refused = [raw](std::string_view reason, const Peer& peer) {
    raw->intake_.refuse(reason, {}, peer);
  };
  handlers.closed = [raw](std::string_view reason, const Peer& peer) {
    raw->intake_.closed(reason, peer, {});
  };
  // Within service() this is overruled by what serve() sets after it.
  handlers.answered = [raw] { raw->timer_.start(0); };
  auto server = HttpServer::make(limits_of(config), std::move(handlers));
  if (!server.ok()) return Error{server.error()};
  input->server_ = std::move(*server);
  input->watch_ = std::make_unique<FdWatch>(loop, input->server_->poll_fd(), [raw] { raw->serve(); });
  return input;
}

HttpInput::~HttpInput() {
  watch_.reset();
  accepting_.clear();
  if (!server_) return;
  for (const auto& listener : listeners_) accept_some(*listener, kAcceptsAtEnd);
  server_->stop();  // while it can still be asked for answers
}

void HttpInput::request(uint64_t id, std::string_view method, std::string_view path, std::string_view body,
                        const Peer& peer) {
  bool ping = path == "/ping", batch = path == "/v1/batch" || path == "/v2/batch";
  if (!ping && !batch) {
    server_->answer(id, 404, "there are /ping, /v1/batch and /v2/batch\n");
  } else if (ping && (method == "GET" || method == "HEAD")) {
    server_->answer(id, 200, "pong\n");
  } else if (!batch || method != "POST") {
    server_->answer(id, 405, "GET /ping, POST /v1/batch, POST /v2/batch\n");
  } else {
    // The log may decide when the server has gone.
    intake_.body(body, peer, !blocked_(),
                 [weak = std::weak_ptr(server_), id](unsigned status, std::string_view text) {
                   if (auto server = weak.lock()) server->answer(id, status, text);
                 });
  }
}

void HttpInput::configure(const std::vector<std::shared_ptr<Listener>>& listeners, const FfwdConfig& config) {
  server_->set_limits(limits_of(config));
  for (const auto& old : listeners_)
    if (std::find(listeners.begin(), listeners.end(), old) == listeners.end())
      accept_some(*old, kAcceptsAtEnd);
  listeners_ = listeners;
  watch_listeners();
  serve();
}

void HttpInput::watch_listeners() {
  accepting_.clear();
  for (const auto& listener : listeners_)
    accepting_.push_back(std::make_unique<FdWatch>(
        loop_, listener->fd(), [this, raw = listener.get()] { accept_some(*raw, kAcceptsATurn); }));
}

void HttpInput::accept_some(const Listener& listener, int most) {
  for (int i = 0; i < most; i++) {
    Peer peer;
    UniqueFd fd;
    Listener::Accept outcome = listener.accept(fd, peer);
    if (outcome == Listener::Accept::nobody) break;
    if (outcome == Listener::Accept::gone) continue;
    if (outcome == Listener::Accept::exhausted) {
      accepting_.clear();
      pause_.start(kPauseMs);
      break;
    }
    server_->add(std::move(fd), peer);
  }
  serve();  // not for each: those who come again and again would have the loop for themselves
}

void HttpInput::serve() {
  server_->service();
  int64_t timeout_ms = server_->timeout_ms();
  if (timeout_ms >= 0) {
    // libuv before 1.45 runs a timer of 0 that is started in its own callback before it looks at anything else: a client that
    // pipelines requests without end would have the loop for itself.
    timer_.start(std::max<int64_t>(1, timeout_ms));
  } else {
    timer_.stop();
  }
}

}  // namespace runnel::ffwd
