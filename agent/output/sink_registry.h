// The sinks that outputs can name: those inside the executable, those of the plugin folder, and any plugin by its
// absolute path. Main thread. A plugin is loaded when it is first asked for and stays
// loaded until the process ends: descriptors are valid for ever.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "runnel_sink.h"

namespace runnel {

class SinkRegistry {
 public:
  // `plugin_dir`: where NAME.so of a built-in name is looked for; "" is ../lib/runnel/plugins beside the executable.
  explicit SinkRegistry(std::string plugin_dir = {});

  // A name, or the absolute path of a .so. Errors name the plugin, what is wrong and, for a wrong ABI, both numbers.
  Result<const runnel_sink*> find(const std::string& sink);

  // Names inside the executable and of the .so files in the plugin folder, sorted.
  std::vector<std::string> names() const;
  const std::string& plugin_dir() const { return plugin_dir_; }

 private:
  Result<const runnel_sink*> load(const std::string& path);
  std::string plugin_dir_;
  std::map<std::string, const runnel_sink*> loaded_;  // by path
};

// For tests of the check alone.
Status check_descriptor(const runnel_sink* sink, const std::string& plugin);

}  // namespace runnel
