// The sink `http`: a payload is the body of one request. libcurl's multi interface with a single easy handle,
// because curl_multi_wakeup can end its wait from another thread; both live as long as the instance, so that
// connection, TLS session and header lists are there for the next request. See runnel_sink.h for threads and
// lifetimes.
#include <curl/curl.h>

#include <array>
#include <memory>
#include <mutex>
#include <new>

#include "answers.h"
#include "settings.h"
#include "sink_calls.h"

namespace {

using namespace runnel_http;
using runnel_plugin::answer_with;
using runnel_plugin::copy_text;
using runnel_plugin::monotonic_ns;
using runnel_plugin::view;

constexpr size_t kMaxBody = 64 << 10;         // of an answer; the rest is not read
constexpr long kConnectionLifeSeconds = 300;  // so that a changed DNS entry or a new balancer is noticed
constexpr long kDnsCacheSeconds = 60;
constexpr long kStallBytesPerSecond = 10;

// A header list whose nodes are our own: the one of the idempotency id changes with each payload, and
// building a list anew would be the larger part of a request's allocations. libcurl reads it during a
// transfer and keeps nothing.
class HeaderList {
 public:
  void set(std::vector<std::string> lines) {
    lines_ = std::move(lines);
    nodes_.resize(lines_.size());
    for (size_t i = 0; i < lines_.size(); ++i) {
      nodes_[i].data = lines_[i].data();
      nodes_[i].next = i + 1 < lines_.size() ? &nodes_[i + 1] : nullptr;
    }
  }
  void set_last(std::string_view name, std::string_view value) {
    std::string& line = lines_.back();
    line.assign(name).append(": ").append(value);
    nodes_.back().data = line.data();
  }
  curl_slist* get() { return nodes_.empty() ? nullptr : nodes_.data(); }

 private:
  std::vector<std::string> lines_;
  std::vector<curl_slist> nodes_;
};

class HttpSink {
 public:
  HttpSink(const runnel_host* host, const runnel_value* values)
      : host_(host), settings_(read_settings(values, host->agent_version ? host->agent_version : "")) {
    // Thread-safe since libcurl 7.84 and counted; never undone, since other instances may come.
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) throw std::runtime_error("libcurl does not start");
    easy_.reset(curl_easy_init());
    multi_.reset(curl_multi_init());
    if (!easy_ || !multi_) throw std::bad_alloc();
    set_options();
    warn_of_doubtful();
  }
  HttpSink(const HttpSink&) = delete;
  HttpSink& operator=(const HttpSink&) = delete;

  runnel_outcome write(const runnel_payload& payload, uint64_t deadline_ns, runnel_answer* answer) {
    if (!secrets_known_) {
      if (const std::string wrong = read_secrets(); !wrong.empty())
        return answer_with(answer, RUNNEL_HOLD, wrong);
    }
    set_payload(payload);
    CURLcode code = perform(deadline_ns);
    long status = status_of_answer();
    if (!interrupted_.load() && (status == 401 || status == 407)) {
      // The secret may have been changed since it was read: try a new one at once instead of raising an
      // alarm.
      const auto before = secrets_;
      if (read_secrets().empty() && secrets_ != before) {
        set_payload(payload);
        code = perform(deadline_ns);
        status = status_of_answer();
      }
    }
    return judge(code, status, answer);
  }

  void interrupt() {
    interrupted_.store(true);
    const std::lock_guard lock(multi_mutex_);
    if (multi_) curl_multi_wakeup(multi_.get());
  }

  void reopen() {
    interrupted_.store(false);
    secrets_known_ = false;
    forget_connections();
  }

 private:
  template <class T>
  void option(CURLoption which, T value) {
    const CURLcode code = curl_easy_setopt(easy_.get(), which, value);
    if (code != CURLE_OK) throw std::runtime_error(std::string("libcurl: ") + curl_easy_strerror(code));
  }

  void set_options() {
    option(CURLOPT_NOSIGNAL, 1L);
    // A resolver that hangs is left behind (it ends by itself and frees what it has) instead of being waited
    // for beyond the deadline.
    option(CURLOPT_QUICK_EXIT, 1L);
    option(CURLOPT_URL, settings_.url.c_str());
    option(CURLOPT_PROTOCOLS_STR, settings_.tls ? "https" : "http");
    option(CURLOPT_FOLLOWLOCATION, 0L);
    option(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_2TLS));
    option(CURLOPT_POST, 1L);
    if (settings_.method != "POST") option(CURLOPT_CUSTOMREQUEST, settings_.method.c_str());
    option(CURLOPT_USERAGENT, settings_.user_agent.c_str());
    option(CURLOPT_TCP_KEEPALIVE, 1L);
    option(CURLOPT_DNS_CACHE_TIMEOUT, kDnsCacheSeconds);
    option(CURLOPT_MAXLIFETIME_CONN, kConnectionLifeSeconds);
    option(CURLOPT_LOW_SPEED_LIMIT, kStallBytesPerSecond);
    option(CURLOPT_LOW_SPEED_TIME, static_cast<long>((settings_.stall_timeout_ms + 999) / 1000));
    option(CURLOPT_ERRORBUFFER, error_.data());
    option(CURLOPT_WRITEFUNCTION, &HttpSink::receive);
    option(CURLOPT_WRITEDATA, this);
    option(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);

    // Set even where empty: libcurl would take the environment's otherwise.
    option(CURLOPT_PROXY, settings_.proxy.c_str());
    option(CURLOPT_NOPROXY, settings_.no_proxy.c_str());
    option(CURLOPT_PROXYAUTH, static_cast<long>(CURLAUTH_BASIC));
    option(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BASIC));

    const long version = settings_.tls_1_3 ? CURL_SSLVERSION_TLSv1_3 : CURL_SSLVERSION_TLSv1_2;
    option(CURLOPT_SSLVERSION, version);
    option(CURLOPT_PROXY_SSLVERSION, version);
    option(CURLOPT_SSL_VERIFYPEER, 1L);
    option(CURLOPT_SSL_VERIFYHOST, 2L);
    if (!settings_.tls_files.ca.empty()) {
      option(CURLOPT_CAINFO, settings_.tls_files.ca.c_str());
      option(CURLOPT_CAPATH, static_cast<char*>(nullptr));  // else the system's would be trusted as well
      option(CURLOPT_PROXY_CAINFO, settings_.tls_files.ca.c_str());
      option(CURLOPT_PROXY_CAPATH, static_cast<char*>(nullptr));
    }
    if (!settings_.tls_files.cert.empty()) {
      option(CURLOPT_SSLCERT, settings_.tls_files.cert.c_str());
      option(CURLOPT_SSLKEY, settings_.tls_files.key.c_str());
    }
  }

  void warn_of_doubtful() const {
    if (const std::string wrong = runnel_plugin::unreadable_file(settings_.tls_files); !wrong.empty())
      log(RUNNEL_LOG_WARNING, wrong + "; nothing can be sent without it");
    const bool has_secret = !settings_.username.empty() || !settings_.token_file.empty();
    if (has_secret && !settings_.tls && !settings_.loopback)
      log(RUNNEL_LOG_WARNING, "the url is http:// and so the password or token travels in plain text");
  }

  // What the Authorization header and the proxy get. Read before the first request, after each refusal or
  // failed connection, and on SIGHUP. Empty, or what is wrong.
  std::string read_secrets() {
    secrets_known_ = false;
    Secrets secrets;
    const std::pair<const std::string*, std::string*> wanted[] = {
        {&settings_.password_file, &secrets.password},
        {&settings_.token_file, &secrets.token},
        {&settings_.proxy_password_file, &secrets.proxy_password},
    };
    for (const auto& [path, secret] : wanted) {
      if (path->empty()) continue;
      if (std::string wrong = runnel_plugin::read_secret(*host_, *path, *secret); !wrong.empty())
        return wrong;
    }
    secrets_known_ = true;
    if (secrets == secrets_ && header_is_current_) return {};
    secrets_ = std::move(secrets);
    header_is_current_ = false;
    if (!settings_.username.empty()) {
      option(CURLOPT_USERNAME, settings_.username.c_str());
      option(CURLOPT_PASSWORD, secrets_.password.c_str());
    }
    if (!settings_.proxy_username.empty()) {
      option(CURLOPT_PROXYUSERNAME, settings_.proxy_username.c_str());
      option(CURLOPT_PROXYPASSWORD, secrets_.proxy_password.c_str());
    }
    return {};
  }

  void set_payload(const runnel_payload& payload) {
    const std::string_view type =
        settings_.content_type.empty() ? view(payload.content_type) : settings_.content_type;
    const std::string_view coding = view(payload.content_encoding);
    if (!header_is_current_ || type != content_type_ || coding != content_encoding_) {
      content_type_ = type;
      content_encoding_ = coding;
      std::vector<std::string> lines = settings_.headers;
      lines.push_back("Content-Type: " + content_type_);
      if (!content_encoding_.empty()) lines.push_back("Content-Encoding: " + content_encoding_);
      if (!secrets_.token.empty())
        lines.push_back("Authorization: " + settings_.token_scheme + " " + secrets_.token);
      lines.push_back("Accept: */*");
      // None: a round trip before each large body would cost more than a refused body does.
      lines.push_back("Expect:");
      lines.push_back("");  // the idempotency id
      headers_.set(std::move(lines));
      header_is_current_ = true;
    }
    headers_.set_last("Idempotency-Key", view(payload.id));
    option(CURLOPT_HTTPHEADER, headers_.get());
    option(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(payload.bytes.size));
    option(CURLOPT_POSTFIELDS, payload.bytes.data ? payload.bytes.data : "");
  }

  CURLcode perform(uint64_t deadline_ns) {
    error_[0] = '\0';
    body_.clear();
    body_cut_ = false;
    const uint64_t now = monotonic_ns();
    deadline_rules_ = true;
    if (interrupted_.load() || now >= deadline_ns) return CURLE_OPERATION_TIMEDOUT;
    const int64_t left_ms =
        static_cast<int64_t>(std::min<uint64_t>((deadline_ns - now) / 1'000'000u + 1, 86'400'000u));
    deadline_rules_ = left_ms < settings_.timeout_ms;
    option(CURLOPT_TIMEOUT_MS, static_cast<long>(std::min(settings_.timeout_ms, left_ms)));
    option(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::min(settings_.connect_timeout_ms, left_ms)));

    if (curl_multi_add_handle(multi_.get(), easy_.get()) != CURLM_OK) return CURLE_FAILED_INIT;
    CURLcode code = CURLE_ABORTED_BY_CALLBACK;
    for (bool done = false; !done && !interrupted_.load();) {
      int running = 0;
      CURLMcode trouble = curl_multi_perform(multi_.get(), &running);
      int left_in_queue = 0;
      while (const CURLMsg* message = curl_multi_info_read(multi_.get(), &left_in_queue)) {
        if (message->msg != CURLMSG_DONE) continue;
        code = message->data.result;
        done = true;
      }
      // The wait is libcurl's own: it knows the next of its time-outs and is ended by sockets and
      // curl_multi_wakeup.
      if (!done && trouble == CURLM_OK) trouble = curl_multi_poll(multi_.get(), nullptr, 0, 60'000, nullptr);
      if (trouble != CURLM_OK) {
        copy_text(curl_multi_strerror(trouble), error_.data(), error_.size());
        code = CURLE_FAILED_INIT;
        done = true;
      }
    }
    // Closes the connection of a request that was not finished.
    curl_multi_remove_handle(multi_.get(), easy_.get());
    count_connections();
    return code;
  }

  static size_t receive(char* data, size_t, size_t size, void* self) {
    auto& sink = *static_cast<HttpSink*>(self);
    const size_t room = kMaxBody - sink.body_.size();
    try {
      sink.body_.append(data, std::min(size, room));
    } catch (const std::bad_alloc&) {
      return 0;
    }
    if (size <= room) return size;
    sink.body_cut_ = true;  // ends the transfer: what the status says stands, and nobody needs more of it
    return 0;
  }

  // Of the server, or of a proxy that refuses to connect to it. 0: none.
  long status_of_answer() const {
    long status = 0, connect_status = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(easy_.get(), CURLINFO_HTTP_CONNECTCODE, &connect_status);
    return connect_status >= 300 ? connect_status : status;
  }

  runnel_outcome judge(CURLcode code, long status, runnel_answer* answer) {
    if (code != CURLE_OK && interrupted_.load()) return answer_with(answer, RUNNEL_RETRY, "interrupted");
    long connect_status = 0;
    curl_easy_getinfo(easy_.get(), CURLINFO_HTTP_CONNECTCODE, &connect_status);
    const bool by_proxy = code != CURLE_OK && connect_status >= 300;
    const bool complete = code == CURLE_OK || (code == CURLE_WRITE_ERROR && body_cut_) || by_proxy;
    if (!complete || status == 0) return judge_failure(code, status, answer);

    count_answer(status);
    const runnel_outcome outcome = outcome_of_status(status, body_, settings_.retry_on);
    if (outcome == RUNNEL_DELIVERED) return outcome;
    if (outcome == RUNNEL_HOLD) secrets_known_ = false;

    std::string text = (by_proxy ? "the proxy answers HTTP " : "HTTP ") + std::to_string(status);
    const char* location = nullptr;
    if (status >= 300 && status < 400 &&
        curl_easy_getinfo(easy_.get(), CURLINFO_REDIRECT_URL, &location) == CURLE_OK && location) {
      const std::string_view target(location);
      text.append(": redirects are not followed; set url to ").append(target.substr(0, target.find('?')));
    } else if (const std::string_view line = first_line(body_); !line.empty()) {
      text.append(": ").append(line);
    }
    curl_off_t retry_after = 0;  // from seconds or a date
    if (outcome == RUNNEL_RETRY) curl_easy_getinfo(easy_.get(), CURLINFO_RETRY_AFTER, &retry_after);
    const curl_off_t ms = std::clamp<curl_off_t>(retry_after, 0, UINT32_MAX / 1000) * 1000;
    return answer_with(answer, outcome, without_secrets(std::move(text)), static_cast<uint32_t>(ms));
  }

  runnel_outcome judge_failure(CURLcode code, long status, runnel_answer* answer) {
    count_answer(0);
    std::string text = error_[0] != '\0' ? error_.data() : curl_easy_strerror(code);
    const runnel_outcome outcome = outcome_of_failure(code, text);
    secrets_known_ = false;                            // read again for the next connection
    if (outcome == RUNNEL_HOLD) forget_connections();  // libcurl keeps the authorities it has read for a day
    if (status != 0) text = "HTTP " + std::to_string(status) + ", but its answer broke off: " + text;
    if (code == CURLE_OPERATION_TIMEDOUT && deadline_rules_) text += " (the output's deadline)";
    return answer_with(answer, outcome, without_secrets(std::move(text)));
  }

  // A server that echoes what it was sent must not bring a secret into the log.
  std::string without_secrets(std::string text) const {
    for (const std::string* secret : {&secrets_.password, &secrets_.token, &secrets_.proxy_password}) {
      if (secret->empty()) continue;
      for (size_t at = 0; (at = text.find(*secret, at)) != std::string::npos; at += 3)
        text.replace(at, secret->size(), "***");
    }
    return text;
  }

  void forget_connections() {
    std::unique_ptr<CURLM, CurlMultiCleanup> fresh(curl_multi_init());
    if (!fresh) return;  // the old one goes on
    const std::lock_guard lock(multi_mutex_);
    multi_.swap(fresh);
  }

  void count_connections() {
    long made = 0;
    if (curl_easy_getinfo(easy_.get(), CURLINFO_NUM_CONNECTS, &made) != CURLE_OK || made == 0) return;
    connections_ += static_cast<double>(made);
    host_->metric(host_->context, "runnel.http.connections", nullptr, 0, RUNNEL_METRIC_TOTAL, connections_);
  }

  void count_answer(long status) {
    static constexpr const char* kClasses[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
    const size_t index = status >= 100 && status < 600 ? static_cast<size_t>(status / 100) : 0;
    const runnel_pair tag{{"answer", 6}, {kClasses[index], strlen(kClasses[index])}};
    host_->metric(host_->context, "runnel.http.requests", &tag, 1, RUNNEL_METRIC_TOTAL, ++answers_[index]);
  }

  void log(runnel_log_level level, const std::string& text) const {
    host_->log(host_->context, level, text.c_str());
  }

  struct Secrets {
    std::string password, token, proxy_password;
    bool operator==(const Secrets&) const = default;
  };
  struct CurlEasyCleanup {
    void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
  };
  struct CurlMultiCleanup {
    void operator()(CURLM* multi) const { curl_multi_cleanup(multi); }
  };

  const runnel_host* host_;
  Settings settings_;
  std::array<char, CURL_ERROR_SIZE> error_{};
  HeaderList headers_;
  bool header_is_current_ = false;
  std::string content_type_, content_encoding_;  // as they stand in headers_
  Secrets secrets_;
  bool secrets_known_ = false;
  std::string body_;  // of the last answer, up to kMaxBody
  bool body_cut_ = false;
  bool deadline_rules_ = false;  // the time-out of the last request was the write's deadline
  double connections_ = 0;
  std::array<double, 6> answers_{};
  std::atomic<bool> interrupted_{false};
  std::mutex multi_mutex_;  // multi_ is exchanged while interrupt may want to wake it
  std::unique_ptr<CURLM, CurlMultiCleanup> multi_;
  std::unique_ptr<CURL, CurlEasyCleanup> easy_;  // after multi_: has to go first
};

using Calls = runnel_plugin::SinkCalls<HttpSink>;

constexpr runnel_sink kSink{
    .abi_version = RUNNEL_SINK_ABI,
    .struct_size = sizeof(runnel_sink),
    .option_size = sizeof(runnel_option),
    .capabilities = 0,
    .name = "http",
    .help = "Sends each batch as the body of an HTTP request",
    .options = kOptions,
    .option_count = kOptionCount,
    .default_encoding = "json",
    .default_compression = "gzip",
    .check = runnel_plugin::check_call<check_options>,
    .create = Calls::create,
    .write = Calls::write,
    .interrupt = Calls::interrupt,
    .reopen = Calls::reopen,
    .destroy = Calls::destroy,
    .tick = nullptr,
    .encodings = nullptr,
};

}  // namespace

extern "C" RUNNEL_EXPORT const runnel_sink* runnel_sink_descriptor(void) {
  return &kSink;
}
