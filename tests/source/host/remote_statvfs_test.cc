#include "source/host/remote_statvfs.h"

#include <cerrno>
#include <condition_variable>
#include <mutex>
#include <set>
#include <thread>

#include "host_support.h"
#include "support/catch.h"

using namespace runnel;

namespace {

// A statvfs that blocks for the paths it is told to, as a dead file server does. Shared with threads that may
// outlive a test, so held by shared_ptr.
struct Server {
  std::mutex mutex;
  std::condition_variable changed;
  std::set<std::string> dead;
  int asked = 0, blocked = 0;

  int call(const char* path, struct statvfs* out) {
    std::unique_lock lock(mutex);
    asked++;
    blocked++;
    changed.notify_all();
    changed.wait(lock, [&] { return dead.count(path) == 0; });
    blocked--;
    changed.notify_all();
    out->f_blocks = 100;
    return std::string_view(path) == "/denied" ? EACCES : 0;
  }
  void kill(const std::string& path) {
    std::lock_guard lock(mutex);
    dead.insert(path);
  }
  int calls() {
    std::lock_guard lock(mutex);
    return asked;
  }
  int waiting() {
    std::lock_guard lock(mutex);
    return blocked;
  }
  void revive() {
    std::unique_lock lock(mutex);
    dead.clear();
    changed.notify_all();
    changed.wait_for(lock, std::chrono::seconds(20), [&] { return blocked == 0; });
  }
};

StatvfsCall call_of(const std::shared_ptr<Server>& server) {
  return [server](const char* path, struct statvfs* out) { return server->call(path, out); };
}

constexpr auto kAges = std::chrono::seconds(20);
constexpr auto kMoment = std::chrono::milliseconds(1);

// Rounds until `done`, for 20 s at most: helper threads run when the machine lets them.
void rounds_until(const std::function<bool()>& done, const std::function<void()>& round) {
  auto end = std::chrono::steady_clock::now() + kAges;
  while (!done() && std::chrono::steady_clock::now() < end) {
    round();
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

}  // namespace

TEST_CASE("remote file systems that answer are there in the same round") {
  auto server = std::make_shared<Server>();
  RemoteStatvfs remote(call_of(server), kAges);
  for (int round = 0; round < 3; round++) {
    auto answers = remote.ask({"/a", "/denied", "/b"});
    REQUIRE(answers.size() == 3);
    for (const auto& answer : answers) {
      CHECK(answer.known);
      CHECK_FALSE(answer.newly_stuck);
      CHECK_FALSE(answer.newly_answers);
      CHECK(answer.st.f_blocks == 100);
    }
    CHECK(answers[0].error == 0);
    CHECK(answers[1].error == EACCES);
  }
  CHECK(server->calls() == 9);
  CHECK(remote.ask({}).empty());
}

TEST_CASE("one that hangs is said once, is not asked again, and the others go on") {
  auto server = std::make_shared<Server>();
  server->kill("/dead");
  {
    RemoteStatvfs remote(call_of(server), kMoment);
    int stuck = 0, answered = 0;
    // Until the others have got a thread of their own and answer.
    rounds_until([&] { return answered >= 5 && stuck > 0; },
                 [&] {
                   auto answers = remote.ask({"/dead", "/a"});
                   stuck += answers[0].newly_stuck;
                   answered += answers[1].known;
                   CHECK_FALSE(answers[0].known);
                   CHECK_FALSE(answers[0].newly_answers);
                 });
    CHECK(stuck == 1);
    CHECK(answered >= 5);

    server->revive();
    int again = 0, known = 0;
    rounds_until([&] { return known > 0; },
                 [&] {
                   auto answers = remote.ask({"/dead", "/a"});
                   again += answers[0].newly_answers;
                   known += answers[0].known;
                 });
    CHECK(again == 1);
    CHECK(known == 1);
  }
}

TEST_CASE("more dead servers than threads: nothing blocks, all are said") {
  auto server = std::make_shared<Server>();
  std::vector<std::string> paths;
  for (int i = 0; i < RemoteStatvfs::kMaxThreads + 3; i++) paths.push_back("/dead" + std::to_string(i));
  for (const std::string& path : paths) server->kill(path);
  std::set<size_t> stuck;
  {
    RemoteStatvfs remote(call_of(server), kMoment);
    rounds_until([&] { return stuck.size() == paths.size(); },
                 [&] {
                   auto answers = remote.ask(paths);
                   for (size_t i = 0; i < paths.size(); i++) {
                     if (answers[i].newly_stuck) CHECK(stuck.insert(i).second);
                     CHECK_FALSE(answers[i].known);
                   }
                 });
    CHECK(stuck.size() == paths.size());
    CHECK(server->waiting() <= RemoteStatvfs::kMaxThreads);
  }  // the destructor does not wait for them either
  server->revive();
}

TEST_CASE("a mount that is gone while it is being asked is forgotten") {
  auto server = std::make_shared<Server>();
  server->kill("/dead");
  {
    RemoteStatvfs remote(call_of(server), kMoment);
    remote.ask({"/dead"});
    auto answers = remote.ask({"/a"});
    rounds_until([&] { return answers[0].known; }, [&] { answers = remote.ask({"/a"}); });
    CHECK(answers[0].known);
  }
  server->revive();
}

TEST_CASE("the collector leaves out a hung mount and reports the rest") {
  std::string root = test::fixture("baremetal");
  auto server = std::make_shared<Server>();
  server->kill(root + "/mnt/nfs");
  HostProbe probe = test::table_probe(root);
  StatvfsCall table = probe.statvfs;
  probe.patience = kMoment;
  probe.statvfs = [server, table](const char* path, struct statvfs* out) {
    int error = server->call(path, out);
    return error != 0 ? error : table(path, out);
  };
  const std::string scratch =
      "system.filesystem.limit{system.device=/dev/sdd1,system.filesystem.mode=rw,"
      "system.filesystem.mountpoint=/mnt/nfs/scratch,system.filesystem.type=ext4}";
  {
    test::Host host(root, {"filesystem"}, probe);
    bool seen = false;
    rounds_until(
        [&] { return seen; },
        [&] {
          auto got = host.round_values();
          CHECK(got.count("system.filesystem.limit{system.device=/dev/nvme0n1p2,system.filesystem.mode=rw,"
                          "system.filesystem.mountpoint=/,system.filesystem.type=ext4}") == 1);
          for (const auto& [series, value] : got) CHECK(series.find("filer:") == std::string::npos);
          seen = got.count(scratch) == 1;
        });
    CHECK(seen);
    CHECK(host.balanced());
  }
  server->revive();
}
