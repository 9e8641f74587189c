// The topics that a sink writes to: which there are, how many partitions they have, and which were refused. On the
// output's thread.
//
// A topic is asked for before anything is produced to it. Otherwise the library would keep a message for a topic that
// does not exist for seconds, and with it every other record of its write.
#pragma once

#include <librdkafka/rdkafka.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "producer.h"
#include "settings.h"

namespace runnel_kafka {

struct Topic {
  std::string name;
  bool from_fields = false;  // made of a record's tags: refused ones are routed around, others are held
  rd_kafka_topic_t* handle = nullptr;
  int32_t partitions = 0;  // 0: has to be asked for
  uint64_t asked_ns = 0;
  uint64_t refused_until_ns = 0;
  std::string refusal;
};

class Topics {
 public:
  explicit Topics(const Settings& settings) : settings_(settings) {}
  ~Topics() { forget_handles(); }
  Topics(const Topics&) = delete;
  Topics& operator=(const Topics&) = delete;

  // Where the record goes: to its own topic, to topic_default, or nowhere (null), which `why` explains. The topic lives
  // until make_room or forget_refusals.
  Topic* route(const runnel_record& record, uint64_t now_ns, std::string& why);
  // topic_default for a record whose own topic was refused while it was written; null where there is none.
  Topic* fallback(const runnel_record& record);

  // Must be asked for (again) before the next record: never seen, refused, or (its partitions matter) not looked at for
  // five minutes, after which topics may have grown.
  bool must_ask(const Topic& topic, uint64_t now_ns) const;
  // One question to the brokers; waits at most `ms`. NO_ERROR: `partitions` is set. `of_topic`: an error is what a broker
  // says of this topic, and not why none could be asked.
  rd_kafka_resp_err_t ask(const Producer& producer, Topic& topic, int ms, uint64_t now_ns, bool& of_topic);
  void refuse(Topic& topic, std::string why, uint64_t now_ns);

  void make_room(uint64_t now_ns);  // between writes: where topic_limit is reached, refused ones go
  void forget_handles();            // before their producer goes
  void forget_refusals();           // SIGHUP; between writes

  uint64_t rerouted() const { return rerouted_; }
  // Why a topic that a pattern made is not used, of the first one since this was asked last; "": none.
  std::string take_trouble() { return std::exchange(trouble_, {}); }

 private:
  Topic* find(const std::string& name, bool from_fields);
  static void release(Topic& topic);

  const Settings& settings_;
  std::map<std::string, Topic, std::less<>> topics_;
  size_t from_fields_ = 0;
  std::string name_;  // scratch
  Topic* static_ = nullptr;
  uint64_t rerouted_ = 0;
  std::string trouble_;
};

}  // namespace runnel_kafka
