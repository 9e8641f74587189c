// processes: /proc/stat and /proc/loadavg, which other collectors read too: what the kernel counts anyway. States of
// single processes would need a walk over /proc/PID, 4 to 14 µs each.
#include "source/host/collectors.h"
#include "source/host/pairs.h"
#include "source/host/procfs.h"

namespace runnel {
namespace {

constexpr HostMetric kCount{"system.process.count", "{process}"};
constexpr HostMetric kCreated{"system.process.created", "{process}", Kind::total, true};
constexpr HostMetric kThreads{"system.linux.thread.count", "{thread}"};

enum Key : size_t { kProcesses, kRunning, kBlocked, kKeys };

class Processes final : public Collector {
 public:
  explicit Processes(Procfs& procfs)
      : stat_(procfs.file("processes", {"proc/stat"})),
        loadavg_(procfs.file("processes", {"proc/loadavg"})) {}

  void collect(Round& round) override {
    if (std::string_view text = stat_.read(round); !text.empty()) {
      pick_pairs(round, stat_, text, ' ', keys_);
      if (keys_[kProcesses].found) {
        round.add(kCreated, {}, count_number(keys_[kProcesses].value));
      } else {
        round.bad(stat_, "incomplete", "no line `processes`");
      }
      if (keys_[kRunning].found)
        round.add(kCount, {{"process.state", "running"}}, count_number(keys_[kRunning].value));
      if (keys_[kBlocked].found)
        round.add(kCount, {{"process.state", "blocked"}}, count_number(keys_[kBlocked].value));
    }
    threads(round);
  }

 private:
  // 0.06 0.09 0.09 1/91 6995: the fourth is threads that can run / all.
  void threads(Round& round) {
    std::string_view text = loadavg_.read(round), line;
    if (!next_line(text, line)) return;
    std::string_view rest = line, word;
    for (int i = 0; i < 4; i++) word = next_word(rest);
    size_t slash = word.find('/');
    std::string_view number = slash == std::string_view::npos ? std::string_view() : word.substr(slash + 1);
    uint64_t all = 0;
    if (next_number(number, all)) {
      round.add(kThreads, {}, count_number(all));
    } else {
      round.bad(loadavg_, "malformed", line);
    }
  }

  ProcFile& stat_;
  ProcFile& loadavg_;
  std::array<Pair, kKeys> keys_{{{"processes"}, {"procs_running"}, {"procs_blocked"}}};
};

}  // namespace

std::unique_ptr<Collector> make_processes(const HostContext& context) {
  return std::make_unique<Processes>(context.procfs);
}

}  // namespace runnel
