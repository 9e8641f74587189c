// paging: /proc/vmstat and the swap lines of /proc/meminfo, which the memory collector reads too.
#include "source/host/collectors.h"
#include "source/host/pairs.h"
#include "source/host/procfs.h"

namespace runnel {
namespace {

constexpr HostMetric kUsage{"system.paging.usage", "By"};
constexpr HostMetric kFaults{"system.paging.faults", "{fault}", Kind::total, true};
constexpr HostMetric kOperations{"system.paging.operations", "{operation}", Kind::total, true};
constexpr HostMetric kIo{"system.paging.linux.io", "By", Kind::total, true};
constexpr HostMetric kOomKills{"system.linux.memory.oom_kills", "{process}", Kind::total, true};

enum Swap : size_t { kSwapTotal, kSwapFree, kSwapKeys };
enum Vm : size_t { kPgIn, kPgOut, kSwapIn, kSwapOut, kFault, kMajor, kOom, kVmKeys };

class Paging final : public Collector {
 public:
  explicit Paging(Procfs& procfs)
      : meminfo_(procfs.file("paging", {"proc/meminfo"})), vmstat_(procfs.file("paging", {"proc/vmstat"})) {}

  void collect(Round& round) override {
    if (std::string_view text = meminfo_.read(round); !text.empty()) swap(round, text);
    if (std::string_view text = vmstat_.read(round); !text.empty()) vm(round, text);
  }

 private:
  void swap(Round& round, std::string_view text) {
    pick_pairs(round, meminfo_, text, ':', swap_);
    if (!swap_[kSwapTotal].found || !swap_[kSwapFree].found) return;
    uint64_t total = swap_[kSwapTotal].value, free = swap_[kSwapFree].value;
    round.add(kUsage, {{"system.paging.state", "used"}}, scaled_number(difference(total, free), 1024));
    round.add(kUsage, {{"system.paging.state", "free"}}, scaled_number(free, 1024));
  }

  void vm(Round& round, std::string_view text) {
    pick_pairs(round, vmstat_, text, ' ', vm_);
    if (vm_[kFault].found && vm_[kMajor].found) {
      // pgfault counts both kinds.
      round.add(kFaults, {{"system.paging.fault.type", "major"}}, count_number(vm_[kMajor].value));
      round.add(kFaults, {{"system.paging.fault.type", "minor"}},
                count_number(difference(vm_[kFault].value, vm_[kMajor].value)));
    } else {
      round.bad(vmstat_, "incomplete", "no pgfault or pgmajfault");
    }
    // OpenTelemetry's collector calls swapping the paging of major faults.
    constexpr Tag kMajorTag{"system.paging.fault.type", "major"};
    if (vm_[kSwapIn].found)
      round.add(kOperations, {{"system.paging.direction", "in"}, kMajorTag},
                count_number(vm_[kSwapIn].value));
    if (vm_[kSwapOut].found)
      round.add(kOperations, {{"system.paging.direction", "out"}, kMajorTag},
                count_number(vm_[kSwapOut].value));
    // Not pages in spite of their names, but KiB (mm/vmstat.c: sectors divided by 2).
    if (vm_[kPgIn].found)
      round.add(kIo, {{"system.paging.direction", "in"}}, scaled_number(vm_[kPgIn].value, 1024));
    if (vm_[kPgOut].found)
      round.add(kIo, {{"system.paging.direction", "out"}}, scaled_number(vm_[kPgOut].value, 1024));
    if (vm_[kOom].found) round.add(kOomKills, {}, count_number(vm_[kOom].value));
  }

  ProcFile& meminfo_;
  ProcFile& vmstat_;
  std::array<Pair, kSwapKeys> swap_{{{"SwapTotal"}, {"SwapFree"}}};
  std::array<Pair, kVmKeys> vm_{
      {{"pgpgin"}, {"pgpgout"}, {"pswpin"}, {"pswpout"}, {"pgfault"}, {"pgmajfault"}, {"oom_kill"}}};
};

}  // namespace

std::unique_ptr<Collector> make_paging(const HostContext& context) {
  return std::make_unique<Paging>(context.procfs);
}

}  // namespace runnel
