// pressure: /proc/pressure/{cpu,memory,io,irq} (kernel: Documentation/accounting/psi.rst): the time in which some or all
// tasks stood still for want of a resource. `total` is µs since boot, the averages are percentages.
#include <iterator>

#include "source/host/collectors.h"
#include "source/host/procfs.h"
#include "source/host/scan.h"

namespace runnel {
namespace {

struct Resource {
  std::string_view path;
  HostMetric time, average;
};
constexpr Resource kResources[] = {
    {"proc/pressure/cpu",
     {"system.cpu.linux.pressure.time", "s", Kind::total, true},
     {"system.cpu.linux.pressure.average", "%"}},
    {"proc/pressure/memory",
     {"system.memory.linux.pressure.time", "s", Kind::total, true},
     {"system.memory.linux.pressure.average", "%"}},
    {"proc/pressure/io",
     {"system.io.linux.pressure.time", "s", Kind::total, true},
     {"system.io.linux.pressure.average", "%"}},
    {"proc/pressure/irq",
     {"system.irq.linux.pressure.time", "s", Kind::total, true},
     {"system.irq.linux.pressure.average", "%"}},
};

// Takes `key=` and returns its value.
bool field(std::string_view& text, std::string_view key, std::string_view& value) {
  value = next_word(text);
  if (!value.starts_with(key)) return false;
  value.remove_prefix(key.size());
  return true;
}

class Pressure final : public Collector {
 public:
  explicit Pressure(Procfs& procfs) {
    // All four are optional: CONFIG_PSI, psi=0, and irq only where interrupt time is accounted for.
    for (size_t i = 0; i < std::size(kResources); i++)
      files_[i] = &procfs.file("pressure", {kResources[i].path}, true);
  }

  void collect(Round& round) override {
    for (size_t i = 0; i < std::size(kResources); i++) {
      std::string_view text = files_[i]->read(round), line;
      while (next_line(text, line))
        if (!one(round, kResources[i], line)) round.bad(*files_[i], "malformed", line);
    }
  }

 private:
  static bool one(Round& round, const Resource& resource, std::string_view line) {
    std::string_view type = next_word(line);
    if (type != "some" && type != "full") return false;
    constexpr std::string_view kKeys[] = {"avg10=", "avg60=", "avg300="};
    constexpr std::string_view kWindows[] = {"10", "60", "300"};
    double average[3] = {};
    std::string_view text;
    for (size_t i = 0; i < 3; i++) {
      if (!field(line, kKeys[i], text)) return false;
      if (!next_decimal(text, average[i])) return false;
    }
    uint64_t total = 0;
    if (!field(line, "total=", text) || !next_number(text, total)) return false;
    round.add(resource.time, {{"system.pressure.stall_type", type}}, seconds(total, 1e6));
    for (size_t i = 0; i < 3; i++)
      round.add(resource.average,
                {{"system.linux.psi.window", kWindows[i]}, {"system.pressure.stall_type", type}}, average[i]);
    return true;
  }

  ProcFile* files_[std::size(kResources)];
};

}  // namespace

std::unique_ptr<Collector> make_pressure(const HostContext& context) {
  return std::make_unique<Pressure>(context.procfs);
}

}  // namespace runnel
