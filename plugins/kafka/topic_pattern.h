// Where a record goes: a pattern such as "%{type}s-%{tag.site}" becomes a topic's name. Pure functions over a record;
// an instance is read only after parse and belongs to one sink.
//
// A name is only ever made from what has been looked at: letters, digits, '.', '_' and '-', at most 249 bytes, not "."
// or ".." (Kafka's own rule, org.apache.kafka.common.internals.Topic), and not "__…", which are the broker's own. What a
// sender can put into a tag therefore chooses among names and cannot break one.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runnel_sink.h"

namespace runnel_kafka {

// Why it is no name for a topic, or null.
const char* wrong_topic(std::string_view name);

class TopicPattern {
 public:
  // False: `error` says what is wrong.
  bool parse(std::string_view text, std::string& error);
  bool is_static() const { return parts_.size() <= 1 && (parts_.empty() || parts_[0].field == Field::kText); }
  // Only of %{type}, which every record has: always a good name where it is one for both types.
  bool needs_only_type() const;

  enum class Result { kGood, kMissing, kWrong };
  // Writes the name to `out`. kMissing: the record has not got what the pattern asks for; kWrong: the name may not be.
  // `out` is then what there was of it, for messages.
  Result expand(const runnel_record& record, std::string& out) const;

 private:
  enum class Field { kText, kType, kKind, kHost, kTag, kResource };
  struct Part {
    Field field;
    std::string text;  // itself, or the name of the tag or resource
  };
  std::vector<Part> parts_;
};

// topic_allow: names and globs (* ? [a-z]); empty allows every name.
bool is_allowed(const std::vector<std::string>& globs, const std::string& topic);

}  // namespace runnel_kafka
