// network: /proc/net/dev (proc(5)). A counter starts at 0 when its interface appears, which need not be at boot.
#include "source/host/collectors.h"
#include "source/host/procfs.h"
#include "source/host/scan.h"

#include <algorithm>

namespace runnel {
namespace {

constexpr HostMetric kIo{"system.network.io", "By", Kind::total};
constexpr HostMetric kPackets{"system.network.packet.count", "{packet}", Kind::total};
constexpr HostMetric kErrors{"system.network.errors", "{error}", Kind::total};
constexpr HostMetric kDropped{"system.network.packet.dropped", "{packet}", Kind::total};

// bytes packets errs drop fifo frame compressed multicast; bytes packets errs drop fifo colls carrier compressed
constexpr size_t kFields = 16;
constexpr size_t kSide = 8;

class Network final : public Collector {
 public:
  explicit Network(Procfs& procfs) : file_(procfs.net_file("network", "dev")) {}

  void collect(Round& round) override {
    std::string_view text = file_.read(round), line;
    if (text.empty()) return;
    // Two lines of headings.
    for (int i = 0; i < 2; i++) {
      if (next_line(text, line) && line.find('|') != std::string_view::npos) continue;
      round.bad(file_, "malformed", line);
      return;
    }
    while (next_line(text, line)) {
      // The last colon: an alias is called "eth0:1".
      size_t colon = line.rfind(':');
      std::string_view front = line.substr(0, colon == std::string_view::npos ? 0 : colon);
      std::string_view name = next_word(front);
      std::string_view rest = line.substr(colon == std::string_view::npos ? 0 : colon + 1);
      uint64_t v[kFields] = {};
      if (name.empty() || !front.empty() || !next_numbers(rest, v, kFields)) {
        round.bad(file_, "malformed", line);
        continue;
      }
      // Interfaces that have never carried anything (tunl0, sit0, dummy0, an unplugged port) come once they do.
      if (std::all_of(v, v + kFields, [](uint64_t n) { return n == 0; })) continue;
      one(round, name, "receive", v);
      one(round, name, "transmit", v + kSide);
    }
  }

 private:
  static void one(Round& round, std::string_view name, std::string_view direction, const uint64_t* v) {
    Tag interface { "network.interface.name", name }, way{"network.io.direction", direction};
    round.add(kIo, {interface, way}, count_number(v[0]));
    round.add(kPackets, {interface, way}, count_number(v[1]));
    round.add(kErrors, {interface, way}, count_number(v[2]));
    round.add(kDropped, {interface, way}, count_number(v[3]));
  }

  ProcFile& file_;
};

}  // namespace

std::unique_ptr<Collector> make_network(const HostContext& context) {
  return std::make_unique<Network>(context.procfs);
}

}  // namespace runnel
