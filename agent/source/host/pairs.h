// Files of `key value` lines (meminfo, vmstat): picks the wanted keys out of many. Main thread; keeps no view.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "source/host/collector.h"
#include "source/host/scan.h"

namespace runnel {

struct Pair {
  std::string_view key;
  bool found = false;
  uint64_t value = 0;
};

// Fills `wanted` from the lines of `text`, whose keys end at `end_of_key` (':' or ' '). Other keys are passed over
// unread: vmstat has about 190 lines of which 7 are wanted. A wanted key whose value is no number is bad.
inline void pick_pairs(Round& round, ProcFile& file, std::string_view text, char end_of_key,
                       std::span<Pair> wanted) {
  for (Pair& pair : wanted) pair.found = false;
  std::string_view line;
  // Tables stand in the kernel's order, so a wanted line is met by the first comparison; one that is elsewhere is still
  // found. A line that nobody wants costs a byte compared for each key: about 1 µs for all of vmstat.
  size_t expected = 0;
  while (next_line(text, line)) {
    for (size_t i = 0; i < wanted.size(); i++) {
      size_t at = expected + i < wanted.size() ? expected + i : expected + i - wanted.size();
      Pair& pair = wanted[at];
      size_t size = pair.key.size();
      if (line.size() <= size || line[size] != end_of_key || !line.starts_with(pair.key)) continue;
      std::string_view rest = line.substr(size + 1);
      if (next_number(rest, pair.value)) {
        pair.found = true;
      } else {
        round.bad(file, "malformed", line);
      }
      expected = at + 1 < wanted.size() ? at + 1 : 0;
      break;
    }
  }
}

}  // namespace runnel
