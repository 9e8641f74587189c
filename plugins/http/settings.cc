#include "settings.h"

#include <curl/curl.h>
#include <strings.h>

#include <cctype>
#include <memory>

namespace runnel_http {

using runnel_plugin::has_control;
using runnel_plugin::view;

namespace {

constexpr const char* kMethods[] = {"POST", "PUT", nullptr};
constexpr const char* kTlsVersions[] = {"1.2", "1.3", nullptr};
constexpr double kHourMs = 3'600'000;

struct UrlPart {
  char* text = nullptr;
  ~UrlPart() { curl_free(text); }
};

struct Url {
  std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> handle{curl_url(), &curl_url_cleanup};
  bool parsed;

  explicit Url(const std::string& text)
      : parsed(handle != nullptr && curl_url_set(handle.get(), CURLUPART_URL, text.c_str(), 0) == CURLUE_OK) {
  }
  std::string part(CURLUPart which) const {
    UrlPart result;
    return curl_url_get(handle.get(), which, &result.text, 0) == CURLUE_OK ? result.text : "";
  }
  bool has(CURLUPart which) const {
    UrlPart result;
    return curl_url_get(handle.get(), which, &result.text, 0) == CURLUE_OK;
  }
};

bool equal_fold(std::string_view a, const char* b) {
  return a.size() == strlen(b) && strncasecmp(a.data(), b, a.size()) == 0;
}

// RFC 9110, 5.6.2: what a field name is made of.
bool is_token(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text)
    if (!isalnum(static_cast<unsigned char>(c)) && !strchr("!#$%&'*+-.^_`|~", c)) return false;
  return true;
}

const char* wrong_url(const std::string& text) {
  if (text.find("://") == std::string::npos) return "must begin with http:// or https://";
  if (has_control(text) || text.find(' ') != std::string::npos)
    return "must not contain blanks or control characters";
  const Url url(text);
  if (!url.parsed) return "is not a URL that can be used";
  const std::string scheme = url.part(CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") return "must begin with http:// or https://";
  if (url.has(CURLUPART_USER) || url.has(CURLUPART_PASSWORD))
    return "must not contain a user or a password (set username and password_file)";
  if (url.has(CURLUPART_FRAGMENT)) return "must not contain a # part";
  return nullptr;
}

const char* wrong_proxy(const std::string& text) {
  if (text.find("://") == std::string::npos)
    return "must begin with http://, https://, socks5:// or socks5h://";
  // libcurl's URL parser knows socks5 from a proxy only: look at the scheme ourselves and parse the rest as
  // http.
  const size_t end = text.find("://");
  const std::string scheme = text.substr(0, end);
  if (scheme != "http" && scheme != "https" && scheme != "socks5" && scheme != "socks5h")
    return "must begin with http://, https://, socks5:// or socks5h://";
  const Url url("http" + text.substr(end));
  if (!url.parsed || has_control(text)) return "is not a URL that can be used";
  if (url.has(CURLUPART_USER) || url.has(CURLUPART_PASSWORD))
    return "must not contain a user or a password (set proxy_username and proxy_password_file)";
  return nullptr;
}

const char* wrong_header(std::string_view name, std::string_view value, const runnel_value* values) {
  if (!is_token(name)) return "is not a header's name";
  if (has_control(value)) return "must not contain control characters";
  if (equal_fold(name, "content-type")) return "is made by the sink (set content_type)";
  if (equal_fold(name, "user-agent")) return "is made by the sink (set user_agent)";
  for (const char* own :
       {"content-encoding", "content-length", "transfer-encoding", "connection", "expect", "idempotency-key"})
    if (equal_fold(name, own)) return "is made by the sink";
  if (equal_fold(name, "authorization") &&
      (values[kUsername].text.size > 0 || values[kTokenFile].text.size > 0))
    return "is made of username or token_file";
  return nullptr;
}

long parse_status(std::string_view text) {
  if (text.size() != 3) return -1;
  long status = 0;
  for (const char c : text) {
    if (c < '0' || c > '9') return -1;
    status = status * 10 + (c - '0');
  }
  return status;
}

}  // namespace

const runnel_option kOptions[kOptionCount] = {
    {"url", RUNNEL_OPTION_STRING, RUNNEL_OPTION_REQUIRED, nullptr, "Where to send to: http:// or https://",
     nullptr, 0, 0},
    {"method", RUNNEL_OPTION_ENUM, 0, "\"POST\"", "Request method", kMethods, 0, 0},
    {"headers", RUNNEL_OPTION_MAP, RUNNEL_OPTION_SECRET, "{}", "Further headers of each request", nullptr, 0,
     0},
    {"content_type", RUNNEL_OPTION_STRING, 0, nullptr,
     "Content-Type, where it is not to be the encoding's own", nullptr, 0, 0},
    {"user_agent", RUNNEL_OPTION_STRING, 0, nullptr, "User-Agent; without it runnel/VERSION", nullptr, 0, 0},
    {"username", RUNNEL_OPTION_STRING, 0, nullptr, "User for basic authentication", nullptr, 0, 0},
    {"password_file", RUNNEL_OPTION_SECRET_FILE, 0, nullptr,
     "File with the password for basic authentication", nullptr, 0, 0},
    {"token_file", RUNNEL_OPTION_SECRET_FILE, 0, nullptr,
     "File with a token that goes into the Authorization header", nullptr, 0, 0},
    {"token_scheme", RUNNEL_OPTION_STRING, 0, "\"Bearer\"",
     "What stands before the token: Bearer, Token, Splunk, …", nullptr, 0, 0},
    {"timeout", RUNNEL_OPTION_DURATION, 0, "\"30s\"",
     "For a whole request, from connecting to the end of the answer", nullptr, 10, kHourMs},
    {"connect_timeout", RUNNEL_OPTION_DURATION, 0, "\"5s\"",
     "For resolving, connecting and the TLS handshake", nullptr, 10, kHourMs},
    {"stall_timeout", RUNNEL_OPTION_DURATION, 0, "\"30s\"",
     "Gives up when fewer than 10 bytes a second move for this long; whole seconds", nullptr, 1000, kHourMs},
    {"retry_on", RUNNEL_OPTION_LIST, 0, "[]", "Further statuses that mean try again: [\"404\"]", nullptr, 0,
     0},
    {"proxy", RUNNEL_OPTION_STRING, 0, nullptr,
     "Proxy: http://, https://, socks5:// or socks5h://; the environment's is not used unless named", nullptr,
     0, 0},
    {"no_proxy", RUNNEL_OPTION_LIST, 0, "[]", "Host names and domains that are reached without the proxy",
     nullptr, 0, 0},
    {"proxy_username", RUNNEL_OPTION_STRING, 0, nullptr, "User for the proxy", nullptr, 0, 0},
    {"proxy_password_file", RUNNEL_OPTION_SECRET_FILE, 0, nullptr, "File with the password for the proxy",
     nullptr, 0, 0},
    runnel_plugin::kTlsCaOption,
    runnel_plugin::kTlsCertOption,
    runnel_plugin::kTlsKeyOption,
    {"tls_min_version", RUNNEL_OPTION_ENUM, 0, "\"1.2\"", "Oldest TLS version to accept", kTlsVersions, 0, 0},
};

void check_options(const runnel_value* values, void (*error)(void*, size_t, const char*, const char*),
                   void* context) {
  const auto text = [&](Option option) { return std::string(view(values[option].text)); };
  const auto wrong = [&](Option option, const char* what, const char* entry = nullptr) {
    if (what) error(context, option, entry, what);
  };

  wrong(kUrl, wrong_url(text(kUrl)));
  if (!text(kProxy).empty()) wrong(kProxy, wrong_proxy(text(kProxy)));
  for (size_t i = 0; i < values[kHeaders].count; ++i) {
    const std::string name(view(values[kHeaders].map[i].key));
    wrong(kHeaders, wrong_header(name, view(values[kHeaders].map[i].value), values), name.c_str());
  }
  for (size_t i = 0; i < values[kRetryOn].count; ++i) {
    const std::string entry(view(values[kRetryOn].list[i]));
    const long status = parse_status(entry);
    if (status < 300 || status > 499 || status == 413)
      wrong(kRetryOn, "must be a status from 300 to 499 other than 413", entry.c_str());
  }
  for (const Option option : {kContentType, kUserAgent, kUsername, kProxyUsername, kTokenScheme})
    if (has_control(text(option))) wrong(option, "must not contain control characters");
  if (!is_token(text(kTokenScheme))) wrong(kTokenScheme, "must be one word");

  // Pairs that only work together, and choices that exclude each other.
  const auto has = [&](Option option) { return runnel_plugin::has_value(values[option]); };
  if (text(kUsername).find(':') != std::string::npos) wrong(kUsername, "must not contain a colon");
  if (has(kUsername) && !has(kPasswordFile)) wrong(kUsername, "needs password_file as well");
  if (has(kPasswordFile) && !has(kUsername)) wrong(kPasswordFile, "needs username as well");
  if (has(kUsername) && has(kTokenFile)) wrong(kTokenFile, "excludes username (set one of them)");
  if (values[kTokenScheme].is_set && !has(kTokenFile)) wrong(kTokenScheme, "needs token_file as well");
  if (has(kProxyUsername) && !has(kProxyPasswordFile))
    wrong(kProxyUsername, "needs proxy_password_file as well");
  if (has(kProxyPasswordFile) && !has(kProxyUsername))
    wrong(kProxyPasswordFile, "needs proxy_username as well");
  if (has(kProxyUsername) && !has(kProxy)) wrong(kProxyUsername, "needs proxy as well");
  if (values[kNoProxy].count > 0 && !has(kProxy)) wrong(kNoProxy, "needs proxy as well");
  if (has(kTlsCert) && !has(kTlsKey)) wrong(kTlsCert, "needs tls_key as well");
  if (has(kTlsKey) && !has(kTlsCert)) wrong(kTlsKey, "needs tls_cert as well");
  if (strncasecmp(text(kUrl).c_str(), "http://", 7) == 0)
    for (const Option option : {kTlsCa, kTlsCert, kTlsKey, kTlsMinVersion})
      if (values[option].is_set && !(option == kTlsCa && text(kProxy).starts_with("https://")))
        wrong(option, "has no effect with http:// (set url to https://)");
}

Settings read_settings(const runnel_value* values, std::string_view agent_version) {
  const auto text = [&](Option option) { return std::string(view(values[option].text)); };
  Settings settings;
  settings.url = text(kUrl);
  const Url url(settings.url);
  settings.tls = url.part(CURLUPART_SCHEME) == "https";
  const std::string host = url.part(CURLUPART_HOST);
  settings.loopback = runnel_plugin::is_loopback_host(host);
  settings.method = text(kMethod);
  for (size_t i = 0; i < values[kHeaders].count; ++i) {
    const runnel_pair& header = values[kHeaders].map[i];
    const std::string name(view(header.key)), value(view(header.value));
    settings.headers.push_back(value.empty() ? name + ";"
                                             : name + ": " + value);  // ";" is libcurl's empty header
  }
  settings.content_type = text(kContentType);
  settings.user_agent = text(kUserAgent);
  if (settings.user_agent.empty()) settings.user_agent = "runnel/" + std::string(agent_version);
  settings.username = text(kUsername);
  settings.password_file = text(kPasswordFile);
  settings.token_file = text(kTokenFile);
  settings.token_scheme = text(kTokenScheme);
  settings.timeout_ms = values[kTimeout].integer;
  settings.connect_timeout_ms = values[kConnectTimeout].integer;
  settings.stall_timeout_ms = values[kStallTimeout].integer;
  for (size_t i = 0; i < values[kRetryOn].count; ++i)
    settings.retry_on.push_back(parse_status(view(values[kRetryOn].list[i])));
  settings.proxy = text(kProxy);
  for (size_t i = 0; i < values[kNoProxy].count; ++i)
    settings.no_proxy += (i ? "," : "") + std::string(view(values[kNoProxy].list[i]));
  settings.proxy_username = text(kProxyUsername);
  settings.proxy_password_file = text(kProxyPasswordFile);
  settings.tls_files = {text(kTlsCa), text(kTlsCert), text(kTlsKey)};
  settings.tls_1_3 = text(kTlsMinVersion) == "1.3";
  return settings;
}

}  // namespace runnel_http
