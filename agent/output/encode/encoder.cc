#include "output/encode/encoder.h"

#include "base/text.h"
#include "output/encode/formats.h"

namespace runnel {
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

size_t append_series_key_place(std::string& out, const SeriesView& series) {
  append_utf8(out, series.name());
  size_t place = std::string::npos;
  bool has_host = false;
  for (Tag tag : series) {
    if (place == std::string::npos && tag.key >= "host") {
      place = out.size();
      has_host = tag.key == "host";
    }
    out += ',';
    append_utf8(out, tag.key);
    out += '=';
    append_utf8(out, tag.value);
  }
  if (place == std::string::npos) place = out.size();
  return has_host ? std::string::npos : place;
}

void append_series_key(std::string& out, const SeriesView& series, std::string_view host) {
  size_t place = append_series_key_place(out, series);
  if (host.empty() || place == std::string::npos) return;
  std::string tag = ",host=";
  append_utf8(tag, host);
  out.insert(place, tag);
}

}  // namespace runnel
