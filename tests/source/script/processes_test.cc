#include "source/script/processes.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>

#include "support/catch.h"

using namespace runnel::script;

TEST_CASE("whose an orphan is") {
  std::vector<Family> families{{100, 1000, "/h/a"}, {200, 2000, "/h/b"}};
  struct Row {
    pid_t group;
    uint64_t start;
    std::optional<std::string> script;
    pid_t family;
  };
  for (const Row& row : std::vector<Row>{
           {900, 2500, "/h/a", 100},
           {200, 2500, "/h/a", 100},         // what it says of itself comes first
           {900, 2500, "/h/gone", kNobody},  // of a hook that is not running
           {200, 2500, std::nullopt, 200},
           {100, 500, std::nullopt, 100},
           {900, 2500, std::nullopt, kUnknown},  // of either
           {900, 2000, std::nullopt, kUnknown},
           {900, 1500, std::nullopt, 100},     // b was not running yet
           {900, 999, std::nullopt, kNobody},  // older than both: of a run that has ended
       })
    CHECK(family_of({900, 1, row.group, 'S', row.start}, row.script, families, false) == row.family);
  CHECK(family_of({900, 1, 900, 'S', 5}, std::nullopt, {}, false) == kNobody);
  // Process 1 of a container inherits what is none of its business.
  CHECK(family_of({900, 1, 900, 'S', 5}, std::nullopt, {}, true) == kUnknown);
  CHECK(family_of({900, 1, 900, 'S', 1500}, std::nullopt, families, true) == kUnknown);
  CHECK(family_of({900, 1, 100, 'S', 1500}, std::nullopt, families, true) == 100);
  CHECK(family_of({900, 1, 900, 'S', 5}, "/h/gone", families, true) == kNobody);
}

TEST_CASE("the tables of /proc are read, whatever a process is called") {
  int ready[2];
  REQUIRE(pipe(ready) == 0);
  pid_t child = fork();
  if (child == 0) {
    char byte = 'x';
    if (fork() == 0) {
      if (write(ready[1], &byte, 1) != 1) _exit(1);
      pause();
    }
    pause();
    _exit(0);
  }
  char byte;
  REQUIRE(read(ready[0], &byte, 1) == 1);
  auto info = process_info(child);
  REQUIRE(info.has_value());
  CHECK(info->parent == getpid());
  CHECK(info->start_ticks >= process_info(getpid())->start_ticks);
  auto children = children_of(getpid());
  CHECK(std::count(children.begin(), children.end(), child) == 1);
  CHECK(children_of(child).size() == 1);
  CHECK(kill_tree(child) == 2);
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WTERMSIG(status) == SIGKILL);
  close(ready[0]);
  close(ready[1]);
  CHECK_FALSE(process_info(child).has_value());
  CHECK_FALSE(process_variable(child, "PATH").has_value());
}
