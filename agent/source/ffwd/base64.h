// Base64 (RFC 4648, 4), with padding. Pure, any thread.
#pragma once

#include <string>
#include <string_view>

namespace runnel::ffwd {

void append_base64(std::string& out, std::string_view bytes);
// False: it is none, and `out` means nothing. Strict: whole groups, padding only at the end, unused bits 0, no line breaks.
bool read_base64(std::string_view text, std::string& out);

}  // namespace runnel::ffwd
