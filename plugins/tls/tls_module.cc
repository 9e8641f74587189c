// The functions of runnel_tls.h over OpenSSL.
#include <new>

#include "context.h"
#include "runnel_tls.h"
#include "session.h"

namespace {

runnel_tls_context* context_new(const runnel_tls_settings* settings) {
  return runnel_tls_module::new_context(*settings);
}

void context_free(runnel_tls_context* context) {
  delete context;
}

runnel_tls_session* session_new(runnel_tls_context* context) {
  auto* session = new (std::nothrow) runnel_tls_session(*context);
  if (session != nullptr && session->valid()) return session;
  delete session;
  return nullptr;
}

void session_free(runnel_tls_session* session) {
  delete session;
}

runnel_tls_state feed(runnel_tls_session* session, const char* bytes, size_t size,
                      const runnel_tls_output* out) {
  return session->feed({bytes, size}, *out);
}

int write(runnel_tls_session* session, const char* bytes, size_t size, const runnel_tls_output* out) {
  return session->write({bytes, size}, *out) ? 1 : 0;
}

void end(runnel_tls_session* session, const runnel_tls_output* out) {
  session->end(*out);
}

const char* reason(runnel_tls_session* session) {
  return session->reason();
}

const char* detail(runnel_tls_session* session) {
  return session->detail();
}

size_t held(runnel_tls_session* session) {
  return session->held();
}

constexpr runnel_tls kModule = {RUNNEL_TLS_ABI,
                                sizeof(runnel_tls),
                                context_new,
                                context_free,
                                session_new,
                                session_free,
                                feed,
                                write,
                                end,
                                reason,
                                detail,
                                held};

}  // namespace

const runnel_tls* runnel_tls_descriptor(void) {
  return &kModule;
}
