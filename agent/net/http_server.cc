#include "net/http_server.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "base/module.h"
#include "net/streams.h"

namespace runnel {
namespace {

Peer peer_of(runnel_httpd_peer from) {
  Peer peer;
  peer.scheme = ListenAddress::Scheme::tcp;
  peer.address.size = 0;
  if (from.address != nullptr && from.size <= sizeof peer.address.storage) {
    std::memcpy(&peer.address.storage, from.address, from.size);
    peer.address.size = from.size;
  }
  return peer;
}

}  // namespace

HttpServer::HttpServer(const runnel_httpd& module, HttpHandlers handlers)
    : module_(module), handlers_(std::move(handlers)) {}

Result<std::shared_ptr<HttpServer>> HttpServer::make(const runnel_httpd_limits& limits, HttpHandlers handlers,
                                                     const std::string& module) {
  std::string path = module.empty() ? module_folder() + "/httpd.so" : module;
  auto symbol = load_symbol(path, "runnel_httpd_descriptor");
  if (!symbol.ok()) return Error{symbol.error()};
  const runnel_httpd* found = reinterpret_cast<runnel_httpd_descriptor_fn>(*symbol)();
  if (found->abi_version != RUNNEL_HTTPD_ABI)
    return Error{
        fmt::format("{}: has version {} of its interface, this agent wants {} (install both together)", path,
                    found->abi_version, RUNNEL_HTTPD_ABI)};
  std::shared_ptr<HttpServer> server(new HttpServer(*found, std::move(handlers)));
  runnel_httpd_settings settings{};
  settings.limits = limits;
  settings.user = server.get();
  settings.request = [](void* user, uint64_t id, const char* method, const char* path_text, const char* body,
                        size_t size, runnel_httpd_peer peer) {
    static_cast<HttpServer*>(user)->handlers_.request(id, method, path_text, {body, size}, peer_of(peer));
  };
  settings.refused = [](void* user, const char* reason, runnel_httpd_peer peer) {
    static_cast<HttpServer*>(user)->handlers_.refused(reason, peer_of(peer));
  };
  settings.closed = [](void* user, const char* reason, runnel_httpd_peer peer) {
    static_cast<HttpServer*>(user)->handlers_.closed(reason, peer_of(peer));
  };
  server->max_connections_ = limits.max_connections;
  server->server_ = found->start(&settings);
  if (server->server_ == nullptr) return Error{"an HTTP server could not be started (descriptors, memory)"};
  return server;
}

HttpServer::~HttpServer() {
  stop();
}

void HttpServer::stop() {
  if (server_ != nullptr) module_.stop(server_);
  server_ = nullptr;
}

void HttpServer::set_limits(const runnel_httpd_limits& limits) {
  max_connections_ = limits.max_connections;
  module_.set_limits(server_, &limits);
}

void HttpServer::service() {
  added_ = 0;
  module_.service(server_);
}

void HttpServer::add(UniqueFd connection, const Peer& peer) {
  size_t before = connections();
  if (before + added_ >= max_connections_) {
    handlers_.closed(closing::kTooMany, peer);
    return;
  }
  module_.add(server_, connection.release(), {peer.address.get(), peer.address.size});
  if (connections() == before) added_++;
}

}  // namespace runnel
