/*
 * runnel_httpd.h - a small HTTP/1.1 server as a module: whole requests out, answers in.
 *
 * The agent loads it when an http:// listener is configured, so that libmicrohttpd is not mapped otherwise. It is built and
 * installed with the agent; a different RUNNEL_HTTPD_ABI is refused. It exports one function:
 *
 *     const runnel_httpd *runnel_httpd_descriptor(void);
 *
 * Rules
 *   Memory     Who allocates frees. What is passed to a call, or to a callback, is valid during that call.
 *   Threads    A server belongs to one thread. Callbacks are called within service() and stop(); of all functions they may call
 *              answer().
 *   Sockets    The agent accepts connections and hands them over; the module closes them. Nothing blocks: service() is to be
 *              called when poll_fd is readable and after timeout_ms at the latest.
 *   Errors     No exception crosses this interface.
 */
#ifndef RUNNEL_HTTPD_H
#define RUNNEL_HTTPD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RUNNEL_HTTPD_ABI 1u

typedef struct runnel_httpd_server runnel_httpd_server;

typedef struct runnel_httpd_peer {
  const struct sockaddr *address;
  socklen_t size;
} runnel_httpd_peer;

typedef struct runnel_httpd_limits {
  uint32_t max_connections;
  int64_t idle_ms;    /* a connection without a whole request is closed; 0: never */
  int64_t request_ms; /* from a request's first line to the end of its body, and to the first line of all; 0: any */
  size_t max_body;    /* bytes, as they come and inflated */
  size_t max_held;    /* bytes of bodies of all connections together */
} runnel_httpd_limits;

typedef struct runnel_httpd_settings {
  runnel_httpd_limits limits;
  /* A whole request, its body inflated where it said gzip. To be answered once, in this call or later, by its id. */
  void (*request)(void *user, uint64_t id, const char *method, const char *path, const char *body, size_t size,
                  runnel_httpd_peer peer);
  /* One that the module has answered itself (status 4xx, 501 or 503), or that broke off, and why. */
  void (*refused)(void *user, const char *reason, runnel_httpd_peer peer);
  /* A connection that the module has closed, and why. */
  void (*closed)(void *user, const char *reason, runnel_httpd_peer peer);
  void *user;
} runnel_httpd_settings;

typedef struct runnel_httpd {
  uint32_t abi_version, struct_size;
  runnel_httpd_server *(*start)(const runnel_httpd_settings *settings); /* NULL: no memory or descriptor */
  void (*set_limits)(runnel_httpd_server *server, const runnel_httpd_limits *limits);
  int (*poll_fd)(runnel_httpd_server *server);
  /* Takes a connected, non-blocking socket; it is closed in any case. */
  void (*add)(runnel_httpd_server *server, int fd, runnel_httpd_peer peer);
  void (*service)(runnel_httpd_server *server);
  int64_t (*timeout_ms)(runnel_httpd_server *server); /* -1: none */
  /* `text` is the body, plain text. An id that is gone is ignored. */
  void (*answer)(runnel_httpd_server *server, uint64_t id, unsigned status, const char *text, size_t size);
  size_t (*connections)(runnel_httpd_server *server);
  /* Takes requests that have come, answers with 503 what has no answer, closes everything and frees the server. */
  void (*stop)(runnel_httpd_server *server);
} runnel_httpd;

typedef const runnel_httpd *(*runnel_httpd_descriptor_fn)(void);

#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const runnel_httpd *runnel_httpd_descriptor(void);

#ifdef __cplusplus
}
#endif

#endif
