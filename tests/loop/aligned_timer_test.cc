#include "loop/aligned_timer.h"

#include <set>

#include "support/catch.h"

using namespace runnel;

namespace {
constexpr int64_t kStart = 1'763'769'603'500;  // 3.5 s after a boundary of 10 s
struct Run {
  int64_t wall = kStart, mono = 5'000'000'000;
  Cadence cadence{10'000, 0, kStart, 5'000'000'000};
  void advance(int64_t ms) { wall += ms, mono += ms * 1'000'000; }
  Tick next(int64_t late_ms = 1) {
    advance(cadence.delay_ms(wall) + late_ms);
    REQUIRE(cadence.due(wall, mono));
    return cadence.tick(wall, mono);
  }
};
}  // namespace

TEST_CASE("ticks are aligned and the first stretch has its true length") {
  Run run;
  Tick first = run.next();
  CHECK(first.time_ms == 1'763'769'610'000);
  CHECK(first.interval_ms == 6501);
  Tick second = run.next(3);
  CHECK(second.time_ms == 1'763'769'620'000);
  CHECK(second.interval_ms == 10'000);  // 3 ms late is jitter
  CHECK(second.step_ms == 0);
}

TEST_CASE("a clock set back never repeats a stamp, however far") {
  for (int64_t back : {200, 5'000, 10'000, 20'000, 3'600'000, 86'400'000}) {
    INFO(back);
    Run run;
    std::set<int64_t> stamps;
    bool told = false;
    for (int i = 0; i < 40; i++) {
      if (i == 20) run.wall -= back;
      Tick tick = run.next();
      CHECK(stamps.insert(tick.time_ms).second);
      CHECK(tick.interval_ms <= 20'000);
      if (tick.step_ms == 0) continue;
      told = true;
      CHECK(std::abs(tick.step_ms + back) < 10);
    }
    CHECK(told);
  }
}

TEST_CASE("an hour lived twice gives each stamp once") {
  Run run;
  std::set<int64_t> stamps;
  for (int i = 0; i < 800; i++) {
    if (i == 360) run.wall -= 3'600'000;
    CHECK(stamps.insert(run.next().time_ms).second);
  }
}

TEST_CASE("a clock set forward is told, and lengths stay true") {
  Run run;
  run.next();
  run.wall += 7'200'000;
  run.advance(10);
  REQUIRE(run.cadence.due(run.wall, run.mono));
  Tick tick = run.cadence.tick(run.wall, run.mono);
  CHECK(tick.step_ms == 7'200'000);
  CHECK(tick.interval_ms <= 20);
  CHECK(run.next().step_ms == 0);
}

TEST_CASE("the last, partial interval has its true end and length") {
  Run run;
  run.next();
  run.advance(2'499);
  Tick tick = run.cadence.cut(run.wall, run.mono);
  CHECK(tick.time_ms == run.wall);
  CHECK(tick.interval_ms == 2'499);  // the tick before was a millisecond late
}
