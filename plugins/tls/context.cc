#include "context.h"

#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <string>

namespace runnel_tls_module {
namespace {

constexpr off_t kMaxFile = 1 << 20;
// Bytes of certificates that a client may show before we know it; OpenSSL's 100 KiB are room for a chain of 60.
constexpr long kMaxClientCertificates = 16 << 10;

template <class T, void (*kFree)(T*)>
struct Free {
  void operator()(T* p) const { kFree(p); }
};
using Bio = std::unique_ptr<BIO, Free<BIO, BIO_free_all>>;
using Certificate = std::unique_ptr<X509, Free<X509, X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY, EVP_PKEY_free>>;

std::string error_text() {
  unsigned long code = ERR_peek_last_error();
  const char* text = code != 0 ? ERR_reason_error_string(code) : nullptr;
  return text != nullptr ? text : "unknown error";
}

// No further block of the wanted kind; OpenSSL 3 says so of keys in its own way.
bool at_end_of_pem() {
  unsigned long code = ERR_peek_last_error();
  if (ERR_GET_LIB(code) == ERR_LIB_OSSL_DECODER) return true;
  return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

std::string time_text(const ASN1_TIME* time) {
  Bio bio(BIO_new(BIO_s_mem()));
  char text[64] = "";
  if (bio && ASN1_TIME_print(bio.get(), time) == 1) BIO_read(bio.get(), text, sizeof text - 1);
  return text;
}

class Maker {
 public:
  explicit Maker(const runnel_tls_settings& settings) : settings_(settings) {}

  std::unique_ptr<runnel_tls_context> make() {
    auto context = std::make_unique<runnel_tls_context>();
    context->ssl.reset(SSL_CTX_new(TLS_server_method()));
    ctx_ = context->ssl.get();
    if (ctx_ == nullptr) {
      wrong(RUNNEL_TLS_CERTIFICATE, error_text());
      return nullptr;
    }
    SSL_CTX_set_min_proto_version(ctx_, TLS1_2_VERSION);
    // Connections last, so that resumption gains little; without tickets a client is asked for its certificate each time,
    // and an authority that was taken out of the file is out.
    SSL_CTX_set_options(ctx_, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    SSL_CTX_set_num_tickets(ctx_, 0);
    SSL_CTX_set_session_cache_mode(ctx_, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(ctx_, SSL_MODE_RELEASE_BUFFERS);  // 34 KiB less for a connection at rest
    SSL_CTX_set_max_cert_list(ctx_, kMaxClientCertificates);
    use_certificate();
    use_key();
    if (settings_.client_auth != RUNNEL_TLS_NONE) use_authorities();
    return good_ ? std::move(context) : nullptr;
  }

 private:
  void tell(runnel_tls_file file, const std::string& text, bool warning) {
    settings_.problem(settings_.user, file, warning ? 1 : 0, text.c_str());
    ERR_clear_error();
  }
  void wrong(runnel_tls_file file, const std::string& text) {
    good_ = false;
    tell(file, text, false);
  }
  void wrong_file(runnel_tls_file file, const std::string& text) {
    wrong(file, std::string(settings_.files[file]) + ": " + text);
  }

  // A regular file, so that nothing waits here. The text may hold a key: it is wiped with the buffer.
  Bio open(runnel_tls_file which) {
    const char* path = settings_.files[which];
    int fd = ::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st {};
    if (fd < 0 || ::fstat(fd, &st) != 0) {
      wrong_file(which, std::strerror(errno));
      if (fd >= 0) ::close(fd);
      return nullptr;
    }
    Bio bio(BIO_new(BIO_s_secmem()));
    char chunk[4096];
    ssize_t n = 0;
    const char* what = !S_ISREG(st.st_mode)    ? "is not a file"
                       : st.st_size > kMaxFile ? "is larger than 1 MiB"
                                               : nullptr;
    while (what == nullptr && (n = ::read(fd, chunk, sizeof chunk)) > 0)
      if (!bio || BIO_write(bio.get(), chunk, static_cast<int>(n)) != n) what = "no memory";
    if (n < 0) what = std::strerror(errno);
    OPENSSL_cleanse(chunk, sizeof chunk);
    ::close(fd);
    if (what == nullptr) return bio;
    wrong_file(which, what);
    return nullptr;
  }

  void warn_of_dates(runnel_tls_file file, const X509* certificate, const char* so) {
    std::string path = settings_.files[file];
    if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
      tell(file, path + ": expired on " + time_text(X509_get0_notAfter(certificate)) + so, true);
    if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
      tell(file, path + ": is not valid before " + time_text(X509_get0_notBefore(certificate)) + so, true);
  }

  void use_certificate() {
    Bio bio = open(RUNNEL_TLS_CERTIFICATE);
    if (!bio) return;
    Certificate leaf(PEM_read_bio_X509_AUX(bio.get(), nullptr, no_passphrase, nullptr));
    if (!leaf || SSL_CTX_use_certificate(ctx_, leaf.get()) != 1) {
      wrong_file(RUNNEL_TLS_CERTIFICATE, at_end_of_pem() ? "has no certificate in PEM" : error_text());
      return;
    }
    has_certificate_ = true;
    warn_of_dates(RUNNEL_TLS_CERTIFICATE, leaf.get(), " (clients will refuse it)");
    while (Certificate next{PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)}) {
      if (SSL_CTX_add0_chain_cert(ctx_, next.get()) != 1) {
        wrong_file(RUNNEL_TLS_CERTIFICATE, error_text());
        return;
      }
      (void)next.release();
    }
    if (!at_end_of_pem()) wrong_file(RUNNEL_TLS_CERTIFICATE, error_text());
    ERR_clear_error();
  }

  void use_key() {
    Bio bio = open(RUNNEL_TLS_KEY);
    if (!bio) return;
    asked_ = false;
    Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, &asked_));
    if (!key) {
      wrong_file(RUNNEL_TLS_KEY, asked_ ? "has a passphrase (nobody is here to type it: openssl pkey)"
                                 : at_end_of_pem() ? "has no key in PEM"
                                                   : error_text());
    } else if (has_certificate_ && X509_check_private_key(SSL_CTX_get0_certificate(ctx_), key.get()) != 1) {
      wrong_file(RUNNEL_TLS_KEY, std::string("does not belong to the certificate in ") +
                                     settings_.files[RUNNEL_TLS_CERTIFICATE]);
    } else if (SSL_CTX_use_PrivateKey(ctx_, key.get()) != 1) {
      wrong_file(RUNNEL_TLS_KEY, error_text());
    }
  }

  // Who may have signed clients' certificates; their names help a client to choose one.
  void use_authorities() {
    int mode = SSL_VERIFY_PEER;
    if (settings_.client_auth == RUNNEL_TLS_REQUIRE) mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx_, mode, nullptr);
    Bio bio = open(RUNNEL_TLS_CA);
    if (!bio) return;
    size_t count = 0;
    for (; Certificate next{PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)}; count++) {
      if (X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx_), next.get()) != 1 ||
          SSL_CTX_add_client_CA(ctx_, next.get()) != 1) {
        wrong_file(RUNNEL_TLS_CA, error_text());
        return;
      }
      warn_of_dates(RUNNEL_TLS_CA, next.get(), " (clients it has signed will be refused)");
    }
    if (!at_end_of_pem()) {
      wrong_file(RUNNEL_TLS_CA, error_text());
    } else if (count == 0) {
      wrong_file(RUNNEL_TLS_CA, "has no certificate in PEM");
    }
    ERR_clear_error();
  }

  // OpenSSL would ask at the terminal.
  static int no_passphrase(char*, int, int, void* asked) {
    if (asked != nullptr) *static_cast<bool*>(asked) = true;
    return -1;
  }

  const runnel_tls_settings& settings_;
  SSL_CTX* ctx_ = nullptr;
  bool good_ = true, has_certificate_ = false, asked_ = false;
};

}  // namespace

runnel_tls_context* new_context(const runnel_tls_settings& settings) {
  ERR_clear_error();
  return Maker(settings).make().release();
}

}  // namespace runnel_tls_module
