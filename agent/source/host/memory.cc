// memory: /proc/meminfo (proc(5)). Values are KiB there and bytes here, hugepages are pages.
#include "source/host/collectors.h"
#include "source/host/pairs.h"
#include "source/host/procfs.h"

namespace runnel {
namespace {

constexpr HostMetric kUsage{"system.memory.usage", "By"};
constexpr HostMetric kLimit{"system.memory.limit", "By"};
constexpr HostMetric kAvailable{"system.linux.memory.available", "By"};
constexpr HostMetric kSlab{"system.linux.memory.slab.usage", "By"};
constexpr HostMetric kHugeUsage{"system.linux.memory.hugepages.usage", "{page}"};
constexpr HostMetric kHugeLimit{"system.linux.memory.hugepages.limit", "{page}"};
constexpr HostMetric kHugeReserved{"system.linux.memory.hugepages.reserved", "{page}"};
constexpr HostMetric kHugeSurplus{"system.linux.memory.hugepages.surplus", "{page}"};
constexpr HostMetric kHugeSize{"system.linux.memory.hugepages.page_size", "By"};

enum Key : size_t {
  kMemTotal,
  kMemFree,
  kMemAvailable,
  kBuffers,
  kCached,
  kDirty,
  kWriteback,
  kAnonPages,
  kMapped,
  kShmem,
  kReclaimable,
  kUnreclaimable,
  kKernelStack,
  kPageTables,
  kCommitLimit,
  kCommitted,
  kHugeTotal,
  kHugeFree,
  kHugeRsvd,
  kHugeSurp,
  kHugePageSize,
  kKeys
};

// Those that are passed on as they are, times 1,024.
struct Plain {
  Key key;
  HostMetric metric;
};
constexpr Plain kPlain[] = {
    {kMemTotal, kLimit},
    {kMemAvailable, kAvailable},
    {kShmem, {"system.linux.memory.shared", "By"}},
    {kAnonPages, {"system.linux.memory.anonymous", "By"}},
    {kMapped, {"system.linux.memory.mapped", "By"}},
    {kDirty, {"system.linux.memory.dirty", "By"}},
    {kWriteback, {"system.linux.memory.writeback", "By"}},
    {kKernelStack, {"system.linux.memory.kernel_stack", "By"}},
    {kPageTables, {"system.linux.memory.page_tables", "By"}},
    {kCommitted, {"system.linux.memory.commit.usage", "By"}},
    {kCommitLimit, {"system.linux.memory.commit.limit", "By"}},
};

class Memory final : public Collector {
 public:
  explicit Memory(Procfs& procfs) : file_(procfs.file("memory", {"proc/meminfo"})) {}

  void collect(Round& round) override {
    std::string_view text = file_.read(round);
    if (text.empty()) return;
    pick_pairs(round, file_, text, ':', keys_);
    if (!keys_[kMemTotal].found || !keys_[kMemFree].found) {
      round.bad(file_, "incomplete", "no MemTotal or MemFree");
      return;
    }
    usage(round);
    for (const Plain& plain : kPlain)
      if (keys_[plain.key].found) round.add(plain.metric, {}, bytes(plain.key));
    if (keys_[kReclaimable].found)
      round.add(kSlab, {{"linux.memory.slab.state", "reclaimable"}}, bytes(kReclaimable));
    if (keys_[kUnreclaimable].found)
      round.add(kSlab, {{"linux.memory.slab.state", "unreclaimable"}}, bytes(kUnreclaimable));
    if (keys_[kHugeTotal].found && keys_[kHugeFree].found) hugepages(round);
  }

 private:
  Number bytes(Key key) const { return scaled_number(keys_[key].value, 1024); }

  void usage(Round& round) {
    uint64_t total = keys_[kMemTotal].value;
    // OpenTelemetry: used is what is not available. Kernels before 3.14 do not say, and some containers neither: there
    // it is what is neither free nor a cache, as free(1) once had it.
    uint64_t rest = keys_[kMemAvailable].value;
    if (!keys_[kMemAvailable].found)
      rest = saturated(saturated(keys_[kMemFree].value, keys_[kBuffers]), keys_[kCached]);
    round.add(kUsage, {{"system.memory.state", "used"}}, scaled_number(difference(total, rest), 1024));
    round.add(kUsage, {{"system.memory.state", "free"}}, bytes(kMemFree));
    if (keys_[kBuffers].found) round.add(kUsage, {{"system.memory.state", "buffers"}}, bytes(kBuffers));
    if (keys_[kCached].found) round.add(kUsage, {{"system.memory.state", "cached"}}, bytes(kCached));
  }

  static uint64_t saturated(uint64_t a, const Pair& b) {
    if (!b.found) return a;
    return a + b.value < a ? UINT64_MAX : a + b.value;
  }

  // A host without hugepages, which are most, says so in one sample.
  void hugepages(Round& round) {
    uint64_t total = keys_[kHugeTotal].value, free = keys_[kHugeFree].value;
    round.add(kHugeLimit, {}, count_number(total));
    if (total == 0) return;
    round.add(kHugeUsage, {{"linux.memory.hugepages.state", "used"}}, count_number(difference(total, free)));
    round.add(kHugeUsage, {{"linux.memory.hugepages.state", "free"}}, count_number(free));
    if (keys_[kHugeRsvd].found) round.add(kHugeReserved, {}, count_number(keys_[kHugeRsvd].value));
    if (keys_[kHugeSurp].found) round.add(kHugeSurplus, {}, count_number(keys_[kHugeSurp].value));
    if (keys_[kHugePageSize].found) round.add(kHugeSize, {}, bytes(kHugePageSize));
  }

  ProcFile& file_;
  std::array<Pair, kKeys> keys_{
      {{"MemTotal"},     {"MemFree"},         {"MemAvailable"},   {"Buffers"},        {"Cached"},
       {"Dirty"},        {"Writeback"},       {"AnonPages"},      {"Mapped"},         {"Shmem"},
       {"SReclaimable"}, {"SUnreclaim"},      {"KernelStack"},    {"PageTables"},     {"CommitLimit"},
       {"Committed_AS"}, {"HugePages_Total"}, {"HugePages_Free"}, {"HugePages_Rsvd"}, {"HugePages_Surp"},
       {"Hugepagesize"}}};
};

}  // namespace

std::unique_ptr<Collector> make_memory(const HostContext& context) {
  return std::make_unique<Memory>(context.procfs);
}

}  // namespace runnel
