// One connection: an SSL between the bytes it is fed and a callback. There is no buffer of ours on either side: what the
// peer sent is read where it lies, and what is to be sent goes straight to the output.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

#include "context.h"
#include "runnel_tls.h"

struct runnel_tls_session {
 public:
  explicit runnel_tls_session(const runnel_tls_context& context);
  runnel_tls_session(const runnel_tls_session&) = delete;

  bool valid() const { return ssl_ != nullptr; }
  runnel_tls_state feed(std::string_view bytes, const runnel_tls_output& out);
  bool write(std::string_view bytes, const runnel_tls_output& out);
  void end(const runnel_tls_output& out);
  const char* reason() const { return reason_; }
  const char* detail() const { return detail_.c_str(); }
  size_t held() const;

 private:
  struct Io;  // the BIO's functions
  runnel_tls_state fail();
  void explain(unsigned long code);
  static int on_verify(int good, X509_STORE_CTX* store);

  std::unique_ptr<SSL, void (*)(SSL*)> ssl_{nullptr, SSL_free};
  std::string_view in_;                     // of the peer, not read yet
  const runnel_tls_output* out_ = nullptr;  // during a call
  runnel_tls_state state_ = RUNNEL_TLS_HANDSHAKE;
  const char* reason_ = "";
  std::string detail_;  // while all is well: nothing, or whose certificate was refused
  bool begun_ = false;  // something came
};
