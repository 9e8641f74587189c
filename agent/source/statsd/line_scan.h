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

// A line up to its type. Plain values that stay in registers.
struct LineHead {
  const char* name = nullptr;
  size_t name_size = 0;
  const char* value = nullptr;  // the number as written: a set's member
  size_t value_size = 0;
  Number number;
  Type type = Type::counter;
  bool milliseconds = false;
  const char* after = nullptr;  // where the line end or the first field is expected
  bool relative() const { return *value == '+' || *value == '-'; }  // of a gauge: written with a sign
};

struct LineFields {
  std::string_view tags;
  double rate = 1;
  bool has_origin = false;     // `|c:` or `|e:`
  const char* next = nullptr;  // behind the line end
};

// False: not of the common shape. Reads nothing at or beyond `end`.
bool scan_fields(const char* p, const char* end, LineFields& fields);

[[gnu::always_inline]] inline bool scan_head(const char* p, const char* end, LineHead& head) {
  const char* colon = static_cast<const char*>(std::memchr(p, ':', static_cast<size_t>(end - p)));
  if (colon == nullptr || colon == p || *p == '_') return false;  // events begin with '_'
  const char* value = colon + 1;
  const char* after = nullptr;
  unsigned digit = 10;
  if (end - value > 2 && value[1] == '|') digit = static_cast<unsigned char>(*value) - unsigned{'0'};
  if (digit <= 9) {  // most counters are one digit
    head.number = Number::integer(digit);
    after = value + 1;
  } else {
    after = scan_number(value, end, head.number);
  }
  if (after == nullptr || end - after < 2 || *after != '|') return false;
  head.name = p;
  head.name_size = static_cast<size_t>(colon - p);
  head.value = value;
  head.value_size = static_cast<size_t>(after - value);
  head.milliseconds = false;
  head.after = after + 2;
  char type = after[1];
  if (type == 'c') [[likely]] {
    head.type = Type::counter;
  } else if (type == 'g') {
    head.type = Type::gauge;
  } else if (type == 'm') {
    head.milliseconds = head.after < end && *head.after == 's';
    head.after += head.milliseconds ? 1 : 0;
    head.type = head.milliseconds ? Type::timer : Type::counter;
  } else if (type == 'h' || type == 'd') {
    head.type = Type::timer;
  } else {
    head.type = Type::set;
    return type == 's';
  }
  return true;
}

}  // namespace runnel::statsd
