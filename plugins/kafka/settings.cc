#include "settings.h"

#include <algorithm>
#include <cstring>

#include "producer.h"

namespace runnel_kafka {

using runnel_plugin::has_control;
using runnel_plugin::view;

namespace {

constexpr const char* kPartitioners[] = {"murmur2_random", "murmur2",      "consistent", "consistent_random",
                                         "fnv1a",          "fnv1a_random", "random",     nullptr};
constexpr const char* kMessages[] = {"record", "batch", nullptr};
constexpr const char* kAcksChoices[] = {"all", "1", "0", nullptr};
constexpr const char* kCodecs[] = {"none", "gzip", "snappy", "lz4", "zstd", nullptr};
constexpr const char* kMechanisms[] = {"none", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", nullptr};

// Settings of librdkafka that have an option of their own here.
constexpr std::pair<const char*, const char*> kOwn[] = {
    {"bootstrap.servers", "brokers"},
    {"metadata.broker.list", "brokers"},
    {"client.id", "client_id"},
    {"acks", "acks"},
    {"request.required.acks", "acks"},
    {"compression.codec", "compression"},
    {"compression.type", "compression"},
    {"compression.level", "compression_level"},
    {"partitioner", "partitioner"},
    {"linger.ms", "linger"},
    {"queue.buffering.max.ms", "linger"},
    {"message.max.bytes", "max_message_bytes"},
    {"message.timeout.ms", "timeout"},
    {"delivery.timeout.ms", "timeout"},
    {"security.protocol", "tls and sasl_mechanism"},
    {"sasl.mechanism", "sasl_mechanism"},
    {"sasl.mechanisms", "sasl_mechanism"},
    {"sasl.username", "username"},
    {"sasl.password", "password_file"},
    {"ssl.ca.location", "tls_ca"},
    {"ssl.ca.pem", "tls_ca"},
    {"ssl.certificate.location", "tls_cert"},
    {"ssl.certificate.pem", "tls_cert"},
    {"ssl.key.location", "tls_key"},
    {"ssl.key.password", "tls_key_password_file"},
    {"statistics.interval.ms", "statistics"},
};

// And those that it does not hand on at all.
constexpr std::pair<const char*, const char*> kRefused[] = {
    {"enable.ssl.certificate.verification", "cannot be changed: certificates are always verified"},
    {"ssl.endpoint.identification.algorithm",
     "cannot be changed: the name in a certificate is always verified"},
    {"plugin.library.paths", "cannot be set: it loads foreign code into the agent"},
    {"ssl.engine.location", "cannot be set: it loads foreign code into the agent"},
    {"internal.termination.signal", "cannot be set: signals are the agent's"},
    {"transactional.id", "cannot be set: the sink uses no transactions"},
    {"log.queue", "cannot be set: the sink needs it as it is"},
    {"enabled_events", "cannot be set: the sink needs it as it is"},
    {"test.mock.num.brokers", "cannot be set: data would go to brokers that do not exist"},
    {"delivery.report.only.error", "cannot be set: the sink needs it as it is"},
    {"ssl.key.pem", "is a secret, which does not stand in the configuration (set tls_key)"},
    {"ssl.keystore.password", "is a secret, which does not stand in the configuration (set tls_key)"},
    {"sasl.oauthbearer.config", "may hold a secret, which does not stand in the configuration"},
    {"sasl.oauthbearer.client.secret", "is a secret, which does not stand in the configuration"},
};

bool has_only(std::string_view text, std::string_view others) {
  return std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           others.find(c) != std::string_view::npos;
  });
}

// "HOST", "HOST:PORT", "[v6]:PORT". Null, or what is wrong.
const char* wrong_broker(std::string_view text) {
  if (text.empty()) return "is empty";
  if (text.find("://") != std::string_view::npos) return "must be HOST or HOST:PORT (set tls for TLS)";
  if (has_control(text) || text.find_first_of(" ,/@") != std::string_view::npos)
    return "must be HOST or HOST:PORT, one broker an entry";
  std::string_view host = text, port;
  bool has_port = false;
  if (text[0] == '[') {
    const size_t end = text.find(']');
    if (end == std::string_view::npos) return "has no ] after its address";
    host = text.substr(1, end - 1);
    if (!host.empty() && (host.find(':') == std::string_view::npos || !has_only(host, ":.%")))
      return "has no IPv6 address in its brackets";
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest[0] != ':') return "must be HOST or HOST:PORT";
    has_port = !rest.empty();
    port = rest.substr(has_port ? 1 : 0);
  } else if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    host = text.substr(0, colon);
    port = text.substr(colon + 1);
    has_port = true;
    if (port.find(':') != std::string_view::npos) return "an IPv6 address stands in brackets: [::1]:9092";
  }
  if (host.empty()) return "has no host";
  if (text[0] != '[' && !has_only(host, ".-_"))
    return "has a host that is no name (letters, digits, '.', '-', '_'; others in their xn-- form)";
  if (!has_port) return nullptr;
  long number = 0;
  for (const char c : port) {
    if (c < '0' || c > '9') return "has a port that is no number";
    number = std::min(number * 10 + (c - '0'), 100'000L);
  }
  return port.empty() || number < 1 || number > 65535 ? "has a port that is not 1 to 65535" : nullptr;
}

// An entry of topic_allow. Null, or why no name can ever be like it.
const char* wrong_glob(std::string_view text) {
  if (text.empty()) return "is empty";
  if (!has_only(text, "._-*?[]!^"))
    return "is like no topic: those have letters, digits, '.', '_' and '-' only";
  if (text.find_first_of("*?[]!^") == std::string_view::npos) return wrong_topic(text);
  const size_t open = text.find('[');
  return open != std::string_view::npos && text.find(']', open) == std::string_view::npos
             ? "has no ] after its ["
             : nullptr;
}

bool is_loopback(std::string_view broker) {
  return runnel_plugin::is_loopback_host(broker[0] == '[' ? broker.substr(0, broker.find(']') + 1)
                                                          : broker.substr(0, broker.find(':')));
}

}  // namespace

const runnel_option kOptions[kOptionCount] = {
    {"brokers", RUNNEL_OPTION_LIST, RUNNEL_OPTION_REQUIRED, nullptr,
     "Brokers to begin with, HOST or HOST:PORT; the others are learned from them", nullptr, 0, 0},
    {"topic", RUNNEL_OPTION_STRING, RUNNEL_OPTION_REQUIRED, nullptr,
     "Topic, with %{tag.NAME}, %{resource.NAME}, %{host}, %{type} or %{kind} inside where it depends on the "
     "record",
     nullptr, 0, 0},
    {"topic_default", RUNNEL_OPTION_STRING, 0, nullptr,
     "Topic of records whose pattern makes no good name, is not allowed or is refused; may have %{type} "
     "inside",
     nullptr, 0, 0},
    {"topic_allow", RUNNEL_OPTION_LIST, 0, "[]",
     "Names and globs that a topic with fields inside may become; empty: all", nullptr, 0, 0},
    {"topic_limit", RUNNEL_OPTION_INT, 0, "200",
     "How many topics made of fields are known at a time, refused ones too", nullptr, 1, 10'000},
    {"key", RUNNEL_OPTION_STRING, 0, "\"series\"",
     "Key of a message: series, host, tag:NAME or none; records of one key meet in one partition", nullptr, 0,
     0},
    {"partitioner", RUNNEL_OPTION_ENUM, 0, "\"murmur2_random\"",
     "How a key becomes a partition; murmur2_random is what Java producers do", kPartitioners, 0, 0},
    {"message", RUNNEL_OPTION_ENUM, 0, "\"record\"",
     "record: a message a sample or event; batch: a message a batch and partition, its records on lines",
     kMessages, 0, 0},
    {"acks", RUNNEL_OPTION_ENUM, 0, "\"all\"",
     "Who has to have a message before it counts as delivered: all in-sync replicas, 1 (the leader), 0 "
     "(nobody)",
     kAcksChoices, 0, 0},
    {"compression", RUNNEL_OPTION_ENUM, 0, "\"lz4\"", "Codec of the batches that librdkafka makes", kCodecs,
     0, 0},
    {"compression_level", RUNNEL_OPTION_INT, 0, "0",
     "0 is the codec's default; gzip 1 to 9, lz4 and zstd 1 to 12", nullptr, 0, 12},
    {"linger", RUNNEL_OPTION_DURATION, 0, "\"5ms\"", "How long the library waits for more before it sends",
     nullptr, 0, 5'000},
    {"max_message_bytes", RUNNEL_OPTION_SIZE, 0, "\"1000000\"",
     "Largest message, before compression; the topic's max.message.bytes has to allow it", nullptr, 1'000,
     256 << 20},
    {"timeout", RUNNEL_OPTION_DURATION, 0, "\"45s\"",
     "How long the library tries before the agent takes a message back and tries anew", nullptr, 1'000,
     55'000},
    {"client_id", RUNNEL_OPTION_STRING, 0, "\"runnel\"",
     "Name of this client in the brokers' logs and quotas", nullptr, 0, 0},
    {"tls", RUNNEL_OPTION_BOOL, 0, "false",
     "Reach the brokers by TLS; their certificates are always verified", nullptr, 0, 0},
    runnel_plugin::kTlsCaOption,
    runnel_plugin::kTlsCertOption,
    runnel_plugin::kTlsKeyOption,
    {"tls_key_password_file", RUNNEL_OPTION_SECRET_FILE, 0, nullptr, "File with the password of tls_key",
     nullptr, 0, 0},
    {"sasl_mechanism", RUNNEL_OPTION_ENUM, 0, "\"none\"", "How to log in", kMechanisms, 0, 0},
    {"username", RUNNEL_OPTION_STRING, 0, nullptr, "User for SASL", nullptr, 0, 0},
    {"password_file", RUNNEL_OPTION_SECRET_FILE, 0, nullptr, "File with the user's password", nullptr, 0, 0},
    {"statistics", RUNNEL_OPTION_DURATION, 0, "\"10s\"",
     "How often the library's statistics become runnel.kafka.*; 0s: never", nullptr, 0, 86'400'000},
    {"librdkafka", RUNNEL_OPTION_MAP, 0, "{}", "Any other setting of librdkafka, by its name there", nullptr,
     0, 0},
};

void check_options(const runnel_value* values, void (*error)(void*, size_t, const char*, const char*),
                   void* context) {
  bool good = true;
  const auto text = [&](Option option) { return std::string(view(values[option].text)); };
  const auto wrong = [&](Option option, const std::string& what, const char* entry = nullptr) {
    good = false;
    error(context, option, entry, what.c_str());
  };
  const auto has = [&](Option option) { return runnel_plugin::has_value(values[option]); };

  if (values[kBrokers].count == 0) wrong(kBrokers, "is empty (write [\"127.0.0.1:9092\"])");
  for (size_t i = 0; i < values[kBrokers].count; ++i) {
    const std::string entry(view(values[kBrokers].list[i]));
    if (const char* what = wrong_broker(entry)) wrong(kBrokers, what, entry.c_str());
  }
  TopicPattern topic, topic_default;
  std::string what;
  const bool topic_good = topic.parse(text(kTopic), what);
  if (!topic_good) wrong(kTopic, what);
  if (has(kTopicDefault)) {
    if (!topic_default.parse(text(kTopicDefault), what)) {
      wrong(kTopicDefault, what);
    } else if (!topic_default.needs_only_type()) {
      wrong(kTopicDefault, "may have no other field than %{type} inside, which every record has");
    } else {
      runnel_record record{};
      std::string name;
      for (const runnel_record_type type : {RUNNEL_RECORD_METRIC, RUNNEL_RECORD_EVENT}) {
        record.type = type;
        if (topic_default.expand(record, name) == TopicPattern::Result::kGood) continue;
        wrong(kTopicDefault, "becomes " + name + ", which " + wrong_topic(name));
        break;
      }
    }
  }
  for (const Option option : {kTopicDefault, kTopicAllow, kTopicLimit})
    if (topic_good && topic.is_static() && values[option].is_set)
      wrong(option, "has no effect while topic has no field such as %{tag.site} inside");
  for (size_t i = 0; i < values[kTopicAllow].count; ++i) {
    const std::string entry(view(values[kTopicAllow].list[i]));
    if (const char* bad = wrong_glob(entry)) wrong(kTopicAllow, bad, entry.c_str());
  }
  if (!RecordKey().parse(text(kKey))) wrong(kKey, "must be series, host, tag:NAME or none");
  if (text(kCompression) == "gzip" && values[kCompressionLevel].integer > 9)
    wrong(kCompressionLevel, "is out of range for gzip (1 to 9, 0 is the default)");
  if (values[kCompressionLevel].integer != 0 &&
      (text(kCompression) == "none" || text(kCompression) == "snappy"))
    wrong(kCompressionLevel, "there is no level to set for " + text(kCompression));
  if (values[kTimeout].integer <= values[kLinger].integer) wrong(kTimeout, "must be longer than linger");
  for (const Option option : {kClientId, kUsername})
    if (has_control(text(option))) wrong(option, "must not contain control characters");

  for (const Option option : {kTlsCa, kTlsCert, kTlsKey, kTlsKeyPasswordFile})
    if (values[option].is_set && values[kTls].integer == 0) wrong(option, "has no effect without tls = true");
  if (has(kTlsCert) && !has(kTlsKey)) wrong(kTlsCert, "needs tls_key as well");
  if (has(kTlsKey) && !has(kTlsCert)) wrong(kTlsKey, "needs tls_cert as well");
  if (has(kTlsKeyPasswordFile) && !has(kTlsKey)) wrong(kTlsKeyPasswordFile, "needs tls_key as well");
  const bool sasl = text(kSaslMechanism) != "none";
  if (sasl && !has(kUsername)) wrong(kSaslMechanism, "needs username as well");
  if (sasl && !has(kPasswordFile)) wrong(kSaslMechanism, "needs password_file as well");
  for (const Option option : {kUsername, kPasswordFile})
    if (!sasl && has(option)) wrong(option, "needs sasl_mechanism as well");

  for (size_t i = 0; i < values[kLibrdkafka].count; ++i) {
    const std::string name(view(values[kLibrdkafka].map[i].key));
    const std::string value(view(values[kLibrdkafka].map[i].value));
    bool known = false;
    for (const auto& [own, option] : kOwn)
      if (name == own)
        wrong(kLibrdkafka, std::string("is made by the sink (set ") + option + ")", name.c_str()),
            known = true;
    for (const auto& [refused, why] : kRefused)
      if (name == refused) wrong(kLibrdkafka, why, name.c_str()), known = true;
    if (known) continue;
    if (name.starts_with("ssl.") && values[kTls].integer == 0)
      wrong(kLibrdkafka, "has no effect without tls = true", name.c_str());
    if (const std::string refusal = refused_by_library(name, value); !refusal.empty())
      wrong(kLibrdkafka, refusal, name.c_str());
  }
  // What only shows when settings meet, or when they are used: acks and enable.idempotence, limits that contradict each
  // other, ciphers.
  if (!good) return;
  if (const std::string refusal = refused_by_library(properties_of(read_settings(values))); !refusal.empty())
    wrong(values[kLibrdkafka].is_set ? kLibrdkafka : kBrokers, refusal);
}

Settings read_settings(const runnel_value* values) {
  const auto text = [&](Option option) { return std::string(view(values[option].text)); };
  Settings settings;
  settings.loopback = true;
  for (size_t i = 0; i < values[kBrokers].count; ++i) {
    const std::string_view broker = view(values[kBrokers].list[i]);
    settings.brokers.append(i > 0 ? "," : "").append(broker);
    settings.loopback = settings.loopback && is_loopback(broker);
  }
  std::string ignored;  // check_options has seen that they are good
  settings.topic.parse(text(kTopic), ignored);
  settings.has_topic_default = values[kTopicDefault].text.size > 0;
  if (settings.has_topic_default) settings.topic_default.parse(text(kTopicDefault), ignored);
  for (size_t i = 0; i < values[kTopicAllow].count; ++i)
    settings.topic_allow.emplace_back(view(values[kTopicAllow].list[i]));
  settings.topic_limit = static_cast<size_t>(values[kTopicLimit].integer);
  settings.key.parse(text(kKey));
  settings.partitioner = text(kPartitioner);
  settings.batch_messages = text(kMessage) == "batch";
  settings.acks = text(kAcks);
  settings.compression = text(kCompression);
  settings.compression_level = values[kCompressionLevel].integer;
  settings.linger_ms = values[kLinger].integer;
  settings.max_message_bytes = values[kMaxMessageBytes].integer;
  settings.timeout_ms = values[kTimeout].integer;
  settings.statistics_ms = values[kStatistics].integer;
  settings.client_id = text(kClientId);
  settings.tls = values[kTls].integer != 0;
  settings.tls_files = {text(kTlsCa), text(kTlsCert), text(kTlsKey)};
  settings.tls_key_password_file = text(kTlsKeyPasswordFile);
  if (text(kSaslMechanism) != "none") settings.sasl_mechanism = text(kSaslMechanism);
  settings.username = text(kUsername);
  settings.password_file = text(kPasswordFile);
  for (size_t i = 0; i < values[kLibrdkafka].count; ++i)
    settings.librdkafka.emplace_back(view(values[kLibrdkafka].map[i].key),
                                     view(values[kLibrdkafka].map[i].value));
  return settings;
}

Properties properties_of(const Settings& settings) {
  const bool sasl = !settings.sasl_mechanism.empty();
  Properties all = {
      {"bootstrap.servers", settings.brokers},
      {"client.id", settings.client_id},
      {"acks", settings.acks},
      // Duplicates of librdkafka's own retries are discarded by the broker. It needs the answers of all replicas.
      {"enable.idempotence", settings.acks == "all" ? "true" : "false"},
      {"compression.codec", settings.compression},
      {"partitioner", settings.partitioner},
      {"linger.ms", std::to_string(settings.linger_ms)},
      {"message.max.bytes", std::to_string(settings.max_message_bytes)},
      {"message.timeout.ms", std::to_string(settings.timeout_ms)},
      {"statistics.interval.ms", std::to_string(settings.statistics_ms)},
      {"security.protocol",
       settings.tls ? (sasl ? "sasl_ssl" : "ssl") : (sasl ? "sasl_plaintext" : "plaintext")},
      // A write waits for its reports, so the queue never needs more than one batch; what does not fit waits.
      {"queue.buffering.max.kbytes",
       std::to_string(std::max<int64_t>(16'384, settings.max_message_bytes / 512))},
      {"queue.buffering.max.messages", "20000"},
      // Back within seconds when the broker is: the defaults are 10 s and 30 s.
      {"reconnect.backoff.ms", "100"},
      {"reconnect.backoff.max.ms", "1000"},
      {"socket.connection.setup.timeout.ms", "5000"},
      {"socket.keepalive.enable", "true"},
      // A topic that is missing for this long is missing, and not only not known yet to a broker that has just
      // started; the default is 30 s.
      {"topic.metadata.propagation.max.ms", "5000"},
      {"log.queue", "true"},
      {"log_level", "6"},
  };
  if (settings.compression_level > 0)
    all.emplace_back("compression.level", std::to_string(settings.compression_level));
  const runnel_plugin::TlsFiles& files = settings.tls_files;
  if (!files.ca.empty()) all.emplace_back("ssl.ca.location", files.ca);
  if (!files.cert.empty()) {
    all.emplace_back("ssl.certificate.location", files.cert);
    all.emplace_back("ssl.key.location", files.key);
  }
  if (sasl) {
    all.emplace_back("sasl.mechanisms", settings.sasl_mechanism);
    all.emplace_back("sasl.username", settings.username);
  }
  for (const auto& pair : settings.librdkafka) all.push_back(pair);
  return all;
}

}  // namespace runnel_kafka
