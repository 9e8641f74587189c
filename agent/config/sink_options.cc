#include "config/sink_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "base/text.h"

namespace runnel {
namespace {

std::string help_text(const runnel_option& option) {
  return option.help && *option.help ? fmt::format(" ({})", excerpt(option.help, 200)) : "";
}

// The default in the descriptor is spelled as a TOML value; a wrong one is the plugin's fault and is named as
// such.
bool read_default(const runnel_sink& sink, const runnel_option& option, const Position& header,
                  Problems& problems, Value& out) {
  Problems own;
  Node tree;
  bool good = parse_toml(fmt::format("v = {}\n", option.default_value), "default", tree, own.errors());
  const Node* node = good ? tree.get("v") : nullptr;
  good = node && own.errors().empty() && read_value(*node, option_spec(option), "it", own, out);
  if (!good) {
    problems.error(
        header,
        fmt::format("the sink {} has a default for \"{}\" that is wrong: {} (tell its author)", sink.name,
                    option.name, own.errors().empty() ? option.default_value : own.errors().front().text));
  }
  out.is_set = false;
  return good;
}

size_t count_choices(const runnel_option& option) {
  size_t count = 0;
  while (option.choices && option.choices[count]) count++;
  return count;
}

// What the sink's own check has to say, and where that stands in the file.
struct CheckContext {
  using Found = std::tuple<size_t, std::string, std::string>;  // option, entry, text
  const runnel_sink& sink;
  const Node& table;
  const Position& header;
  const std::string& section;
  const std::vector<bool>& good;
  Problems& problems;
  std::set<Found> seen;
  const std::set<Found>* others = nullptr;  // what the sink also said with other values for what is unknown
};

Position entry_position(const Entry& set, const char* entry) {
  if (!entry) return set.value.position;
  for (const Entry& e : set.value.entries)
    if (e.key == entry) return e.position;
  for (const Node& item : set.value.items)
    if (item.is_string() && item.text == entry) return item.position;
  return set.value.position;
}

void on_check_error(void* context, size_t index, const char* entry, const char* text) {
  auto& c = *static_cast<CheckContext*>(context);
  std::string what = excerpt(text ? text : "not accepted by the sink", 500);
  CheckContext::Found found{index, entry ? entry : "", what};
  if (!c.others) {
    c.seen.insert(std::move(found));
    return;
  }
  if (!c.others->contains(found)) return;
  if (index >= c.sink.option_count) {
    c.problems.error(c.header, fmt::format("{}: {}", c.section, what));
    return;
  }
  if (!c.good[index]) return;  // it has an error already, and the sink has seen something else in its place
  const runnel_option& option = sink_option(c.sink, index);
  const Entry* set = c.table.find(option.name);
  std::string key = fmt::format("{}.{}", c.section, option.name);
  if (entry && option.type == RUNNEL_OPTION_MAP) key += fmt::format(".{}", excerpt(entry));
  c.problems.error(set ? entry_position(*set, entry) : c.header, fmt::format("{}: {}", key, what));
}

// For an option whose value is unknown: set, and of its type. Enumerations take their values in turn.
OptionValue stand_in(const runnel_option& option, size_t round) {
  OptionValue value;
  value.is_set = value.has_value = true;
  value.number = option.minimum > 1 ? option.minimum : 1;
  value.integer = value.number < 9e18 ? static_cast<int64_t>(value.number) : 1;
  value.text = "unknown";
  if (option.type == RUNNEL_OPTION_LIST) value.list = {"unknown"};
  if (option.type == RUNNEL_OPTION_MAP) value.map = {{"unknown", "unknown"}};
  if (option.type == RUNNEL_OPTION_ENUM && option.choices && *option.choices) {
    size_t count = count_choices(option);
    value.integer = static_cast<int64_t>(round % count);
    value.text = option.choices[round % count];
  }
  return value;
}

runnel_str view(const std::string& text) {
  return {text.c_str(), text.size()};
}

}  // namespace

const runnel_option& sink_option(const runnel_sink& sink, size_t i) {
  size_t step = sink.option_size ? sink.option_size : sizeof(runnel_option);
  return *reinterpret_cast<const runnel_option*>(reinterpret_cast<const char*>(sink.options) + i * step);
}

ValueSpec option_spec(const runnel_option& option) {
  ValueSpec spec;
  switch (option.type) {
    case RUNNEL_OPTION_BOOL:
      spec.type = ValueType::boolean;
      break;
    case RUNNEL_OPTION_INT:
      spec.type = ValueType::integer;
      break;
    case RUNNEL_OPTION_FLOAT:
      spec.type = ValueType::real;
      break;
    case RUNNEL_OPTION_STRING:
      spec.type = ValueType::string;
      break;
    case RUNNEL_OPTION_ENUM:
      spec.type = ValueType::choice;
      break;
    case RUNNEL_OPTION_DURATION:
      spec.type = ValueType::duration;
      break;
    case RUNNEL_OPTION_SIZE:
      spec.type = ValueType::size;
      break;
    case RUNNEL_OPTION_LIST:
      spec.type = ValueType::string_list;
      break;
    case RUNNEL_OPTION_MAP:
      spec.type = ValueType::text_map;
      break;
    case RUNNEL_OPTION_SECRET_FILE:
      spec.type = ValueType::secret_file;
      break;
  }
  bool has_limits = option.type == RUNNEL_OPTION_INT || option.type == RUNNEL_OPTION_FLOAT ||
                    option.type == RUNNEL_OPTION_DURATION || option.type == RUNNEL_OPTION_SIZE;
  if (has_limits) spec.minimum = option.minimum, spec.maximum = option.maximum;
  if (option.type == RUNNEL_OPTION_ENUM) spec.choices = option.choices;
  // The path of a secret file is no secret, and a printed file must load again.
  spec.secret = (option.flags & RUNNEL_OPTION_SECRET) != 0 && option.type != RUNNEL_OPTION_SECRET_FILE;
  return spec;
}

NativeValues::NativeValues(const std::vector<OptionValue>& options)
    : values_(options.size()), lists_(options.size()), maps_(options.size()) {
  for (size_t i = 0; i < options.size(); i++) {
    const OptionValue& from = options[i];
    runnel_value& to = values_[i];
    to = runnel_value{};
    to.is_set = from.is_set;
    to.integer = from.integer;
    to.number = from.number;
    to.text = view(from.text);
    for (const std::string& item : from.list) lists_[i].push_back(view(item));
    for (const auto& [key, value] : from.map) maps_[i].push_back({view(key), view(value)});
    to.list = lists_[i].data();
    to.map = maps_[i].data();
    to.count = lists_[i].empty() ? maps_[i].size() : lists_[i].size();
  }
}

namespace {

// An option may be wrong only beside another one (a user without a password). Where that other one is unknown,
// an error counts that the sink has whatever stands there.
void check_values(const runnel_sink& sink, const std::vector<OptionValue>& values,
                  const std::vector<bool>& unknown, CheckContext context) {
  auto run = [&](const std::vector<OptionValue>& tried) {
    NativeValues native(tried);
    sink.check(native.data(), on_check_error, &context);
    return std::exchange(context.seen, {});
  };
  auto always = run(values);
  size_t rounds = 0;
  for (size_t i = 0; i < values.size(); i++)
    if (unknown[i]) rounds = std::max({rounds, size_t{1}, count_choices(sink_option(sink, i))});
  for (size_t round = 0; round < rounds; round++) {
    std::vector<OptionValue> tried = values;
    for (size_t i = 0; i < values.size(); i++)
      if (unknown[i]) tried[i] = stand_in(sink_option(sink, i), round);
    auto found = run(tried);
    std::erase_if(always, [&](const auto& each) { return !found.contains(each); });
  }
  context.others = &always;
  run(values);
}

}  // namespace

std::vector<OptionValue> read_sink_options(const runnel_sink& sink, const Node& table, const Position& header,
                                           const std::string& section, Problems& problems) {
  std::vector<OptionValue> values(sink.option_count);
  std::vector<bool> good(sink.option_count, true), unknown(sink.option_count, false);
  for (size_t i = 0; i < sink.option_count; i++) {
    const runnel_option& option = sink_option(sink, i);
    std::string what = fmt::format("{}.{}", section, option.name);
    const Node* node = table.get(option.name);
    Value value;
    bool known = true;  // also where the file a secret is in is not there: the sink's check looks at the path
    if (option.type < RUNNEL_OPTION_BOOL || option.type > RUNNEL_OPTION_SECRET_FILE) {
      // A later host knows more types. Without the option the sink works or its check complains.
      if (node)
        problems.error(node->position,
                       fmt::format("{}: this agent does not know options of that type", what));
      good[i] = known = false;
    } else if (node) {
      good[i] = known = read_value(*node, option_spec(option), what, problems, value);
      unknown[i] = !known;
      if (good[i] && option.type == RUNNEL_OPTION_SECRET_FILE) {
        size_t before = problems.error_count();
        check_secret_file(*node, value.text, what, problems);
        good[i] = problems.error_count() == before;
      }
    } else if ((option.flags & RUNNEL_OPTION_REQUIRED) != 0) {
      if (!problems.incomplete())
        problems.error(header, fmt::format("{} is missing{}", what, help_text(option)));
      good[i] = false;
    } else if (option.default_value) {
      good[i] = read_default(sink, option, header, problems, value);
    }
    values[i] = good[i] || (node && known) ? static_cast<OptionValue&>(value) : OptionValue{};
    if (!node && problems.incomplete()) unknown[i] = true;
  }
  if (sink.check) {
    check_values(sink, values, unknown, {sink, table, header, section, good, problems, {}, nullptr});
  }
  return values;
}

std::string print_option(const runnel_option& option, const OptionValue& value) {
  Value shown;
  static_cast<OptionValue&>(shown) = value;
  if (option.type == RUNNEL_OPTION_STRING) shown.text = redact_url(value.text);
  return print_value(shown, option_spec(option));
}

}  // namespace runnel
