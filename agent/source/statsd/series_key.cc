#include "source/statsd/series_key.h"

#include <algorithm>

#include "base/text.h"
#include "source/statsd/parser.h"

namespace runnel::statsd {
namespace {

constexpr char kComma = '\x1f';

void put(std::vector<Tag>& sorted, Tag tag) {
  auto at = std::lower_bound(sorted.begin(), sorted.end(), tag.key,
                             [](const Tag& t, std::string_view key) { return t.key < key; });
  if (at != sorted.end() && at->key == tag.key) {
    *at = tag;
  } else {
    sorted.insert(at, tag);
  }
}

// `k:v,bare,,k2:v2`; empty parts are skipped.
std::string_view put_tags(std::string_view raw, std::vector<Tag>& sorted) {
  while (!raw.empty()) {
    size_t comma = std::min(raw.find(','), raw.size());
    std::string_view part = raw.substr(0, comma);
    raw.remove_prefix(std::min(comma + 1, raw.size()));
    if (part.empty()) continue;
    size_t colon = std::min(part.find(':'), part.size());
    if (colon == 0) return bad::kTags;  // a value without a key
    put(sorted, {part.substr(0, colon), part.substr(std::min(colon + 1, part.size()))});
  }
  return {};
}

// `k=v,k2=v2` of a name: every part must have both.
std::string_view put_name_tags(std::string_view raw, std::vector<Tag>& sorted) {
  for (;;) {
    size_t comma = std::min(raw.find(','), raw.size());
    std::string_view part = raw.substr(0, comma);
    size_t equals = part.find('=');
    if (equals == std::string_view::npos || equals == 0 || equals + 1 == part.size()) return bad::kTags;
    put(sorted, {part.substr(0, equals), part.substr(equals + 1)});
    if (comma == raw.size()) return {};
    raw.remove_prefix(comma + 1);
  }
}

// Where a name holds tags: `tags` is the text of them, `name` becomes what is left (`joined` holds it where it was in two
// pieces). A name without `=` behind the mark is a plain name, byte for byte.
bool split_name(TagStyle style, std::string_view& name, std::string_view& tags, std::string& joined) {
  auto is = [style](TagStyle wanted) { return style == TagStyle::any || style == wanted; };
  size_t mark = name.find_first_of(",#[");
  while (mark != std::string_view::npos) {
    char c = name[mark];
    std::string_view rest = name.substr(mark + 1);
    if (c == '[' && is(TagStyle::signalfx)) {
      size_t close = rest.find(']');
      if (close != std::string_view::npos && rest.substr(0, close).find('=') != std::string_view::npos) {
        tags = rest.substr(0, close);
        joined.assign(name.substr(0, mark)).append(rest.substr(close + 1));
        name = joined;
        return true;
      }
    } else if (((c == ',' && is(TagStyle::influx)) || (c == '#' && is(TagStyle::librato))) &&
               rest.find('=') != std::string_view::npos) {
      tags = rest;
      name = name.substr(0, mark);
      return true;
    }
    mark = name.find_first_of(",#[", mark + 1);
  }
  return false;
}

// Etsy's sanitizeKeyName (statsd 0.9 and later, stats.js): /\s+/g → "_", /\//g → "-", /[^a-zA-Z_\-0-9\.;=]/g → "".
std::string sanitized(std::string_view name) {
  std::string out;
  bool in_space = false;
  for (char c : name) {
    bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (space && !in_space) out += '_';
    in_space = space;
    bool kept = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                c == '-' || c == '.' || c == ';' || c == '=';
    if (c == '/') {
      out += '-';
    } else if (kept) {
      out += c;
    }
  }
  return out;
}

}  // namespace

std::string_view make_series_key(const RawKey& raw, const KeyRules& rules, SeriesKey& key) {
  std::string_view name = raw.name, name_tags;
  std::string joined, clean;
  bool tags_in_name =
      rules.tag_style != TagStyle::dogstatsd && split_name(rules.tag_style, name, name_tags, joined);
  if (tags_in_name) {
    // Two sets of tags: one of them is a mistake.
    std::string_view rest = name, more;
    std::string ignored;
    if (!raw.tags.empty() || split_name(rules.tag_style, rest, more, ignored)) return bad::kTags;
  }
  if (rules.sanitize) name = clean = sanitized(name);
  if (name.empty()) return bad::kNoName;
  if (has_control(name)) return bad::kName;
  std::string_view tags = tags_in_name ? name_tags : raw.tags;
  if (has_control(tags)) return bad::kTags;
  if (!valid_utf8(name) || !valid_utf8(tags)) return bad::kUtf8;

  std::vector<Tag> sorted;
  if (std::string_view reason = tags_in_name ? put_name_tags(tags, sorted) : put_tags(tags, sorted);
      !reason.empty())
    return reason;
  key.escaped = false;
  if (rules.origin_tags) {
    if (raw.name.size() + raw.tags.size() + raw.container.size() + raw.external.size() > Parser::kMaxKey)
      return bad::kTooLong;
    for (auto [tag, value] : {Tag{"container", raw.container}, Tag{"external", raw.external}}) {
      if (value.empty()) continue;
      if (has_control(value)) return bad::kTags;
      if (!valid_utf8(value)) return bad::kUtf8;
      key.escaped |= value.find(',') != std::string_view::npos;
      put(sorted, {tag, value});
    }
  }
  key.text.assign(name);
  key.name_size = name.size();
  for (const Tag& tag : sorted) {
    if (key.text.size() > key.name_size) key.text += ',';
    key.text.append(tag.key);
    if (tag.value.empty()) continue;
    key.text += ':';
    size_t from = key.text.size();
    key.text.append(tag.value);
    if (key.escaped)
      std::replace(key.text.begin() + static_cast<std::ptrdiff_t>(from), key.text.end(), ',', kComma);
  }
  return {};
}

SeriesRef add_series(Batch& batch, std::string_view name, std::string_view tags, bool escaped,
                     KeyScratch& scratch, std::string_view& host) {
  host = {};
  if (tags.empty()) return batch.series(name, nullptr, 0);
  scratch.tags.clear();
  while (!tags.empty()) {
    size_t comma = std::min(tags.find(','), tags.size());
    std::string_view part = tags.substr(0, comma);
    tags.remove_prefix(std::min(comma + 1, tags.size()));
    size_t colon = std::min(part.find(':'), part.size());
    Tag tag{part.substr(0, colon), part.substr(std::min(colon + 1, part.size()))};
    if (tag.key == "host" && !tag.value.empty()) {
      host = tag.value;  // DogStatsD: the tag `host` is the sample's host
    } else if (escaped && tag.value.find(kComma) != std::string_view::npos) {
      std::string& value = scratch.unescaped[tag.key == "external"];
      value.assign(tag.value);
      std::replace(value.begin(), value.end(), kComma, ',');
      scratch.tags.push_back({tag.key, value});
    } else {
      scratch.tags.push_back(tag);
    }
  }
  return batch.series(name, scratch.tags.data(), scratch.tags.size());
}

}  // namespace runnel::statsd
