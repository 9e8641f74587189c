// The options of a sink: read by the table in its descriptor, checked by the sink itself, printed, and laid
// out as the runnel_value array that its create() takes. A descriptor is input like any other: it may come
// from a stranger's .so.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/problems.h"
#include "config/toml_tree.h"
#include "config/value.h"
#include "runnel_sink.h"

namespace runnel {

// The i-th option, however long the plugin's idea of runnel_option is.
const runnel_option& sink_option(const runnel_sink& sink, size_t i);
ValueSpec option_spec(const runnel_option& option);

// OptionValues as the C ABI wants them. Points into `options`, which must stay alive and unchanged.
class NativeValues {
 public:
  explicit NativeValues(const std::vector<OptionValue>& options);
  NativeValues(const NativeValues&) = delete;
  NativeValues& operator=(const NativeValues&) = delete;
  const runnel_value* data() const { return values_.data(); }
  size_t size() const { return values_.size(); }

 private:
  std::vector<runnel_value> values_;
  std::vector<std::vector<runnel_str>> lists_;
  std::vector<std::vector<runnel_pair>> maps_;
};

// Reads the options out of [output.NAME], whose header stands at `header`; one value an option, in the
// descriptor's order. Then lets the sink check them.
std::vector<OptionValue> read_sink_options(const runnel_sink& sink, const Node& table, const Position& header,
                                           const std::string& section, Problems& problems);

// The value of an option as it may be shown to people.
std::string print_option(const runnel_option& option, const OptionValue& value);

}  // namespace runnel
