// TLS of the server's side, by the module lib/runnel/tls.so (runnel_tls.h), which is loaded when the first context is
// made: an agent without a tls:// listener maps no OpenSSL. Contexts are made on the main thread; a session belongs to the
// thread of its connection.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/tls_settings.h"
#include "runnel_tls.h"

namespace runnel {

// The certificates that new connections are given.
class TlsContext {
 public:
  // `problems` gets all that is wrong with the files; null where one of them is no warning. `module` is for tests.
  static std::shared_ptr<const TlsContext> make(const TlsSettings& settings,
                                                std::vector<TlsProblem>& problems,
                                                const std::string& module = {});
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;

 private:
  friend class TlsSession;
  TlsContext(const runnel_tls& module, runnel_tls_context* context) : module_(module), context_(context) {}
  const runnel_tls& module_;
  runnel_tls_context* const context_;
};

// One connection. It goes on with the certificates it began with, whatever becomes of the context.
class TlsSession {
 public:
  // Null: no memory.
  static std::unique_ptr<TlsSession> make(const TlsContext& context);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;

  // Takes bytes of the peer: what they say goes to `plain`, which may call write(); what is to be sent is appended to
  // `cipher`.
  runnel_tls_state feed(std::string_view bytes, std::string& cipher,
                        const std::function<void(std::string_view)>& plain);
  bool write(std::string_view bytes, std::string& cipher);              // false: it has failed
  void end(std::string& cipher);                                        // close_notify
  std::string_view reason() const { return module_.reason(session_); }  // why it failed, for counters
  std::string_view detail() const { return module_.detail(session_); }
  size_t held_bytes() const { return module_.held(session_); }

 private:
  TlsSession(const runnel_tls& module, runnel_tls_session* session) : module_(module), session_(session) {}
  const runnel_tls& module_;
  runnel_tls_session* const session_;
};

}  // namespace runnel
