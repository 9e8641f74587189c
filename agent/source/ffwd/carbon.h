// One line of carbon's plaintext protocol: `path value timestamp`, separated by spaces or tabs, tags in the path
// (`disk.used;host=web-1;mount=/`) as Graphite 1.1 has them. Pure.
//
//   timestamp   seconds, whole or not (or milliseconds, as everywhere here); -1 or N: now; absent: now
//   value       a decimal number; nan and inf are refused, as carbon drops them
//   tags        none may be empty, there twice, or without its `=`
#pragma once

#include <string_view>

#include "source/ffwd/point.h"

namespace runnel::ffwd {

// Appends a point or a refusal. An empty line (or one of blanks) is nothing.
void decode_carbon(std::string_view line, Points& out);

}  // namespace runnel::ffwd
