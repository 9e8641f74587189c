#include "topic_pattern.h"

#include <fnmatch.h>

#include <algorithm>

#include "sink_support.h"

namespace runnel_kafka {

using runnel_plugin::view;

namespace {

constexpr size_t kMaxTopic = 249;  // org.apache.kafka.common.internals.Topic.MAX_NAME_LENGTH

bool is_legal(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
         c == '-';
}

std::string_view find(const runnel_pair* pairs, size_t count, std::string_view key) {
  for (size_t i = 0; i < count; ++i)
    if (view(pairs[i].key) == key) return view(pairs[i].value);
  return {};
}

std::string_view kind_name(runnel_kind kind) {
  switch (kind) {
    case RUNNEL_KIND_COUNTER:
      return "counter";
    case RUNNEL_KIND_TOTAL:
      return "total";
    case RUNNEL_KIND_GAUGE:
      return "gauge";
    case RUNNEL_KIND_DISTRIBUTION:
      return "distribution";
    case RUNNEL_KIND_SET:
      return "set";
    case RUNNEL_KIND_NONE:
      break;
  }
  return "event";
}

}  // namespace

const char* wrong_topic(std::string_view name) {
  if (name.empty()) return "is empty";
  if (name.size() > kMaxTopic) return "is longer than 249 bytes";
  if (name == "." || name == "..") return "must not be . or ..";
  if (name.starts_with("__")) return "must not begin with __ (the brokers' own topics do)";
  if (!std::all_of(name.begin(), name.end(), is_legal))
    return "may have letters, digits, '.', '_' and '-' only";
  return nullptr;
}

bool TopicPattern::parse(std::string_view text, std::string& error) {
  parts_.clear();
  const auto wrong = [&](std::string what) {
    error = std::move(what);
    return false;
  };
  if (text.empty()) return wrong("is empty");
  while (!text.empty()) {
    const size_t begin = text.find('%');
    if (begin != 0) {
      const std::string_view plain = text.substr(0, begin);
      if (!std::all_of(plain.begin(), plain.end(), is_legal))
        return wrong("may have letters, digits, '.', '_', '-' and %{…} only");
      parts_.push_back({Field::kText, std::string(plain)});
      text.remove_prefix(plain.size());
      continue;
    }
    const size_t end = text.find('}');
    if (!text.starts_with("%{") || end == std::string_view::npos)
      return wrong("% must begin a field: %{type}, %{kind}, %{host}, %{tag.NAME} or %{resource.NAME}");
    const std::string_view field = text.substr(2, end - 2);
    if (field == "type") {
      parts_.push_back({Field::kType, ""});
    } else if (field == "kind") {
      parts_.push_back({Field::kKind, ""});
    } else if (field == "host") {
      parts_.push_back({Field::kHost, ""});
    } else if (field.starts_with("tag.") && field.size() > 4) {
      parts_.push_back({Field::kTag, std::string(field.substr(4))});
    } else if (field.starts_with("resource.") && field.size() > 9) {
      parts_.push_back({Field::kResource, std::string(field.substr(9))});
    } else {
      return wrong("has no field %{" + std::string(field) +
                   "} (there are type, kind, host, tag.NAME and resource.NAME)");
    }
    text.remove_prefix(end + 1);
  }
  // What no value of a field can mend: each stands for a byte at least.
  std::string shortest;
  for (const Part& part : parts_) shortest += part.field == Field::kText ? part.text : "x";
  if (const char* what = wrong_topic(shortest)) return wrong(what);
  return true;
}

bool TopicPattern::needs_only_type() const {
  return std::all_of(parts_.begin(), parts_.end(), [](const Part& part) {
    return part.field == Field::kText || part.field == Field::kType;
  });
}

TopicPattern::Result TopicPattern::expand(const runnel_record& record, std::string& out) const {
  out.clear();
  for (const Part& part : parts_) {
    std::string_view value;
    switch (part.field) {
      case Field::kText:
        value = part.text;
        break;
      case Field::kType:
        value = record.type == RUNNEL_RECORD_EVENT ? "event" : "metric";
        break;
      case Field::kKind:
        value = kind_name(record.kind);
        break;
      case Field::kHost:
        value = view(record.host);
        break;
      case Field::kTag:
        value = find(record.tags, record.tag_count, part.text);
        break;
      case Field::kResource:
        value = find(record.resource, record.resource_count, part.text);
        break;
    }
    if (value.empty()) return Result::kMissing;
    if (value.size() > kMaxTopic) return Result::kWrong;
    out.append(value);
  }
  return wrong_topic(out) == nullptr ? Result::kGood : Result::kWrong;
}

bool is_allowed(const std::vector<std::string>& globs, const std::string& topic) {
  return globs.empty() || std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
           return fnmatch(glob.c_str(), topic.c_str(), 0) == 0;
         });
}

}  // namespace runnel_kafka
