// The options of the Kafka sink: their table, the check beyond types, and the values as this sink uses them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "peer_options.h"
#include "record_key.h"
#include "runnel_sink.h"
#include "topic_pattern.h"

namespace runnel_kafka {

enum Option {
  kBrokers,
  kTopic,
  kTopicDefault,
  kTopicAllow,
  kTopicLimit,
  kKey,
  kPartitioner,
  kMessage,
  kAcks,
  kCompression,
  kCompressionLevel,
  kLinger,
  kMaxMessageBytes,
  kTimeout,
  kClientId,
  kTls,
  kTlsCa,
  kTlsCert,
  kTlsKey,
  kTlsKeyPasswordFile,
  kSaslMechanism,
  kUsername,
  kPasswordFile,
  kStatistics,
  kLibrdkafka,
  kOptionCount
};

extern const runnel_option kOptions[kOptionCount];

void check_options(const runnel_value* values,
                   void (*error)(void* context, size_t option, const char* entry, const char* text),
                   void* context);

struct Settings {
  std::string brokers;    // as bootstrap.servers has it
  bool loopback = false;  // all of them are this host: secrets do not leave it
  TopicPattern topic;
  bool has_topic_default = false;
  TopicPattern topic_default;
  std::vector<std::string> topic_allow;
  size_t topic_limit = 0;
  RecordKey key;
  std::string partitioner;
  bool batch_messages = false;  // message = "batch"
  std::string acks, compression;
  int64_t compression_level = 0;  // 0 is the codec's default
  int64_t linger_ms = 0, max_message_bytes = 0, timeout_ms = 0, statistics_ms = 0;
  std::string client_id;
  bool tls = false;
  runnel_plugin::TlsFiles tls_files;
  std::string tls_key_password_file;
  std::string sasl_mechanism;  // "" is none
  std::string username, password_file;
  std::vector<std::pair<std::string, std::string>> librdkafka;
};

// Values that check_options has found good.
Settings read_settings(const runnel_value* values);

// librdkafka's names and values for them, without secrets; a later pair wins over an earlier one.
using Properties = std::vector<std::pair<std::string, std::string>>;
Properties properties_of(const Settings& settings);

}  // namespace runnel_kafka
