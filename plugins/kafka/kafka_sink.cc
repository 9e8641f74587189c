// The sink `kafka`: a record of the payload is a message (or all for one partition are), and the payload is delivered
// when the reports of all have come. This file has the instance: its producer, which is built when it is first needed
// and anew after what it cannot go on from, the secrets, and when a write must end. See runnel_sink.h for threads and
// lifetimes.
#include <syslog.h>

#include <atomic>

#include "payload_writer.h"
#include "sink_calls.h"
#include "statistics.h"

namespace {

using namespace runnel_kafka;
using runnel_plugin::answer_with;
using runnel_plugin::monotonic_ns;
using runnel_plugin::unreadable_file;

constexpr uint64_t kSecond = 1'000'000'000u;
constexpr uint64_t kReserve = kSecond;  // of the deadline, for taking back what is under way
// A refused login or certificate may be a broker that is just starting: it counts when nothing has come through since.
constexpr uint64_t kOperatorAfter = 3 * kSecond;
constexpr uint64_t kTellEvery = 60 * kSecond;

class KafkaSink final : private ProducerEvents, private StopCheck {
 public:
  KafkaSink(const runnel_host* host, const runnel_value* values)
      : host_(host),
        settings_(read_settings(values)),
        properties_(properties_of(settings_)),
        topics_(settings_),
        writer_(settings_, topics_, *this),
        statistics_(host) {
    warn_of_doubtful();
  }
  ~KafkaSink() { end_producer(); }
  KafkaSink(const KafkaSink&) = delete;
  KafkaSink& operator=(const KafkaSink&) = delete;

  runnel_outcome write(const runnel_payload& payload, uint64_t deadline_ns, runnel_answer* answer) {
    if (interrupted_.load()) return answer_with(answer, RUNNEL_RETRY, "interrupted");
    if (payload.record_size < sizeof(runnel_record))
      return answer_with(answer, RUNNEL_HOLD,
                         "this agent is older than its kafka.so (install those of one version)");
    if (must_rebuild_) end_producer();
    if (!producer_) {
      if (const std::string wrong = build_producer(); !wrong.empty())
        return answer_with(answer, RUNNEL_HOLD, wrong);
    }
    stop_at_ns_ = deadline_ns > kReserve ? deadline_ns - kReserve : 0;
    trouble_.clear();
    operator_since_ns_ = 0;
    must_rebuild_ = true;  // also where an exception ends the write: nothing of it may be sent later
    Stop stopped = writer_.deliver(*producer_, payload);
    // The reports of a fatal error may come before the event that tells of it.
    const rd_kafka_resp_err_t fatal = producer_->fatal_error(&trouble_);
    if (fatal != RD_KAFKA_RESP_ERR_NO_ERROR) {
      ++fatal_errors_;
      // A user who may write nowhere gets no producer id: a new producer would fare no better.
      if (stopped == Stop::kNo || stopped == Stop::kFatal)
        stopped = verdict_of(fatal) == Verdict::kHold ? Stop::kOperator : Stop::kFatal;
      if (stopped == Stop::kFatal)
        log(RUNNEL_LOG_WARNING, "the producer cannot go on and is built anew: " + trouble_);
    }
    report_counts();
    tell_rerouted();
    // A login is not tried with the old password again. What was purged in flight leaves a gap that the broker would
    // hold against an idempotent producer.
    must_rebuild_ = stopped != Stop::kNo || !writer_.is_settled();
    if (stopped == Stop::kOperator) {
      const Properties before = secrets_;
      if (read_secrets().empty() && secrets_ != before) {
        stopped = Stop::kNo;  // to be tried again at once instead of held
        trouble_ = "the password has changed since it was read: trying the new one";
      }
    }
    const runnel_outcome outcome = writer_.answer(stopped, trouble_, answer);
    // Who is held may have to become somebody else: secrets and certificates are read again at the next try.
    must_rebuild_ |= outcome == RUNNEL_HOLD || (answer->samples && memchr(answer->samples, RUNNEL_HOLD,
                                                                          payload.sample_count) != nullptr);
    return outcome;
  }

  void interrupt() { interrupted_.store(true); }

  void reopen() {
    interrupted_.store(false);
    end_producer();  // the next one reads certificates and secrets again
    topics_.forget_refusals();
  }

  void tick() {
    if (producer_) producer_->poll(0);
  }

 private:
  // Empty, or what an operator has to mend.
  std::string build_producer() {
    if (std::string wrong = unreadable_file(settings_.tls_files); !wrong.empty())
      return wrong;  // the library does not name it
    if (std::string wrong = read_secrets(); !wrong.empty()) return wrong;
    std::string error;
    producer_ = Producer::create(properties_, secrets_, *this, error);
    if (!producer_) return "librdkafka: " + error;
    must_rebuild_ = is_fatal_ = false;
    ++producers_;
    return {};
  }

  void end_producer() {
    if (!producer_) return;
    topics_.forget_handles();
    producer_.reset();
    statistics_.producer_ended();
  }

  std::string read_secrets() {
    Properties secrets;
    const std::pair<const std::string*, const char*> wanted[] = {
        {&settings_.password_file, "sasl.password"},
        {&settings_.tls_key_password_file, "ssl.key.password"},
    };
    for (const auto& [path, name] : wanted) {
      if (path->empty()) continue;
      std::string secret;
      if (std::string wrong = runnel_plugin::read_secret(*host_, *path, secret); !wrong.empty()) return wrong;
      secrets.emplace_back(name, std::move(secret));
    }
    secrets_ = std::move(secrets);
    return {};
  }

  void warn_of_doubtful() const {
    if (const std::string wrong = unreadable_file(settings_.tls_files); !wrong.empty())
      log(RUNNEL_LOG_WARNING, wrong + "; nothing can be sent without it");
    if (!settings_.sasl_mechanism.empty() && !settings_.tls && !settings_.loopback)
      log(RUNNEL_LOG_WARNING, settings_.sasl_mechanism == "PLAIN"
                                  ? "tls is off and so the password travels in plain text"
                                  : "tls is off and so is everything but the password in plain text");
    if (settings_.acks == "0")
      log(RUNNEL_LOG_WARNING, "acks = \"0\": no broker confirms anything, and what is lost is not noticed");
  }

  Stop stop() noexcept override {
    if (interrupted_.load()) return Stop::kInterrupted;
    const uint64_t now = monotonic_ns();
    if (now >= stop_at_ns_) return Stop::kDeadline;
    if (operator_since_ns_ != 0 && now - operator_since_ns_ > kOperatorAfter) return Stop::kOperator;
    if (is_fatal_) return Stop::kFatal;
    return Stop::kNo;
  }

  void on_report(size_t token, rd_kafka_resp_err_t error, std::string_view text) noexcept override {
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      operator_since_ns_ = 0;
      has_delivered_ = true;
    }
    writer_.on_report(token, error, text);
  }

  void on_error(rd_kafka_resp_err_t error, std::string_view text) noexcept override {
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
      is_fatal_ = true;  // which write tells
      return;
    }
    if (says_nothing(error, text)) return;
    if (needs_operator(error, text)) {
      if (operator_since_ns_ == 0) operator_since_ns_ = monotonic_ns();
      trouble_ = text;
    } else if (operator_since_ns_ == 0) {
      trouble_ = text;
    }
    // At the beginning of an outage: the answer of the write, which waits, comes much later.
    const uint64_t now = monotonic_ns();
    if (told_ns_ != 0 && (!has_delivered_ || now - told_ns_ < kTellEvery)) return;
    told_ns_ = now;
    has_delivered_ = false;
    log(RUNNEL_LOG_WARNING, "waiting for the brokers: " + std::string(text));
  }

  void on_log(int level, std::string_view text) noexcept override {
    if (text.starts_with("FATAL: ")) return;  // which write tells
    log(level <= LOG_CRIT ? RUNNEL_LOG_WARNING : RUNNEL_LOG_DEBUG, "librdkafka: " + std::string(text));
  }

  void on_statistics(std::string_view json) noexcept override { statistics_.report(json); }

  void report_counts() const {
    const auto total = [&](const char* name, uint64_t value) {
      host_->metric(host_->context, name, nullptr, 0, RUNNEL_METRIC_TOTAL, static_cast<double>(value));
    };
    total("runnel.kafka.rerouted", topics_.rerouted());
    total("runnel.kafka.producers", producers_);
    total("runnel.kafka.fatal", fatal_errors_);
  }

  // That a record lacks a tag is as configured; that a topic is not to be had is not. Without topic_default the host
  // tells of what it drops.
  void tell_rerouted() {
    const std::string trouble = topics_.take_trouble();
    const uint64_t now = monotonic_ns();
    if (trouble.empty() || !settings_.has_topic_default) return;
    if (told_rerouted_ns_ != 0 && now - told_rerouted_ns_ < kTellEvery) return;
    told_rerouted_ns_ = now;
    log(RUNNEL_LOG_WARNING, "records go to topic_default: " + trouble);
  }

  void log(runnel_log_level level, const std::string& text) const {
    host_->log(host_->context, level, text.c_str());
  }

  const runnel_host* host_;
  const Settings settings_;
  const Properties properties_;
  Properties secrets_;
  Topics topics_;
  PayloadWriter writer_;
  Statistics statistics_;
  std::unique_ptr<Producer> producer_;
  bool must_rebuild_ = false;
  bool is_fatal_ = false;
  uint64_t stop_at_ns_ = 0;
  uint64_t operator_since_ns_ = 0;  // since when nothing but refusals has come; 0: not so
  std::string trouble_;             // of the connection, during this write
  uint64_t told_ns_ = 0;            // when the log was last told of one; 0: never
  bool has_delivered_ = false;      // since then
  uint64_t told_rerouted_ns_ = 0;
  uint64_t producers_ = 0, fatal_errors_ = 0;
  std::atomic<bool> interrupted_{false};
};

using Calls = runnel_plugin::SinkCalls<KafkaSink>;

constexpr runnel_sink kSink{
    .abi_version = RUNNEL_SINK_ABI,
    .struct_size = sizeof(runnel_sink),
    .option_size = sizeof(runnel_option),
    .capabilities = RUNNEL_SINK_WANTS_RECORDS | RUNNEL_SINK_COMPRESSES_ITSELF | RUNNEL_SINK_ANSWERS_RECORDS,
    .name = "kafka",
    .help = "Produces to Apache Kafka, a message a record or a batch",
    .options = kOptions,
    .option_count = kOptionCount,
    .default_encoding = "json",
    .default_compression = "lz4",  // as the option says: for `runnel list`
    .check = runnel_plugin::check_call<check_options>,
    .create = Calls::create,
    .write = Calls::write,
    .interrupt = Calls::interrupt,
    .reopen = Calls::reopen,
    .destroy = Calls::destroy,
    .tick = Calls::tick,
    .encodings = nullptr,
};

}  // namespace

extern "C" RUNNEL_EXPORT const runnel_sink* runnel_sink_descriptor(void) {
  return &kSink;
}
