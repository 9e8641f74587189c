// The parts of load_config: each takes its tables out of the merged tree. Main thread, for the length of one
// load.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/load.h"
#include "config/problems.h"
#include "config/toml_tree.h"

namespace runnel {

struct LoadContext {
  const Catalog& catalog;
  Problems& problems;
  bool built_in;  // no file: what is absent on this machine is found by the sources, which warn
};

void read_sources(const Node& root, LoadContext& context, Config& config);
void read_outputs(const Node& root, LoadContext& context, Config& config);

// [A-Za-z0-9_-]+: names of outputs and of [[source.statsd]], which become tags and thread names.
bool is_plain_name(const std::string& name);
std::string join(const std::vector<std::string>& words);  // "a, b, c"
bool contains(const std::vector<std::string>& words, const std::string& word);
// " (did you mean "gzip"?)" or, where nothing is near, " (none, gzip, zstd)"
std::string hint(const std::string& word, const std::vector<std::string>& known);

// The keys of [output.NAME] that are the agent's own whatever the sink.
std::vector<std::string> output_keys(const runnel_sink& sink);

}  // namespace runnel
