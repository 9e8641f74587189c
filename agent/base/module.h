// Shared objects that are loaded when something that is configured needs them: sinks, TLS. The one place that calls
// dlopen. Main thread. What is loaded stays until the process ends: symbols are valid for ever.
#pragma once

#include <string>

#include "base/result.h"

namespace runnel {

// `symbol` of the object at `path`, which is loaded where it is not yet. Only a file that nobody but root and the agent's
// user could have written is loaded (base/trust.h), and only a whole one. The error names path and reason.
Result<void*> load_symbol(const std::string& path, const char* symbol);

// ../lib/runnel beside the executable.
std::string module_folder();

}  // namespace runnel
