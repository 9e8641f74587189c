#include "source/host/mounts.h"

#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "source/host/scan.h"

namespace runnel {
namespace {

// node_exporter's list, with what has come since and what FUSE presents without storing it.
constexpr std::string_view kPseudo[] = {
    "autofs",      "binder",        "binfmt_misc", "bpf",       "cgroup",  "cgroup2",         "configfs",
    "debugfs",     "devpts",        "devtmpfs",    "efivarfs",  "erofs",   "fuse.gvfsd-fuse", "fuse.lxcfs",
    "fuse.portal", "fuse.snapfuse", "fusectl",     "hugetlbfs", "iso9660", "mqueue",          "nsfs",
    "overlay",     "proc",          "procfs",      "pstore",    "ramfs",   "rootfs",          "rpc_pipefs",
    "securityfs",  "selinuxfs",     "squashfs",    "sysfs",     "tracefs"};
static_assert(std::is_sorted(std::begin(kPseudo), std::end(kPseudo)));

constexpr std::string_view kRemote[] = {
    "9p",   "afs",    "beegfs", "ceph", "cifs", "coda",  "davfs", "fuse", "fuseblk", "gfs2",    "glusterfs",
    "gpfs", "lustre", "ncpfs",  "nfs",  "nfs4", "ocfs2", "pvfs2", "smb3", "smbfs",   "virtiofs"};

// A mount at or below one of these is the plumbing of containers, sessions and devices.
constexpr std::string_view kHiddenBelow[] = {"/dev",
                                             "/proc",
                                             "/sys",
                                             "/run/containerd",
                                             "/run/credentials",
                                             "/run/docker",
                                             "/run/netns",
                                             "/run/secrets",
                                             "/run/user",
                                             "/var/lib/containerd",
                                             "/var/lib/containers/storage",
                                             "/var/lib/docker",
                                             "/var/run/secrets"};
// Files that container runtimes mount into every container: their device is that of the host's container storage.
constexpr std::string_view kHiddenFiles[] = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"};

bool below(std::string_view path, std::string_view folder) {
  if (folder == "/") return true;
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

bool is_remote(std::string_view type) {
  return type.starts_with("fuse.") ||
         std::find(std::begin(kRemote), std::end(kRemote), type) != std::end(kRemote);
}

bool wanted(const Mount& mount) {
  // The root of a container is an overlay, and the one that fills up.
  if (std::binary_search(std::begin(kPseudo), std::end(kPseudo), mount.type))
    return mount.mountpoint == "/" && mount.type == "overlay";
  for (std::string_view folder : kHiddenBelow)
    // Docker's folder itself is often a disk of its own; what is below it never is.
    if (below(mount.mountpoint, folder) && !(folder.starts_with("/var/lib/") && mount.mountpoint == folder))
      return false;
  if (std::find(std::begin(kHiddenFiles), std::end(kHiddenFiles), mount.mountpoint) != std::end(kHiddenFiles))
    return false;
  // Secrets and tokens of pods; volumes of theirs have another type.
  return !(mount.type == "tmpfs" && below(mount.mountpoint, "/var/lib/kubelet"));
}

bool better(const Mount& a, const Mount& b) {
  if ((a.mountpoint == "/") != (b.mountpoint == "/")) return a.mountpoint == "/";
  if ((a.inside == "/") != (b.inside == "/")) return a.inside == "/";
  return a.mountpoint.size() < b.mountpoint.size();
}

bool has_option(std::string_view options, std::string_view wanted_option) {
  for (;;) {
    size_t comma = options.find(',');
    if (options.substr(0, comma) == wanted_option) return true;
    if (comma == std::string_view::npos) return false;
    options.remove_prefix(comma + 1);
  }
}

}  // namespace

std::string decode_mount(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  auto octal = [&](size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\' && octal(i + 1) && text[i + 1] <= '3' && octal(i + 2) && octal(i + 3)) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool parse_mount(std::string_view line, Mount& mount) {
  // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:7 - ext3 /dev/root rw,errors=continue
  uint64_t number[2] = {};
  if (!next_numbers(line, number, 2)) return false;
  std::string_view id = next_word(line), inside = next_word(line), mountpoint = next_word(line);
  std::string_view options = next_word(line), word;
  do {
    word = next_word(line);
    if (word.empty()) return false;
  } while (word != "-");
  std::string_view type = next_word(line), device = next_word(line), super = next_word(line);
  // A source of "" is printed as nothing at all, with two spaces around it: then there is no third word.
  if (super.empty()) super = device, device = {};
  if (id.find(':') == std::string_view::npos || !mountpoint.starts_with('/') || type.empty()) return false;
  mount.id = id;
  mount.inside = decode_mount(inside);
  mount.mountpoint = decode_mount(mountpoint);
  mount.type = decode_mount(type);
  mount.device = decode_mount(device);
  mount.read_only = has_option(options, "ro") || has_option(super, "ro");
  mount.remote = is_remote(mount.type);
  // A path with a NUL in it would be cut short in system calls.
  return mount.mountpoint.find('\0') == std::string::npos;
}

std::vector<Mount> select_mounts(std::vector<Mount> mounts) {
  std::unordered_map<std::string_view, size_t> last;  // of each mount point
  for (size_t i = 0; i < mounts.size(); i++) last[mounts[i].mountpoint] = i;
  std::vector<std::string> remote;
  std::vector<size_t> kept;
  std::unordered_map<std::string_view, size_t> by_device;  // to a place in kept
  for (size_t i = 0; i < mounts.size(); i++) {
    const Mount& mount = mounts[i];
    if (last[mount.mountpoint] != i) continue;
    if (mount.remote) remote.push_back(mount.mountpoint);
    if (!wanted(mount)) continue;
    auto [place, first] = by_device.try_emplace(mount.id, kept.size());
    if (first) {
      kept.push_back(i);
    } else if (better(mount, mounts[kept[place->second]])) {
      kept[place->second] = i;
    }
  }
  std::vector<Mount> out;
  for (size_t i : kept) {
    Mount mount = mounts[i];
    for (const std::string& folder : remote) mount.remote = mount.remote || below(mount.mountpoint, folder);
    out.push_back(std::move(mount));
  }
  return out;
}

}  // namespace runnel
