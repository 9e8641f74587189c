// filesystem: /proc/1/mountinfo, and statvfs(2) of what is mounted there. Read-only is what the table of process 1 says:
// a sandboxed agent sees its own, stricter mounts.
#include <unordered_map>

#include "base/fd.h"
#include "base/log.h"
#include "source/host/collectors.h"
#include "source/host/mounts.h"
#include "source/host/procfs.h"
#include "source/host/scan.h"

namespace runnel {
namespace {

constexpr HostMetric kUsage{"system.filesystem.usage", "By"};
constexpr HostMetric kLimit{"system.filesystem.limit", "By"};
constexpr HostMetric kInodes{"system.filesystem.inodes.usage", "{inode}"};
constexpr HostMetric kInodesLimit{"system.filesystem.inodes.limit", "{inode}"};

class Filesystem final : public Collector {
 public:
  explicit Filesystem(const HostContext& context)
      : file_(context.procfs.file("filesystem", {"proc/1/mountinfo", "proc/self/mountinfo"})),
        root_(context.procfs.root()),
        call_(context.probe.statvfs),
        patience_(context.probe.patience) {
    file_.expect_long_lines();  // an overlay names all its layers
  }

  void collect(Round& round) override {
    if (file_.changed()) reload(round);
    for (Entry& entry : local_) {
      struct statvfs st {};
      int error = call_(entry.path.c_str(), &st);
      answer(round, entry, error, st);
    }
    if (!remote_.empty()) ask_remote(round);
  }

 private:
  struct Entry {
    Mount mount;
    std::string path;  // as the agent sees it: below its root
    int error = 0;     // the last one, which has been logged
  };

  void reload(Round& round) {
    std::string_view text = file_.read(round), line;
    std::vector<Mount> mounts;
    while (next_line(text, line)) {
      Mount mount;
      if (parse_mount(line, mount)) {
        mounts.push_back(std::move(mount));
      } else {
        round.bad(file_, "malformed", line);
      }
    }
    std::vector<Entry> before = std::move(local_);
    before.insert(before.end(), std::make_move_iterator(remote_.begin()),
                  std::make_move_iterator(remote_.end()));
    std::unordered_map<std::string_view, const Entry*> known;
    for (const Entry& entry : before) known[entry.mount.mountpoint] = &entry;
    local_.clear();
    remote_.clear();
    remote_paths_.clear();
    for (Mount& mount : select_mounts(std::move(mounts))) {
      auto old = known.find(mount.mountpoint);
      Entry entry{std::move(mount), {}, 0};
      entry.path = root_ + entry.mount.mountpoint;
      if (old != known.end() && old->second->mount.id == entry.mount.id) entry.error = old->second->error;
      if (entry.mount.remote) remote_paths_.push_back(entry.path);
      (entry.mount.remote ? remote_ : local_).push_back(std::move(entry));
    }
  }

  void ask_remote(Round& round) {
    if (!asker_) asker_ = std::make_unique<RemoteStatvfs>(call_, patience_);
    std::vector<RemoteStatvfs::Answer> answers = asker_->ask(remote_paths_);
    for (size_t i = 0; i < remote_.size(); i++) {
      const Mount& mount = remote_[i].mount;
      if (answers[i].newly_stuck)
        log::warning("host", "filesystem: {} ({} {}) does not answer (left out until it does)",
                     mount.mountpoint, mount.type, mount.device);
      if (answers[i].newly_answers) log::info("host", "filesystem: {} answers again", mount.mountpoint);
      if (answers[i].known) answer(round, remote_[i], answers[i].error, answers[i].st);
    }
  }

  static void answer(Round& round, Entry& entry, int error, const struct statvfs& st) {
    const Mount& mount = entry.mount;
    if (error != 0 && error != entry.error)
      log::warning("host", "filesystem: cannot ask {}: {} (left out until it can be asked)", mount.mountpoint,
                   errno_text(error));
    entry.error = error;
    // Without blocks: what only looks like a file system to store in, or an empty one put there by a sandbox.
    if (error != 0 || st.f_blocks == 0) return;
    Tag device{"system.device", mount.device}, mode{"system.filesystem.mode", mount.read_only ? "ro" : "rw"};
    Tag mountpoint{"system.filesystem.mountpoint", mount.mountpoint},
        type{"system.filesystem.type", mount.type};
    auto state = [&](const HostMetric& metric, std::string_view name, Number value) {
      round.add(metric, {device, mode, mountpoint, {"system.filesystem.state", name}, type}, value);
    };
    // statvfs(3): counted in f_frsize; f_bfree includes what is kept for root, f_bavail does not.
    uint64_t unit = st.f_frsize != 0 ? st.f_frsize : st.f_bsize;
    if (unit == 0) unit = 1;
    state(kUsage, "used", scaled_number(difference(st.f_blocks, st.f_bfree), unit));
    state(kUsage, "free", scaled_number(st.f_bavail, unit));
    state(kUsage, "reserved", scaled_number(difference(st.f_bfree, st.f_bavail), unit));
    round.add(kLimit, {device, mode, mountpoint, type}, scaled_number(st.f_blocks, unit));
    // btrfs, vfat and some servers have no fixed number of inodes and say 0.
    if (st.f_files == 0) return;
    state(kInodes, "used", count_number(difference(st.f_files, st.f_ffree)));
    state(kInodes, "free", count_number(st.f_ffree));
    round.add(kInodesLimit, {device, mode, mountpoint, type}, count_number(st.f_files));
  }

  ProcFile& file_;
  std::string root_;
  StatvfsCall call_;
  std::chrono::nanoseconds patience_;
  std::vector<Entry> local_, remote_;
  std::vector<std::string> remote_paths_;  // of remote_
  std::unique_ptr<RemoteStatvfs> asker_;   // once there is a remote mount
};

}  // namespace

std::unique_ptr<Collector> make_filesystem(const HostContext& context) {
  return std::make_unique<Filesystem>(context);
}

}  // namespace runnel
