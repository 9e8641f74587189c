// Who this agent is: an id that stays the same over restarts, kept in state_dir/agent_id. Start-up only.
#pragma once

#include <string>

#include "base/result.h"

namespace runnel {

// Reads the id, or makes one (a random UUID, RFC 9562 version 4) and writes it; creates the folder. On error the caller
// goes on with random_id(), which is new at every start.
Result<std::string> load_agent_id(const std::string& state_dir);
std::string random_id();

}  // namespace runnel
