#include "net/tls.h"

#include <fmt/format.h>

#include "base/module.h"

namespace runnel {
namespace {

struct Output {
  std::string& cipher;
  const std::function<void(std::string_view)>* plain;

  runnel_tls_output to_module() {
    return {[](void* user, const char* bytes, size_t size) {
              auto* output = static_cast<Output*>(user);
              if (output->plain != nullptr) (*output->plain)({bytes, size});
            },
            [](void* user, const char* bytes, size_t size) {
              static_cast<Output*>(user)->cipher.append(bytes, size);
            },
            this};
  }
};

Result<const runnel_tls*> load(const std::string& module) {
  auto symbol = load_symbol(module.empty() ? module_folder() + "/tls.so" : module, "runnel_tls_descriptor");
  if (!symbol.ok()) return Error{symbol.error()};
  const runnel_tls* tls = reinterpret_cast<runnel_tls_descriptor_fn>(*symbol)();
  if (tls->abi_version != RUNNEL_TLS_ABI || tls->struct_size < sizeof(runnel_tls))
    return Error{fmt::format("the TLS module has version {}, this agent wants {} (install both together)",
                             tls->abi_version, RUNNEL_TLS_ABI)};
  return tls;
}

}  // namespace

std::shared_ptr<const TlsContext> TlsContext::make(const TlsSettings& settings,
                                                   std::vector<TlsProblem>& problems,
                                                   const std::string& module) {
  auto tls = load(module);
  if (!tls.ok()) {
    problems.push_back({TlsProblem::File::certificate, false, "no TLS without its module: " + tls.error()});
    return nullptr;
  }
  runnel_tls_settings wanted{};
  wanted.files[RUNNEL_TLS_CA] = settings.ca.c_str();
  wanted.files[RUNNEL_TLS_CERTIFICATE] = settings.certificate.c_str();
  wanted.files[RUNNEL_TLS_KEY] = settings.key.c_str();
  wanted.client_auth = settings.client_auth == "none"      ? RUNNEL_TLS_NONE
                       : settings.client_auth == "request" ? RUNNEL_TLS_REQUEST
                                                           : RUNNEL_TLS_REQUIRE;
  wanted.problem = [](void* user, runnel_tls_file file, int is_warning, const char* text) {
    constexpr TlsProblem::File kFiles[] = {TlsProblem::File::ca, TlsProblem::File::certificate,
                                           TlsProblem::File::key};
    static_cast<std::vector<TlsProblem>*>(user)->push_back({kFiles[file], is_warning != 0, text});
  };
  wanted.user = &problems;
  runnel_tls_context* context = (*tls)->context_new(&wanted);
  if (context == nullptr) return nullptr;
  return std::shared_ptr<const TlsContext>(new TlsContext(**tls, context));
}

TlsContext::~TlsContext() {
  module_.context_free(context_);
}

std::unique_ptr<TlsSession> TlsSession::make(const TlsContext& context) {
  runnel_tls_session* session = context.module_.session_new(context.context_);
  if (session == nullptr) return nullptr;
  return std::unique_ptr<TlsSession>(new TlsSession(context.module_, session));
}

TlsSession::~TlsSession() {
  module_.session_free(session_);
}

runnel_tls_state TlsSession::feed(std::string_view bytes, std::string& cipher,
                                  const std::function<void(std::string_view)>& plain) {
  Output output{cipher, &plain};
  runnel_tls_output to = output.to_module();
  return module_.feed(session_, bytes.data(), bytes.size(), &to);
}

bool TlsSession::write(std::string_view bytes, std::string& cipher) {
  Output output{cipher, nullptr};
  runnel_tls_output to = output.to_module();
  return module_.write(session_, bytes.data(), bytes.size(), &to) != 0;
}

void TlsSession::end(std::string& cipher) {
  Output output{cipher, nullptr};
  runnel_tls_output to = output.to_module();
  module_.end(session_, &to);
}

}  // namespace runnel
