#include "source/statsd/line_scan.h"

#include <algorithm>

namespace runnel::statsd {

bool scan_fields(const char* p, const char* end, LineFields& line) {
  const char* stop = static_cast<const char*>(std::memchr(p, '\n', static_cast<size_t>(end - p)));
  line.next = stop == nullptr ? end : stop + 1;
  if (stop == nullptr) stop = end;
  if (stop[-1] == '\r' && stop - 1 >= p) stop--;
  bool have_tags = false;
  while (p < stop) {
    if (*p != '|' || p + 1 == stop) return false;
    const char* field = p + 1;
    const char* bar = static_cast<const char*>(std::memchr(field, '|', static_cast<size_t>(stop - field)));
    p = bar == nullptr ? stop : bar;
    switch (*field) {
      case '@': {
        Number rate;
        if (scan_number(field + 1, p, rate) != p) return false;
        line.rate = rate.as_double();
        if (!(line.rate > 0 && line.rate <= 1)) return false;
        break;
      }
      case '#':
        if (have_tags) return false;
        have_tags = true;
        line.tags = {field + 1, static_cast<size_t>(p - field - 1)};
        break;
      case 'c':
        // `|c:` is a container, `|card:` the cardinality of its tags; no other field is known to begin so.
        if (p - field < 2 || (field[1] != ':' && field[1] != 'a')) return false;
        line.has_origin |= field[1] == ':';
        break;
      case 'e':
        if (p - field < 2 || field[1] != ':') return false;
        line.has_origin = true;
        break;
      default:
        return false;
    }
  }
  return true;
}

}  // namespace runnel::statsd
