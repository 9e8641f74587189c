#include "topics.h"

#include <utility>

#include "sink_support.h"

namespace runnel_kafka {

namespace {

constexpr uint64_t kSecond = 1'000'000'000u;
constexpr uint64_t kRefusedFor = 60 * kSecond;  // then the brokers are asked again: somebody may have made it
constexpr uint64_t kCountedFor = 300 * kSecond;  // as metadata.max.age.ms of Java producers

}  // namespace

Topic* Topics::find(const std::string& name, bool from_fields) {
  if (auto found = topics_.find(name); found != topics_.end()) return &found->second;
  if (from_fields) {
    if (from_fields_ >= settings_.topic_limit) return nullptr;
    ++from_fields_;
  }
  Topic& topic = topics_[name];
  topic.name = name;
  topic.from_fields = from_fields;
  return &topic;
}

Topic* Topics::route(const runnel_record& record, uint64_t now_ns, std::string& why) {
  if (settings_.topic.is_static()) {
    if (!static_) {
      settings_.topic.expand(record, name_);
      static_ = find(name_, false);
    }
    return static_;
  }
  switch (settings_.topic.expand(record, name_)) {
    case TopicPattern::Result::kMissing:
      why = "the record lacks a tag that the topic is made of";
      break;
    case TopicPattern::Result::kWrong:
      why = "\"" + name_ + "\" " + (wrong_topic(name_) ? wrong_topic(name_) : "is longer than 249 bytes");
      break;
    case TopicPattern::Result::kGood:
      if (!is_allowed(settings_.topic_allow, name_)) {
        why = "topic_allow has no " + name_;
      } else if (Topic* topic = find(name_, true); !topic) {
        why = "topic_limit is reached, so there is no " + name_;
        if (trouble_.empty()) trouble_ = why;
      } else if (topic->refused_until_ns <= now_ns) {
        return topic;
      } else {
        why = topic->refusal;
      }
      break;
  }
  return fallback(record);
}

Topic* Topics::fallback(const runnel_record& record) {
  if (!settings_.has_topic_default) return nullptr;
  ++rerouted_;
  settings_.topic_default.expand(record, name_);
  Topic* topic = find(name_, false);
  if (std::exchange(topic->from_fields, false)) --from_fields_;  // a tag had named it before
  return topic;
}

bool Topics::must_ask(const Topic& topic, uint64_t now_ns) const {
  return topic.partitions == 0 || (settings_.batch_messages && now_ns - topic.asked_ns > kCountedFor);
}

rd_kafka_resp_err_t Topics::ask(const Producer& producer, Topic& topic, int ms, uint64_t now_ns,
                                bool& of_topic) {
  of_topic = false;
  if (!topic.handle) topic.handle = rd_kafka_topic_new(producer.handle(), topic.name.c_str(), nullptr);
  if (!topic.handle) return rd_kafka_last_error();
  const struct rd_kafka_metadata* metadata = nullptr;
  rd_kafka_resp_err_t error = rd_kafka_metadata(producer.handle(), 0, topic.handle, &metadata, ms);
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return error;
  error = RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
  for (int i = 0; i < metadata->topic_cnt; ++i) {
    const rd_kafka_metadata_topic& found = metadata->topics[i];
    if (found.topic != topic.name) continue;
    of_topic = true;
    error = found.err;
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) continue;
    topic.partitions = found.partition_cnt;
    if (topic.partitions == 0) error = RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
  }
  rd_kafka_metadata_destroy(metadata);
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
    topic.asked_ns = now_ns;
    topic.refused_until_ns = 0;
  }
  return error;
}

void Topics::refuse(Topic& topic, std::string why, uint64_t now_ns) {
  release(topic);  // else the library would go on asking for it
  if (topic.from_fields && trouble_.empty()) trouble_ = why;
  topic.refusal = std::move(why);
  topic.refused_until_ns = topic.from_fields ? now_ns + kRefusedFor : now_ns;  // held: each write asks anew
}

void Topics::release(Topic& topic) {
  if (topic.handle) rd_kafka_topic_destroy(topic.handle);
  topic.handle = nullptr;
  topic.partitions = 0;
}

void Topics::make_room(uint64_t now_ns) {
  if (from_fields_ < settings_.topic_limit) return;
  for (auto at = topics_.begin(); at != topics_.end();) {
    Topic& topic = at->second;
    if (!topic.from_fields || topic.partitions > 0 || topic.refused_until_ns > now_ns) {
      ++at;
      continue;
    }
    release(topic);
    at = topics_.erase(at);
    --from_fields_;
  }
}

void Topics::forget_handles() {
  for (auto& [name, topic] : topics_) release(topic);
}

void Topics::forget_refusals() {
  forget_handles();
  topics_.clear();
  from_fields_ = 0;
  static_ = nullptr;
}

}  // namespace runnel_kafka
