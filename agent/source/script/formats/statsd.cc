// StatsD lines, with the parser and the table of the StatsD source. The table lives for one run: two lines `a:1|c` are
// one sample of 2, a gauge written +1 starts at 0, and what a run prints is what happened since the run before.
#include "source/statsd/aggregator.h"

#include <utility>

#include "source/script/formats/format.h"
#include "source/statsd/event_parser.h"
#include "source/statsd/parser.h"
#include "source/statsd/series_key.h"

namespace runnel::script {
namespace {

statsd::AggregatorOptions options() {
  statsd::AggregatorOptions options;
  options.source = "scripts";
  return options;
}

class StatsdReader final : public Reader {
 public:
  void line(std::string_view line, Intake& intake) override {
    intake.received();
    statsd::Aggregator::Judgement judgement = table_.add(line);
    switch (judgement.verdict) {
      case statsd::Aggregator::Verdict::accepted:
        intake.accepted();
        break;
      case statsd::Aggregator::Verdict::bad:
        intake.refused(line, {judgement.reason, "a StatsD line is `name:value|type`"});
        break;
      case statsd::Aggregator::Verdict::dropped:
        intake.dropped(judgement.reason);
        break;
      case statsd::Aggregator::Verdict::forwarded:
        break;  // never: this table has all types
    }
  }
  void finish(Intake& intake) override {
    // Events and values with a time of their own wait beside the table.
    Batch batch = std::exchange(table_.direct(), Batch("scripts"));
    table_.flush(batch, intake.time_ms(), intake.interval_ms());
    intake.take(std::move(batch));
  }

 private:
  statsd::Aggregator table_{options()};
};

}  // namespace

Verdict read_statsd(std::string_view line) {
  std::string_view reason;
  statsd::Parser parser;
  statsd::SeriesKey key;
  if (statsd::is_event_line(line)) {
    Batch ignored;
    reason = statsd::read_event(line, false, ignored);
  } else if (!parser.parse(line)) {
    reason = parser.reason();
  } else {
    reason = statsd::make_series_key({parser.name(), parser.tags(), {}, {}}, {}, key);
  }
  return reason.empty() ? Verdict{} : Verdict{reason, "not a StatsD line"};
}

std::unique_ptr<Reader> make_statsd_reader() {
  return std::make_unique<StatsdReader>();
}

}  // namespace runnel::script
