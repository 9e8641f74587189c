// The common shape of a StatsD line in one pass, without finding its end first:
//
//     name:number|type   name:number|type|@rate|#tags   (also |c:…, |e:…, |card:…)
//
// Everything else (several values, text members of sets, events, time stamps, whatever is wrong) is for Parser, which
// judges the line from its beginning and gives the reasons. A line that is taken here means the same there (a test
// compares). The name is not looked at: only names that the table knows already are taken this way.
#pragma once

#include <cstring>
#include <string_view>

#include "source/statsd/number.h"
#include "source/statsd/parser.h"

namespace runnel::statsd {

struct ScannedLine {
  std::string_view name, tags;
  std::string_view text;  // the number as written: a set's member
  Number number;
  double rate = 1;
  Type type = Type::counter;
  bool milliseconds = false;
  bool relative = false;       // of a gauge: written with a sign
  bool has_origin = false;     // `|c:` or `|e:`
  const char* next = nullptr;  // behind the line end
};

// False: not of the common shape. Reads nothing at or beyond `end`.
bool scan_fields(const char* p, const char* end, ScannedLine& line);

inline bool scan_line(const char* p, const char* end, ScannedLine& line) {
  const char* colon = static_cast<const char*>(std::memchr(p, ':', static_cast<size_t>(end - p)));
  if (colon == nullptr || colon == p || *p == '_') return false;  // events begin with '_'
  const char* value = colon + 1;
  const char* after = scan_number(value, end, line.number);
  if (after == nullptr || end - after < 2 || *after != '|') return false;
  line.name = {p, static_cast<size_t>(colon - p)};
  line.tags = {};
  line.rate = 1;
  line.milliseconds = line.relative = line.has_origin = false;
  p = after + 2;
  switch (after[1]) {
    case 'c':
      line.type = Type::counter;
      break;
    case 'g':
      line.type = Type::gauge;
      line.relative = *value == '+' || *value == '-';
      break;
    case 'm':
      if (p < end && *p == 's') {
        p++;
        line.type = Type::timer;
        line.milliseconds = true;
      } else {
        line.type = Type::counter;
      }
      break;
    case 'h':
    case 'd':
      line.type = Type::timer;
      break;
    case 's':
      line.type = Type::set;
      line.text = {value, static_cast<size_t>(after - value)};
      break;
    default:
      return false;
  }
  if (p == end || *p == '\n') {
    line.next = p == end ? p : p + 1;
    return true;
  }
  return scan_fields(p, end, line);
}

}  // namespace runnel::statsd
