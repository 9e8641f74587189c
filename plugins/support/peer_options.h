// What the sinks that reach a server by TLS, with a password, have in common: options, their check, and how the files
// that they name are read.
#pragma once

#include <unistd.h>

#include <string>

#include "sink_support.h"

namespace runnel_plugin {

inline constexpr runnel_option kTlsCaOption{
    "tls_ca",
    RUNNEL_OPTION_STRING,
    0,
    nullptr,
    "File with the only authorities to trust (PEM); without it the system's are",
    nullptr,
    0,
    0};
inline constexpr runnel_option kTlsCertOption{"tls_cert",
                                              RUNNEL_OPTION_STRING,
                                              0,
                                              nullptr,
                                              "File with the client certificate (PEM, with its chain)",
                                              nullptr,
                                              0,
                                              0};
inline constexpr runnel_option kTlsKeyOption{"tls_key",
                                             RUNNEL_OPTION_SECRET_FILE,
                                             0,
                                             nullptr,
                                             "File with the client certificate's key (PEM)",
                                             nullptr,
                                             0,
                                             0};

struct TlsFiles {
  std::string ca, cert, key;  // "": none
};

// An empty value that is set counts: of "${NAME:-}" nobody knows here what it is elsewhere.
inline bool has_value(const runnel_value& value) {
  return value.is_set || value.text.size > 0;
}

// In a header, a user's name, a password.
inline bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

inline bool is_loopback_host(std::string_view host) {
  return host == "localhost" || host.starts_with("127.") || host == "[::1]";
}

// The first of the files that cannot be read, with the reason; "" where all can.
inline std::string unreadable_file(const TlsFiles& files) {
  for (const std::string* path : {&files.ca, &files.cert, &files.key})
    if (!path->empty() && access(path->c_str(), R_OK) != 0) return *path + ": " + error_text(errno);
  return {};
}

// What the file holds, by way of the host. Returns "", or what an operator has to mend.
inline std::string read_secret(const runnel_host& host, const std::string& path, std::string& secret) {
  std::string buffer(16 << 10, '\0');
  const long size = host.read_secret(host.context, path.c_str(), buffer.data(), buffer.size());
  if (size < 0) return buffer.c_str();  // it names the file
  buffer.resize(static_cast<size_t>(size));
  if (buffer.empty()) return path + ": is empty";
  if (has_control(buffer)) return path + ": has control characters inside";
  secret = std::move(buffer);
  return {};
}

}  // namespace runnel_plugin
