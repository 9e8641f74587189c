// What a tls:// listener is configured with. Plain values, any thread.
#pragma once

#include <string>

namespace runnel {

// Paths of PEM files.
struct TlsSettings {
  std::string ca;           // who may have signed clients' certificates
  std::string certificate;  // ours, with its chain
  std::string key;
  std::string client_auth = "require";  // require, request, none
  bool operator==(const TlsSettings&) const = default;
};

struct TlsProblem {
  enum class File { ca, certificate, key };
  File file = File::certificate;
  bool is_warning = false;
  std::string text;  // names the file
};

}  // namespace runnel
