// The formats in which a hook may print, and what all of their parsers share. A parser is pure: a line in, samples in
// the intake's batch or a reason out; a line is taken whole or refused whole (a JSON document: record by record).
// Empty lines and lines that begin with '#' never reach a parser, except `# TYPE` and the like in Prometheus text.
// Reasons carry the same names as those of the StatsD parser. Loop thread; views live for the call.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "metric/batch.h"
#include "source/script/intake.h"

namespace runnel::script {

enum class Format : uint8_t { simple, statsd, influx, prometheus, json };
inline constexpr std::array kFormats{Format::simple, Format::statsd, Format::influx, Format::prometheus,
                                     Format::json};
std::string_view format_name(Format format);  // "simple", … as behind `format=` in a header
std::optional<Format> format_of(std::string_view name);

class Reader {
 public:
  virtual ~Reader() = default;
  virtual void line(std::string_view line, Intake& intake) = 0;
  virtual void comment(std::string_view, Intake&) {}  // begins with '#'
  virtual void finish(Intake&) {}                     // the run has ended; called once
};
std::unique_ptr<Reader> make_reader(Format format);

// One line each, for readers and detection. Nothing is added to the batch unless the verdict is good.
Verdict read_simple(std::string_view line, Intake& intake);
Verdict read_influx(std::string_view line, Intake& intake);
Verdict read_statsd(std::string_view line);  // judges only: values of a run are added up, see statsd.cc
std::unique_ptr<Reader> make_statsd_reader();
std::unique_ptr<Reader> make_prometheus_reader();
std::unique_ptr<Reader> make_json_reader();

// Which format the first lines of a run are in. nullopt: more lines are needed; `last` says that there are none, and
// then the answer is never nullopt.
std::optional<Format> detect(const std::vector<std::string>& lines, bool last);

// Shared by the parsers.
inline constexpr size_t kMaxSeries = 4096;  // bytes of name and tags together, as in StatsD lines
struct Value {
  std::optional<Number> number;
  std::string_view why;  // where there is none
};
Value read_number(std::string_view text);
Verdict check_name(std::string_view name);
Verdict check_series(std::string_view name, const std::vector<Tag>& tags, size_t limit = kMaxSeries);
Verdict check_time(int64_t time_ms);  // between 2000 and 3000: catches seconds that should be milliseconds

}  // namespace runnel::script
