// May this file, a hook or a plugin, be run? Only when nobody but root and the agent's user could have written it or could swap it: each
// component of the path is owned by one of the two and not writable by group or others. A symbolic link is followed
// by hand and each folder on its way is checked too, so it is judged by what it resolves to. A sticky folder (/tmp) is
// safe as a component: others cannot rename or remove what is not theirs, and what is theirs is refused by its owner.
// With every component checked so there is no race between this check and the exec.
// Any thread; only lstat(2) and readlink(2).
#pragma once

#include <sys/types.h>

#include <string>

#include "base/result.h"

namespace runnel {

// `path` is absolute. `agent` is the agent's user id. The error says what is wrong and which command mends it.
Status check_trust(const std::string& path, uid_t agent);

// As it can be pasted into a shell: quoted where it must be.
std::string shell_word(const std::string& text);

}  // namespace runnel
