#include "loop/loop.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "support/catch.h"

using namespace runnel;

TEST_CASE("a wrapper may die inside its own callback") {
  Loop loop;
  int calls = 0;
  std::unique_ptr<Timer> timer;
  timer = std::make_unique<Timer>(loop, [&] {
    calls++;
    timer.reset();
  });
  timer->start(0, 1);
  loop.run();  // ends because no handle is left
  CHECK(calls == 1);
}

TEST_CASE("wake-ups cross threads, descriptors and folders are watched") {
  Loop loop;
  int woken = 0, readable = 0;
  std::string changed;
  Wakeup wakeup(loop, [&] { woken++; });
  std::thread([&] { wakeup.send(); }).join();
  int pipe_fds[2];
  REQUIRE(pipe(pipe_fds) == 0);
  {
    FdWatch watch(loop, pipe_fds[0], [&] {
      char byte;
      readable += static_cast<int>(read(pipe_fds[0], &byte, 1));
    });
    REQUIRE(write(pipe_fds[1], "x", 1) == 1);
    char folder[] = "/tmp/runnel_loop_XXXXXX";
    REQUIRE(mkdtemp(folder) != nullptr);
    auto path = PathWatch::open(loop, folder, [&](const std::string& name) { changed = name; });
    REQUIRE(path.ok());
    std::ofstream(std::string(folder) + "/hook") << "x";
    for (int i = 0; i < 100 && (woken == 0 || readable == 0 || changed.empty()); i++) loop.run_once(100);
    unlink((std::string(folder) + "/hook").c_str());
    rmdir(folder);
  }
  close(pipe_fds[0]);
  close(pipe_fds[1]);
  CHECK(woken == 1);
  CHECK(readable == 1);
  CHECK(changed == "hook");
  CHECK_FALSE(PathWatch::open(loop, "/nonexistent/folder", [](const std::string&) {}).ok());
}
