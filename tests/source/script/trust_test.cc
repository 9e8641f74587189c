#include "base/trust.h"

#include "source/script/support.h"

using namespace runnel;
using namespace runnel::script;

namespace {
bool says(const Status& status, const std::string& text) {
  INFO(status.error());
  bool found = !status.ok() && status.error().find(text) != std::string::npos;
  CHECK(found);
  return found;
}
}  // namespace

TEST_CASE("only files that nobody else could have written are trusted") {
  TempFolder top;
  std::string dir = top.folder("hooks");
  std::string hook = top.file("hooks/hook", "#!/bin/sh\n");
  uid_t self = geteuid();
  CHECK(check_trust(hook, self).ok());
  CHECK(check_trust(top / "hooks/./../hooks//hook", self).ok());

  struct Row {
    std::string path;
    mode_t bad, good;
    std::string mends;
  };
  for (const Row& row :
       std::vector<Row>{{hook, 0777, 0755, "chmod go-w " + hook},
                        {hook, 0775, 0755, "is writable by its group (mode 0775): chmod g-w " + hook},
                        {hook, 0757, 0755, "chmod o-w " + hook},
                        {dir, 0777, 0755, "chmod go-w " + dir},
                        {top.path(), 0770, 0700, "chmod g-w " + top.path()}}) {
    REQUIRE(chmod(row.path.c_str(), row.bad) == 0);
    says(check_trust(hook, self), row.mends);
    REQUIRE(chmod(row.path.c_str(), row.good) == 0);
    CHECK(check_trust(hook, self).ok());
  }
  // A sticky folder is safe: others cannot swap what is not theirs.
  REQUIRE(chmod(dir.c_str(), 01777) == 0);
  CHECK(check_trust(hook, self).ok());
  REQUIRE(chmod(hook.c_str(), 0777) == 0);
  CHECK_FALSE(check_trust(hook, self).ok());
}

TEST_CASE("owners other than root and the agent are refused") {
  TempFolder top;
  std::string hook = top.file("hook", "#!/bin/sh\n");
  if (geteuid() != 0) {
    // Without root the files cannot be given away; then it is the agent that is somebody else.
    says(check_trust(hook, geteuid() + 1), "chown root ");
    return;
  }
  REQUIRE(chown(hook.c_str(), 12345, 0) == 0);
  says(check_trust(hook, 0), "belongs to user 12345, not to root or the agent's user: chown root " + hook);
  CHECK(check_trust(hook, 12345).ok());
  REQUIRE(chown(hook.c_str(), 0, 0) == 0);
  REQUIRE(chown(top.path().c_str(), 12345, 0) == 0);
  says(check_trust(hook, 0), "chown root " + top.path());
  REQUIRE(chown(top.path().c_str(), 0, 0) == 0);
  std::string link = top / "link";
  REQUIRE(symlink(hook.c_str(), link.c_str()) == 0);
  REQUIRE(lchown(link.c_str(), 12345, 0) == 0);
  says(check_trust(link, 0), "chown -h root " + link);
}

TEST_CASE("symbolic links are judged by what they resolve to, on all of the way") {
  TempFolder top;
  uid_t self = geteuid();
  std::string real = top.folder("..2026_01_02");
  std::string hook = top.file("..2026_01_02/hook", "#!/bin/sh\n");
  top.folder("hooks");
  // As Kubernetes mounts: hook → ..data/hook, ..data → ..2026_01_02.
  REQUIRE(symlink("..2026_01_02", (top / "..data").c_str()) == 0);
  REQUIRE(symlink("../..data/hook", (top / "hooks/hook").c_str()) == 0);
  CHECK(check_trust(top / "hooks/hook", self).ok());
  REQUIRE(chmod(real.c_str(), 0777) == 0);
  says(check_trust(top / "hooks/hook", self), "chmod go-w " + real);
  REQUIRE(chmod(real.c_str(), 0755) == 0);
  REQUIRE(chmod(hook.c_str(), 0722) == 0);
  says(check_trust(top / "hooks/hook", self), "chmod go-w " + hook);

  REQUIRE(symlink("loop", (top / "loop").c_str()) == 0);
  says(check_trust(top / "loop", self), "too many symbolic links");
  REQUIRE(symlink("/", (top / "root").c_str()) == 0);
  says(check_trust(top / "root", self), "not a regular file");
  REQUIRE(symlink(".", (top / "here").c_str()) == 0);
  says(check_trust(top / "here", self), "not a regular file");
  REQUIRE(symlink("gone", (top / "dangling").c_str()) == 0);
  says(check_trust(top / "dangling", self), "No such file");
}

TEST_CASE("what is no regular file is refused, and so are paths that are not absolute") {
  TempFolder top;
  REQUIRE(mkfifo((top / "fifo").c_str(), 0700) == 0);
  says(check_trust(top / "fifo", geteuid()), "is not a regular file");
  says(check_trust(top.path(), geteuid()), "is not a regular file");
  says(check_trust("hooks/hook", geteuid()), "not an absolute path");
  std::string hook = top.file("hook", "");
  says(check_trust(hook + "/x", geteuid()), "is not a folder");
}

TEST_CASE("commands can be pasted into a shell") {
  CHECK(shell_word("/etc/runnel/a.sh") == "/etc/runnel/a.sh");
  CHECK(shell_word("/tmp/my hook") == "'/tmp/my hook'");
  CHECK(shell_word("/tmp/$(x)'y") == "'/tmp/$(x)'\\''y'");
  CHECK(shell_word("") == "''");
}
