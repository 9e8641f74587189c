// StatsD lines, with the parser and the table of the StatsD source. The table lives for one run: two lines `a:1|c` are
// one sample of 2, a gauge written +1 starts at 0, and what a run prints is what happened since the run before.
#include "source/statsd/aggregator.h"

#include "source/script/formats/format.h"
#include "source/statsd/parser.h"

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
    }
  }
  void finish(Intake& intake) override {
    Batch batch("scripts");
    table_.flush(batch, intake.time_ms(), intake.interval_ms());
    intake.take(std::move(batch));
  }

 private:
  statsd::Aggregator table_{options()};
};

}  // namespace

Verdict read_statsd(std::string_view line) {
  statsd::Parser parser;
  if (!parser.parse(line)) return {parser.reason(), "not a StatsD line"};
  if (auto reason = statsd::check_key(parser.name(), parser.tags()); !reason.empty())
    return {reason, "not a StatsD line"};
  return {};
}

std::unique_ptr<Reader> make_statsd_reader() {
  return std::make_unique<StatsdReader>();
}

}  // namespace runnel::script
