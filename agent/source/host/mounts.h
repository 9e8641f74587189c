// The table of mounts as text → the file systems worth asking. Pure functions; they return copies.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace runnel {

struct Mount {
  std::string id;      // "254:0", of the device
  std::string inside;  // what of the file system is mounted: "/", or a folder or file of it for a bind mount
  std::string mountpoint;  // decoded
  std::string type;        // "ext4"
  std::string device;      // "/dev/vda1", decoded
  bool read_only = false;
  // Asking may block for as long as a server, a network or a program pleases.
  bool remote = false;
  bool operator==(const Mount&) const = default;
};

// One line of /proc/PID/mountinfo (proc(5)); false where it is not one.
bool parse_mount(std::string_view line, Mount& mount);

// Octal escapes of the kernel's: "a\040b" is "a b". A backslash that starts none stands for itself.
std::string decode_mount(std::string_view text);

// Those that tell something about storage, one a file system, in the order of the table: the last of several at one
// mount point (it hides the others); no pseudo file systems; of bind mounts and subvolumes of one device the one at /,
// else of the whole file system, else with the shortest path. Marks as remote also what lies below a remote mount,
// since the way there is blocked as well.
std::vector<Mount> select_mounts(std::vector<Mount> mounts);

}  // namespace runnel
