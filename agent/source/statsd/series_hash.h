// The hash of a StatsD series: raw name and tags, 16 bytes a multiplication (the mum-mix of Wang Yi's wyhash, public
// domain), about 30 instructions for 32 bytes; XXH3 costs as much but is a call away for the two pieces of a key. Seeded at
// random a process, so that nobody can send a million names of one slot.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace runnel::statsd {

inline uint64_t hash_mix(uint64_t a, uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

// Whether `n` bytes are the same: 16 at a time, because a key is some 30 bytes and a call costs as much as comparing it.
inline bool same_bytes(const char* a, const char* b, size_t n) {
  if (n < 8) return std::memcmp(a, b, n) == 0;
  auto load8 = [](const char* p) {
    uint64_t value;
    std::memcpy(&value, p, 8);
    return value;
  };
  if (n < 16) return ((load8(a) ^ load8(b)) | (load8(a + n - 8) ^ load8(b + n - 8))) == 0;
  const char* a_last = a + n - 16;
  const char* b_last = b + n - 16;
  for (; a < a_last; a += 16, b += 16)
    if (((load8(a) ^ load8(b)) | (load8(a + 8) ^ load8(b + 8))) != 0) return false;
  return ((load8(a_last) ^ load8(b_last)) | (load8(a_last + 8) ^ load8(b_last + 8))) == 0;
}

inline uint64_t hash_text(std::string_view text, uint64_t seed) {
  constexpr uint64_t kA = 0xa0761d6478bd642full, kB = 0xe7037ed1a0b428dbull;
  auto load8 = [](const char* p) {
    uint64_t value;
    std::memcpy(&value, p, 8);
    return value;
  };
  auto load4 = [](const char* p) {
    uint32_t value;
    std::memcpy(&value, p, 4);
    return static_cast<uint64_t>(value);
  };
  const char* p = text.data();
  size_t n = text.size();
  uint64_t h = seed ^ n;
  size_t i = 0;
  for (; i + 16 < n; i += 16) h = hash_mix(load8(p + i) ^ kA, load8(p + i + 8) ^ h);
  if (n >= 16) return hash_mix(load8(p + n - 16) ^ kB, load8(p + n - 8) ^ h);
  uint64_t a = 0, b = 0;
  if (n >= 8) {
    a = load8(p);
    b = load8(p + n - 8);
  } else if (n >= 4) {
    a = load4(p);
    b = load4(p + n - 4);
  } else {
    for (; i < n; i++) a = (a << 8) | static_cast<unsigned char>(p[i]);
  }
  return hash_mix(a ^ kB, b ^ h);
}

}  // namespace runnel::statsd
