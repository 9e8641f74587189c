#include "answers.h"

#include <curl/curl.h>

#include <algorithm>

namespace runnel_http {

namespace {

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// A 400 that speaks of the connection and not of the data: nginx where a client certificate is missing or bad
// (its 495, 496 and 497 leave as 400), Go's net/http where plain HTTP meets TLS. Losing data for it would be
// wrong.
bool is_about_tls(std::string_view body) {
  return contains(body, "No required SSL certificate") || contains(body, "SSL certificate error") ||
         contains(body, "plain HTTP request was sent to HTTPS port") ||
         contains(body, "HTTP request to an HTTPS server");
}

}  // namespace

runnel_outcome outcome_of_status(long status, std::string_view body, const std::vector<long>& retry_on) {
  if (status >= 200 && status < 300) return RUNNEL_DELIVERED;
  if (std::find(retry_on.begin(), retry_on.end(), status) != retry_on.end()) return RUNNEL_RETRY;
  switch (status) {
    case 408:
    case 425:
    case 429:
      return RUNNEL_RETRY;
    case 413:
      return RUNNEL_SPLIT;
    // Not the data is wrong but where or how it is sent; somebody has to change one side or the other.
    case 401:  // unauthorized
    case 402:  // payment required
    case 403:  // forbidden
    case 404:  // not found
    case 405:  // method not allowed
    case 406:  // not acceptable
    case 407:  // proxy authentication required
    case 410:  // gone
    case 411:  // length required
    case 414:  // URI too long
    case 415:  // unsupported media type: the wrong encoding or compression
    case 417:  // expectation failed
    case 421:  // misdirected request
    case 426:  // upgrade required
    case 431:  // header fields too large
    case 451:  // unavailable for legal reasons
      return RUNNEL_HOLD;
    default:
      break;
  }
  if (status >= 300 && status < 400)
    return RUNNEL_HOLD;  // redirects are never followed: the URL has to be changed
  if (status == 400 && is_about_tls(body)) return RUNNEL_HOLD;
  if (status >= 400 && status < 500) return RUNNEL_REJECT;
  return RUNNEL_RETRY;  // 5xx, and what HTTP does not know
}

runnel_outcome outcome_of_failure(int code, std::string_view text) {
  switch (code) {
    // Nobody who is waited for mends these: the peer is not whom we trust, or what we were given is unusable.
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_LOGIN_DENIED:
      return RUNNEL_HOLD;
    // A TLS alert is the peer's refusal (no client certificate, no common version), a "wrong version number"
    // (since OpenSSL 3.2 also "packet length too long") a server without TLS; a handshake that just breaks off
    // is a server that restarts.
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
      if (contains(text, "alert internal error") || contains(text, "alert user canceled"))
        return RUNNEL_RETRY;
      return contains(text, " alert ") || contains(text, "wrong version number") ||
                     contains(text, "packet length too long") || contains(text, "unsupported protocol")
                 ? RUNNEL_HOLD
                 : RUNNEL_RETRY;
    default:
      return RUNNEL_RETRY;
  }
}

std::string_view first_line(std::string_view body) {
  const std::string_view blank(" \t\r\n\0", 5);
  const auto trim = [&](std::string_view text) {
    const size_t begin = std::min(text.find_first_not_of(blank), text.size());
    const size_t end = text.find_last_not_of(blank);
    return text.substr(begin, end == std::string_view::npos ? 0 : end + 1 - begin);
  };
  if (trim(body).starts_with('<')) {
    const size_t begin = body.find("<title>"), end = body.find("</title>");
    if (begin != std::string_view::npos && end != std::string_view::npos && begin < end)
      return trim(body.substr(begin + 7, end - begin - 7));
  }
  const std::string_view text = trim(body);
  return trim(text.substr(0, text.find('\n')));
}

}  // namespace runnel_http
