// JSON: objects as runnel's own `json` encoding writes them (metrics and events), one a line, in an array, or spread
// over lines; and an object without "key", which is read as name: number for each member.
// What a record does not know is ignored, so that what one agent writes a later or earlier one reads.
#include <simdjson.h>

#include <algorithm>
#include <deque>
#include <string>

#include "base/text.h"
#include "metric/json_number.h"
#include "source/script/formats/format.h"

namespace runnel::script {
namespace {

using simdjson::dom::element;

// As a hook prints them: true is 1.
std::optional<Number> number_of(element value) {
  if (value.is_bool()) return Number::integer(value.get_bool().value_unsafe() ? 1 : 0);
  return json_number(value);
}

bool text_of(element value, std::string_view& text) {
  return value.get_string().get(text) == simdjson::SUCCESS;
}

// key → text; numbers and booleans become their text, because programs print {"port": 80}.
bool pairs_of(element value, std::vector<Tag>& pairs, std::deque<std::string>& texts) {
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return false;
  for (auto [key, member] : object) {
    std::string_view text;
    if (!text_of(member, text)) {
      if (member.is_object() || member.is_array() || member.is_null()) return false;
      text = texts.emplace_back(simdjson::minify(member));
    }
    pairs.push_back({key, text});
  }
  return true;
}

bool distribution_of(element value, Distribution& d) {
  simdjson::dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return false;
  bool count = false, sum = false, mean = false;
  for (auto [key, member] : object) {
    auto number = number_of(member);
    std::string_view name = key;
    struct Field {
      std::string_view name;
      double* place;
      bool* seen;
    } fields[] = {{"count", &d.count, &count}, {"sum", &d.sum, &sum},    {"min", &d.min, nullptr},
                  {"max", &d.max, nullptr},    {"mean", &d.mean, &mean}, {"stddev", &d.stddev, nullptr}};
    auto field =
        std::find_if(std::begin(fields), std::end(fields), [&](const Field& f) { return f.name == name; });
    auto percent = name.starts_with('p') ? parse_double(name.substr(1)) : std::nullopt;
    if (field == std::end(fields) && !percent) continue;
    if (!number) return false;
    if (field != std::end(fields)) {
      *field->place = number->as_double();
      if (field->seen != nullptr) *field->seen = true;
    } else if (*percent >= 0 && *percent <= 100) {
      d.percentiles.emplace_back(*percent, number->as_double());
    }
  }
  std::sort(d.percentiles.begin(), d.percentiles.end());
  if (!mean && d.count > 0) d.mean = d.sum / d.count;
  return count && sum && d.count >= 0;
}

// The members of a record, as far as they were there and of the right type.
struct Record {
  std::string_view type, key, kind, host, unit, state, description;
  std::vector<Tag> tags, resource;  // tags: of an event its attributes
  std::vector<std::string_view> event_tags;
  std::deque<std::string> texts;
  int64_t time_ms = 0, interval_ms = 0, start_ms = 0;
  double ttl_s = 0;
  std::optional<element> value;
};

Verdict read_members(simdjson::dom::object object, Record& record) {
  for (auto [name, value] : object) {
    struct Text {
      std::string_view name;
      std::string_view* place;
    } texts[] = {{"type", &record.type},
                 {"key", &record.key},
                 {"kind", &record.kind},
                 {"host", &record.host},
                 {"unit", &record.unit},
                 {"state", &record.state},
                 {"description", &record.description}};
    struct Integer {
      std::string_view name;
      int64_t* place;
    } integers[] = {
        {"time", &record.time_ms}, {"interval", &record.interval_ms}, {"start", &record.start_ms}};
    if (value.is_null()) continue;  // the same as absent
    for (auto [known, place] : texts)
      if (name == known && !text_of(value, *place))
        return {bad::kSyntax, "a member that must be a string is not"};
    for (auto [known, place] : integers)
      if (name == known && value.get_int64().get(*place) != simdjson::SUCCESS)
        return {bad::kTime, "time, start and interval are whole milliseconds"};
    if (name == "value") record.value = value;
    if (name == "ttl") {
      auto ttl = number_of(value);
      if (!ttl || ttl->as_double() < 0 || ttl->as_double() > 1e9)
        return {bad::kTime, "ttl is not a number of seconds"};
      record.ttl_s = ttl->as_double();
    }
    if (name == "tags" && value.is_array()) {
      for (element tag : simdjson::dom::array(value.get_array().value_unsafe())) {
        std::string_view text;
        if (!text_of(tag, text)) return {bad::kTags, "a tag of the list is not a string"};
        record.event_tags.push_back(text);
      }
    } else if ((name == "tags" || name == "attributes") && !pairs_of(value, record.tags, record.texts)) {
      return {
          bad::kTags,
          "tags are {\"key\":\"value\"}, those of an event [\"tag\"] with {\"key\":\"value\"} in attributes"};
    }
    if (name == "resource" && !pairs_of(value, record.resource, record.texts))
      return {bad::kTags, "resource is not {\"key\":\"value\"}"};
  }
  return {};
}

uint32_t origin_of(const Record& record, Batch& batch) {
  if (record.host.empty() && record.resource.empty()) return 0;
  Origin origin{std::string(record.host), {}};
  for (const Tag& tag : record.resource) origin.resource.emplace_back(tag.key, tag.value);
  std::sort(origin.resource.begin(), origin.resource.end());
  return batch.origin(std::move(origin));
}

Verdict check_record(const Record& record, size_t limit) {
  if (Verdict verdict = check_series(record.key, record.tags, limit); !verdict.good()) return verdict;
  if (Verdict verdict = check_series("resource", record.resource); !verdict.good()) return verdict;
  if (record.time_ms != 0)
    if (Verdict verdict = check_time(record.time_ms); !verdict.good()) return verdict;
  if (record.start_ms != 0)
    if (Verdict verdict = check_time(record.start_ms); !verdict.good()) return verdict;
  if (record.interval_ms < 0 || record.interval_ms > UINT32_MAX)
    return {bad::kTime, "the interval is out of range"};
  for (std::string_view text : {record.host, record.unit, record.state})
    if (text.size() > 1000 || has_control(text))
      return {bad::kSyntax, "host, unit or state is not a short text"};
  return {};
}

Verdict read_event(const Record& record, Intake& intake) {
  if (Verdict verdict = check_record(record, Batch::kMaxText); !verdict.good()) return verdict;
  if (record.description.size() > Batch::kMaxText) return {bad::kTooLong, "the description is too long"};
  if (record.event_tags.size() > 1000) return {bad::kTooLong, "more than 1000 tags"};
  Event event;
  if (record.value) {
    auto number = number_of(*record.value);
    if (!number) return {bad::kValue, "the value is not a number"};
    event.has_value = true;
    event.value = *number;
  }
  Batch& batch = intake.batch();
  event.series = batch.series(record.key, record.tags.data(), record.tags.size());
  event.state = batch.string(record.state);
  event.description = batch.string(record.description);
  batch.set_event_tags(event, record.event_tags);
  event.origin = origin_of(record, batch);
  event.time_ms = record.time_ms != 0 ? record.time_ms : intake.time_ms();
  event.ttl_s = static_cast<float>(record.ttl_s);
  batch.add(event);
  return {};
}

Verdict read_metric(const Record& record, Intake& intake) {
  if (Verdict verdict = check_record(record, kMaxSeries); !verdict.good()) return verdict;
  if (!record.event_tags.empty()) return {bad::kTags, "tags of a metric are {\"key\":\"value\"}"};
  Sample sample;
  bool known = record.kind.empty();
  for (Kind kind : {Kind::counter, Kind::total, Kind::gauge, Kind::distribution, Kind::set}) {
    if (record.kind != kind_name(kind)) continue;
    sample.kind = kind;
    known = true;
  }
  if (!known) return {bad::kType, "kind is none of counter, total, gauge, distribution, set"};
  if (!record.value) return {bad::kNoValue, "there is no value"};
  Batch& batch = intake.batch();
  if (sample.kind == Kind::distribution) {
    Distribution d;
    if (!distribution_of(*record.value, d))
      return {bad::kValue, "the value of a distribution is an object of numbers with count and sum"};
    sample.distribution = batch.add_distribution(std::move(d));
  } else {
    auto number = number_of(*record.value);
    if (!number) return {bad::kValue, "the value is not a number"};
    sample.value = *number;
  }
  sample.series = batch.series(record.key, record.tags.data(), record.tags.size());
  sample.unit = batch.string(record.unit);
  sample.origin = origin_of(record, batch);
  sample.time_ms = record.time_ms != 0 ? record.time_ms : intake.time_ms();
  bool has_interval = sample.kind != Kind::gauge && sample.kind != Kind::total;
  sample.interval_ms = record.interval_ms != 0 ? static_cast<uint32_t>(record.interval_ms)
                       : has_interval          ? intake.interval_ms()
                                               : 0;
  sample.ttl_s = static_cast<float>(record.ttl_s);
  if (sample.kind == Kind::total) sample.start_ms = record.start_ms;
  batch.add(sample);
  return {};
}

class JsonReader final : public Reader {
 public:
  void line(std::string_view line, Intake& intake) override {
    if (!pending_.empty()) {
      append(line, intake);
      return;
    }
    line = trim(line);
    if (line.empty()) return;
    if (line[0] != '{' && line[0] != '[') {
      intake.received();
      intake.refused(line, {bad::kSyntax, "not a JSON object or array"});
      return;
    }
    depth_ = 0;
    if (balance(line) && depth_ > 0) {
      pending_.assign(line);
      return;
    }
    document(line, intake);
  }

  void finish(Intake& intake) override {
    if (!pending_.empty()) give_up(intake);
  }

 private:
  // The document goes on over several lines until its brackets close.
  void append(std::string_view line, Intake& intake) {
    bool sane = balance(line);
    pending_.append("\n").append(line);
    if (sane && depth_ > 0) return;
    element root;
    if (sane && parse(pending_, root)) {
      std::string text = std::exchange(pending_, {});
      records(text, root, intake);
    } else {
      give_up(intake);
    }
  }

  // A document that never closes must not swallow the good lines behind its first one: each line that is a record by
  // itself counts, all others are one bad document. No line is looked at a third time.
  void give_up(Intake& intake) {
    std::string text = std::exchange(pending_, {});
    intake.received();
    intake.refused(text, {bad::kSyntax, "a JSON document that is cut off or malformed"});
    bool first = true;
    for (std::string_view line : split(text, '\n')) {
      line = trim(line);
      while (line.ends_with(',')) line.remove_suffix(1);
      element root;
      simdjson::dom::object object;
      std::string_view key;
      if (!std::exchange(first, false) && line.starts_with('{') && parse(line, root) &&
          root.get_object().get(object) == simdjson::SUCCESS &&
          object["key"].get_string().get(key) == simdjson::SUCCESS)
        record(line, root, intake);
    }
  }

  // Follows brackets outside strings. False: no valid document has such a line (a string cannot span lines).
  bool balance(std::string_view line) {
    bool in_string = false;
    for (size_t i = 0; i < line.size(); i++) {
      char c = line[i];
      if (in_string) {
        if (c == '\\') {
          i++;
        } else if (c == '"') {
          in_string = false;
        }
      } else if (c == '"') {
        in_string = true;
      } else if (c == '{' || c == '[') {
        depth_++;
      } else if (c == '}' || c == ']') {
        depth_--;
      }
    }
    return !in_string;
  }

  bool parse(std::string_view text, element& root) {
    return parser_.parse(text.data(), text.size()).get(root) == simdjson::SUCCESS;
  }

  void document(std::string_view text, Intake& intake) {
    element root;
    if (parse(text, root)) {
      records(text, root, intake);
      return;
    }
    intake.received();
    intake.refused(text, {bad::kSyntax, "malformed JSON, or a number out of range"});
  }

  void records(std::string_view text, element root, Intake& intake) {
    if (!root.is_array()) {
      record(text, root, intake);
      return;
    }
    for (element member : simdjson::dom::array(root.get_array().value_unsafe())) record({}, member, intake);
  }

  // `text` is what a complaint shows; "": the value itself, printed again.
  static void judge(std::string_view text, element value, Verdict verdict, Intake& intake) {
    if (verdict.good()) {
      intake.accepted();
    } else {
      intake.refused(text.empty() ? simdjson::minify(value) : std::string(text), verdict);
    }
  }

  static void record(std::string_view text, element value, Intake& intake) {
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) {
      intake.received();
      judge(text, value, {bad::kSyntax, "a member of the array is not an object"}, intake);
      return;
    }
    element key;
    std::string_view type;
    if (object["key"].get(key) == simdjson::SUCCESS ||
        object["type"].get_string().get(type) == simdjson::SUCCESS) {
      intake.received();
      judge(text, value, read(object, intake), intake);
      return;
    }
    for (auto [name, member] : object) {
      intake.received();
      auto number = number_of(member);
      Verdict verdict = check_name(name);
      if (verdict.good() && !number)
        verdict = {bad::kValue, "not a number (an object without \"key\" is read as name: number)"};
      if (verdict.good()) intake.add(name, nullptr, 0, *number);
      judge(text, value, verdict, intake);
    }
  }

  static Verdict read(simdjson::dom::object object, Intake& intake) {
    Record record;
    if (Verdict verdict = read_members(object, record); !verdict.good()) return verdict;
    if (record.type == "event") return read_event(record, intake);
    if (record.type.empty() || record.type == "metric") return read_metric(record, intake);
    return {bad::kType, "type is neither metric nor event"};
  }

  simdjson::dom::parser parser_;
  std::string pending_;
  int64_t depth_ = 0;
};

}  // namespace

std::unique_ptr<Reader> make_json_reader() {
  return std::make_unique<JsonReader>();
}

}  // namespace runnel::script
