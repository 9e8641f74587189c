// The identity of a StatsD series as text: what the sender wrote (name, tags behind `|#` or inside the name, origin fields)
// in one canonical spelling. Made once a series; the table keeps it, and a flush derives the series' bytes from it.
//
//     name, then tags as `key:value,key` sorted by key; of equal keys the last wins; an empty value is spelled `key`.
//     A ',' inside a value (only `|c:` and `|e:` can bring one) is spelled 0x1f, which no accepted input holds.
//
// The canonical spelling of a canonical spelling is itself, so that most senders' spelling is the key. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "metric/batch.h"

namespace runnel::statsd {

// Which tags inside a name are understood; tags behind `|#` always are.
//     influx     name,key=value,key=value
//     librato    name#key=value,key=value
//     signalfx   name[key=value,key=value]rest   (the name is name + rest)
enum class TagStyle : uint8_t { any, dogstatsd, influx, librato, signalfx };

struct KeyRules {
  TagStyle tag_style = TagStyle::any;  // dogstatsd: none inside names
  bool sanitize = false;  // Etsy's: white space → '_', '/' → '-', else only [A-Za-z0-9_.;=-] stay in a name
  bool origin_tags = false;  // the container and external fields become the tags `container` and `external`
  bool operator==(const KeyRules&) const = default;
};

struct SeriesKey {
  std::string text;  // name, then tags
  size_t name_size = 0;
  bool escaped = false;  // holds 0x1f: not a spelling that a sender can use
  std::string_view name() const { return {text.data(), name_size}; }
  std::string_view tags() const { return std::string_view(text).substr(name_size); }
};

struct RawKey {  // as parsed; views
  std::string_view name, tags, container, external;
};

// Empty: `key` holds the canonical spelling; else why the series is refused, one of statsd::bad (parser.h).
std::string_view make_series_key(const RawKey& raw, const KeyRules& rules, SeriesKey& key);

// The series of a canonical spelling, added to `batch`. A tag `host` with a value is the sender's host and not part of the
// series: `host` is set to it ("" where there is none). `scratch` saves allocations.
struct KeyScratch {
  std::vector<Tag> tags;
  std::string unescaped[2];  // `container` and `external`
};
SeriesRef add_series(Batch& batch, std::string_view name, std::string_view tags, bool escaped,
                     KeyScratch& scratch, std::string_view& host);

}  // namespace runnel::statsd
