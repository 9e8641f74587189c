// What an error of librdkafka or of a broker means for the record it came with. Pure; the table is in README.md.
#pragma once

#include <librdkafka/rdkafka.h>

#include <string_view>

#include "runnel_sink.h"

namespace runnel_kafka {

// Of one message's delivery report. kTopic: the topic is missing or refused, which is held where the configuration
// names it and routed to topic_default where a record's tags do.
enum class Verdict { kDelivered, kRetry, kHold, kSplit, kReject, kTopic };
Verdict verdict_of(rd_kafka_resp_err_t error);

// Of a connection (an error event): does somebody have to change a password, a certificate or an access rule? `text` are
// librdkafka's words; a TLS handshake that just breaks off is a broker that restarts.
bool needs_operator(rd_kafka_resp_err_t error, std::string_view text);

// A connection that ended, and the library has no guess why: brokers close those that idle, and one that has gone is told
// of by what the next connection meets.
bool says_nothing(rd_kafka_resp_err_t error, std::string_view text);

}  // namespace runnel_kafka
