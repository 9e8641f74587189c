// The file sink on real files; a full disk is a limit on file sizes (the same path as ENOSPC, and always
// available), /dev/full and, where mounting is permitted, a small tmpfs.
#include "file_sink.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "plugins/sink_host.h"
#include "support/catch.h"

using namespace runnel_test;
using namespace std::chrono_literals;

namespace {

mode_t mode_of(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

// RLIMIT_FSIZE while it lives: writes beyond fail with EFBIG. The host ignores SIGXFSZ.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &before_); }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
};

}  // namespace

TEST_CASE("file: appends payloads, compressed ones as they are") {
  TemporaryFolder folder;
  write_file(folder / "out", "before\n");
  SinkHost host(runnel_file_sink(), {{"path", folder / "out"}, {"mode", std::string("0600")}});
  REQUIRE(host.check().empty());
  REQUIRE(host.create());
  const std::string member("\x1f\x8b\0\xff\n\0", 6);
  CHECK(host.write({.bytes = "one\n"}).outcome == RUNNEL_DELIVERED);
  CHECK(host.write({.bytes = member, .id = "b", .content_encoding = "gzip"}).outcome == RUNNEL_DELIVERED);
  CHECK(host.write({.bytes = member, .id = "c", .content_encoding = "gzip"}).outcome == RUNNEL_DELIVERED);
  CHECK(read_file(folder / "out") == "before\none\n" + member + member);
}

TEST_CASE("file: mode of files it makes") {
  const mode_t before = umask(0022);
  for (const auto& [text, mode] : {std::pair{"0640", 0640u}, {"0600", 0600u}, {"644", 0644u}}) {
    TemporaryFolder folder;
    SinkHost host(runnel_file_sink(), {{"path", folder / "out"}, {"mode", std::string(text)}});
    REQUIRE(host.create());
    REQUIRE(host.write({.bytes = "x\n"}).outcome == RUNNEL_DELIVERED);
    CHECK(mode_of(folder / "out") == mode);
  }
  umask(before);
}

TEST_CASE("file: check") {
  struct Row {
    Options options;
    Strings errors;
  };
  const std::string path = "/var/log/out";
  const Row rows[] = {
      {{{"path", path}}, {}},
      {{{"path", path}, {"rotate_size", int64_t{1 << 20}}, {"keep", int64_t{3}}}, {}},
      {{{"path", path}, {"rotate_age", int64_t{86'400'000}}, {"keep", int64_t{0}}}, {}},
      {{{"path", path}, {"fsync", std::string("interval")}, {"fsync_interval", int64_t{500}}}, {}},
      {{{"path", std::string("relative")}}, {}},
      {{{"path", std::string()}}, {"path: must name a file"}},
      {{{"path", std::string("/var/log/")}}, {"path: must name a file"}},
      {{{"path", std::string("/a\0b", 4)}}, {"path: must not contain a NUL"}},
      {{{"path", path}, {"mode", std::string("0999")}}, {"mode: must be octal digits, at most \"0777\""}},
      {{{"path", path}, {"mode", std::string("01777")}}, {"mode: must be octal digits, at most \"0777\""}},
      {{{"path", path}, {"mode", std::string()}}, {"mode: must be octal digits, at most \"0777\""}},
      {{{"path", path}, {"mode", std::string("0440")}}, {"mode: must let the owner write (\"0640\")"}},
      {{{"path", path}, {"fsync", std::string("batch")}, {"fsync_interval", int64_t{500}}},
       {"fsync_interval: has no effect (set fsync = \"interval\" with it)"}},
      {{{"path", path}, {"keep", int64_t{3}}},
       {"keep: has no effect (set rotate_size or rotate_age with it)"}},
  };
  for (const Row& row : rows) {
    SinkHost host(runnel_file_sink(), row.options);
    CHECK(host.check() == row.errors);
  }
}

TEST_CASE("file: rotation by size neither loses nor splits a payload, and keeps as many as it should") {
  TemporaryFolder folder;
  SinkHost host(runnel_file_sink(),
                {{"path", folder / "out"}, {"rotate_size", int64_t{1024}}, {"keep", int64_t{3}}});
  REQUIRE(host.create());
  // 300 bytes each: three fit.
  std::vector<std::string> payloads;
  for (int i = 0; i < 11; ++i) {
    payloads.push_back(std::string(299, static_cast<char>('a' + i)) + "\n");
    REQUIRE(host.write({.bytes = payloads.back(), .id = std::to_string(i)}).outcome == RUNNEL_DELIVERED);
  }
  CHECK(read_file(folder / "out") == payloads[9] + payloads[10]);
  CHECK(read_file(folder / "out.1") == payloads[6] + payloads[7] + payloads[8]);
  CHECK(read_file(folder / "out.2") == payloads[3] + payloads[4] + payloads[5]);
  CHECK(read_file(folder / "out.3") == payloads[0] + payloads[1] + payloads[2]);
  // One that is larger than a file may be has a file of its own, whole.
  const std::string large(5000, 'L');
  REQUIRE(host.write({.bytes = large, .id = "large"}).outcome == RUNNEL_DELIVERED);
  REQUIRE(host.write({.bytes = "after\n", .id = "after"}).outcome == RUNNEL_DELIVERED);
  CHECK(read_file(folder / "out") == "after\n");
  CHECK(read_file(folder / "out.1") == large);
  CHECK(read_file(folder / "out.2") == payloads[9] + payloads[10]);
  CHECK(read_file(folder / "out.3") == payloads[6] + payloads[7] + payloads[8]);
  CHECK_FALSE(file_exists(folder / "out.4"));
}

TEST_CASE("file: rotation by age, also while nothing is written; keep = 0 throws away") {
  TemporaryFolder folder;
  SinkHost host(runnel_file_sink(),
                {{"path", folder / "out"}, {"rotate_age", int64_t{1000}}, {"keep", int64_t{1}}});
  REQUIRE(host.create());
  REQUIRE(host.write({.bytes = "one\n"}).outcome == RUNNEL_DELIVERED);
  usleep(1'200'000);
  host.tick();
  CHECK(read_file(folder / "out.1") == "one\n");
  CHECK_FALSE(file_exists(folder / "out"));
  REQUIRE(host.write({.bytes = "two\n", .id = "2"}).outcome == RUNNEL_DELIVERED);
  host.tick();
  CHECK(read_file(folder / "out") == "two\n");

  SinkHost none(runnel_file_sink(),
                {{"path", folder / "none"}, {"rotate_size", int64_t{1024}}, {"keep", int64_t{0}}});
  REQUIRE(none.create());
  REQUIRE(none.write({.bytes = std::string(1000, 'x'), .id = "1"}).outcome == RUNNEL_DELIVERED);
  REQUIRE(none.write({.bytes = std::string(1000, 'y'), .id = "2"}).outcome == RUNNEL_DELIVERED);
  CHECK(read_file(folder / "none") == std::string(1000, 'y'));
  CHECK_FALSE(file_exists(folder / "none.1"));
}

TEST_CASE("file: what cannot be rotated goes on growing and says so once") {
  TemporaryFolder folder;
  SinkHost host(runnel_file_sink(),
                {{"path", folder / "out"}, {"rotate_size", int64_t{1024}}, {"keep", int64_t{1}}});
  REQUIRE(host.create());
  REQUIRE(mkdir((folder / "out.1").c_str(), 0700) == 0);  // a file cannot be renamed to a folder
  for (int i = 0; i < 3; ++i)
    REQUIRE(host.write({.bytes = std::string(1000, 'x'), .id = std::to_string(i)}).outcome ==
            RUNNEL_DELIVERED);
  CHECK(read_file(folder / "out").size() == 3000);
  REQUIRE(host.logs().size() == 1);
  CHECK(contains(host.logs()[0], "cannot rotate: Is a directory"));
  // Mended: SIGHUP makes it try again at once.
  REQUIRE(rmdir((folder / "out.1").c_str()) == 0);
  host.reopen();
  REQUIRE(host.write({.bytes = "new\n", .id = "new"}).outcome == RUNNEL_DELIVERED);
  CHECK(read_file(folder / "out") == "new\n");
  CHECK(read_file(folder / "out.1").size() == 3000);
}

TEST_CASE("file: rotation beside a symbolic link's target") {
  TemporaryFolder folder;
  REQUIRE(mkdir((folder / "big").c_str(), 0700) == 0);
  REQUIRE(symlink((folder / "big/real").c_str(), (folder / "link").c_str()) == 0);
  SinkHost host(runnel_file_sink(), {{"path", folder / "link"}, {"rotate_size", int64_t{1024}}});
  REQUIRE(host.create());
  for (int i = 0; i < 2; ++i)
    REQUIRE(host.write({.bytes = std::string(1000, static_cast<char>('0' + i)), .id = std::to_string(i)})
                .outcome == RUNNEL_DELIVERED);
  CHECK(read_file(folder / "big/real") == std::string(1000, '1'));
  CHECK(read_file(folder / "big/real.1") == std::string(1000, '0'));
}

TEST_CASE("file: reopen after logrotate has moved it; copytruncate") {
  TemporaryFolder folder;
  SinkHost host(runnel_file_sink(), {{"path", folder / "out"}, {"fsync", std::string("batch")}});
  REQUIRE(host.create());
  REQUIRE(host.write({.bytes = "one\n", .id = "1"}).outcome == RUNNEL_DELIVERED);
  REQUIRE(rename((folder / "out").c_str(), (folder / "moved").c_str()) == 0);
  REQUIRE(host.write({.bytes = "two\n", .id = "2"}).outcome == RUNNEL_DELIVERED);
  host.reopen();
  REQUIRE(host.write({.bytes = "three\n", .id = "3"}).outcome == RUNNEL_DELIVERED);
  CHECK(read_file(folder / "moved") == "one\ntwo\n");
  CHECK(read_file(folder / "out") == "three\n");
  REQUIRE(truncate((folder / "out").c_str(), 0) == 0);
  REQUIRE(host.write({.bytes = "four\n", .id = "4"}).outcome == RUNNEL_DELIVERED);
  CHECK(read_file(folder / "out") == "four\n");
}

TEST_CASE("file: a full disk leaves no half record and doubles nothing") {
  for (const char* policy : {"never", "batch", "interval"}) {
    INFO(policy);
    TemporaryFolder folder;
    SinkHost host(runnel_file_sink(), {{"path", folder / "out"}, {"fsync", std::string(policy)}});
    REQUIRE(host.create());
    const std::string first = std::string(2999, 'a') + "\n", second = std::string(2999, 'b') + "\n";
    REQUIRE(host.write({.bytes = first, .id = "1"}).outcome == RUNNEL_DELIVERED);
    {
      FileSizeLimit limit(4096);  // 1096 bytes of the second would fit
      for (int i = 0; i < 3; ++i) {
        const Answer answer = host.write({.bytes = second, .id = "2"});
        CHECK(answer.outcome == RUNNEL_RETRY);
        CHECK(contains(answer.message, "File too large"));
        CHECK(read_file(folder / "out") == first);
      }
    }
    CHECK(host.write({.bytes = second, .id = "2"}).outcome == RUNNEL_DELIVERED);
    CHECK(read_file(folder / "out") == first + second);
  }
}

TEST_CASE("file: a full file system") {
  TemporaryFolder folder;
  const std::string mount_point = folder / "small";
  REQUIRE(mkdir(mount_point.c_str(), 0700) == 0);
  if (mount("tmpfs", mount_point.c_str(), "tmpfs", 0, "size=64k") != 0) {
    WARN("SKIPPED: mounting a small tmpfs is not permitted here ("
         << strerror(errno) << "); the limit on file sizes is tested above");
    return;
  }
  {
    SinkHost host(runnel_file_sink(), {{"path", mount_point + "/out"}});
    REQUIRE(host.create());
    write_file(mount_point + "/filler", std::string(40 << 10, 'f'));
    const std::string text(30 << 10, 't');
    const Answer full = host.write({.bytes = text});
    CHECK(full.outcome == RUNNEL_RETRY);
    CHECK(full.message ==
          mount_point + "/out: write: No space left on device (the disk is full: free some space)");
    CHECK(read_file(mount_point + "/out").empty());
    REQUIRE(unlink((mount_point + "/filler").c_str()) == 0);
    CHECK(host.write({.bytes = text}).outcome == RUNNEL_DELIVERED);
    CHECK(read_file(mount_point + "/out") == text);
  }
  CHECK(umount2(mount_point.c_str(), MNT_DETACH) == 0);
}

TEST_CASE("file: what a path may be") {
  TemporaryFolder folder;
  REQUIRE(mkfifo((folder / "fifo").c_str(), 0600) == 0);
  REQUIRE(symlink("loop", (folder / "loop").c_str()) == 0);
  write_file(folder / "file", "");
  struct Row {
    std::string path;
    runnel_outcome outcome;
    const char* message;
  };
  const Row rows[] = {
      {folder / "new", RUNNEL_DELIVERED, ""},
      {"/dev/null", RUNNEL_DELIVERED, ""},
      {"/dev/full", RUNNEL_RETRY, "/dev/full: write: No space left on device (the disk is full"},
      {folder / "missing/out", RUNNEL_RETRY, "open: No such file or directory (its folder must be there)"},
      {folder.path(), RUNNEL_HOLD, "open: Is a directory"},
      {folder / "file/out", RUNNEL_HOLD, "open: Not a directory"},
      {folder / "loop", RUNNEL_HOLD, "open: Too many levels of symbolic links"},
      {folder / "fifo", RUNNEL_HOLD, "is neither a file nor a character device"},
      {folder / std::string(300, 'n'), RUNNEL_HOLD, "open: File name too long"},
      {"/proc/version", RUNNEL_HOLD, "open:"},  // EACCES or, for root, EIO at the first write
  };
  for (const Row& row : rows) {
    INFO(row.path);
    SinkHost host(runnel_file_sink(), {{"path", row.path}});
    REQUIRE(host.create());
    const Answer answer = host.write({.bytes = "x\n"});
    INFO(answer.message);
    if (row.path == "/proc/version") {
      CHECK(answer.outcome != RUNNEL_DELIVERED);
      continue;
    }
    CHECK(answer.outcome == row.outcome);
    CHECK(contains(answer.message, row.message));
    CHECK(answer.took_ms < 5000);
  }
  // A folder that appears later.
  SinkHost host(runnel_file_sink(), {{"path", folder / "later/out"}});
  REQUIRE(host.create());
  CHECK(host.write({.bytes = "x\n"}).outcome == RUNNEL_RETRY);
  REQUIRE(mkdir((folder / "later").c_str(), 0700) == 0);
  CHECK(host.write({.bytes = "x\n"}).outcome == RUNNEL_DELIVERED);
}

TEST_CASE("file: two writers never cut off each other's data: the second waits") {
  TemporaryFolder folder;
  auto first = std::make_unique<SinkHost>(runnel_file_sink(), Options{{"path", folder / "out"}});
  SinkHost second(runnel_file_sink(), {{"path", folder / "out"}});
  REQUIRE(first->create());
  REQUIRE(second.create());
  REQUIRE(first->write({.bytes = "first\n"}).outcome == RUNNEL_DELIVERED);
  const Answer locked = second.write({.bytes = "second\n"});
  CHECK(locked.outcome == RUNNEL_RETRY);
  CHECK(locked.retry_after_ms == 1000);
  CHECK(contains(locked.message, "another process is writing to it"));
  first.reset();  // as at a reload: the new instance comes before the old one goes
  CHECK(second.write({.bytes = "second\n"}).outcome == RUNNEL_DELIVERED);
  CHECK(read_file(folder / "out") == "first\nsecond\n");
}

TEST_CASE("file: interrupt and a deadline that has passed write nothing") {
  TemporaryFolder folder;
  SinkHost host(runnel_file_sink(), {{"path", folder / "out"}});
  REQUIRE(host.create());
  CHECK(host.write({.bytes = "late\n"}, 0ms).outcome == RUNNEL_RETRY);
  host.interrupt();
  CHECK(host.write({.bytes = "x\n"}).outcome == RUNNEL_RETRY);
  CHECK_FALSE(file_exists(folder / "out"));
  host.reopen();
  CHECK(host.write({.bytes = "x\n"}).outcome == RUNNEL_DELIVERED);
}
