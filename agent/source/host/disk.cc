// disk: /proc/diskstats (kernel: Documentation/admin-guide/iostats.rst). A sector there is 512 bytes whatever the
// device's is; times are ms.
#include "source/host/collectors.h"
#include "source/host/procfs.h"
#include "source/host/scan.h"

#include <algorithm>
#include <string>

namespace runnel {
namespace {

constexpr HostMetric kIo{"system.disk.io", "By", Kind::total};
constexpr HostMetric kOperations{"system.disk.operations", "{operation}", Kind::total};
constexpr HostMetric kOperationTime{"system.disk.operation_time", "s", Kind::total};
constexpr HostMetric kMerged{"system.disk.merged", "{operation}", Kind::total};
constexpr HostMetric kIoTime{"system.disk.io_time", "s", Kind::total};
constexpr HostMetric kWeighted{"system.disk.weighted_io_time", "s", Kind::total};
constexpr HostMetric kPending{"system.disk.pending_operations", "{operation}"};

constexpr uint64_t kSector = 512;
// reads, merged, sectors, ms; the same for writes; in flight, ms busy, ms weighted. Later kernels append discards and
// flushes.
constexpr size_t kFields = 11;

bool digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Memory and files dressed up as disks, and floppies: node_exporter leaves out the same.
bool uninteresting(std::string_view device) {
  for (std::string_view prefix : {"ram", "zram", "loop", "fd"})
    if (device.starts_with(prefix) && digits(device.substr(prefix.size()))) return true;
  return false;
}

class Disk final : public Collector {
 public:
  explicit Disk(Procfs& procfs) : file_(procfs.file("disk", {"proc/diskstats"})) {}

  void collect(Round& round) override {
    std::string_view text = file_.read(round), line;
    std::string_view disk;  // the last line that was no partition
    while (next_line(text, line)) {
      std::string_view rest = line;
      uint64_t number[2] = {}, v[kFields] = {};
      if (!next_numbers(rest, number, 2)) {
        round.bad(file_, "malformed", line);
        continue;
      }
      std::string_view device = next_word(rest);
      if (device.empty() || !next_numbers(rest, v, kFields)) {
        round.bad(file_, "malformed", line);
        continue;
      }
      if (!disk.empty() && partition_of(disk, device)) continue;
      disk = device;
      if (uninteresting(device)) continue;
      // A drive without a disk in it, a device nobody uses: nothing since boot, and nothing to say.
      if (std::all_of(v, v + kFields, [](uint64_t n) { return n == 0; })) continue;
      one(round, device, v);
    }
  }

 private:
  // The kernel lists a disk and then its partitions, and names these after it (block/genhd.c, disk_name): with a "p"
  // between where the disk's own name ends in a digit. So no list of name patterns is needed, "dm-10" is no partition
  // of "dm-1", and an xvda1 without an xvda, as older cloud images have it, is a disk.
  static bool partition_of(std::string_view disk, std::string_view device) {
    if (device.size() <= disk.size() || !device.starts_with(disk)) return false;
    std::string_view rest = device.substr(disk.size());
    if (disk.back() >= '0' && disk.back() <= '9') return rest[0] == 'p' && digits(rest.substr(1));
    return digits(rest);
  }

  static void one(Round& round, std::string_view device, const uint64_t* v) {
    Tag tag{"system.device", device};
    constexpr std::string_view kDirections[] = {"read", "write"};
    for (std::string_view name : kDirections) {
      Tag direction{"disk.io.direction", name};
      round.add(kIo, {direction, tag}, scaled_number(v[2], kSector));
      round.add(kOperations, {direction, tag}, count_number(v[0]));
      round.add(kOperationTime, {direction, tag}, seconds(v[3], 1000));
      round.add(kMerged, {direction, tag}, count_number(v[1]));
      v += 4;
    }
    round.add(kPending, {tag}, count_number(v[0]));
    round.add(kIoTime, {tag}, seconds(v[1], 1000));
    round.add(kWeighted, {tag}, seconds(v[2], 1000));
  }

  ProcFile& file_;
};

}  // namespace

std::unique_ptr<Collector> make_disk(const HostContext& context) {
  return std::make_unique<Disk>(context.procfs);
}

}  // namespace runnel
