#include "outcomes.h"

namespace runnel_kafka {

Verdict verdict_of(rd_kafka_resp_err_t error) {
  switch (error) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
      return Verdict::kDelivered;
    // The topic's message.max.bytes, or the producer's own limit.
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
      return Verdict::kSplit;
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:  // INVALID_TOPIC_EXCEPTION
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
      return Verdict::kTopic;
    // The broker's judgement of the data itself: a record without a key for a compacted topic.
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
      return Verdict::kReject;
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SECURITY_DISABLED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE:
    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
      return Verdict::kHold;
    default:
      // Time-outs, leaders that move, too few replicas, purged and fatal ones, and what is not known: nothing is ever
      // lost for an error that has no name here.
      return Verdict::kRetry;
  }
}

bool needs_operator(rd_kafka_resp_err_t error, std::string_view text) {
  const auto has = [&](std::string_view part) { return text.find(part) != std::string_view::npos; };
  switch (error) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
      return true;
    case RD_KAFKA_RESP_ERR__SSL:
      return has("certificate") || has(" alert ") || has("wrong version number") ||
             has("packet length too long") || has("unsupported protocol") || has("verify failed");
    case RD_KAFKA_RESP_ERR__TRANSPORT:  // TLS 1.3 tells a refused client certificate after the handshake
      return has("SSL routines") && has(" alert ") && !has("alert internal error");
    default:
      return false;
  }
}

bool says_nothing(rd_kafka_resp_err_t error, std::string_view text) {
  return error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||  // less than the errors before it
         (error == RD_KAFKA_RESP_ERR__TRANSPORT &&
          text.find(": Disconnected (after ") != std::string_view::npos);
}

}  // namespace runnel_kafka
