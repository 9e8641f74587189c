// How a fuzz target says that a promise is broken: an abort, which libFuzzer and the replay both take for a finding.
#pragma once

#include <cstdio>
#include <cstdlib>

// A macro, so that the message has the promise's own words and place.
#define FUZZ_CHECK(condition) ((condition) ? (void)0 : runnel::fuzz::broken(#condition, __FILE__, __LINE__))

namespace runnel::fuzz {

[[noreturn]] inline void broken(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
  std::abort();
}

}  // namespace runnel::fuzz
