// The functions of runnel_httpd.h over libmicrohttpd, which is driven from outside (MHD_USE_EPOLL without a thread). A request
// that is not answered at once is suspended until it is.
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <list>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <unordered_map>

#include "body.h"
#include "framing.h"
#include "runnel_httpd.h"

namespace {

using runnel_httpd_module::Body;
using runnel_httpd_module::Framing;

constexpr int64_t kSweepMs = 250;
constexpr int kLastRuns = 16;
constexpr int64_t kServiceUs = 2000;  // a call of service() goes on for so long
constexpr const char* kBadRequest = "bad_request";
constexpr unsigned kTooLargeStatus = 413;  // the library has renamed its constant

int64_t now_us() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000 + t.tv_nsec / 1000;
}

int64_t now_ms() {
  return now_us() / 1000;
}

struct Connection {
  MHD_Connection* handle = nullptr;
  int64_t alive_ms = 0;    // its start, or the end of its last request
  int64_t request_ms = 0;  // the first line of the request that is under way; 0: there is none
  bool asked = false;      // there was such a line
  bool waiting = false;    // for an answer of the agent
  bool cut = false;        // shut down, the library has yet to notice
};

struct Request {
  uint64_t id = 0;
  Connection* connection = nullptr;
  Body body;
  std::string method, path;
  const char* refusal = "";  // not "": the rest of the body is thrown away
  unsigned refusal_status = 0;
  size_t accounted = 0;  // of the server's `held`
  size_t thrown = 0;
  bool handed = false, answered = false, suspended = false;
  unsigned status = 0;
  std::string text;
};

// The library does not notice the end of a connection that came together with bytes: it waits for another edge.
bool has_ended(int fd) {
  char byte;
  return ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

}  // namespace

struct runnel_httpd_server {
  runnel_httpd_settings settings{};
  MHD_Daemon* daemon = nullptr;
  std::list<Connection> connections;
  std::unordered_map<uint64_t, Request*> requests;  // handed to the agent, not answered
  uint64_t next_id = 1;
  size_t held = 0;
  int64_t swept_ms = 0;
  bool stopping = false;

  const runnel_httpd_limits& limits() const { return settings.limits; }

  static runnel_httpd_peer peer_of(MHD_Connection* handle) {
    const MHD_ConnectionInfo* info = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info == nullptr || info->client_addr == nullptr) return {nullptr, 0};
    socklen_t size = info->client_addr->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
    return {info->client_addr, size};
  }
  static Connection* connection_of(MHD_Connection* handle) {
    const MHD_ConnectionInfo* info = MHD_get_connection_info(handle, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info == nullptr ? nullptr : static_cast<Connection*>(info->socket_context);
  }

  void account(Request& r) {
    size_t now = r.body.text().capacity() > std::string().capacity() ? r.body.text().capacity() : 0;
    held = held - r.accounted + now;
    r.accounted = now;
  }

  void refuse(Request& r, const char* reason, unsigned status) {
    r.refusal = reason;
    r.refusal_status = status;
    std::string().swap(r.body.text());
    account(r);
  }

  static MHD_Result respond(MHD_Connection* handle, unsigned status, const std::string& text, bool close) {
    MHD_Response* response =
        MHD_create_response_from_buffer(text.size(), const_cast<char*>(text.data()), MHD_RESPMEM_MUST_COPY);
    if (response == nullptr) return MHD_NO;
    MHD_add_response_header(response, "Content-Type", "text/plain; charset=utf-8");
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE) MHD_add_response_header(response, "Retry-After", "1");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) MHD_add_response_header(response, "Allow", "GET, POST");
    if (close) MHD_add_response_header(response, "Connection", "close");
    MHD_Result result = MHD_queue_response(handle, status, response);
    MHD_destroy_response(response);
    return result;
  }

  MHD_Result respond_refusal(MHD_Connection* handle, Request& r, bool close) {
    settings.refused(settings.user, r.refusal, peer_of(handle));
    r.answered = true;
    return respond(handle, r.refusal_status, std::string(r.refusal) + "\n", close);
  }

  // What the headers say already. 0: go on.
  unsigned judge_headers(MHD_Connection* handle, Request& r) {
    Framing framing;
    MHD_get_connection_values(
        handle, MHD_HEADER_KIND,
        [](void* user, MHD_ValueKind, const char* name, const char* value) {
          static_cast<Framing*>(user)->header(name, value == nullptr ? "" : value);
          return MHD_YES;
        },
        &framing);
    Framing::Judgement said = framing.judge(limits().max_body);
    if (*said.refusal != '\0') {
      refuse(r, said.refusal, said.status);
    } else if (said.gzip && !r.body.begin_gzip()) {
      refuse(r, "no_memory", MHD_HTTP_SERVICE_UNAVAILABLE);
    }
    return r.refusal_status;
  }

  // False: the connection is to be closed without an answer.
  bool take(Request& r, std::string_view bytes) {
    if (*r.refusal != '\0') {
      r.thrown += bytes.size();
      return r.thrown <= limits().max_body;
    }
    const char* wrong = r.body.add(bytes, limits().max_body);
    account(r);
    if (*wrong != '\0') {
      refuse(r, wrong, std::strcmp(wrong, "bad_gzip") == 0 ? MHD_HTTP_BAD_REQUEST : kTooLargeStatus);
    } else if (held > limits().max_held) {
      refuse(r, "too_much_held", MHD_HTTP_SERVICE_UNAVAILABLE);
    }
    return true;
  }

  MHD_Result whole(MHD_Connection* handle, Request& r) {
    if (*r.refusal == '\0')
      if (const char* wrong = r.body.finish(); *wrong != '\0') refuse(r, wrong, MHD_HTTP_BAD_REQUEST);
    if (*r.refusal != '\0') return respond_refusal(handle, r, false);
    r.handed = true;
    r.connection->request_ms = 0;
    r.connection->alive_ms = now_ms();
    requests[r.id] = &r;
    settings.request(settings.user, r.id, r.method.c_str(), r.path.c_str(), r.body.text().data(),
                     r.body.text().size(), peer_of(handle));
    std::string().swap(r.body.text());
    account(r);
    if (r.answered) return respond(handle, r.status, r.text, stopping);
    r.suspended = true;
    r.connection->waiting = true;
    MHD_suspend_connection(handle);
    return MHD_YES;
  }

  MHD_Result handle(MHD_Connection* handle, const char* url, const char* method, const char* data,
                    size_t* size, void** context) {
    if (*context == nullptr) {
      auto* fresh = new (std::nothrow) Request;
      if (fresh == nullptr) return MHD_NO;
      *context = fresh;
      fresh->id = next_id++;
      fresh->connection = connection_of(handle);
      fresh->method = method;
      fresh->path = url;
      if (fresh->connection == nullptr) return MHD_NO;
      // Before the body has come: the library closes the connection when this has left.
      if (judge_headers(handle, *fresh) != 0) return respond_refusal(handle, *fresh, true);
      return MHD_YES;
    }
    auto& r = *static_cast<Request*>(*context);
    if (*size > 0) {
      bool good = take(r, {data, *size});
      *size = 0;
      return good ? MHD_YES : MHD_NO;
    }
    if (!r.handed) return whole(handle, r);
    return r.answered ? respond(handle, r.status, r.text, stopping) : MHD_YES;
  }

  // A request that has ended without an answer: the client has gone, or sends what is no HTTP, which the library answers.
  void broken(Connection& c, const char* reason) {
    if (!stopping && !c.cut) settings.refused(settings.user, reason, peer_of(c.handle));
  }

  void completed(void** context) {
    auto* r = static_cast<Request*>(*context);
    if (r == nullptr) return;
    if (!r->handed && !r->answered && r->connection != nullptr)
      broken(*r->connection, *r->refusal != '\0' ? r->refusal : kBadRequest);
    requests.erase(r->id);
    held -= r->accounted;
    if (r->connection != nullptr) {
      r->connection->alive_ms = now_ms();
      r->connection->request_ms = 0;
    }
    delete r;
    *context = nullptr;
  }

  void answer(uint64_t id, unsigned status, std::string text) {
    auto found = requests.find(id);
    if (found == requests.end()) return;
    Request& r = *found->second;
    requests.erase(found);
    r.status = status;
    r.text = std::move(text);
    r.answered = true;
    if (!r.suspended) return;
    r.connection->waiting = false;
    MHD_resume_connection(r.connection->handle);
  }

  // Half a line is no request yet: a client that never gets further has no longer than for a whole one.
  int64_t idle_ms(const Connection& c) const {
    int64_t idle = limits().idle_ms, request = limits().request_ms;
    return c.asked || request == 0 ? idle : idle == 0 ? request : std::min(idle, request);
  }

  void sweep() {
    int64_t now = now_ms();
    if (now - swept_ms < kSweepMs) return;
    swept_ms = now;
    for (Connection& c : connections) {
      if (c.waiting || c.cut) continue;
      const MHD_ConnectionInfo* info = MHD_get_connection_info(c.handle, MHD_CONNECTION_INFO_CONNECTION_FD);
      if (info == nullptr) continue;
      if (c.request_ms != 0 && limits().request_ms > 0 && now - c.request_ms > limits().request_ms) {
        settings.closed(settings.user, "slow_request", peer_of(c.handle));
      } else if (c.request_ms == 0 && idle_ms(c) > 0 && now - c.alive_ms > idle_ms(c)) {
        settings.closed(settings.user, "idle", peer_of(c.handle));
      } else if (c.request_ms != 0 && has_ended(info->connect_fd)) {
        broken(c, kBadRequest);
      } else if (c.request_ms != 0 || !c.asked || now - c.alive_ms > 2 * kSweepMs ||
                 !has_ended(info->connect_fd)) {
        continue;  // what ends later has an edge of its own
      }
      c.cut = true;
      ::shutdown(info->connect_fd, SHUT_RDWR);
    }
  }
};

namespace {

runnel_httpd_server& server_of(void* user) {
  return *static_cast<runnel_httpd_server*>(user);
}

MHD_Result on_request(void* user, MHD_Connection* handle, const char* url, const char* method, const char*,
                      const char* data, size_t* size, void** context) {
  try {
    return server_of(user).handle(handle, url, method, data, size, context);
  } catch (...) {  // no memory
    return MHD_NO;
  }
}

void* on_line(void*, const char*, MHD_Connection* handle) {
  if (Connection* c = runnel_httpd_server::connection_of(handle)) {
    c->request_ms = now_ms();
    c->asked = true;
  }
  return nullptr;
}

void on_completed(void* user, MHD_Connection*, void** context, MHD_RequestTerminationCode) {
  server_of(user).completed(context);
}

void on_connection(void* user, MHD_Connection* handle, void** context, MHD_ConnectionNotificationCode code) {
  auto& connections = server_of(user).connections;
  if (code == MHD_CONNECTION_NOTIFY_STARTED) {
    try {
      Connection& c = connections.emplace_back();
      c.handle = handle;
      c.alive_ms = now_ms();
      *context = &c;
    } catch (...) {
      *context = nullptr;  // its requests are refused
    }
    return;
  }
  auto* gone = static_cast<Connection*>(*context);
  if (gone != nullptr && gone->request_ms != 0) server_of(user).broken(*gone, kBadRequest);
  connections.remove_if([&](const Connection& c) { return &c == *context; });
  *context = nullptr;
}

void ignore_log(void*, const char*, va_list) {}

runnel_httpd_server* start(const runnel_httpd_settings* settings) {
  auto server = std::unique_ptr<runnel_httpd_server>(new (std::nothrow) runnel_httpd_server);
  if (!server) return nullptr;
  server->settings = *settings;
  server->daemon = MHD_start_daemon(
      MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME, 0, nullptr, nullptr, on_request,
      server.get(), MHD_OPTION_EXTERNAL_LOGGER, ignore_log, nullptr, MHD_OPTION_NOTIFY_COMPLETED,
      on_completed, server.get(), MHD_OPTION_NOTIFY_CONNECTION, on_connection, server.get(),
      MHD_OPTION_URI_LOG_CALLBACK, on_line, nullptr, MHD_OPTION_CONNECTION_MEMORY_LIMIT, size_t{32} << 10,
      MHD_OPTION_CONNECTION_LIMIT, 100'000U, MHD_OPTION_END);
  return server->daemon == nullptr ? nullptr : server.release();
}

void set_limits(runnel_httpd_server* server, const runnel_httpd_limits* limits) {
  server->settings.limits = *limits;
}

int poll_fd(runnel_httpd_server* server) {
  const MHD_DaemonInfo* info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
  return info == nullptr ? -1 : info->epoll_fd;
}

void add(runnel_httpd_server* server, int fd, runnel_httpd_peer peer) {
  MHD_add_connection(server->daemon, fd, peer.address, peer.size);
}

// Each run takes a part of a body or a request of each connection that has one. What is left when the time is over has
// timeout_ms 0: others of the agent's are due first.
void service(runnel_httpd_server* server) {
  int64_t begun_us = now_us();
  MHD_UNSIGNED_LONG_LONG library = 0;
  do {
    MHD_run(server->daemon);
  } while (MHD_get_timeout(server->daemon, &library) == MHD_YES && library == 0 &&
           now_us() - begun_us < kServiceUs);
  server->sweep();
}

int64_t timeout_ms(runnel_httpd_server* server) {
  MHD_UNSIGNED_LONG_LONG library = 0;
  if (MHD_get_timeout(server->daemon, &library) == MHD_YES && library < kSweepMs)
    return static_cast<int64_t>(library);
  return server->connections.empty() ? -1 : kSweepMs;
}

void answer(runnel_httpd_server* server, uint64_t id, unsigned status, const char* text, size_t size) {
  try {
    server->answer(id, status, std::string(text, size));
  } catch (...) {
    server->answer(id, MHD_HTTP_SERVICE_UNAVAILABLE, {});
  }
}

size_t connections(runnel_httpd_server* server) {
  return server->connections.size();
}

void stop(runnel_httpd_server* server) {
  server->stopping = true;
  for (int i = 0; i < kLastRuns; i++) MHD_run(server->daemon);
  while (!server->requests.empty())
    server->answer(server->requests.begin()->first, MHD_HTTP_SERVICE_UNAVAILABLE, "stopping\n");
  for (int i = 0; i < kLastRuns; i++) MHD_run(server->daemon);
  MHD_stop_daemon(server->daemon);
  delete server;
}

constexpr runnel_httpd kModule = {RUNNEL_HTTPD_ABI, sizeof(runnel_httpd), start,  set_limits,  poll_fd, add,
                                  service,          timeout_ms,           answer, connections, stop};

}  // namespace

const runnel_httpd* runnel_httpd_descriptor(void) {
  return &kModule;
}
