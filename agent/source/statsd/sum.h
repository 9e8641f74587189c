// Sums of a counter's values: exact in a 64-bit integer as long as they are integral and fit, what is left goes into a
// Remainder (shard.h).
#pragma once

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdint>

#include "metric/batch.h"
#include "source/statsd/shard.h"

namespace runnel::statsd {

// No sum leaves as infinity: at the edge of doubles it stays there.
inline double finite(double value) {
  if (std::isnan(value)) return 0;
  return std::clamp(value, -DBL_MAX, DBL_MAX);
}

// Adds value ÷ rate to `whole` where that is integral (1@0.1 is ten), with what does not fit into 64 bits as a carry, so that
// the order of the addends does not matter; else to the Remainder that `rest()` gives.
template <class Rest>
void add_scaled(int64_t& whole, Number value, double rate, Rest&& rest) {
  double scaled = value.as_double();
  int64_t addend = 0;
  bool integral = rate == 1 && value.is_integer();
  if (integral) {
    addend = value.as_integer();
  } else {
    scaled /= rate;
    integral = scaled == std::trunc(scaled) && std::fabs(scaled) < 9007199254740992.0;  // 2^53
    if (integral) addend = static_cast<int64_t>(scaled);
  }
  if (!integral) {
    rest().add(scaled);
  } else if (__builtin_add_overflow(whole, addend, &whole)) {  // wrapped
    rest().carry += addend > 0 ? 1 : -1;
  }
}

inline Number sum_of(int64_t whole, const Remainder& rest) {
  if (rest.sum == 0 && rest.error == 0 && rest.carry == 0) return Number::integer(whole);
  double integral =
      static_cast<double>(whole) + static_cast<double>(rest.carry) * 18446744073709551616.0;  // 2^64
  return Number(finite(integral + (rest.sum + (std::isfinite(rest.error) ? rest.error : 0))));
}

}  // namespace runnel::statsd
