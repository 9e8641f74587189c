#include "producer.h"

#include <array>
#include <new>

namespace runnel_kafka {

namespace {

struct ConfDestroy {
  void operator()(rd_kafka_conf_t* conf) const { rd_kafka_conf_destroy(conf); }
};
using Conf = std::unique_ptr<rd_kafka_conf_t, ConfDestroy>;

Conf new_conf() {
  Conf conf(rd_kafka_conf_new());
  if (!conf) throw std::bad_alloc();
  return conf;
}

// Some of the library's texts end a line.
std::string sentence(std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string set(rd_kafka_conf_t* conf, const std::string& name, const std::string& value) {
  std::array<char, 512> text{};
  if (rd_kafka_conf_set(conf, name.c_str(), value.c_str(), text.data(), text.size()) == RD_KAFKA_CONF_OK)
    return {};
  return sentence(text.data());
}

ProducerEvents& events_of(void* opaque) {
  return *static_cast<ProducerEvents*>(opaque);
}

void on_report(rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
  // Not rd_kafka_message_errstr: it gives the message's own bytes.
  const char* text = message->err == RD_KAFKA_RESP_ERR_NO_ERROR ? "" : rd_kafka_err2str(message->err);
  events_of(opaque).on_report(reinterpret_cast<size_t>(message->_private), message->err, text);
}

void on_error(rd_kafka_t*, int error, const char* text, void* opaque) {
  events_of(opaque).on_error(static_cast<rd_kafka_resp_err_t>(error), text);
}

void on_log(const rd_kafka_t* handle, int level, const char* facility, const char* text) {
  // Null while rd_kafka_new has not returned yet: refused_by_library, whose text says the same.
  void* opaque = handle ? rd_kafka_opaque(handle) : nullptr;
  if (opaque) events_of(opaque).on_log(level, std::string(facility) + ": " + text);
}

int on_statistics(rd_kafka_t*, char* json, size_t size, void* opaque) {
  events_of(opaque).on_statistics({json, size});
  return 0;  // the library frees it
}

}  // namespace

std::unique_ptr<Producer> Producer::create(const Properties& properties, const Properties& secrets,
                                           ProducerEvents& events, std::string& error) {
  Conf conf = new_conf();
  for (const Properties* part : {&properties, &secrets})
    for (const auto& [name, value] : *part)
      if (error = set(conf.get(), name, value); !error.empty()) return nullptr;
  rd_kafka_conf_set_opaque(conf.get(), &events);
  rd_kafka_conf_set_dr_msg_cb(conf.get(), on_report);
  rd_kafka_conf_set_error_cb(conf.get(), on_error);
  rd_kafka_conf_set_log_cb(conf.get(), on_log);
  rd_kafka_conf_set_stats_cb(conf.get(), on_statistics);
  std::array<char, 512> text{};
  rd_kafka_t* handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), text.data(), text.size());
  if (!handle) {
    error = sentence(text.data());
    return nullptr;
  }
  [[maybe_unused]] rd_kafka_conf_t* const taken_over = conf.release();
  rd_kafka_set_log_queue(handle, nullptr);  // to the queue that poll serves
  return std::unique_ptr<Producer>(new Producer(handle));
}

Producer::~Producer() {
  rd_kafka_destroy(handle_);
}

rd_kafka_resp_err_t Producer::fatal_error(std::string* text) const {
  std::array<char, 512> buffer{};
  const rd_kafka_resp_err_t error = rd_kafka_fatal_error(handle_, buffer.data(), buffer.size());
  if (text && error != RD_KAFKA_RESP_ERR_NO_ERROR) *text = buffer.data();
  return error;
}

std::string refused_by_library(const std::string& name, const std::string& value) {
  return set(new_conf().get(), name, value);
}

std::string refused_by_library(const Properties& properties) {
  Conf conf = new_conf();
  for (const auto& [name, value] : properties) {
    // Without brokers it connects to nobody, without a login it asks for no password; files may come later.
    if (name == "bootstrap.servers" || (name.starts_with("ssl.") && name.ends_with(".location"))) continue;
    const bool protocol = name == "security.protocol";
    if (std::string error = set(conf.get(), name,
                                protocol && value == "sasl_ssl" ? "ssl"
                                : protocol && value != "ssl"    ? "plaintext"
                                                                : value);
        !error.empty())
      return error;
  }
  rd_kafka_conf_set_log_cb(conf.get(), on_log);
  std::array<char, 512> text{};
  rd_kafka_t* handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf.get(), text.data(), text.size());
  if (!handle) return sentence(text.data());
  [[maybe_unused]] rd_kafka_conf_t* const taken_over = conf.release();
  rd_kafka_destroy(handle);
  return {};
}

}  // namespace runnel_kafka
