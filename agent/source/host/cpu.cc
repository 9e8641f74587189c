// cpu: /proc/stat (kernel: Documentation/filesystems/proc.rst, 1.7). Ticks are 1/USER_HZ, which is 100 on every
// architecture Debian has.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

#include "base/text.h"
#include "source/host/collectors.h"
#include "source/host/procfs.h"
#include "source/host/scan.h"

namespace runnel {
namespace {

constexpr HostMetric kTime{"system.cpu.time", "s", Kind::total, true};
constexpr HostMetric kCount{"system.cpu.logical.count", "{cpu}"};
constexpr HostMetric kSwitches{"system.cpu.linux.context_switches", "{switch}", Kind::total, true};
constexpr HostMetric kInterrupts{"system.cpu.linux.interrupts", "{interrupt}", Kind::total, true};

// In the file's order. The columns that follow, guest and guest_nice, are part of user and nice already.
constexpr std::array<std::string_view, 8> kModes{"user",   "nice",      "system",  "idle",
                                                 "iowait", "interrupt", "softirq", "steal"};
constexpr size_t kMaxCpus = 65536;  // what is remembered of a file grows no further than this
constexpr double kMaxStepBack = 3;  // s; more is a CPU that was taken out and put back: node_exporter's rule

class Cpu final : public Collector {
 public:
  explicit Cpu(Procfs& procfs)
      : file_(procfs.file("cpu", {"proc/stat"})),
        hertz_(static_cast<double>(std::max(1L, ::sysconf(_SC_CLK_TCK)))) {}

  void collect(Round& round) override {
    std::string_view text = file_.read(round), line;
    if (text.empty()) return;
    int64_t cpus = 0;
    while (next_line(text, line)) {
      if (line.starts_with("cpu")) {
        if (line.starts_with("cpu ")) continue;  // the sum of the others
        if (one_cpu(round, line)) cpus++;
      } else if (line.starts_with("ctxt ")) {
        single(round, line, kSwitches);
      } else if (line.starts_with("intr ")) {
        // The sum stands first; thousands of numbers may follow.
        single(round, line, kInterrupts);
      }
    }
    if (cpus > 0) {
      round.add(kCount, {}, Number::integer(cpus));
    } else {
      round.bad(file_, "incomplete", "no line of a CPU");
    }
  }

 private:
  using Ticks = std::array<uint64_t, kModes.size()>;

  bool one_cpu(Round& round, std::string_view line) {
    std::string_view rest = line.substr(3);
    std::string_view number = next_word(rest);
    auto index = parse_uint(number);
    Ticks ticks{};
    if (!index || *index >= kMaxCpus || !next_numbers(rest, ticks.data(), ticks.size())) {
      round.bad(file_, "malformed", line);
      return false;
    }
    keep_monotonic(static_cast<size_t>(*index), ticks);
    for (size_t i = 0; i < ticks.size(); i++)
      round.add(kTime, {{"cpu.logical_number", number}, {"cpu.mode", kModes[i]}}, seconds(ticks[i], hertz_));
    return true;
  }

  // The kernel documents that iowait may decrease, and idle does so by a tick: readers of a total would take that for
  // a restart from 0.
  void keep_monotonic(size_t index, Ticks& ticks) {
    if (index >= last_.size()) last_.resize(index + 1);
    Ticks& last = last_[index];
    for (size_t i = 0; i < ticks.size(); i++)
      if (ticks[i] < last[i] && static_cast<double>(last[i] - ticks[i]) <= kMaxStepBack * hertz_)
        ticks[i] = last[i];
    last = ticks;
  }

  void single(Round& round, std::string_view line, const HostMetric& metric) {
    std::string_view rest = line.substr(5);
    uint64_t value = 0;
    if (next_number(rest, value)) {
      round.add(metric, {}, count_number(value));
    } else {
      round.bad(file_, "malformed", line);
    }
  }

  ProcFile& file_;
  double hertz_;
  std::vector<Ticks> last_;  // by number of the CPU
};

}  // namespace

std::unique_ptr<Collector> make_cpu(const HostContext& context) {
  return std::make_unique<Cpu>(context.procfs);
}

}  // namespace runnel
