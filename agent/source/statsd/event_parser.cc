#include "source/statsd/event_parser.h"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "source/statsd/parser.h"

namespace runnel::statsd {
namespace {

// Year 9999, in seconds: beyond it a `d:` is milliseconds or nonsense, and times a thousand it must not overflow.
constexpr int64_t kMaxTime = 253'402'300'799;

constexpr std::string_view kStates[] = {"ok", "warning", "critical", "unknown"};

// What is behind the text of an event and the status of a check; views of the line. Of a field that stands twice the
// last one counts, as with the Datadog agent.
struct Fields {
  std::string_view host, key, priority, source, state, message, tags, container, external;
  bool have_tags = false;
  int64_t time_ms = 0;
};

// "12" → 12, whatever the size: numbers beyond 64 bits are none that fit a line. No sign, no space.
std::optional<size_t> take_length(std::string_view& text, char end) {
  size_t at = text.find(end);
  if (at == std::string_view::npos) return {};
  auto length = parse_uint(text.substr(0, at));
  text.remove_prefix(at + 1);
  return length;
}

// Clients write a line break as the two characters \ and n, since a real one ends the line.
std::string with_line_breaks(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    bool escaped = text[i] == '\\' && i + 1 < text.size() && text[i + 1] == 'n';
    out += escaped ? '\n' : text[i];
    if (escaped) i++;
  }
  return out;
}

// Datadog's clients write "m:" within a message as "m\:". The agent never undoes that; readers want what was sent.
std::string without_escapes(std::string_view message) {
  std::string out = with_line_breaks(message);
  for (size_t at = 0; (at = out.find("m\\:", at)) != std::string::npos; at += 2) out.erase(at + 1, 1);
  return out;
}

std::string_view read_time(std::string_view value, Fields& fields) {
  auto seconds = parse_int(value);
  if (!seconds || *seconds <= 0 || *seconds > kMaxTime) return bad::kTimestamp;
  fields.time_ms = *seconds * 1000;
  return {};
}

bool one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  for (std::string_view known : words)
    if (word == known) return true;
  return false;
}

// One field that events and checks share, or none: those that are not known are for later versions of the protocol.
std::string_view read_field(std::string_view field, bool check, Fields& fields) {
  if (field.starts_with('#')) {
    if (fields.have_tags) return bad::kTags;
    fields.have_tags = true;
    fields.tags = field.substr(1);
    return has_control(fields.tags) ? bad::kTags : std::string_view{};
  }
  if (field.size() < 2 || field[1] != ':') return {};
  std::string_view value = field.substr(2);
  switch (field[0]) {
    case 'd':
      return read_time(value, fields);
    case 'h':
      fields.host = value;
      break;
    case 'c':
      fields.container = value;
      break;
    case 'e':
      fields.external = value;
      break;
    case 'm':
      if (check) fields.message = value;
      return {};  // a text: control characters are no harm
    case 'k':
      if (!check) fields.key = value;
      break;
    case 's':
      if (!check) fields.source = value;
      break;
    case 'p':
      if (check) return {};
      if (!one_of(value, {"low", "normal"})) return bad::kEvent;
      fields.priority = value;
      break;
    case 't':
      if (check) return {};
      if (!one_of(value, {"error", "warning", "info", "success"})) return bad::kEvent;
      fields.state = value;
      break;
    default:
      return {};
  }
  return has_control(value) ? bad::kEvent : std::string_view{};
}

// `rest` begins behind the last obligatory part: empty, or a '|' and fields. A message ends at the next '|' as well,
// though Datadog's page calls it the last field: its agent cuts there, and its clients put `c:` behind it.
std::string_view read_fields(std::string_view rest, bool check, Fields& fields) {
  while (!rest.empty()) {
    rest.remove_prefix(1);  // '|'
    std::string_view field = rest.substr(0, rest.find('|'));
    if (field.size() > Batch::kMaxText) return bad::kTooLong;
    if (std::string_view reason = read_field(field, check, fields); !reason.empty()) return reason;
    rest.remove_prefix(field.size());
  }
  return {};
}

std::string_view check_name(std::string_view name) {
  if (name.empty()) return bad::kNoName;
  if (name.size() > Parser::kMaxKey) return bad::kTooLong;
  return has_control(name) ? bad::kName : std::string_view{};
}

std::string_view add_event(std::string_view name, const std::string& description, Fields& fields,
                           bool origin_tags, Batch& out) {
  std::vector<Tag> attributes;
  std::vector<std::string_view> bare;
  std::string_view tag_host;
  for (std::string_view part : split(fields.tags, ',')) {
    if (part.empty()) continue;
    size_t colon = part.find(':');
    if (colon == 0) return bad::kTags;  // a value without a key
    if (colon == std::string_view::npos) {
      bare.push_back(part);
      continue;
    }
    Tag tag{part.substr(0, colon), part.substr(colon + 1)};
    if (tag.key == "host" && !tag.value.empty()) {
      tag_host = tag.value;  // as in metrics: who it is about, not an attribute
    } else {
      attributes.push_back(tag);
    }
  }
  // Behind the tags: of equal keys the last one wins.
  auto attribute = [&](std::string_view key, std::string_view value) {
    if (!value.empty()) attributes.push_back({key, value});
  };
  attribute("aggregation_key", fields.key);
  attribute("priority", fields.priority);
  attribute("source_type", fields.source);
  if (origin_tags) {
    attribute("container", fields.container);
    attribute("external", fields.external);
  }

  Event event;
  event.series = out.series(name, attributes.data(), attributes.size());
  event.state = out.string(fields.state);
  event.description = out.string(description);
  out.set_event_tags(event, bare);
  std::string_view host = fields.host.empty() ? tag_host : fields.host;
  if (!host.empty()) event.origin = out.origin(Origin{std::string(host), {}});
  event.time_ms = fields.time_ms;
  out.add(event);
  return {};
}

// How many bytes of valid UTF-8 its first `units` UTF-16 units take; nothing where there are fewer.
std::optional<size_t> utf16_bytes(std::string_view text, size_t units) {
  size_t at = 0;
  while (at < text.size()) {
    unsigned char byte = static_cast<unsigned char>(text[at]);
    if ((byte & 0xC0) != 0x80) {  // begins a character
      size_t width = byte >= 0xF0 ? 2 : 1;
      if (units < width) break;
      units -= width;
    }
    at++;
  }
  return units == 0 ? std::optional(at) : std::nullopt;
}

// Cuts title, '|' and text off `rest`, where the lengths lead to '|' or the end. Compared, never added: the lengths are
// the sender's.
bool cut_texts(std::string_view& rest, size_t title_size, size_t text_size, std::string_view& title,
               std::string_view& text) {
  if (title_size >= rest.size() || rest[title_size] != '|') return false;
  std::string_view behind = rest.substr(title_size + 1);
  if (text_size > behind.size() || (text_size < behind.size() && behind[text_size] != '|')) return false;
  title = rest.substr(0, title_size);
  text = behind.substr(0, text_size);
  rest = behind.substr(text_size);
  return true;
}

// Lengths are bytes. Clients of languages whose strings are UTF-16 count those units instead (hot-shots still does,
// Datadog's for C# did): where bytes do not fit, these are tried.
bool cut_texts_of_either(std::string_view& rest, size_t title_size, size_t text_size, std::string_view& title,
                         std::string_view& text) {
  if (cut_texts(rest, title_size, text_size, title, text)) return true;
  auto title_bytes = utf16_bytes(rest, title_size);
  if (!title_bytes || *title_bytes == rest.size()) return false;
  auto text_bytes = utf16_bytes(rest.substr(*title_bytes + 1), text_size);
  return text_bytes && cut_texts(rest, *title_bytes, *text_bytes, title, text);
}

std::string_view read_titled(std::string_view line, bool origin_tags, Batch& out) {
  std::string_view rest = line.substr(3);  // "_e{"
  auto title_size = take_length(rest, ',');
  if (!title_size) return bad::kEvent;
  auto text_size = take_length(rest, '}');
  if (!text_size || !rest.starts_with(':')) return bad::kEvent;
  rest.remove_prefix(1);
  if (*title_size == 0) return bad::kNoName;
  std::string_view title, text;
  if (!cut_texts_of_either(rest, *title_size, *text_size, title, text)) return bad::kEvent;

  if (std::string_view reason = check_name(title); !reason.empty()) return reason;
  if (text.size() > Batch::kMaxText) return bad::kTooLong;
  Fields fields;
  if (std::string_view reason = read_fields(rest, false, fields); !reason.empty()) return reason;
  return add_event(title, with_line_breaks(text), fields, origin_tags, out);
}

std::string_view read_check(std::string_view line, bool origin_tags, Batch& out) {
  std::string_view rest = line.substr(4);  // "_sc|"
  std::string_view name = rest.substr(0, rest.find('|'));
  if (std::string_view reason = check_name(name); !reason.empty()) return reason;
  rest.remove_prefix(name.size());
  if (rest.size() < 2 || rest[1] < '0' || rest[1] > '3') return bad::kEvent;
  Fields fields;
  fields.state = kStates[rest[1] - '0'];
  rest.remove_prefix(2);
  if (!rest.empty() && rest[0] != '|') return bad::kEvent;
  if (std::string_view reason = read_fields(rest, true, fields); !reason.empty()) return reason;
  return add_event(name, without_escapes(fields.message), fields, origin_tags, out);
}

}  // namespace

bool is_event_line(std::string_view line) {
  return line.starts_with("_e{") || line.starts_with("_sc|");
}

std::string_view read_event(std::string_view line, bool origin_tags, Batch& out) {
  // All of it at once: what is cut out at ASCII characters is as valid as the whole.
  if (!valid_utf8(line)) return bad::kUtf8;
  if (line.starts_with("_e{")) return read_titled(line, origin_tags, out);
  return line.starts_with("_sc|") ? read_check(line, origin_tags, out) : bad::kEvent;
}

}  // namespace runnel::statsd
