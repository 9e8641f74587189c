// Files that are not what they should be: each costs only what it says itself, and is counted by reason.
#include <sys/stat.h>

#include "host_support.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::test;

namespace {

const std::string kNetHead = "Inter-|   Receive | Transmit\n face |bytes packets|bytes packets\n";
const std::string kMax = "18446744073709551615";  // 2^64 - 1
const std::string kNines = "99999999999999999999999999";

struct Case {
  const char* what;
  const char* collector;
  const char* file;
  std::string text;
  std::map<std::string, std::string> values;  // exactly these
  std::map<std::string, uint64_t> bad;        // exactly these
};

std::string text_of(double value) {
  return value_text(Number(value));
}

std::string binary() {
  std::string out;
  for (int i = 0; i < 3000; i++) out += static_cast<char>((i * 7919) >> 3);
  return out + "\n";
}

}  // namespace

TEST_CASE("hostile and broken files") {
  const std::string cpu = "cpu0 1 2 3 4 5 6 7 8 9 10\n";
  const std::map<std::string, std::string> cpu_values = {
      {"system.cpu.time{cpu.logical_number=0,cpu.mode=user}", "0.01"},
      {"system.cpu.time{cpu.logical_number=0,cpu.mode=nice}", "0.02"},
      {"system.cpu.time{cpu.logical_number=0,cpu.mode=system}", "0.03"},
      {"system.cpu.time{cpu.logical_number=0,cpu.mode=idle}", "0.04"},
      {"system.cpu.time{cpu.logical_number=0,cpu.mode=iowait}", "0.05"},
      {"system.cpu.time{cpu.logical_number=0,cpu.mode=interrupt}", "0.06"},
      {"system.cpu.time{cpu.logical_number=0,cpu.mode=softirq}", "0.07"},
      {"system.cpu.time{cpu.logical_number=0,cpu.mode=steal}", "0.08"},
      {"system.cpu.logical.count", "1"}};
  auto with = [](std::map<std::string, std::string> a, const std::map<std::string, std::string>& b) {
    a.insert(b.begin(), b.end());
    return a;
  };
  const std::string disk = "8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n";
  std::map<std::string, std::string> disk_values;
  for (const auto& [name, value] :
       std::map<std::string, std::string>{{"io{disk.io.direction=read,", "1536"},
                                          {"operations{disk.io.direction=read,", "1"},
                                          {"operation_time{disk.io.direction=read,", "0.004"},
                                          {"merged{disk.io.direction=read,", "2"},
                                          {"io{disk.io.direction=write,", "3584"},
                                          {"operations{disk.io.direction=write,", "5"},
                                          {"operation_time{disk.io.direction=write,", "0.008"},
                                          {"merged{disk.io.direction=write,", "6"},
                                          {"pending_operations{", "9"},
                                          {"io_time{", "0.01"},
                                          {"weighted_io_time{", "0.011"}})
    disk_values["system.disk." + name + "system.device=sda}"] = value;

  const Case kCases[] = {
      // cpu
      {"a good file", "cpu", "stat", "cpu  1 2 3\n" + cpu, cpu_values, {}},
      {"an empty file", "cpu", "stat", "", {}, {{"empty", 1}}},
      {"only a line end", "cpu", "stat", "\n", {}, {{"incomplete", 1}}},
      {"a last line that is cut off",
       "cpu",
       "stat",
       cpu + "cpu1 1 2 3 4 5 6 7 8",
       cpu_values,
       {{"truncated", 1}}},
      {"nothing but a cut line", "cpu", "stat", "cpu0 1 2 3 4 5 6 7 8", {}, {{"truncated", 1}}},
      {"too few columns", "cpu", "stat", cpu + "cpu1 1 2 3\n", cpu_values, {{"malformed", 1}}},
      {"a negative number", "cpu", "stat", cpu + "cpu1 1 2 -3 4 5 6 7 8\n", cpu_values, {{"malformed", 1}}},
      {"a number of 26 digits",
       "cpu",
       "stat",
       cpu + "cpu1 1 2 " + kNines + " 4 5 6 7 8\n",
       cpu_values,
       {{"malformed", 1}}},
      {"2^64", "cpu", "stat", cpu + "ctxt 18446744073709551616\n", cpu_values, {{"malformed", 1}}},
      {"2^64 - 1",
       "cpu",
       "stat",
       cpu + "ctxt " + kMax + "\n",
       with(cpu_values, {{"system.cpu.linux.context_switches", text_of(18446744073709551615.0)}}),
       {}},
      {"2^63 - 1 stays exact",
       "cpu",
       "stat",
       cpu + "ctxt 9223372036854775807\n",
       with(cpu_values, {{"system.cpu.linux.context_switches", "9223372036854775807"}}),
       {}},
      {"a CPU without a number",
       "cpu",
       "stat",
       cpu + "cpux 1 2 3 4 5 6 7 8\n",
       cpu_values,
       {{"malformed", 1}}},
      {"a CPU beyond any machine",
       "cpu",
       "stat",
       cpu + "cpu4000000000 1 2 3 4 5 6 7 8\n",
       cpu_values,
       {{"malformed", 1}}},
      {"binary garbage", "cpu", "stat", binary(), {}, {{"incomplete", 1}}},
      {"lines of a later kernel", "cpu", "stat", cpu + "quantum 1 x\n", cpu_values, {}},
      // memory
      {"a good file",
       "memory",
       "meminfo",
       "MemTotal: 10 kB\nMemFree: 4 kB\nMemAvailable: 7 kB\n",
       {{"system.memory.usage{system.memory.state=used}", "3072"},
        {"system.memory.usage{system.memory.state=free}", "4096"},
        {"system.memory.limit", "10240"},
        {"system.linux.memory.available", "7168"}},
       {}},
      {"no MemAvailable",
       "memory",
       "meminfo",
       "MemTotal: 10 kB\nMemFree: 4 kB\nBuffers: 1 kB\nCached: 2 kB\n",
       {{"system.memory.usage{system.memory.state=used}", "3072"},
        {"system.memory.usage{system.memory.state=free}", "4096"},
        {"system.memory.usage{system.memory.state=buffers}", "1024"},
        {"system.memory.usage{system.memory.state=cached}", "2048"},
        {"system.memory.limit", "10240"}},
       {}},
      {"more available than there is",
       "memory",
       "meminfo",
       "MemTotal: 1 kB\nMemFree: 1 kB\nMemAvailable: 7 kB\n",
       {{"system.memory.usage{system.memory.state=used}", "0"},
        {"system.memory.usage{system.memory.state=free}", "1024"},
        {"system.memory.limit", "1024"},
        {"system.linux.memory.available", "7168"}},
       {}},
      {"KiB that overflow as bytes",
       "memory",
       "meminfo",
       "MemTotal: " + kMax + " kB\nMemFree: 0 kB\nMemAvailable: 0 kB\n",
       {{"system.memory.usage{system.memory.state=used}", text_of(18446744073709551615.0 * 1024)},
        {"system.memory.usage{system.memory.state=free}", "0"},
        {"system.memory.limit", text_of(18446744073709551615.0 * 1024)},
        {"system.linux.memory.available", "0"}},
       {}},
      {"no total", "memory", "meminfo", "MemFree: 4 kB\n", {}, {{"incomplete", 1}}},
      {"a total that is no number",
       "memory",
       "meminfo",
       "MemTotal: ten kB\nMemFree: 4 kB\n",
       {},
       {{"incomplete", 1}, {"malformed", 1}}},
      {"an empty file", "memory", "meminfo", "", {}, {{"empty", 1}}},
      {"binary garbage", "memory", "meminfo", binary(), {}, {{"incomplete", 1}}},
      // disk
      {"a good file", "disk", "diskstats", disk, disk_values, {}},
      {"no disks at all", "disk", "diskstats", "\n", {}, {{"malformed", 1}}},
      {"too few columns", "disk", "diskstats", disk + "8 16 sdb 1 2 3\n", disk_values, {{"malformed", 1}}},
      {"no device", "disk", "diskstats", disk + "8 16\n", disk_values, {{"malformed", 1}}},
      {"a partition goes with its disk",
       "disk",
       "diskstats",
       disk + "8 1 sda1 1 1 1 1 1 1 1 1 1 1 1\n",
       disk_values,
       {}},
      {"never used, ram, loop, zram",
       "disk",
       "diskstats",
       disk + "8 16 sdb 0 0 0 0 0 0 0 0 0 0 0\n1 0 ram0 1 1 1 1 1 1 1 1 1 1 1\n7 0 loop12 1 1 1 1 1 1 1 1 1 "
              "1 1\n"
              "251 0 zram0 1 1 1 1 1 1 1 1 1 1 1\n",
       disk_values,
       {}},
      {"binary garbage", "disk", "diskstats", "\x01\xff\x80 8 0 sda\n", {}, {{"malformed", 1}}},
      {"cut off",
       "disk",
       "diskstats",
       disk + "8 16 sdb 1 2 3 4 5 6 7 8 9 10 1",
       disk_values,
       {{"truncated", 1}}},
      // network
      {"no interfaces", "network", "net/dev", kNetHead, {}, {}},
      {"no headings", "network", "net/dev", "lo: 1 2 3\n", {}, {{"malformed", 1}}},
      {"one line", "network", "net/dev", "Inter-| x\n", {}, {{"malformed", 1}}},
      {"an alias with a colon, and one too short",
       "network",
       "net/dev",
       kNetHead + "  e:1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n e2: 1 2 3\n",
       {{"system.network.io{network.interface.name=e:1,network.io.direction=receive}", "1"},
        {"system.network.packet.count{network.interface.name=e:1,network.io.direction=receive}", "2"},
        {"system.network.errors{network.interface.name=e:1,network.io.direction=receive}", "3"},
        {"system.network.packet.dropped{network.interface.name=e:1,network.io.direction=receive}", "4"},
        {"system.network.io{network.interface.name=e:1,network.io.direction=transmit}", "9"},
        {"system.network.packet.count{network.interface.name=e:1,network.io.direction=transmit}", "10"},
        {"system.network.errors{network.interface.name=e:1,network.io.direction=transmit}", "11"},
        {"system.network.packet.dropped{network.interface.name=e:1,network.io.direction=transmit}", "12"}},
       {{"malformed", 1}}},
      {"no name, two names, no colon",
       "network",
       "net/dev",
       kNetHead +
           ": 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\na b: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n1 2\n",
       {},
       {{"malformed", 3}}},
      // pressure
      {"a good line",
       "pressure",
       "pressure/cpu",
       "some avg10=1.50 avg60=0.00 avg300=0.25 total=2500000\n",
       {{"system.cpu.linux.pressure.time{system.pressure.stall_type=some}", "2.5"},
        {"system.cpu.linux.pressure.average{system.linux.psi.window=10,system.pressure.stall_type=some}",
         "1.5"},
        {"system.cpu.linux.pressure.average{system.linux.psi.window=60,system.pressure.stall_type=some}",
         "0"},
        {"system.cpu.linux.pressure.average{system.linux.psi.window=300,system.pressure.stall_type=some}",
         "0.25"}},
       {}},
      {"no total",
       "pressure",
       "pressure/io",
       "some avg10=1.50 avg60=0.00 avg300=0.25\n",
       {},
       {{"malformed", 1}}},
      {"not finite",
       "pressure",
       "pressure/io",
       "some avg10=nan avg60=0.00 avg300=0.25 total=1\n",
       {},
       {{"malformed", 1}}},
      {"negative",
       "pressure",
       "pressure/io",
       "full avg10=-1 avg60=0.00 avg300=0.25 total=1\n",
       {},
       {{"malformed", 1}}},
      {"neither some nor full",
       "pressure",
       "pressure/io",
       "none avg10=1 avg60=0.00 avg300=0.25 total=1\n",
       {},
       {{"malformed", 1}}},
      // tcp
      {"names without values", "tcp", "net/snmp", "Tcp: InErrs RetransSegs\n", {}, {{"malformed", 1}}},
      {"fewer values than names",
       "tcp",
       "net/snmp",
       "Tcp: InErrs RetransSegs\nTcp: 4\n",
       {{"system.network.linux.tcp.receive_errors", "4"}},
       {{"malformed", 1}}},
      {"a negative limit that is not wanted",
       "tcp",
       "net/snmp",
       "Tcp: MaxConn RetransSegs\nTcp: -1 9\n",
       {{"system.network.linux.tcp.retransmits", "9"}},
       {}},
      {"no Tcp at all", "tcp", "net/snmp", "Udp: A\nUdp: 1\n", {}, {{"incomplete", 1}}},
      {"a key without a value", "tcp", "net/sockstat", "sockets: used\n", {}, {{"malformed", 1}}},
      {"a good one", "tcp", "net/sockstat", "sockets: used 9\n", {{"system.network.linux.sockets", "9"}}, {}},
      // paging
      {"only swap",
       "paging",
       "meminfo",
       "SwapTotal: 8 kB\nSwapFree: 6 kB\n",
       {{"system.paging.usage{system.paging.state=used}", "2048"},
        {"system.paging.usage{system.paging.state=free}", "6144"}},
       {}},
      {"no faults",
       "paging",
       "vmstat",
       "oom_kill 3\n",
       {{"system.linux.memory.oom_kills", "3"}},
       {{"incomplete", 1}}},
      {"more major faults than faults",
       "paging",
       "vmstat",
       "pgfault 1\npgmajfault 2\n",
       {{"system.paging.faults{system.paging.fault.type=major}", "2"},
        {"system.paging.faults{system.paging.fault.type=minor}", "0"}},
       {}},
      // load, processes
      {"two numbers", "load", "loadavg", "1 2\n", {}, {{"malformed", 1}}},
      {"infinite", "load", "loadavg", "1 2 inf 1/2 3\n", {}, {{"malformed", 1}}},
      {"1e400", "load", "uptime", "1e400 0\n", {}, {{"malformed", 1}}},
      {"a good one", "load", "uptime", "12.5 20.00\n", {{"system.uptime", "12.5"}}, {}},
      {"no slash", "processes", "loadavg", "1 2 3 4 5\n", {}, {{"malformed", 1}}},
      {"no `processes`",
       "processes",
       "stat",
       "procs_running 3\n",
       {{"system.process.count{process.state=running}", "3"}},
       {{"incomplete", 1}}},
      // filesystem: nothing of this is asked, the fake statvfs knows no path
      {"lines that are none", "filesystem", "1/mountinfo", "1 2 3\n\nx\n", {}, {{"malformed", 3}}},
  };
  for (const Case& c : kCases) {
    CAPTURE(c.collector, c.what, c.text);
    TempRoot root;
    root.write(std::string("proc/") + c.file, c.text);
    Host host(root.path(), {c.collector});
    CHECK(host.round_values() == c.values);
    std::map<std::string, uint64_t> bad;
    for (const auto& [reason, n] : host.counts.bad.snapshot()) bad[reason] = n;
    CHECK(bad == c.bad);
    CHECK(host.balanced());
  }
}

TEST_CASE("what is no file costs only its collector") {
  for (std::string file :
       {"stat", "meminfo", "vmstat", "diskstats", "net/dev", "loadavg", "pressure/cpu", "net/snmp"}) {
    for (std::string what : {"missing", "folder", "pipe", "dangling link"}) {
      CAPTURE(file, what);
      TempRoot root(fixture("container"));
      root.remove("proc/" + file);
      fs::create_directories(root.at("proc/pressure"));
      if (what == "folder") fs::create_directory(root.at("proc/" + file));
      if (what == "pipe") REQUIRE(::mkfifo(root.at("proc/" + file).c_str(), 0600) == 0);
      if (what == "dangling link") fs::create_symlink("/nonexistent/x", root.at("proc/" + file));
      Host host(root.path());
      size_t first = host.round().samples.size();
      CHECK(first > 30);
      CHECK(host.round().samples.size() == first);
      CHECK(host.counts.bad.sum() == 0);
      CHECK(host.balanced());
    }
  }
  Host nothing("/nonexistent");
  CHECK(nothing.round().samples.empty());
  CHECK(nothing.balanced());
}

TEST_CASE("a file that comes back, is replaced or grows is read again") {
  TempRoot root;
  Host host(root.path(), {"load"});
  CHECK(host.round_values().empty());
  root.write("proc/loadavg", "1 2 3 1/2 3\n");
  CHECK(host.round_values().at("system.cpu.load_average.1m") == "1");
  root.write("proc/loadavg", "4 5 6 1/2 3\n");  // in place
  CHECK(host.round_values().at("system.cpu.load_average.1m") == "4");
  root.write("proc/other", "7 8 9 1/2 3\n");
  fs::rename(root.at("proc/other"), root.at("proc/loadavg"));  // another inode
  CHECK(host.round_values().at("system.cpu.load_average.1m") == "7");
  root.remove("proc/loadavg");
  CHECK(host.round_values().empty());
  root.write("proc/loadavg", "1 1 1 1/2 3\n");
  CHECK(host.round_values().size() == 3);
}

TEST_CASE("no line is lost where a file is larger than any buffer so far") {
  for (int cpus : {1, 50, 63, 64, 65, 500, 4096}) {
    std::string text = "cpu  1 1 1 1 1 1 1 1 0 0\n";
    for (int i = 0; i < cpus; i++) text += "cpu" + std::to_string(i) + " 123456 2 3 4 5 6 7 8 9 10\n";
    text += "intr 7" + std::string(60'000, ' ') + "\nctxt 5\n";
    TempRoot root;
    root.write("proc/stat", text);
    Host host(root.path(), {"cpu"});
    for (int round = 0; round < 2; round++) {
      Batch batch = host.round();
      CHECK(batch.samples.size() == static_cast<size_t>(cpus) * 8 + 3);
      CHECK(values(batch).at("system.cpu.logical.count") == std::to_string(cpus));
    }
    CHECK(host.counts.bad.sum() == 0);
  }
}

TEST_CASE("a file without end is refused, not read into memory") {
  TempRoot root;
  fs::create_directories(root.at("proc"));
  fs::create_symlink("/dev/zero", root.at("proc/loadavg"));
  Host host(root.path(), {"load"});
  CHECK(host.round().samples.empty());
  CHECK(host.balanced());
}

TEST_CASE("CPU times do not go back by a little, and do by much") {
  TempRoot root;
  Host host(root.path(), {"cpu"});
  auto iowait = [&](const std::string& ticks) {
    root.write("proc/stat", "cpu3 0 0 0 0 " + ticks + " 0 0 0 0 0\n");
    return host.round_values().at("system.cpu.time{cpu.logical_number=3,cpu.mode=iowait}");
  };
  CHECK(iowait("1000") == "10");
  CHECK(iowait("999") == "10");
  CHECK(iowait("1001") == "10.01");
  CHECK(iowait("100") == "1");  // taken out and put back
  CHECK(iowait("101") == "1.01");
}

TEST_CASE("partitions are told by the name of the disk before them") {
  TempRoot root;
  std::string text;
  for (const char* name :
       {"sda", "sda1", "sda15", "sdaa", "sdaa1", "nvme0n1", "nvme0n1p1", "nvme0n10", "dm-1", "dm-10",
        "mmcblk0", "mmcblk0p2", "mmcblk0boot0", "md12", "md127", "md127p1", "xvda1", "loop0"})
    text += std::string("8 0 ") + name + " 1 1 1 1 1 1 1 1 1 1 1\n";
  root.write("proc/diskstats", text);
  Host host(root.path(), {"disk"});
  std::set<std::string> got;
  Batch batch = host.round();
  for (const Sample& sample : batch.samples) got.emplace(batch.view(sample.series).find("system.device"));
  CHECK(got == std::set<std::string>{"sda", "sdaa", "nvme0n1", "nvme0n10", "dm-1", "dm-10", "mmcblk0",
                                     "mmcblk0boot0", "md12", "md127", "xvda1"});
}

TEST_CASE("the start of totals is the boot, and does not wander with its rounding") {
  TempRoot root;
  Host host(root.path(), {"processes", "disk"});
  auto start = [&](const std::string& btime) {
    root.write("proc/stat", "cpu0 1\nbtime " + btime + "\nprocesses 4\n");
    root.write("proc/diskstats", "8 0 sda 1 1 1 1 1 1 1 1 1 1 1\n");
    Batch batch = host.round();
    int64_t out = -1;
    for (const Sample& sample : batch.samples) {
      if (batch.view(sample.series).name() == "system.process.created") out = sample.start_ms;
      if (batch.view(sample.series).name() == "system.disk.io")
        CHECK(sample.start_ms == 0);  // it may have been plugged in
    }
    return out;
  };
  CHECK(start("x") == 0);
  CHECK(start("1700000000") == 1'700'000'000'000);
  CHECK(start("1700000001") == 1'700'000'000'000);
  CHECK(start("1700003600") == 1'700'003'600'000);  // the clock was set
  CHECK(start("99999999999999999999") == 1'700'003'600'000);
}
