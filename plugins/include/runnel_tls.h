/*
 * runnel_tls.h - the server side of TLS as a module: bytes in, bytes out, no descriptor.
 *
 * The agent loads it when a tls:// listener is configured, so that OpenSSL is not mapped otherwise. It is built and
 * installed with the agent; a different RUNNEL_TLS_ABI is refused. It exports one function:
 *
 *     const runnel_tls *runnel_tls_descriptor(void);
 *
 * Rules
 *   Memory     Who allocates frees. What is passed to a call, or to a callback, is valid during that call.
 *   Threads    A context may be shared by threads, a session belongs to one.
 *   Lifetime   A session keeps what it needs of its context: the context may be freed first.
 *   Errors     No exception crosses this interface. Callbacks must not call back into the session.
 */
#ifndef RUNNEL_TLS_H
#define RUNNEL_TLS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RUNNEL_TLS_ABI 1u

typedef struct runnel_tls_context runnel_tls_context; /* certificates and rules for new connections */
typedef struct runnel_tls_session runnel_tls_session; /* one connection */

/* What a problem is about. */
typedef enum runnel_tls_file { RUNNEL_TLS_CA = 0, RUNNEL_TLS_CERTIFICATE = 1, RUNNEL_TLS_KEY = 2 } runnel_tls_file;

typedef enum runnel_tls_client_auth {
  RUNNEL_TLS_NONE = 0,    /* clients are not asked for a certificate */
  RUNNEL_TLS_REQUEST = 1, /* asked: one that is shown must be good */
  RUNNEL_TLS_REQUIRE = 2  /* there must be one */
} runnel_tls_client_auth;

typedef struct runnel_tls_settings {
  const char *files[3]; /* PEM, by runnel_tls_file. CA: "" where client_auth is NONE */
  runnel_tls_client_auth client_auth;
  /* Called for each problem while a context is made; one that is no warning means that none is made. */
  void (*problem)(void *user, runnel_tls_file file, int is_warning, const char *text);
  void *user;
} runnel_tls_settings;

typedef struct runnel_tls_output {
  void (*plain)(void *user, const char *bytes, size_t size);  /* what the peer said */
  void (*cipher)(void *user, const char *bytes, size_t size); /* to be sent to the peer, in this order */
  void *user;
} runnel_tls_output;

typedef enum runnel_tls_state {
  RUNNEL_TLS_HANDSHAKE = 0, /* nothing can be written yet */
  RUNNEL_TLS_OPEN = 1,
  RUNNEL_TLS_ENDED = 2, /* the peer says nothing more (close_notify); it can still be written to */
  RUNNEL_TLS_FAILED = 3 /* send what `cipher` has got (an alert), then close */
} runnel_tls_state;

typedef struct runnel_tls {
  uint32_t abi_version, struct_size;
  runnel_tls_context *(*context_new)(const runnel_tls_settings *settings); /* NULL: `problem` has said why */
  void (*context_free)(runnel_tls_context *context);
  runnel_tls_session *(*session_new)(runnel_tls_context *context); /* NULL: no memory */
  void (*session_free)(runnel_tls_session *session);
  /* Takes bytes of the peer, all of them. */
  runnel_tls_state (*feed)(runnel_tls_session *session, const char *bytes, size_t size, const runnel_tls_output *out);
  /* Encrypts for the peer; only after the handshake. 0: the session has failed. */
  int (*write)(runnel_tls_session *session, const char *bytes, size_t size, const runnel_tls_output *out);
  /* Nothing more will be written: close_notify. */
  void (*end)(runnel_tls_session *session, const runnel_tls_output *out);
  /* Why it failed: a word that counters carry ("certificate_expired"), and a text for people. */
  const char *(*reason)(runnel_tls_session *session);
  const char *(*detail)(runnel_tls_session *session);
  /* Bytes of memory that wait for the rest of a record; what is kept all the time does not count. */
  size_t (*held)(runnel_tls_session *session);
} runnel_tls;

typedef const runnel_tls *(*runnel_tls_descriptor_fn)(void);

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const runnel_tls *runnel_tls_descriptor(void);

#ifdef __cplusplus
}
#endif

#endif
