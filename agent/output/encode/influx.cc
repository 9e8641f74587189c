// The `influx` encoding: InfluxDB line protocol
// (docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol), which VictoriaMetrics, Telegraf and
// QuestDB read too. docs/encodings.md has the whole mapping.
//
// Numbers are always floats, also where they are whole: a field that is once an integer and once a float is a
// conflict that InfluxDB refuses, and whether a sum is whole depends on what was sent. All digits of a 64-bit
// integer are written; InfluxDB and VictoriaMetrics keep 53 bits of them.
//
// The kind is the tag `metric_type`, as Telegraf's and Vector's users know it, the unit the tag `unit`, the
// host `host`: only where the series has no tag of that name, and in their sorted place, as InfluxDB asks
// for.
//
// An event is a line with metric_type=event: attributes are tags; state, description and the list of tags are
// string fields; ttl and value are numbers.
#include <cmath>

#include "output/encode/formats.h"
#include "output/encode/writer.h"

namespace runnel {
namespace {

// What fits int64 nanoseconds (until 2262), less the few values at the ends that InfluxDB keeps for itself.
constexpr int64_t kMaxTimeMs = 9'223'372'036'854;

class InfluxEncoder final : public Encoder {
 public:
  std::string_view name() const override { return "influx"; }
  std::string_view content_type() const override { return "text/plain; charset=utf-8"; }

  bool sample(const Batch& batch, const Sample& sample, std::string& out) override {
    const Distribution* distribution = distribution_of(batch, sample);
    if (sample.kind == Kind::distribution && !distribution) return false;
    if (!valid_time(sample.time_ms)) return false;
    w_.clear();
    identity(batch.view(sample.series), origin_of(batch, sample.origin).host, kind_name(sample.kind),
             batch.view(sample.unit));
    size_t fields = w_.size();
    if (distribution) {
      for_each_statistic(*distribution, [&](std::string_view statistic, double value) {
        w_.text(statistic);
        w_.put('=');
        w_.number(value);
        w_.put(',');
      });
    } else {
      number_field("value=", sample.value);
    }
    return finish(fields, sample.time_ms, out);
  }

  bool event(const Batch& batch, const Event& event, std::string& out) override {
    if (!valid_time(event.time_ms)) return false;
    w_.clear();
    identity(batch.view(event.series), origin_of(batch, event.origin).host, "event", {});
    size_t fields = w_.size();
    string_field("description=\"", batch.view(event.description));
    string_field("state=\"", batch.view(event.state));
    if (event.tag_count > 0) {
      w_.literal("tags=\"");
      for (uint32_t i = 0; i < event.tag_count; i++) {
        if (i > 0) w_.put(',');
        w_.influx_string(batch.view(batch.event_tags[event.tags + i]));
      }
      w_.literal("\",");
    }
    if (event.ttl_s > 0 && std::isfinite(event.ttl_s)) {
      w_.literal("ttl=");
      w_.number_float(event.ttl_s);
      w_.put(',');
    }
    if (event.has_value) {
      number_field("value=", event.value);
    } else if (w_.size() == fields) {
      w_.literal("value=1,");  // a line needs a field: it happened once
    }
    return finish(fields, event.time_ms, out);
  }

 private:
  static uint8_t first_byte(std::string_view s) { return s.empty() ? 0 : static_cast<uint8_t>(s[0]); }
  static bool valid_time(int64_t ms) { return ms >= -kMaxTimeMs && ms <= kMaxTimeMs; }

  void tag(std::string_view key, std::string_view value) {
    w_.put(',');
    if (first_byte(key) == 't' && key == "time") {
      w_.literal("time_");  // InfluxDB refuses the whole line otherwise
    } else if (key.empty()) {
      w_.put('_');
    } else {
      w_.influx_text(key);
    }
    w_.put('=');
    if (value.empty()) {
      w_.literal("true");
    } else {
      w_.influx_text(value);
    }
  }

  // measurement,tag=value,… and a space. Three tags of ours are merged into those of the series.
  void identity(const SeriesView& series, std::string_view host, std::string_view type,
                std::string_view unit) {
    std::string_view name = series.name();
    if (name.empty()) w_.put('_');
    if (!name.empty() && name[0] == '#') w_.put('\\');  // a line that begins with # is a comment
    w_.influx_text(name, true);
    const Tag ours[] = {{"host", host}, {"metric_type", type}, {"unit", unit}};
    size_t next = 0;
    auto skip_unset = [&] {
      while (next < 3 && ours[next].value.empty()) next++;
    };
    skip_unset();
    for (Tag t : series) {
      // The first letters differ nearly always, and are cheaper to compare.
      while (next < 3 && first_byte(t.key) >= first_byte(ours[next].key) && ours[next].key <= t.key) {
        if (ours[next].key != t.key) tag(ours[next].key, ours[next].value);
        next++;
        skip_unset();
      }
      tag(t.key, t.value);
    }
    for (; next < 3; next++, skip_unset()) tag(ours[next].key, ours[next].value);
    w_.put(' ');
  }

  template <size_t N>
  void number_field(const char (&name)[N], const Number& value) {
    if (!value.is_integer() && !std::isfinite(value.as_double())) return;
    w_.literal(name);
    w_.number(value);
    w_.put(',');
  }
  template <size_t N>
  void string_field(const char (&before)[N], std::string_view text) {
    if (text.empty()) return;
    w_.literal(before);
    w_.influx_string(text);
    w_.literal("\",");
  }

  // False where no field was written from `fields` on: NaN and infinity have no spelling in the line
  // protocol.
  bool finish(size_t fields, int64_t time_ms, std::string& out) {
    if (w_.size() == fields) return false;
    w_.drop_last();  // the comma behind the last field
    w_.put(' ');
    w_.integer(time_ms);
    if (time_ms != 0) w_.literal("000000");
    append_record(out, w_.view(), "\n");
    return true;
  }

  Writer w_;
};

}  // namespace

std::unique_ptr<Encoder> make_influx_encoder() {
  return std::make_unique<InfluxEncoder>();
}

}  // namespace runnel
