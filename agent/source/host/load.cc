// load: /proc/loadavg and /proc/uptime (proc(5)).
#include "source/host/collectors.h"
#include "source/host/procfs.h"
#include "source/host/scan.h"

namespace runnel {
namespace {

constexpr HostMetric kAverages[] = {{"system.cpu.load_average.1m", "{thread}"},
                                    {"system.cpu.load_average.5m", "{thread}"},
                                    {"system.cpu.load_average.15m", "{thread}"}};
constexpr HostMetric kUptime{"system.uptime", "s"};

class Load final : public Collector {
 public:
  explicit Load(Procfs& procfs)
      : loadavg_(procfs.file("load", {"proc/loadavg"})), uptime_(procfs.file("load", {"proc/uptime"})) {}

  void collect(Round& round) override {
    take(round, loadavg_, kAverages, 3);
    take(round, uptime_, &kUptime, 1);
  }

 private:
  // The first `count` numbers of the file's one line, or none of them.
  static void take(Round& round, ProcFile& file, const HostMetric* metrics, size_t count) {
    std::string_view text = file.read(round), line;
    if (!next_line(text, line)) return;
    std::string_view rest = line;
    double values[3] = {};
    for (size_t i = 0; i < count; i++) {
      if (next_decimal(rest, values[i])) continue;
      round.bad(file, "malformed", line);
      return;
    }
    for (size_t i = 0; i < count; i++) round.add(metrics[i], {}, values[i]);
  }

  ProcFile& loadavg_;
  ProcFile& uptime_;
};

}  // namespace

std::unique_ptr<Collector> make_load(const HostContext& context) {
  return std::make_unique<Load>(context.procfs);
}

}  // namespace runnel
