// The `json` encoding: one object a line, keys in a fixed order, absent means not set (docs/encodings.md).
#include <cmath>

#include "output/encode/formats.h"
#include "output/encode/writer.h"

namespace runnel {
namespace {

class JsonEncoder final : public Encoder {
 public:
  std::string_view name() const override { return "json"; }
  std::string_view content_type() const override { return "application/x-ndjson"; }

  bool sample(const Batch& batch, const Sample& sample, std::string& out) override {
    const Distribution* distribution = distribution_of(batch, sample);
    if (sample.kind == Kind::distribution ? !distribution : !finite(sample.value)) return false;
    SeriesView series = batch.view(sample.series);
    const Origin& origin = origin_of(batch, sample.origin);
    w_.clear();
    w_.literal("{\"type\":\"metric\",\"key\":\"");
    w_.json_text(series.name());
    w_.literal("\",\"kind\":\"");
    w_.text(kind_name(sample.kind));
    w_.literal("\",\"time\":");
    w_.integer(sample.time_ms);
    if (sample.interval_ms != 0) {
      w_.literal(",\"interval\":");
      w_.integer(sample.interval_ms);
    }
    if (sample.start_ms != 0) {
      w_.literal(",\"start\":");
      w_.integer(sample.start_ms);
    }
    string(",\"host\":\"", origin.host);
    map(",\"tags\":{", series);
    map(",\"resource\":{", origin.resource);
    string(",\"unit\":\"", batch.view(sample.unit));
    ttl(sample.ttl_s);
    w_.literal(",\"value\":");
    if (distribution) {
      w_.put('{');
      for_each_statistic(*distribution, [&](std::string_view statistic, double value) {
        w_.put('"');
        w_.text(statistic);
        w_.literal("\":");
        w_.number(value);
        w_.put(',');
      });
      if (w_.view().back() == '{') return false;  // not one number in it
      close_map();
    } else {
      w_.number(sample.value);
    }
    w_.put('}');
    append_record(out, w_.view(), "\n");
    return true;
  }

  bool event(const Batch& batch, const Event& event, std::string& out) override {
    if (event.has_value && !finite(event.value)) return false;
    SeriesView series = batch.view(event.series);
    const Origin& origin = origin_of(batch, event.origin);
    w_.clear();
    w_.literal("{\"type\":\"event\",\"key\":\"");
    w_.json_text(series.name());
    w_.literal("\",\"time\":");
    w_.integer(event.time_ms);
    string(",\"host\":\"", origin.host);
    string(",\"state\":\"", batch.view(event.state));
    string(",\"description\":\"", batch.view(event.description));
    ttl(event.ttl_s);
    if (event.tag_count > 0) {
      w_.literal(",\"tags\":[");
      for (uint32_t i = 0; i < event.tag_count; i++) {
        w_.put('"');
        w_.json_text(batch.view(batch.event_tags[event.tags + i]));
        w_.literal("\",");
      }
      w_.drop_last();
      w_.put(']');
    }
    map(",\"attributes\":{", series);
    map(",\"resource\":{", origin.resource);
    if (event.has_value) {
      w_.literal(",\"value\":");
      w_.number(event.value);
    }
    w_.put('}');
    append_record(out, w_.view(), "\n");
    return true;
  }

 private:
  static bool finite(const Number& value) { return value.is_integer() || std::isfinite(value.as_double()); }

  template <size_t N>
  void string(const char (&before)[N], std::string_view text) {
    if (text.empty()) return;
    w_.literal(before);
    w_.json_text(text);
    w_.put('"');
  }
  void ttl(float seconds) {
    if (!(seconds > 0) || !std::isfinite(seconds)) return;
    w_.literal(",\"ttl\":");
    w_.number_float(seconds);
  }
  void pair(std::string_view key, std::string_view value) {
    w_.put('"');
    w_.json_text(key);
    w_.literal("\":\"");
    w_.json_text(value);
    w_.literal("\",");
  }
  template <size_t N>
  void map(const char (&before)[N], const SeriesView& series) {
    if (series.tag_count() == 0) return;
    w_.literal(before);
    for (Tag tag : series) pair(tag.key, tag.value);
    close_map();
  }
  template <size_t N>
  void map(const char (&before)[N], const std::vector<std::pair<std::string, std::string>>& pairs) {
    if (pairs.empty()) return;
    w_.literal(before);
    for (const auto& [key, value] : pairs) pair(key, value);
    close_map();
  }
  // In place of the comma behind the last pair; a map without pairs keeps its brace.
  void close_map() {
    if (w_.view().back() == ',') w_.drop_last();
    w_.put('}');
  }

  Writer w_;
};

}  // namespace

std::unique_ptr<Encoder> make_json_encoder() {
  return std::make_unique<JsonEncoder>();
}

}  // namespace runnel
