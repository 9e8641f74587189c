#include "output/encode/encoder.h"

#include "base/text.h"
#include "output/encode/formats.h"

namespace runnel {
namespace {

void append_utf8(std::string& out, std::string_view text) {
  if (valid_utf8(text)) {
    out.append(text);
    return;
  }
  for (size_t i = 0; i < text.size();) {
    size_t n = 1;
    while (n < 4 && i + n <= text.size() && !valid_utf8(text.substr(i, n))) n++;
    bool valid = n <= 4 && i + n <= text.size() && valid_utf8(text.substr(i, n));
    out.append(valid ? text.substr(i, n) : "\xef\xbf\xbd");
    i += valid ? n : 1;
  }
}

}  // namespace

const std::vector<EncoderInfo>& encoders() {
  static const std::vector<EncoderInfo> kEncoders = {
      {"json", "one JSON object a line, metrics and events", make_json_encoder},
      {"influx", "InfluxDB line protocol, times in nanoseconds", make_influx_encoder},
      {"pretty", "aligned lines for eyes, local time", make_pretty_encoder},
      {"ffwd",
       "what consumers of FFWD's Kafka output read; schema 2.0.0, 1.1.0 or 1.0.0",
       nullptr,
       {"2.0.0", "1.1.0", "1.0.0"},
       make_ffwd_encoder},
  };
  return kEncoders;
}

const EncoderInfo* find_encoder(std::string_view name) {
  for (const EncoderInfo& info : encoders())
    if (info.name == name) return &info;
  return nullptr;
}

void append_series_key(std::string& out, const SeriesView& series, std::string_view host) {
  append_utf8(out, series.name());
  auto append_tag = [&](std::string_view key, std::string_view value) {
    out += ',';
    append_utf8(out, key);
    out += '=';
    append_utf8(out, value);
  };
  for (Tag tag : series) {
    if (!host.empty() && tag.key >= "host") {
      if (tag.key != "host") append_tag("host", host);
      host = {};
    }
    append_tag(tag.key, tag.value);
  }
  if (!host.empty()) append_tag("host", host);
}

}  // namespace runnel
