// The certificates and rules that new connections are given: one SSL_CTX.
#pragma once

#include <openssl/ssl.h>

#include <memory>

#include "runnel_tls.h"

struct runnel_tls_context {
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> ssl{nullptr, SSL_CTX_free};
};

namespace runnel_tls_module {

// Null where `settings.problem` was told why.
runnel_tls_context* new_context(const runnel_tls_settings& settings);

}  // namespace runnel_tls_module
