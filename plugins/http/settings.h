// The options of the http sink: their table, the check beyond types, and the values as this sink uses them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "peer_options.h"
#include "runnel_sink.h"

namespace runnel_http {

enum Option {
  kUrl,
  kMethod,
  kHeaders,
  kContentType,
  kUserAgent,
  kUsername,
  kPasswordFile,
  kTokenFile,
  kTokenScheme,
  kTimeout,
  kConnectTimeout,
  kStallTimeout,
  kRetryOn,
  kProxy,
  kNoProxy,
  kProxyUsername,
  kProxyPasswordFile,
  kTlsCa,
  kTlsCert,
  kTlsKey,
  kTlsMinVersion,
  kOptionCount
};

extern const runnel_option kOptions[kOptionCount];

void check_options(const runnel_value* values,
                   void (*error)(void* context, size_t option, const char* entry, const char* text),
                   void* context);

struct Settings {
  std::string url;
  bool tls = false;       // the URL is https
  bool loopback = false;  // its host is this one: secrets do not leave it
  std::string method;
  std::vector<std::string> headers;  // "Name: value", as libcurl wants them
  std::string content_type;          // "": the encoding's
  std::string user_agent;
  std::string username, password_file, token_file, token_scheme;
  int64_t timeout_ms = 0, connect_timeout_ms = 0, stall_timeout_ms = 0;
  std::vector<long> retry_on;
  std::string proxy, no_proxy, proxy_username, proxy_password_file;
  runnel_plugin::TlsFiles tls_files;
  bool tls_1_3 = false;
};

// Values that check_options has found good.
Settings read_settings(const runnel_value* values, std::string_view agent_version);

}  // namespace runnel_http
