// One payload on its way: records become messages, messages delivery reports, reports an answer for each sample. The
// memory is kept from one payload to the next. On the output's thread, on_report included.
#pragma once

#include <librdkafka/rdkafka.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "outcomes.h"
#include "producer.h"
#include "settings.h"
#include "topics.h"

namespace runnel_kafka {

// Why a write must end before all reports are there.
enum class Stop { kNo, kInterrupted, kDeadline, kOperator, kFatal };

class StopCheck {
 public:
  virtual Stop stop() noexcept = 0;

 protected:
  ~StopCheck() = default;
};

class PayloadWriter {
 public:
  PayloadWriter(const Settings& settings, Topics& topics, StopCheck& check)
      : settings_(settings), topics_(topics), check_(check) {}

  // Until every record has its verdict or the check says stop; what is then still under way has been taken back. The
  // payload is used until the next deliver.
  Stop deliver(Producer& producer, const runnel_payload& payload);
  void on_report(size_t token, rd_kafka_resp_err_t error, std::string_view text) noexcept;

  // Of the payload of the last deliver. `trouble` is what is known of the connection.
  runnel_outcome answer(Stop stopped, const std::string& trouble, runnel_answer* answer);
  // False: messages are still in the library's hands although they were purged; the producer has to go.
  bool is_settled() const { return pending_ == 0; }

 private:
  struct State {
    Topic* topic = nullptr;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    bool is_reported = false;
    bool is_unroutable = false;  // no topic, now or later: only this record is given up
  };
  const runnel_record& record(size_t i) const {
    return *reinterpret_cast<const runnel_record*>(reinterpret_cast<const char*>(payload_->records) +
                                                   i * payload_->record_size);
  }
  std::string_view bytes_of(const runnel_record& record) const {
    return {payload_->bytes.data + record.offset, record.size};
  }
  void route_all();
  Stop ask_for_topics();
  Stop ask_for_topic(Topic& topic, uint64_t since_ns);
  Stop round(const std::vector<uint32_t>& records);
  void reroute_refused(std::vector<uint32_t>& records);
  Stop isolate_rejected();
  void make_messages(const std::vector<uint32_t>& records);
  int32_t partition_of(const Topic& topic, std::string_view key) const;
  Stop produce(size_t token);
  void give_up(const std::string& text);
  void note(const State& state, std::string_view text);
  void refuse(uint32_t i, const std::string& why);
  runnel_outcome outcome_of(size_t i, Stop stopped) const;

  // Records that travel as one message: one of them, or those of a batch for one partition.
  struct Message {
    Topic* topic;
    int32_t partition;
    std::string_view key;
    uint32_t first, last;  // its records, by their place in order_
    size_t bytes;
  };

  const Settings& settings_;
  Topics& topics_;
  StopCheck& check_;
  Producer* producer_ = nullptr;
  const runnel_payload* payload_ = nullptr;
  uint64_t began_ns_ = 0;
  std::vector<State> states_;
  std::vector<Message> messages_;
  std::vector<uint32_t> order_;  // records, message by message
  size_t pending_ = 0;
  bool is_isolating_ = false;
  std::string first_error_;  // of the records that were not delivered
  std::string route_error_;
  std::vector<runnel_outcome> outcomes_;  // of the samples
};

}  // namespace runnel_kafka
