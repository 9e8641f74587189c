#include "source/host/mounts.h"

#include "support/catch.h"

using namespace runnel;

TEST_CASE("lines of mountinfo") {
  struct Case {
    std::string line;
    bool ok;
    Mount mount;
  };
  const Case kCases[] = {
      {"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue",
       true,
       {"98:0", "/mnt1", "/mnt2", "ext3", "/dev/root", false, false}},
      {"36 35 98:0 / / rw - ext4 /dev/sda ro", true, {"98:0", "/", "/", "ext4", "/dev/sda", true, false}},
      {"36 35 98:0 / / ro,noatime shared:1 master:2 propagate_from:3 unbindable - ext4 /dev/sda rw",
       true,
       {"98:0", "/", "/", "ext4", "/dev/sda", true, false}},
      {"36 35 98:0 / / rw - ext4 /dev/sda rw,errors=remount-ro",
       true,
       {"98:0", "/", "/", "ext4", "/dev/sda", false, false}},
      {R"(36 35 0:5 / /a\040b\011c\134d rw - nfs4 host:/x\012y rw)",
       true,
       {"0:5", "/", "/a b\tc\\d", "nfs4", "host:/x\ny", false, true}},
      {"36 35 0:5 / /mnt rw - fuse.sshfs me@there: rw",
       true,
       {"0:5", "/", "/mnt", "fuse.sshfs", "me@there:", false, true}},
      {"36 35 0:5 / /mnt rw - tmpfs  rw,size=4k", true, {"0:5", "/", "/mnt", "tmpfs", "", false, false}},
      // Rejects.
      {"", false, {}},
      {"36", false, {}},
      {"x 35 98:0 / / rw - ext4 /dev/sda rw", false, {}},
      {"36 35 980 / / rw - ext4 /dev/sda rw", false, {}},
      {"36 35 98:0 / mnt rw - ext4 /dev/sda rw", false, {}},
      {"36 35 98:0 / / rw shared:1", false, {}},
      {"36 35 98:0 / / rw shared:1 -", false, {}},
      {"36 35 98:0 / / rw ext4 /dev/sda rw", false, {}},
      {R"(36 35 98:0 / /a\000b rw - ext4 /dev/sda rw)", false, {}},
      {std::string("\0\xff\x01 \x80", 5), false, {}},
  };
  for (const Case& c : kCases) {
    CAPTURE(c.line);
    Mount mount;
    bool ok = parse_mount(c.line, mount);
    CHECK(ok == c.ok);
    if (ok && c.ok) {
      CHECK(mount.id == c.mount.id);
      CHECK(mount.mountpoint == c.mount.mountpoint);
      CHECK(mount.device == c.mount.device);
      CHECK(mount.read_only == c.mount.read_only);
      CHECK(mount.remote == c.mount.remote);
      CHECK(mount == c.mount);
    }
  }
}

TEST_CASE("escapes of mountinfo") {
  const std::pair<std::string, std::string> kCases[] = {
      {"", ""},
      {"plain", "plain"},
      {R"(a\040b)", "a b"},
      {R"(\134\134)", R"(\\)"},
      {R"(\04)", R"(\04)"},
      {R"(\)", R"(\)"},
      {R"(\08)", R"(\08)"},
      {R"(\400)", R"(\400)"},
      {R"(\377)", "\xff"},
      {R"(x\0401)", "x 1"},
      {R"(\9)", R"(\9)"},
  };
  for (const auto& [in, out] : kCases) {
    CAPTURE(in);
    CHECK(decode_mount(in) == out);
  }
}

TEST_CASE("which mounts are asked") {
  auto mount = [](std::string id, std::string inside, std::string at, std::string type) {
    Mount m{std::move(id), std::move(inside), std::move(at), std::move(type), "dev", false, false};
    m.remote = m.type == "nfs4";
    return m;
  };
  struct Case {
    const char* what;
    std::vector<Mount> mounts;
    std::vector<std::string> kept;
  };
  const Case kCases[] = {
      {"pseudo file systems are not",
       {mount("0:1", "/", "/proc", "proc"), mount("0:2", "/", "/sys", "sysfs")},
       {}},
      {"an overlay only at /",
       {mount("0:1", "/", "/", "overlay"), mount("0:2", "/", "/x", "overlay")},
       {"/"}},
      {"of a bind mount the whole one",
       {mount("8:1", "/sub", "/b", "ext4"), mount("8:1", "/", "/long", "ext4")},
       {"/long"}},
      {"/ before anything", {mount("0:9", "/", "/top", "btrfs"), mount("0:9", "/@", "/", "btrfs")}, {"/"}},
      {"the shorter of two parts",
       {mount("8:1", "/a", "/long", "xfs"), mount("8:1", "/b", "/b", "xfs")},
       {"/b"}},
      {"the first of two equals",
       {mount("8:1", "/", "/aa", "xfs"), mount("8:1", "/", "/bb", "xfs")},
       {"/aa"}},
      {"what a later mount hides is not",
       {mount("8:1", "/", "/m", "ext4"), mount("8:2", "/", "/m", "xfs")},
       {"/m"}},
      {"what an autofs hides is not",
       {mount("8:1", "/", "/m", "ext4"), mount("0:2", "/", "/m", "autofs")},
       {}},
      {"nothing below /dev, /proc, /sys",
       {mount("0:1", "/", "/dev/shm", "tmpfs"), mount("8:1", "/", "/sys/x", "ext4"),
        mount("8:2", "/", "/dev", "ext4")},
       {}},
      {"names that only begin like those are",
       {mount("8:1", "/", "/devel", "ext4"), mount("8:2", "/", "/system", "ext4"),
        mount("8:3", "/", "/run/user2", "ext4")},
       {"/devel", "/system", "/run/user2"}},
      {"docker's disk is, its insides are not",
       {mount("8:1", "/", "/var/lib/docker", "ext4"), mount("8:2", "/", "/var/lib/docker/x", "ext4")},
       {"/var/lib/docker"}},
      {"the files of a container are not", {mount("8:1", "/x/hosts", "/etc/hosts", "ext4")}, {}},
      {"secrets of pods are not, volumes are",
       {mount("0:1", "/", "/var/lib/kubelet/pods/a", "tmpfs"),
        mount("8:1", "/", "/var/lib/kubelet/pods/b", "ext4")},
       {"/var/lib/kubelet/pods/b"}},
      {"nothing of nothing", {}, {}},
  };
  for (const Case& c : kCases) {
    CAPTURE(c.what);
    std::vector<std::string> kept;
    for (const Mount& m : select_mounts(c.mounts)) kept.push_back(m.mountpoint);
    CHECK(kept == c.kept);
  }

  SECTION("what lies below a remote mount is as far away") {
    auto kept = select_mounts({mount("0:1", "/", "/n", "nfs4"), mount("8:1", "/", "/n/x", "ext4"),
                               mount("8:2", "/", "/nn", "ext4")});
    REQUIRE(kept.size() == 3);
    CHECK(kept[0].remote);
    CHECK(kept[1].remote);
    CHECK_FALSE(kept[2].remote);
  }
  SECTION("below one that is hidden or not wanted itself, too") {
    Mount lxcfs = mount("0:1", "/", "/n", "fuse.lxcfs");
    lxcfs.remote = true;
    auto kept = select_mounts({lxcfs, mount("8:1", "/", "/n/x", "ext4")});
    REQUIRE(kept.size() == 1);
    CHECK(kept[0].remote);
  }
}
