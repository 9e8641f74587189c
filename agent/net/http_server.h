// Whole HTTP requests, by the module lib/runnel/httpd.so (runnel_httpd.h), which is loaded when the first server is made: an
// agent without an http:// listener maps no libmicrohttpd. One thread; the handlers are called within service() and stop(),
// and of all methods they may call answer().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "net/peer.h"
#include "runnel_httpd.h"

namespace runnel {

struct HttpHandlers {
  // To be answered once, at once or later. The views are valid during the call.
  std::function<void(uint64_t id, std::string_view method, std::string_view path, std::string_view body,
                     const Peer& peer)>
      request;
  std::function<void(std::string_view reason, const Peer& peer)>
      refused;  // a request that was answered by the module
  std::function<void(std::string_view reason, const Peer& peer)> closed;  // a connection, by us
  // An answer leaves with the next service(): called by answer(), so that one that comes later need not wait for a time-out.
  std::function<void()> answered;
};

class HttpServer {
 public:
  // `module` is for tests.
  static Result<std::shared_ptr<HttpServer>> make(const runnel_httpd_limits& limits, HttpHandlers handlers,
                                                  const std::string& module = {});
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;

  // Takes what has come, closes everything. Of all methods only answer() may be called afterwards, which does nothing then.
  void stop();
  void set_limits(const runnel_httpd_limits& limits);
  int poll_fd() const { return module_.poll_fd(server_); }
  void add(UniqueFd connection, const Peer& peer);  // closed where there are too many
  void service();                                   // when poll_fd is readable, and after timeout_ms
  int64_t timeout_ms() const { return module_.timeout_ms(server_); }  // -1: none
  void answer(uint64_t id, unsigned status, std::string_view text) {
    if (server_ == nullptr) return;
    module_.answer(server_, id, status, text.data(), text.size());
    if (handlers_.answered) handlers_.answered();
  }
  size_t connections() const { return module_.connections(server_); }

 private:
  HttpServer(const runnel_httpd& module, HttpHandlers handlers);

  const runnel_httpd& module_;
  const HttpHandlers handlers_;
  uint32_t max_connections_ = 0;
  size_t added_ = 0;  // connections that the module counts with the next service()
  runnel_httpd_server* server_ = nullptr;
};

}  // namespace runnel
