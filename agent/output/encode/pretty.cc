// The `pretty` encoding, for eyes: `time key{tag=value,…} value unit (what it is)`, aligned. Local time,
// because who reads along looks at a wall clock. Numbers are cut to six digits where they are not whole;
// nothing reads this back.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <ctime>

#include "base/text.h"
#include "output/encode/formats.h"
#include "output/encode/writer.h"

namespace runnel {
namespace {

constexpr size_t kMinKeyWidth = 40,
                 kMaxKeyWidth = 76;  // the column grows to what it has seen, up to a terminal's half
constexpr size_t kValueWidth = 12;

size_t columns(std::string_view text) {  // code points: near enough to terminal columns for names
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

class PrettyEncoder final : public Encoder {
 public:
  std::string_view name() const override { return "pretty"; }
  std::string_view content_type() const override { return "text/plain; charset=utf-8"; }

  bool sample(const Batch& batch, const Sample& sample, std::string& out) override {
    const Distribution* distribution = distribution_of(batch, sample);
    if (sample.kind == Kind::distribution && !distribution) return false;
    w_.clear();
    time(sample.time_ms);
    series(batch, sample.series, sample.origin);
    if (distribution) {
      w_.literal("  ");
      for_each_statistic(*distribution, [&](std::string_view statistic, double value) {
        w_.text(statistic);
        w_.put('=');
        w_.text(short_number(value));
        w_.put(' ');
      });
      w_.drop_last();
    } else {
      right_aligned(short_number(sample.value));
    }
    std::string_view unit = batch.view(sample.unit);
    if (!unit.empty() && unit != "1") {  // UCUM's "1" is "no unit", which reads as a second value
      w_.put(' ');
      w_.terminal_text(unit);
    }
    w_.literal("  (");
    w_.text(kind_name(sample.kind));
    if (sample.interval_ms != 0) {
      w_.literal(", ");
      w_.text(format_duration(sample.interval_ms));
    }
    w_.put(')');
    append_record(out, w_.view(), "\n");
    return true;
  }

  bool event(const Batch& batch, const Event& event, std::string& out) override {
    w_.clear();
    time(event.time_ms);
    series(batch, event.series, event.origin);
    std::string_view state = batch.view(event.state), description = batch.view(event.description);
    right_aligned(event.has_value ? short_number(event.value) : "-");
    w_.literal("  (event");
    if (!state.empty()) {
      w_.put(' ');
      w_.terminal_text(state);
    }
    if (event.ttl_s > 0 && std::isfinite(event.ttl_s)) {
      w_.literal(", ttl ");
      w_.text(short_number(static_cast<double>(event.ttl_s)));
      w_.put('s');
    }
    for (uint32_t i = 0; i < event.tag_count; i++) {
      w_.text(i == 0 ? ", tags " : ",");
      w_.terminal_text(batch.view(batch.event_tags[event.tags + i]));
    }
    w_.put(')');
    if (!description.empty()) {
      w_.put(' ');
      w_.terminal_text(description);
    }
    append_record(out, w_.view(), "\n");
    return true;
  }

 private:
  void time(int64_t ms) {
    int64_t seconds = ms / 1000, rest = ms % 1000;
    if (rest < 0) seconds--, rest += 1000;
    if (seconds != second_ || clock_text_.empty()) {
      second_ = seconds;
      std::time_t t = static_cast<std::time_t>(seconds);
      std::tm tm{};
      // Fails only for years that do not fit an int: then the number itself.
      clock_text_ = localtime_r(&t, &tm) ? fmt::format("{:02}:{:02}:{:02}", tm.tm_hour, tm.tm_min, tm.tm_sec)
                                         : fmt::format("{}", seconds);
    }
    w_.text(clock_text_);
    char millis[] = {'.', static_cast<char>('0' + rest / 100), static_cast<char>('0' + rest / 10 % 10),
                     static_cast<char>('0' + rest % 10), ' '};
    w_.text({millis, sizeof millis});
  }

  // key{tag=value,…}; the host only where it is not the agent's own, which would stand in every line.
  void series(const Batch& batch, SeriesRef ref, uint32_t origin) {
    size_t from = w_.size();
    SeriesView view = batch.view(ref);
    w_.terminal_text(view.name());
    bool open = false;
    auto tag = [&](std::string_view key, std::string_view value) {
      w_.put(open ? ',' : '{');
      open = true;
      w_.terminal_text(key);
      if (value.empty()) return;
      w_.put('=');
      w_.terminal_text(value);
    };
    const std::string& host = origin_of(batch, origin).host;
    if (host != batch.origins[0].host && !host.empty()) tag("host", host);
    for (Tag t : view) tag(t.key, t.value);
    if (open) w_.put('}');
    size_t width = columns(w_.view().substr(from));
    key_width_ = std::min(kMaxKeyWidth, std::max(key_width_, width));
    pad(width, key_width_);
  }

  void right_aligned(std::string_view value) {
    w_.put(' ');
    pad(value.size(), kValueWidth);
    w_.text(value);
  }
  void pad(size_t have, size_t want) {
    for (; have < want; have++) w_.put(' ');
  }

  std::string_view short_number(const Number& value) {
    if (!value.is_integer()) return short_number(value.as_double());
    number_ = fmt::format("{}", value.as_integer());
    return number_;
  }
  std::string_view short_number(double value) {
    number_ = value == std::trunc(value) && std::fabs(value) < 1e15 ? fmt::format("{:.0f}", value)
                                                                    : fmt::format("{:.6g}", value);
    return number_;
  }

  Writer w_;
  std::string clock_text_, number_;
  int64_t second_ = 0;
  size_t key_width_ = kMinKeyWidth;
};

}  // namespace

std::unique_ptr<Encoder> make_pretty_encoder() {
  return std::make_unique<PrettyEncoder>();
}

}  // namespace runnel
