#include "session.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace {

constexpr size_t kRecord = 17 << 10;     // a record of 16 KiB with what is around it (RFC 8446, 5.2)
constexpr size_t kHandshake = 44 << 10;  // what an SSL holds in the middle of a handshake, as measured
constexpr size_t kMaxName = 200;         // bytes of a name that a client has chosen

std::string name_of(X509* certificate) {
  BIO* bio = BIO_new(BIO_s_mem());
  if (bio == nullptr || certificate == nullptr) return {};
  // RFC 2253 with control characters escaped.
  X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253);
  char text[kMaxName];
  int n = BIO_read(bio, text, sizeof text);
  BIO_free_all(bio);
  return n > 0 ? std::string(text, static_cast<size_t>(n)) : std::string();
}

const char* reason_of_verify(long result) {
  switch (result) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return "certificate_expired";
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return "certificate_untrusted";
    default:
      return "certificate_bad";
  }
}

}  // namespace

struct runnel_tls_session::Io {
  static int read(BIO* bio, char* to, int size) {
    auto* session = static_cast<runnel_tls_session*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (session->in_.empty()) {
      BIO_set_retry_read(bio);
      return -1;
    }
    size_t n = session->in_.copy(to, static_cast<size_t>(size));
    session->in_.remove_prefix(n);
    return static_cast<int>(n);
  }
  static int write(BIO* bio, const char* from, int size) {
    auto* session = static_cast<runnel_tls_session*>(BIO_get_data(bio));
    BIO_clear_retry_flags(bio);
    if (session->out_ != nullptr) session->out_->cipher(session->out_->user, from, static_cast<size_t>(size));
    return size;
  }
  static long control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }
  static int create(BIO* bio) {
    BIO_set_init(bio, 1);
    return 1;
  }
  static BIO_METHOD* make() {
    BIO_METHOD* method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "runnel");
    if (method == nullptr) return nullptr;
    BIO_meth_set_read(method, read);
    BIO_meth_set_write(method, write);
    BIO_meth_set_ctrl(method, control);
    BIO_meth_set_create(method, create);
    return method;
  }
  static BIO_METHOD* method() {
    static BIO_METHOD* one = make();
    return one;
  }
};

runnel_tls_session::runnel_tls_session(const runnel_tls_context& context) {
  BIO* bio = Io::method() != nullptr ? BIO_new(Io::method()) : nullptr;
  if (bio == nullptr) return;
  BIO_set_data(bio, this);
  ssl_.reset(SSL_new(context.ssl.get()));
  if (!ssl_) {
    BIO_free(bio);
    return;
  }
  SSL_set_bio(ssl_.get(), bio, bio);  // one reference for both
  SSL_set_accept_state(ssl_.get());
  SSL_set_app_data(ssl_.get(), this);
  if (int mode = SSL_get_verify_mode(ssl_.get()); mode != SSL_VERIFY_NONE)
    SSL_set_verify(ssl_.get(), mode, on_verify);
}

// Notes whose certificate it was; the verdict stays OpenSSL's.
int runnel_tls_session::on_verify(int good, X509_STORE_CTX* store) {
  if (good != 1) {
    auto* ssl = static_cast<SSL*>(X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx()));
    auto* session = static_cast<runnel_tls_session*>(SSL_get_app_data(ssl));
    session->detail_ = name_of(X509_STORE_CTX_get_current_cert(store));
  }
  return good;
}

runnel_tls_state runnel_tls_session::feed(std::string_view bytes, const runnel_tls_output& out) {
  if (state_ == RUNNEL_TLS_ENDED || state_ == RUNNEL_TLS_FAILED) return state_;
  char plain[16 << 10];
  in_ = bytes;
  begun_ |= !bytes.empty();
  for (;;) {
    out_ = &out;
    ERR_clear_error();
    int n = SSL_read(ssl_.get(), plain, sizeof plain);
    out_ = nullptr;
    if (state_ == RUNNEL_TLS_HANDSHAKE && SSL_is_init_finished(ssl_.get()) == 1) state_ = RUNNEL_TLS_OPEN;
    if (n > 0) {
      out.plain(out.user, plain, static_cast<size_t>(n));  // may write()
      if (state_ != RUNNEL_TLS_OPEN) break;
      continue;
    }
    int error = SSL_get_error(ssl_.get(), n);
    if (error == SSL_ERROR_WANT_READ) break;
    state_ = error == SSL_ERROR_ZERO_RETURN ? RUNNEL_TLS_ENDED : fail();
    break;
  }
  in_ = {};
  return state_;
}

bool runnel_tls_session::write(std::string_view bytes, const runnel_tls_output& out) {
  if (state_ != RUNNEL_TLS_OPEN && state_ != RUNNEL_TLS_ENDED) return false;
  while (!bytes.empty()) {
    int most = static_cast<int>(std::min<size_t>(bytes.size(), 1 << 20));
    out_ = &out;
    ERR_clear_error();
    int n = SSL_write(ssl_.get(), bytes.data(), most);
    out_ = nullptr;
    if (n <= 0) {
      state_ = fail();
      return false;
    }
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return true;
}

void runnel_tls_session::end(const runnel_tls_output& out) {
  if (state_ != RUNNEL_TLS_OPEN && state_ != RUNNEL_TLS_ENDED) return;
  out_ = &out;
  SSL_shutdown(ssl_.get());
  out_ = nullptr;
  ERR_clear_error();
}

// OpenSSL frees its buffers between records (SSL_MODE_RELEASE_BUFFERS); what of a record has come is pending.
size_t runnel_tls_session::held() const {
  if (state_ == RUNNEL_TLS_HANDSHAKE) return begun_ ? kHandshake : 0;
  return SSL_has_pending(ssl_.get()) == 1 ? kRecord : 0;
}

runnel_tls_state runnel_tls_session::fail() {
  explain(ERR_peek_error());
  ERR_clear_error();
  return RUNNEL_TLS_FAILED;
}

void runnel_tls_session::explain(unsigned long code) {
  bool open = state_ != RUNNEL_TLS_HANDSHAKE;
  int why = ERR_GET_REASON(code);
  const char* text = code != 0 ? ERR_reason_error_string(code) : nullptr;
  std::string whose = std::exchange(detail_, text != nullptr ? text : "unknown error");
  reason_ = open ? "tls_error" : "handshake_failed";
  if (ERR_GET_LIB(code) != ERR_LIB_SSL) return;
  switch (why) {
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
      reason_ = "no_certificate";
      break;
    case SSL_R_CERTIFICATE_VERIFY_FAILED: {
      long result = SSL_get_verify_result(ssl_.get());
      reason_ = reason_of_verify(result);
      detail_ = X509_verify_cert_error_string(result);
      if (!whose.empty()) detail_ += " subject=" + whose;
      break;
    }
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
      reason_ = "tls_too_old";
      break;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
      reason_ = "no_common_cipher";
      break;
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_PACKET_LENGTH_TOO_LONG:
      if (!open) reason_ = "not_tls";
      break;
    default:
      // Alerts of the peer: it does not want us, or not any longer (RFC 8446, 6.2).
      if (why >= SSL_AD_REASON_OFFSET) reason_ = "refused_by_client";
  }
}
