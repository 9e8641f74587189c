// The `ffwd` encoding: what consumers of FFWD's Kafka output read (its serializer spotify100), in the three schemas that
// there were. docs/encodings.md has the whole mapping.
//
//   1.0.0   version, key, host, time, attributes, value
//   1.1.0   host is one of the attributes; resource is added
//   2.0.0   value is {"doubleValue": x}
//
// Their readers refuse a message without a key, with a time that is not positive, or without a value, and read the
// value as a double. Where FFWD dropped something, events and tags without a value, there are the fields of its own
// event model: tags, state, description, ttl.
#include <cmath>

#include "output/encode/formats.h"
#include "output/encode/writer.h"

namespace runnel {
namespace {

enum class Schema { v1_0_0, v1_1_0, v2_0_0 };

class FfwdEncoder final : public Encoder {
 public:
  explicit FfwdEncoder(std::string_view schema)
      : schema_(schema == "1.0.0"   ? Schema::v1_0_0
                : schema == "1.1.0" ? Schema::v1_1_0
                                    : Schema::v2_0_0) {}

  std::string_view name() const override { return "ffwd"; }
  std::string_view content_type() const override { return "application/x-ndjson"; }

  // A distribution is a message a statistic, told apart by the attribute `stat`, FFWD's convention.
  bool sample(const Batch& batch, const Sample& sample, std::string& out) override {
    const Distribution* distribution = distribution_of(batch, sample);
    if (sample.time_ms <= 0) return false;
    if (sample.kind == Kind::distribution ? !distribution : !std::isfinite(sample.value.as_double()))
      return false;
    auto write = [&](std::string_view statistic, double value) {
      head(batch, sample.series, sample.origin, sample.time_ms, batch.view(sample.unit), statistic);
      tags_without_value(batch.view(sample.series));
      tail(value, out);
    };
    if (!distribution) {
      write({}, sample.value.as_double());
      return true;
    }
    bool any = false;
    for_each_statistic(*distribution, [&](std::string_view statistic, double value) {
      write(statistic, value);
      any = true;
    });
    return any;
  }

  bool event(const Batch& batch, const Event& event, std::string& out) override {
    if (event.time_ms <= 0 || (event.has_value && !std::isfinite(event.value.as_double()))) return false;
    head(batch, event.series, event.origin, event.time_ms, {}, {});
    if (event.tag_count > 0) {
      w_.literal(",\"tags\":[");
      for (uint32_t i = 0; i < event.tag_count; i++) list_item(batch.view(batch.event_tags[event.tags + i]));
      w_.drop_last();
      w_.put(']');
    }
    text(",\"state\":\"", batch.view(event.state));
    text(",\"description\":\"", batch.view(event.description));
    if (event.ttl_s > 0 && std::isfinite(event.ttl_s)) {
      w_.literal(",\"ttl\":");
      w_.integer(std::llround(event.ttl_s));  // a whole number of seconds in FFWD's model
    }
    tail(event.has_value ? event.value.as_double() : 1, out);  // readers refuse none; it happened once
    return true;
  }

 private:
  template <size_t N>
  void text(const char (&before)[N], std::string_view value) {
    if (value.empty()) return;
    w_.literal(before);
    w_.json_text(value);
    w_.put('"');
  }
  void pair(std::string_view key, std::string_view value) {
    w_.put('"');
    w_.json_text(key);
    w_.literal("\":\"");
    w_.json_text(value);
    w_.literal("\",");
  }
  void list_item(std::string_view value) {
    w_.put('"');
    w_.json_text(value);
    w_.literal("\",");
  }
  void close_map() {
    if (w_.view().back() == ',') w_.drop_last();
    w_.put('}');
  }

  // Everything up to and with attributes and resource. What the sender has set wins over host and unit; `stat` is ours,
  // as without it the statistics would be one series.
  void head(const Batch& batch, SeriesRef ref, uint32_t origin_index, int64_t time_ms, std::string_view unit,
            std::string_view statistic) {
    SeriesView series = batch.view(ref);
    const Origin& origin = origin_of(batch, origin_index);
    w_.clear();
    switch (schema_) {
      case Schema::v1_0_0:
        w_.literal("{\"version\":\"1.0.0\",\"key\":\"");
        break;
      case Schema::v1_1_0:
        w_.literal("{\"version\":\"1.1.0\",\"key\":\"");
        break;
      case Schema::v2_0_0:
        w_.literal("{\"version\":\"2.0.0\",\"key\":\"");
        break;
    }
    w_.json_text(series.name());
    w_.put('"');
    if (schema_ == Schema::v1_0_0) text(",\"host\":\"", origin.host);
    w_.literal(",\"time\":");
    w_.integer(time_ms);
    w_.literal(",\"attributes\":{");
    bool has_host = schema_ == Schema::v1_0_0, has_unit = false;
    for (Tag tag : series) {
      has_host |= tag.key == "host" && !tag.value.empty();
      has_unit |= tag.key == "unit" && !tag.value.empty();
    }
    if (!has_host && !origin.host.empty()) pair("host", origin.host);
    for (Tag tag : series)
      if (!tag.value.empty() && (statistic.empty() || tag.key != "stat")) pair(tag.key, tag.value);
    if (!has_unit && !unit.empty()) pair("unit", unit);
    if (!statistic.empty()) pair("stat", statistic);
    close_map();
    if (schema_ == Schema::v1_0_0) return;
    w_.literal(",\"resource\":{");
    for (const auto& [key, value] : origin.resource) pair(key, value);
    close_map();
  }

  // StatsD's `#prod`.
  void tags_without_value(const SeriesView& series) {
    bool open = false;
    for (Tag tag : series) {
      if (!tag.value.empty()) continue;
      if (!open) w_.literal(",\"tags\":[");
      open = true;
      list_item(tag.key);
    }
    if (!open) return;
    w_.drop_last();
    w_.put(']');
  }

  void tail(double value, std::string& out) {
    if (schema_ == Schema::v2_0_0) {
      w_.literal(",\"value\":{\"doubleValue\":");
    } else {
      w_.literal(",\"value\":");
    }
    size_t from = w_.size();
    w_.number(value);
    if (w_.view().substr(from).find_first_of(".e") == std::string_view::npos)
      w_.literal(".0");  // as Java writes it
    if (schema_ == Schema::v2_0_0) w_.put('}');
    w_.put('}');
    append_record(out, w_.view(), "\n");
  }

  const Schema schema_;
  Writer w_;
};

}  // namespace

std::unique_ptr<Encoder> make_ffwd_encoder(std::string_view schema) {
  return std::make_unique<FfwdEncoder>(schema);
}

}  // namespace runnel
