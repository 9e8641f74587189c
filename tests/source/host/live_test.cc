// The machine that runs the test, compared with what the kernel says by other ways.
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmath>

#include "host_support.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::test;

TEST_CASE("this machine") {
  Host host("/", {"all"}, HostProbe{});
  Batch first = host.round();
  auto a = values(first);
  usleep(20'000);
  auto b = values(host.round());
  CHECK(first.samples.size() > 50);
  CHECK(host.balanced());

  uint64_t total_kb = 0;
  std::istringstream meminfo(slurp("/proc/meminfo"));
  for (std::string key; meminfo >> key;)
    if (key == "MemTotal:") meminfo >> total_kb;
  CHECK(a.at("system.memory.limit") == std::to_string(total_kb * 1024));
  CHECK(std::stod(a.at("system.memory.usage{system.memory.state=used}")) <=
        static_cast<double>(total_kb) * 1024);

  CHECK(std::stod(b.at("system.uptime")) > std::stod(a.at("system.uptime")));
  CHECK(a.at("system.cpu.logical.count") == std::to_string(sysconf(_SC_NPROCESSORS_ONLN)));

  // Totals only grow, and began when the host booted.
  timespec boot{}, wall{};
  clock_gettime(CLOCK_BOOTTIME, &boot);
  clock_gettime(CLOCK_REALTIME, &wall);
  double booted_ms = (static_cast<double>(wall.tv_sec) - static_cast<double>(boot.tv_sec)) * 1e3;
  size_t totals = 0;
  for (const Sample& sample : first.samples) {
    if (sample.kind != Kind::total) continue;
    std::string series = series_text(first, sample);
    CAPTURE(series);
    if (sample.start_ms != 0) CHECK(std::abs(static_cast<double>(sample.start_ms) - booted_ms) < 5000);
    if (b.count(series) == 0) continue;
    totals++;
    CHECK(std::stod(b.at(series)) >= sample.value.as_double());
  }
  CHECK(totals > 20);
}

TEST_CASE("space of a file system that is really mounted") {
  TempRoot root;
  root.write("proc/1/mountinfo", "29 1 259:2 / / rw,relatime - ext4 /dev/test rw\n");
  Host host(root.path(), {"filesystem"}, HostProbe{});
  struct statvfs st {};
  REQUIRE(::statvfs(root.path().c_str(), &st) == 0);
  auto got = host.round_values();
  const std::string tags =
      "{system.device=/dev/test,system.filesystem.mode=rw,system.filesystem.mountpoint=/"
      ",system.filesystem.type=ext4}";
  CHECK(got.at("system.filesystem.limit" + tags) == std::to_string(st.f_blocks * st.f_frsize));
}
