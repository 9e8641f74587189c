#include "config/value.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>

#include "base/fd.h"
#include "base/text.h"

namespace runnel {
namespace {

std::string number_text(double value) {
  std::string text;
  append_double(text, value);
  return text;
}

std::string scalar_text(const Node& node) {
  switch (node.kind) {
    case Node::Kind::boolean:
      return node.boolean ? "true" : "false";
    case Node::Kind::integer:
      return fmt::format("{}", node.integer);
    case Node::Kind::real:
      return number_text(node.real);
    default:
      return node.text;
  }
}

bool is_number(const Node& node) {
  return node.kind == Node::Kind::integer || node.kind == Node::Kind::real;
}

// The spelling of a limit in the unit of the type.
std::string limit_text(ValueType type, double limit) {
  if (type == ValueType::duration) return format_duration(static_cast<int64_t>(limit));
  if (type == ValueType::size) return format_size(static_cast<int64_t>(limit));
  return number_text(limit);
}

class Reader {
 public:
  Reader(const Node& node, const ValueSpec& spec, const std::string& what, Problems& problems, Value& out)
      : node_(node), spec_(spec), what_(what), problems_(problems), out_(out) {}

  bool read() {
    out_ = Value{};
    out_.is_set = out_.has_value = true;
    switch (spec_.type) {
      case ValueType::boolean:
        return read_boolean();
      case ValueType::integer:
        return read_integer();
      case ValueType::real:
        return read_real();
      case ValueType::string:
      case ValueType::secret_file:
        return read_string();
      case ValueType::choice:
        return read_choice();
      case ValueType::duration:
        return read_unit("duration", "s", parse_duration_ms);
      case ValueType::size:
        return read_unit("size", "B", parse_size);
      case ValueType::string_list:
        return read_strings();
      case ValueType::number_list:
        return read_numbers();
      case ValueType::string_map:
      case ValueType::text_map:
        return read_map();
    }
    return fail(node_, "a value of a type that this agent does not know");
  }

 private:
  bool fail(const Node& at, std::string text) {
    problems_.error(at.position, std::move(text));
    return false;
  }
  std::string shown(std::string text) const { return spec_.secret ? "\"***\"" : std::move(text); }

  // "agent.tags.n is 5, an integer, not a string (write "5")"
  bool wrong_type(const Node& at, const std::string& what, std::string_view wanted, const std::string& hint) {
    std::string is =
        at.is_table() || at.is_array()
            ? std::string(kind_name(at.kind))
            : fmt::format("{}, {}", at.is_string() ? shown(quote(at.text)) : shown(scalar_text(at)),
                          kind_name(at.kind));
    return fail(
        at, fmt::format("{} is {}, not {}{}", what, is, wanted, hint.empty() ? "" : " (write " + hint + ")"));
  }
  static std::string quote(std::string_view text) { return "\"" + excerpt(text) + "\""; }

  bool in_range(const Node& at, double value) {
    if ((spec_.minimum == 0 && spec_.maximum == 0) || (value >= spec_.minimum && value <= spec_.maximum))
      return true;
    std::string text = at.is_string() ? quote(at.text) : scalar_text(at);
    return fail(at, fmt::format("{} is {}, out of range ({})", what_, shown(text), range_text(spec_)));
  }

  bool read_boolean() {
    if (node_.kind != Node::Kind::boolean) return wrong_type(node_, what_, "a boolean", "true or false");
    out_.integer = node_.boolean ? 1 : 0;
    return true;
  }
  bool read_integer() {
    if (node_.kind != Node::Kind::integer) {
      auto number = node_.is_string() ? parse_int(node_.text) : std::nullopt;
      return wrong_type(node_, what_, "an integer",
                        number && !spec_.secret ? fmt::format("{}", *number) : "");
    }
    out_.integer = node_.integer;
    return in_range(node_, static_cast<double>(out_.integer));
  }
  bool read_real() {
    if (!is_number(node_)) return wrong_type(node_, what_, "a number", "");
    out_.number = node_.kind == Node::Kind::real ? node_.real : static_cast<double>(node_.integer);
    if (!std::isfinite(out_.number)) return fail(node_, fmt::format("{} is not a finite number", what_));
    return in_range(node_, out_.number);
  }
  bool read_string() {
    if (!node_.is_string()) return wrong_type(node_, what_, "a string", string_hint(node_));
    out_.text = node_.text;
    return true;
  }
  std::string string_hint(const Node& at) const {
    return at.is_table() || at.is_array() || spec_.secret ? "" : "\"" + scalar_text(at) + "\"";
  }
  bool read_choice() {
    if (!read_string()) return false;
    std::vector<std::string> names;
    for (const char* const* c = spec_.choices; c && *c; c++) {
      if (out_.text == *c) {
        out_.integer = c - spec_.choices;
        return true;
      }
      names.emplace_back(*c);
    }
    std::string near = out_.text.size() <= 64 ? nearest(out_.text, names) : "";
    return fail(node_, fmt::format("{} is {}, not one of {}{}", what_, shown(quote(out_.text)),
                                   choices_text(spec_.choices),
                                   near.empty() || spec_.secret ? "" : " (did you mean \"" + near + "\"?)"));
  }
  bool read_unit(const char* name, const char* unit, Result<int64_t> (*parse)(std::string_view)) {
    std::string wanted = fmt::format("a {}", name);
    if (!node_.is_string()) {
      bool has_hint = is_number(node_) && !spec_.secret && scalar_text(node_)[0] != '-';
      std::string with_unit = spec_.type == ValueType::size && node_.kind == Node::Kind::integer
                                  ? format_size(node_.integer)  // 1048576 is meant as 1MiB
                                  : scalar_text(node_) + unit;
      return wrong_type(node_, what_, wanted, has_hint ? "\"" + with_unit + "\"" : "");
    }
    auto parsed = parse(node_.text);
    if (!parsed.ok() && !spec_.secret) return fail(node_, fmt::format("{}: {}", what_, parsed.error()));
    if (!parsed.ok()) return fail(node_, fmt::format("{} is not {}", what_, wanted));
    out_.integer = *parsed;
    return in_range(node_, static_cast<double>(out_.integer));
  }
  bool read_strings() {
    if (!node_.is_array())
      return wrong_type(node_, what_, "an array of strings",
                        node_.is_string() && !spec_.secret ? "[" + quote(node_.text) + "]" : "");
    bool good = true;
    for (size_t i = 0; i < node_.items.size(); i++) {
      const Node& item = node_.items[i];
      if (item.unknown) {
        good = false;
      } else if (!item.is_string()) {
        good = wrong_type(item, fmt::format("{}[{}]", what_, i), "a string", string_hint(item));
      } else {
        out_.list.push_back(item.text);
      }
    }
    return good;
  }
  bool read_numbers() {
    if (!node_.is_array())
      return wrong_type(node_, what_, "an array of numbers",
                        is_number(node_) ? "[" + scalar_text(node_) + "]" : "");
    bool good = true;
    for (size_t i = 0; i < node_.items.size(); i++) {
      const Node& item = node_.items[i];
      double number = item.kind == Node::Kind::real ? item.real : static_cast<double>(item.integer);
      if (item.unknown) {
        good = false;
      } else if (!is_number(item) || !std::isfinite(number)) {
        good = wrong_type(item, fmt::format("{}[{}]", what_, i), "a finite number", "");
      } else if (!in_range(item, number)) {
        good = false;
      } else {
        out_.numbers.push_back(number);
      }
    }
    return good;
  }
  bool read_map() {
    if (!node_.is_table()) return wrong_type(node_, what_, "a table of strings", "");
    bool good = true;
    for (const Entry& e : node_.entries) {
      bool is_scalar = !e.value.is_table() && !e.value.is_array();
      if (e.key.empty()) {
        problems_.error(e.position, fmt::format("{} has an empty key", what_));
        good = false;
      } else if (e.value.unknown) {
        good = false;
      } else if (e.value.is_string() || (spec_.type == ValueType::text_map && is_scalar)) {
        out_.map[e.key] = scalar_text(e.value);
      } else {
        good = wrong_type(e.value, fmt::format("{}.{}", what_, e.key), "a string", string_hint(e.value));
      }
    }
    return good;
  }

  const Node& node_;
  const ValueSpec& spec_;
  const std::string& what_;
  Problems& problems_;
  Value& out_;
};

template <class Items, class Print>
std::string join(const Items& items, Print&& print) {
  std::string out;
  for (const auto& item : items) {
    if (!out.empty()) out += ", ";
    out += print(item);
  }
  return out;
}

}  // namespace

bool read_value(const Node& node, const ValueSpec& spec, const std::string& what, Problems& problems,
                Value& out) {
  return !node.unknown && Reader(node, spec, what, problems, out).read();
}

void check_secret_file(const Node& node, const std::string& path, const std::string& what,
                       Problems& problems) {
  if (path.empty()) return;  // "" is the way to say none
  std::string shown = excerpt(path, 200);
  // stat follows links: as Kubernetes mounts secrets, the link is open to all and the file behind it counts.
  struct stat info {};
  bool found = ::stat(path.c_str(), &info) == 0;
  if (found && S_ISDIR(info.st_mode)) {
    problems.error(node.position, fmt::format("{}: {} is a folder, not a file", what, shown));
  } else if (!found || ::access(path.c_str(), R_OK) != 0) {
    problems.error(node.position, fmt::format("{}: {}: {}", what, shown, errno_text(errno)));
  } else if ((info.st_mode & S_IROTH) != 0) {
    problems.warning(node.position,
                     fmt::format("{}: {} can be read by everybody (chmod o-r {})", what, shown, shown));
  }
}

std::string print_string(std::string_view text) {
  std::string out = "\"";
  for (size_t i = 0; i < text.size(); i++) {
    unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\') {
      out += '\\', out += text[i];
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c < 0x20 || c == 0x7f) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
    } else if (c == '$' && i + 1 < text.size() && text[i + 1] == '{') {
      out += "$$";
    } else {
      out += text[i];
    }
  }
  return out += '"';
}

std::string print_key(std::string_view key) {
  bool bare = !key.empty();
  for (char c : key)
    bare = bare && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                    c == '-');
  if (bare) return std::string(key);
  // Keys are not substituted: a `$${` would stay as it is.
  std::string quoted = print_string(key);
  for (size_t at = 0; (at = quoted.find("$${", at)) != std::string::npos; at += 2) quoted.erase(at, 1);
  return quoted;
}

std::string redact_url(const std::string& text) {
  size_t begin = text.find("://");
  if (begin == std::string::npos) return text;
  begin += 3;
  size_t end = text.find_first_of("/?#", begin);
  size_t at = text.substr(0, end).rfind('@');
  if (at == std::string::npos || at < begin) return text;
  size_t colon = text.find(':', begin);
  if (colon == std::string::npos || colon > at) return text;
  return text.substr(0, colon + 1) + "***" + text.substr(at);
}

std::string print_value(const Value& value, const ValueSpec& spec) {
  auto string = [&](const std::string& text) { return spec.secret ? "\"***\"" : print_string(text); };
  switch (spec.type) {
    case ValueType::string_list:
      return "[" + join(value.list, string) + "]";
    case ValueType::string_map:
    case ValueType::text_map: {
      if (value.map.empty()) return "{}";
      return "{ " +
             join(value.map,
                  [&](const auto& pair) { return print_key(pair.first) + " = " + string(pair.second); }) +
             " }";
    }
    default:
      break;
  }
  if (spec.secret) return "\"***\"";
  switch (spec.type) {
    case ValueType::boolean:
      return value.integer ? "true" : "false";
    case ValueType::integer:
      return fmt::format("{}", value.integer);
    case ValueType::real:
      return number_text(value.number);
    case ValueType::duration:
      return "\"" + format_duration(value.integer) + "\"";
    case ValueType::size:
      return "\"" + format_size(value.integer) + "\"";
    case ValueType::number_list:
      return "[" + join(value.numbers, number_text) + "]";
    default:
      return print_string(value.text);
  }
}

std::string_view type_name(ValueType type) {
  switch (type) {
    case ValueType::boolean:
      return "bool";
    case ValueType::integer:
      return "int";
    case ValueType::real:
      return "float";
    case ValueType::string:
      return "string";
    case ValueType::choice:
      return "choice";
    case ValueType::duration:
      return "duration";
    case ValueType::size:
      return "size";
    case ValueType::string_list:
      return "list of strings";
    case ValueType::number_list:
      return "list of numbers";
    case ValueType::string_map:
    case ValueType::text_map:
      return "table of strings";
    case ValueType::secret_file:
      return "secret file";
  }
  return "";
}

std::string choices_text(const char* const* choices) {
  std::string out;
  for (const char* const* c = choices; c && *c; c++) {
    if (!out.empty()) out += ", ";
    out += **c ? *c : "\"\"";
  }
  return out;
}

std::string range_text(const ValueSpec& spec) {
  if (spec.type == ValueType::choice) return "one of " + choices_text(spec.choices);
  if (spec.minimum == 0 && spec.maximum == 0) return "";
  // Nobody reads 9 PB as a limit; descriptors write one end of a range as a huge number or infinity.
  constexpr double kOpen = 9e15;
  bool open_below = !(spec.minimum > -kOpen), open_above = !(spec.maximum < kOpen);
  if (open_below && open_above) return "";
  if (open_above) return "at least " + limit_text(spec.type, spec.minimum);
  if (open_below) return "at most " + limit_text(spec.type, spec.maximum);
  return fmt::format("{} to {}", limit_text(spec.type, spec.minimum), limit_text(spec.type, spec.maximum));
}

}  // namespace runnel
