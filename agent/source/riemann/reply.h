// Answers to Riemann clients over a stream: u32 big-endian length and a Msg with `ok` and, where it is false, `error`.
// Pure.
#pragma once

#include <string>
#include <string_view>

namespace runnel::riemann {

// `ok` is never left out: clients in Ruby and Python read its absence as failure, riemann-c-client as EINVAL.
inline constexpr std::string_view kOkReply{"\x00\x00\x00\x02\x10\x01", 6};
inline constexpr size_t kMaxErrorText = 1000;  // bytes; longer ones are cut

void append_ok(std::string& out);
void append_error(std::string& out, std::string_view error);
// The same answers with every ok turned into this error: what was taken is not safe.
std::string refuse_oks(std::string_view answers, std::string_view error);

}  // namespace runnel::riemann
