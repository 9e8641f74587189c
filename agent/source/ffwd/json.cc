#include "source/ffwd/json.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <limits>
#include <utility>

#include "base/text.h"
#include "metric/json_number.h"

namespace runnel::ffwd {
namespace {

using simdjson::dom::element;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kLongInteger = 19;       // digits from which an integer may have more than 64 bits
constexpr size_t kKeptBytes = 256 << 10;  // of buffers between inputs

// Members, a bit each.
constexpr uint32_t kType = 1, kKey = 2, kValue = 4, kTime = 8, kHost = 16, kTags = 32, kAttributes = 64,
                   kResource = 128, kProc = 256, kState = 512, kDescription = 1024, kTtl = 2048,
                   kTimestamp = 4096;
constexpr uint32_t kOfLine = kTimestamp - 1, kOfPoint = kKey | kTags | kResource | kValue | kTimestamp;

uint32_t member_of(std::string_view name) {
  switch (name.size()) {
    case 3:
      return name == "key" ? kKey : name == "ttl" ? kTtl : 0;
    case 4:
      return name == "type"   ? kType
             : name == "time" ? kTime
             : name == "tags" ? kTags
             : name == "host" ? kHost
             : name == "proc" ? kProc
                              : 0;
    case 5:
      return name == "value" ? kValue : name == "state" ? kState : 0;
    case 8:
      return name == "resource" ? kResource : 0;
    case 9:
      return name == "timestamp" ? kTimestamp : 0;
    case 10:
      return name == "attributes" ? kAttributes : 0;
    case 11:
      return name == "description" ? kDescription : 0;
    default:
      return 0;
  }
}

bool is_not_finite(std::string_view text) {
  return text == "NaN" || text == "Infinity" || text == "-Infinity" || text == "+Infinity";
}

// Numbers that others write and simdjson does not take, outside of strings: NaN, Infinity and -Infinity get quotes, integers beyond
// 64 bits an exponent, so that they are read as doubles. "" where there are none.
std::string spell_numbers(std::string_view text) {
  std::string out;
  bool any = false, in_string = false;
  for (size_t i = 0; i < text.size(); i++) {
    char c = text[i];
    if (in_string) {
      out += c;
      if (c == '\\' && i + 1 < text.size()) out += text[++i];
      if (c == '"') in_string = false;
      continue;
    }
    std::string_view found;
    if (c == 'N' || c == 'I' || c == '-')
      for (std::string_view word : {"NaN", "Infinity", "-Infinity"})
        if (text.substr(i).starts_with(word)) found = word;
    if (c >= '0' && c <= '9') {
      size_t end = std::min(text.find_first_not_of("0123456789", i), text.size());
      out += text.substr(i, end - i);
      if (end - i >= kLongInteger && (end == text.size() || std::strchr(".eE", text[end]) == nullptr)) {
        out += "e0";
        any = true;
      }
      i = end - 1;
      continue;
    }
    if (!found.empty()) {
      out.append("\"").append(found).append("\"");
      i += found.size() - 1;
      any = true;
      continue;
    }
    in_string = c == '"';
    out += c;
  }
  return any ? out : std::string();
}

std::string_view reason_of(simdjson::error_code error) {
  switch (error) {
    case simdjson::UTF8_ERROR:
      return bad::kUtf8;
    case simdjson::DEPTH_ERROR:
      return bad::kDeep;
    case simdjson::CAPACITY:
      return bad::kTooLong;
    default:
      return bad::kSyntax;
  }
}

}  // namespace

struct JsonDecoder::State {
  simdjson::dom::parser parser;
  std::string buffer;             // a copy with the bytes behind it that simdjson may read
  std::deque<std::string> texts;  // of numbers and booleans in maps
  std::vector<Tag> common_tags, common_resource;

  // ---- texts and maps ----------------------------------------------------------------------------------------------

  std::string_view parse(std::string_view text, element& root) {
    texts.clear();
    if (parser.capacity() > kKeptBytes && text.size() <= kKeptBytes) parser = simdjson::dom::parser();
    // A text nested deeper ends in an error before anything is built of it.
    if (parser.capacity() < text.size() || parser.max_depth() != kMaxDepth)
      if (auto error = parser.allocate(std::max<size_t>(text.size(), 4096), kMaxDepth))
        return reason_of(error);
    auto error = parse_padded(text).get(root);
    if (error && error != simdjson::DEPTH_ERROR && error != simdjson::UTF8_ERROR &&
        (error == simdjson::NUMBER_ERROR || text.find("NaN") != std::string_view::npos ||
         text.find("Infinity") != std::string_view::npos)) {
      std::string spelt = spell_numbers(text);
      if (!spelt.empty()) {
        if (parser.capacity() < spelt.size())
          if (auto failed = parser.allocate(spelt.size(), kMaxDepth)) return reason_of(failed);
        error = parse_padded(spelt).get(root);
      }
    }
    return error ? reason_of(error) : std::string_view{};
  }

  simdjson::simdjson_result<element> parse_padded(std::string_view text) {
    size_t needed = text.size() + simdjson::SIMDJSON_PADDING;
    if (buffer.size() < needed || buffer.size() > std::max(needed, kKeptBytes) * 2) {
      buffer = std::string(needed, '\0');
    }
    std::memcpy(buffer.data(), text.data(), text.size());
    std::memset(buffer.data() + text.size(), ' ', simdjson::SIMDJSON_PADDING);
    return parser.parse(buffer.data(), text.size(), false);
  }

  static std::string_view text_of(element value, std::string_view& text) {
    if (value.get_string().get(text) != simdjson::SUCCESS) return bad::kMember;
    return text.size() > Batch::kMaxText ? bad::kTooLong : std::string_view{};
  }

  std::string_view pairs_of(element value, std::vector<Tag>& pairs) {
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) return bad::kTags;
    size_t from = pairs.size();
    for (auto [key, member] : object) {
      std::string_view text;
      if (member.get_string().get(text) != simdjson::SUCCESS) {
        if (member.is_null()) continue;
        if (member.is_object() || member.is_array()) return bad::kTags;
        text = texts.emplace_back(simdjson::minify(member));
      }
      if (key.empty()) return bad::kTags;
      if (key.size() > Batch::kMaxText || text.size() > Batch::kMaxText) return bad::kTooLong;
      if (pairs.size() - from >= kMaxTags) return bad::kTooManyTags;
      pairs.push_back({key, text});
    }
    return {};
  }

  static std::string_view list_of(element value, std::vector<std::string_view>& tags) {
    simdjson::dom::array array;
    if (value.get_array().get(array) != simdjson::SUCCESS) return bad::kTags;
    size_t from = tags.size();
    for (element member : array) {
      std::string_view text;
      if (member.is_null()) continue;
      if (!text_of(member, text).empty()) return text.size() > Batch::kMaxText ? bad::kTooLong : bad::kTags;
      if (text.empty()) continue;
      if (tags.size() - from >= kMaxTags) return bad::kTooManyTags;
      tags.push_back(text);
    }
    return {};
  }

  static std::string_view value_of(element value, Point& point) {
    point.value = json_number(value);
    if (point.value) return {};
    std::string_view text;
    if (value.get_string().get(text) == simdjson::SUCCESS && is_not_finite(text)) {
      point.value = kNan;
      return {};
    }
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) return bad::kValue;
    size_t members = 0;
    for (auto [name, member] : object) {
      if (member.is_null()) continue;
      if (++members > 1) return bad::kValue;
      if (name == "doubleValue" && !member.is_object()) {
        if (std::string_view wrong = value_of(member, point); !wrong.empty()) return wrong;
      } else if (name == "distributionValue") {
        if (member.get_string().get(point.opaque) != simdjson::SUCCESS) return bad::kValue;
        if (point.opaque.size() > Batch::kMaxText) return bad::kTooLong;
        point.opaque_is_base64 = true;
      } else {
        return bad::kValue;
      }
    }
    return {};
  }

  static std::string_view time_of(element value, Point& point) {
    auto number = json_number(value);
    auto ms = !number                ? std::nullopt
              : number->is_integer() ? time_from(number->as_integer())
                                     : time_from(number->as_double());
    if (!ms) return bad::kTime;
    point.time_ms = *ms;
    return {};
  }

  static std::string_view ttl_of(element value, Point& point) {
    auto number = json_number(value);
    if (!number || number->as_double() < -1) return bad::kTtl;
    point.ttl_s = static_cast<float>(std::clamp(number->as_double(), 0.0, kMaxTtl));  // -1: none
    return {};
  }

  static std::string_view type_of(element value, Point& point) {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS || (text != "metric" && text != "event"))
      return bad::kType;
    point.is_event = text == "event";
    return {};
  }

  // ---- points ------------------------------------------------------------------------------------------------------

  std::string_view member(uint32_t which, element value, Point& point, Points& out) {
    switch (which) {
      case kType:
        return type_of(value, point);
      case kKey:
        return text_of(value, point.key);
      case kValue:
        return value_of(value, point);
      case kTime:
      case kTimestamp:
        return time_of(value, point);
      case kHost:
        return text_of(value, point.host);
      case kProc:
        return text_of(value, point.proc);
      case kState:
        return text_of(value, point.state);
      case kDescription:
        return text_of(value, point.description);
      case kTtl:
        return ttl_of(value, point);
      case kTags:
        return value.is_array() ? list_of(value, out.tags) : pairs_of(value, out.pairs);
      case kAttributes:
        return pairs_of(value, out.pairs);
      default:
        return {};
    }
  }

  // Maps have to stand in one run each, whatever the order of the members: the resource comes last.
  std::string_view read(simdjson::dom::object object, uint32_t known, Point& point, Points& out) {
    uint32_t seen = 0;
    std::optional<element> resource;
    point.tags = static_cast<uint32_t>(out.tags.size());
    point.attributes = static_cast<uint32_t>(out.pairs.size());
    for (auto [name, value] : object) {
      uint32_t which = member_of(name) & known;
      if (which == 0) continue;
      if ((seen & which) != 0) return bad::kDuplicate;
      seen |= which;
      if (value.is_null()) {
        seen &= which == kType ? ~which : ~0U;
        continue;
      }
      if (which == kResource) {
        resource = value;
      } else if (std::string_view wrong = member(which, value, point, out); !wrong.empty()) {
        return wrong;
      }
    }
    if ((known & ~seen & kType) != 0) return bad::kType;
    if (point.key.empty()) return bad::kNoKey;
    if (point.key.size() > kMaxKey) return bad::kTooLong;
    if (!sort_pairs(out.pairs, point.attributes)) return bad::kDuplicate;
    lay_below(common_tags, out.pairs, point.attributes);
    point.resource = static_cast<uint32_t>(out.pairs.size());
    if (resource)
      if (std::string_view wrong = pairs_of(*resource, out.pairs); !wrong.empty()) return wrong;
    if (!sort_pairs(out.pairs, point.resource)) return bad::kDuplicate;
    lay_below(common_resource, out.pairs, point.resource);
    point.tag_count = static_cast<uint32_t>(out.tags.size()) - point.tags;
    point.attribute_count = point.resource - point.attributes;
    point.resource_count = static_cast<uint32_t>(out.pairs.size()) - point.resource;
    if (point.tag_count + point.attribute_count + point.resource_count > kMaxTags) return bad::kTooManyTags;
    return check_value(point);
  }

  static std::string_view check_value(Point& point) {
    bool finite = !point.value || std::isfinite(point.value->as_double());
    if (point.is_event) {
      if (!finite) point.value.reset();
      return {};
    }
    if (!finite) return bad::kNotFinite;
    return point.value || !point.opaque.empty() ? std::string_view{} : bad::kNoValue;
  }

  // Adds those of `common` (sorted) whose keys are not there.
  static void lay_below(const std::vector<Tag>& common, std::vector<Tag>& pairs, size_t from) {
    size_t own = pairs.size();
    for (const Tag& tag : common) {
      auto first = pairs.begin() + static_cast<std::ptrdiff_t>(from);
      auto last = pairs.begin() + static_cast<std::ptrdiff_t>(own);
      auto at =
          std::lower_bound(first, last, tag.key, [](const Tag& a, std::string_view k) { return a.key < k; });
      if (at == last || at->key != tag.key) pairs.push_back(tag);
    }
    if (pairs.size() > own) sort_pairs(pairs, from);
  }

  // "" where the point was taken; else nothing of it is left.
  std::string_view point(element value, uint32_t known, Points& out) {
    size_t tags = out.tags.size(), pairs = out.pairs.size();
    simdjson::dom::object object;
    std::string_view wrong = bad::kSyntax;
    Point point;
    if (value.get_object().get(object) == simdjson::SUCCESS) wrong = read(object, known, point, out);
    if (wrong.empty()) {
      out.points.push_back(point);
      return {};
    }
    out.tags.resize(tags);
    out.pairs.resize(pairs);
    return wrong;
  }

  // ---- bodies ------------------------------------------------------------------------------------------------------

  std::string_view common(std::optional<element> value, std::vector<Tag>& pairs) {
    if (!value || value->is_null()) return {};
    if (std::string_view wrong = pairs_of(*value, pairs); !wrong.empty()) return wrong;
    return sort_pairs(pairs, 0) ? std::string_view{} : bad::kDuplicate;
  }

  std::optional<Refused> body(element root, Points& out) {
    auto refused = [](std::string_view reason, std::string_view what) {
      return Refused{reason, fmt::format("{}: {}", what, reason)};
    };
    simdjson::dom::object object;
    if (root.get_object().get(object) != simdjson::SUCCESS)
      return refused(bad::kSyntax, "the body is no object");
    std::optional<element> tags, resource, points;
    for (auto [name, value] : object) {
      auto* place = name == "commonTags"       ? &tags
                    : name == "commonResource" ? &resource
                    : name == "points"         ? &points
                                               : nullptr;
      if (place == nullptr) continue;
      if (*place) return refused(bad::kDuplicate, name);
      *place = value;
    }
    simdjson::dom::array list;
    if (!points || points->get_array().get(list) != simdjson::SUCCESS)
      return refused(bad::kSyntax, "points is no list");
    if (std::string_view wrong = common(tags, common_tags); !wrong.empty())
      return refused(wrong, "commonTags");
    if (std::string_view wrong = common(resource, common_resource); !wrong.empty())
      return refused(wrong, "commonResource");
    return all_points(list, out);
  }

  // What the point takes in a batch.
  static size_t size_of(const Point& point, const Points& points) {
    constexpr size_t kPoint = 128, kPair = 8;
    size_t size = kPoint + point.key.size() + point.host.size() + point.opaque.size();
    for (uint32_t i = 0; i < point.tag_count; i++) size += kPair + points.tags[point.tags + i].size();
    for (auto [from, count] : {std::pair{point.attributes, point.attribute_count},
                               std::pair{point.resource, point.resource_count}})
      for (uint32_t i = 0; i < count; i++)
        size += kPair + points.pairs[from + i].key.size() + points.pairs[from + i].value.size();
    return size;
  }

  std::optional<Refused> all_points(simdjson::dom::array list, Points& out) {
    size_t index = 0, size = 0;
    std::optional<Refused> refused;
    for (element value : list) {
      if (index >= kMaxPoints && !refused)
        refused = Refused{bad::kTooMany, fmt::format("points[{}]: {}", index, bad::kTooMany)};
      std::string_view wrong = refused ? std::string_view{} : point(value, kOfPoint, out);
      if (wrong == bad::kNotFinite) {
        out.refused.push_back(wrong);
      } else if (!wrong.empty()) {
        std::string_view key;
        bool named = value.is_object() && value["key"].get_string().get(key) == simdjson::SUCCESS;
        refused = Refused{wrong, fmt::format("points[{}]{}: {}", index,
                                             named ? fmt::format(" \"{}\"", excerpt(key)) : "", wrong)};
      }
      if (!refused && wrong.empty()) {
        size += size_of(out.points.back(), out);
        if (size > kMaxBodyBytes)
          refused = Refused{bad::kTooMuch,
                            fmt::format("points[{}]: {}: with the common tags and resource they are more "
                                        "than {} MiB, send fewer in a body",
                                        index, bad::kTooMuch, kMaxBodyBytes >> 20)};
      }
      index++;
    }
    if (refused) refused->points = index;
    return refused;
  }
};

JsonDecoder::JsonDecoder() : state_(std::make_unique<State>()) {}

JsonDecoder::~JsonDecoder() = default;

void JsonDecoder::line(std::string_view text, Points& out) {
  out.clear();
  element root;
  std::string_view wrong = state_->parse(text, root);
  if (wrong.empty()) wrong = state_->point(root, kOfLine, out);
  if (!wrong.empty()) out.refused.push_back(wrong);
}

std::optional<JsonDecoder::Refused> JsonDecoder::batch(std::string_view body, Points& out) {
  out.clear();
  element root;
  std::optional<Refused> refused;
  if (std::string_view wrong = state_->parse(body, root); !wrong.empty()) {
    refused = Refused{wrong, fmt::format("the body: {}", wrong)};
  } else {
    refused = state_->body(root, out);
  }
  state_->common_tags.clear();
  state_->common_resource.clear();
  if (refused) out.clear();
  return refused;
}

}  // namespace runnel::ffwd
