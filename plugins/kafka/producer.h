// One producer of librdkafka, from rd_kafka_new to rd_kafka_destroy. Everything the library has to say comes out of
// poll, on the thread that calls it: the output's. The library's own threads call nothing of ours.
#pragma once

#include <librdkafka/rdkafka.h>

#include <memory>
#include <string>
#include <string_view>

#include "settings.h"

namespace runnel_kafka {

// Told during poll. Must not throw.
class ProducerEvents {
 public:
  virtual void on_report(size_t token, rd_kafka_resp_err_t error, std::string_view text) noexcept = 0;
  virtual void on_error(rd_kafka_resp_err_t error, std::string_view text) noexcept = 0;  // of a connection
  virtual void on_log(int level, std::string_view text) noexcept = 0;                    // level as syslog's
  virtual void on_statistics(std::string_view json) noexcept = 0;

 protected:
  ~ProducerEvents() = default;
};

class Producer {
 public:
  // `events` outlives the producer. Null: `error` says why.
  static std::unique_ptr<Producer> create(const Properties& properties, const Properties& secrets,
                                          ProducerEvents& events, std::string& error);
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  rd_kafka_t* handle() const { return handle_; }
  void poll(int ms) { rd_kafka_poll(handle_, ms); }
  // What is queued or under way is given up; its reports come with the next polls.
  void purge() { rd_kafka_purge(handle_, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT); }
  // NO_ERROR: there was none, and `text` stays as it is.
  rd_kafka_resp_err_t fatal_error(std::string* text = nullptr) const;

 private:
  explicit Producer(rd_kafka_t* handle) : handle_(handle) {}
  rd_kafka_t* handle_;
};

// What the library has against a setting, or against all of them together; "" where nothing. Connects to nobody.
std::string refused_by_library(const std::string& name, const std::string& value);
std::string refused_by_library(const Properties& properties);

}  // namespace runnel_kafka
