// What the benchmarks of decoders and listeners measure with: CPU time of the thread, the best of many rounds, because the
// machine may be busy.
#pragma once

#include <algorithm>
#include <cstdint>
#include <ctime>

namespace runnel::bench {

inline int64_t now_ns(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

// ns of a call of `work`, which is called `calls` times a round.
template <class Work>
double best_ns(int rounds, int calls, Work&& work) {
  double best = 1e18;
  for (int round = 0; round < rounds; round++) {
    int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
    for (int i = 0; i < calls; i++) work();
    best = std::min(best, static_cast<double>(now_ns(CLOCK_THREAD_CPUTIME_ID) - start) / calls);
  }
  return best;
}

// CPU seconds of this thread that `work` takes.
template <class Work>
double cpu_seconds(Work&& work) {
  int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
  work();
  return static_cast<double>(now_ns(CLOCK_THREAD_CPUTIME_ID) - start) / 1e9;
}

}  // namespace runnel::bench
