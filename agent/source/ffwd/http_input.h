// FFWD's HTTP input: GET /ping, POST /v1/batch, POST /v2/batch. Accepts connections for the HTTP server (net/http_server.h) and
// hands bodies to the intake; an answer waits until the log has decided. On the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/result.h"
#include "config/config.h"
#include "loop/loop.h"
#include "net/http_server.h"
#include "net/listener.h"
#include "source/ffwd/intake.h"

namespace runnel::ffwd {

class HttpInput {
 public:
  // Fails where the module cannot be loaded.
  static Result<std::unique_ptr<HttpInput>> make(Loop& loop, Intake& intake, std::function<bool()> blocked,
                                                 const FfwdConfig& config);
  ~HttpInput();  // takes what has come
  HttpInput(const HttpInput&) = delete;

  // Of a listener that is not there any more what waits is accepted first; its connections live on.
  void configure(const std::vector<std::shared_ptr<Listener>>& listeners, const FfwdConfig& config);
  size_t connections() const { return server_->connections(); }

 private:
  HttpInput(Loop& loop, Intake& intake, std::function<bool()> blocked);
  void request(uint64_t id, std::string_view method, std::string_view path, std::string_view body,
               const Peer& peer);
  void accept_some(const Listener& listener, int most);
  void watch_listeners();
  void serve();

  Loop& loop_;
  Intake& intake_;
  const std::function<bool()> blocked_;
  std::shared_ptr<HttpServer> server_;
  std::vector<std::shared_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<FdWatch>> accepting_;
  std::unique_ptr<FdWatch> watch_;
  Timer timer_, pause_;
};

}  // namespace runnel::ffwd
