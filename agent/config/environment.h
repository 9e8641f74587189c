// Tags that stand in the environment, as FFWD took them: with the prefix FFWD_TAG_, the variable FFWD_TAG_SITE=lon is the tag
// site=lon. Names are in lower case, as FFWD had it: a shell's variables are not. Main thread, while loading.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"

namespace runnel {

struct EnvironmentTags {
  StringMap tags;
  std::vector<std::string> errors;  // of variables that are no tag, which are left out
};
// `variables`: NAME=value, closed by a null, as `environ` is. The prefix is not empty.
EnvironmentTags tags_from_environment(const char* const* variables, const std::string& prefix);

}  // namespace runnel
