#include "output/encode/writer.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace runnel {
namespace {

constexpr char kHex[] = "0123456789abcdef";

// Length of the UTF-8 character at the front, 0 where the first byte does not begin one.
size_t utf8_length(std::string_view s) {
  uint8_t c = static_cast<uint8_t>(s[0]);
  size_t n = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
  return n <= s.size() && valid_utf8(s.substr(0, n)) ? n : 0;
}

// Characters that a terminal obeys instead of showing them, given as the bytes of one UTF-8 character.
bool moves_terminal(std::string_view c) {
  uint8_t a = static_cast<uint8_t>(c[0]);
  if (c.size() == 1) return a < 0x20 || a == 0x7f;
  uint8_t b = static_cast<uint8_t>(c[1]);
  if (c.size() == 2) return a == 0xc2 && b < 0xa0;  // C1: U+0080 … U+009F
  if (c.size() != 3 || a != 0xe2) return false;
  uint8_t d = static_cast<uint8_t>(c[2]);
  return (b == 0x80 && (d == 0x8e || d == 0x8f || (d >= 0xa8 && d <= 0xae))) ||  // U+200E, 200F, 2028 … 202E
         (b == 0x81 && d >= 0xa6 && d <= 0xa9);                                  // U+2066 … 2069
}

}  // namespace

void Writer::grow(size_t n) {
  size_t used = size(), capacity = std::max<size_t>(1024, (used + n) * 2);
  std::unique_ptr<char[]> bytes(new char[capacity]);  // not zeroed
  if (used > 0) std::memcpy(bytes.get(), begin_.get(), used);
  begin_ = std::move(bytes);
  at_ = begin_.get() + used;
  end_ = begin_.get() + capacity;
}

void Writer::number(double value) {
  // Integers below 2^53 in full digits: what a person wrote as 1000000 should not come back as 1e+06.
  if (value == std::trunc(value) && std::fabs(value) < 9007199254740992.0) {
    if (value == 0 && std::signbit(value)) return literal("-0.0");
    return integer(static_cast<int64_t>(value));
  }
  char* from = room(32);
  at_ = std::to_chars(from, from + 32, value).ptr;
  // Twenty digits without a point are an integer to strict readers, and one that does not fit 64 bits.
  if (std::string_view(from, static_cast<size_t>(at_ - from)).find_first_of(".e") == std::string_view::npos)
    literal(".0");
}

void Writer::number_float(float value) {
  if (std::trunc(value) == value && std::fabs(value) < 1e15F) return integer(static_cast<int64_t>(value));
  char* to = room(32);
  at_ = std::to_chars(to, to + 32, value).ptr;
}

void Writer::escaped_byte(uint8_t byte) {
  if (byte == '\n' || byte == '\r' || byte == '\t') {
    char escape[] = {'\\', byte == '\n' ? 'n' : byte == '\r' ? 'r' : 't'};
    text({escape, 2});
  } else {
    char escape[] = {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    text({escape, 4});
  }
}

void Writer::json_slow(std::string_view s) {
  while (!s.empty()) {
    uint8_t c = static_cast<uint8_t>(s[0]);
    size_t n = utf8_length(s);
    if (n == 0) {
      replacement();
      n = 1;
    } else if (c == '"' || c == '\\') {
      char escape[] = {'\\', s[0]};
      text({escape, 2});
    } else if (c >= 0x20 && c != 0x7f) {
      text(s.substr(0, n));
    } else if (c == '\n' || c == '\r' || c == '\t') {
      escaped_byte(c);
    } else {
      char escape[] = {'\\', 'u', '0', '0', kHex[c >> 4], kHex[c & 15]};
      text({escape, 6});
    }
    s.remove_prefix(n);
  }
}

// The line protocol has escapes for space, comma and equals sign, and none for the backslash: InfluxDB reads
// `\\` as two, VictoriaMetrics as one. A backslash in front of one of the three (or of the delimiter behind
// the text) would therefore end the text early for one reader or the other, and let a tag value forge tags.
// Such a backslash is written as `/`; any other stays what it is. There is none for line ends either: they
// become the two characters \n, other control characters \r, \t, \xNN.
void Writer::influx_slow(std::string_view s, bool measurement) {
  while (!s.empty()) {
    uint8_t c = static_cast<uint8_t>(s[0]);
    size_t n = utf8_length(s);
    if (n == 0) {
      replacement();
      n = 1;
    } else if (c == ' ' || c == ',' || (c == '=' && !measurement)) {
      char escape[] = {'\\', s[0]};
      text({escape, 2});
    } else if (c == '\\') {
      n = std::min(s.find_first_not_of('\\'), s.size());
      bool trap = n == s.size() || s[n] == ' ' || s[n] == ',' || s[n] == '=' ||
                  static_cast<uint8_t>(s[n]) < 0x20 || s[n] == 0x7f;
      for (size_t i = 0; i < n; i++) put(trap ? '/' : '\\');
    } else if (c >= 0x20 && c != 0x7f) {
      text(s.substr(0, n));
    } else {
      escaped_byte(c);
    }
    s.remove_prefix(n);
  }
}

void Writer::influx_string(std::string_view s) {
  while (!s.empty()) {
    uint8_t c = static_cast<uint8_t>(s[0]);
    size_t n = utf8_length(s);
    if (n == 0) {
      replacement();
      n = 1;
    } else if (c == '"' || c == '\\') {
      char escape[] = {'\\', s[0]};
      text({escape, 2});
    } else if (c >= 0x20 && c != 0x7f) {
      text(s.substr(0, n));
    } else {
      put('\\');
      escaped_byte(c);
    }
    s.remove_prefix(n);
  }
}

void Writer::terminal_text(std::string_view s) {
  while (!s.empty()) {
    size_t n = utf8_length(s);
    if (n == 0) {
      escaped_byte(static_cast<uint8_t>(s[0]));
      n = 1;
    } else if (!moves_terminal(s.substr(0, n))) {
      text(s.substr(0, n));
    } else {
      for (size_t i = 0; i < n; i++) escaped_byte(static_cast<uint8_t>(s[i]));
    }
    s.remove_prefix(n);
  }
}

const Origin& origin_of(const Batch& batch, uint32_t index) {
  static const Origin kNone;
  return index < batch.origins.size() ? batch.origins[index] : kNone;
}

const Distribution* distribution_of(const Batch& batch, const Sample& sample) {
  if (sample.kind != Kind::distribution || sample.distribution >= batch.distributions.size()) return nullptr;
  return &batch.distributions[sample.distribution];
}

}  // namespace runnel
