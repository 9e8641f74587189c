#include "source/script/script_source.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "source/script/schedule.h"
#include "source/script/source_rig.h"
#include "source/script/stderr_lines.h"

using namespace runnel;
using namespace runnel::script;

namespace {
std::string sh(const std::string& body) {
  return "#!/bin/sh\n" + body + "\n";
}
bool alive(pid_t pid) {
  return kill(pid, 0) == 0;
}
pid_t pid_in(const std::string& path) {
  std::ifstream in(path);
  pid_t pid = 0;
  in >> pid;
  return pid;
}
}  // namespace

TEST_CASE("a hook runs at once, in a clean environment, and its lines become samples") {
  setenv("RUNNEL_TEST_SECRET", "x", 1);
  TempFolder top;
  std::string where = top / "where";
  top.folder("60");
  top.file("60/env.sh", sh("echo queue.depth 42 queue=mail; echo broken; echo b 1.5\n"
                           "{ env | sort; pwd; umask; ls /proc/self/fd | wc -l; } > " +
                           where + ".tmp; mv " + where + ".tmp " + where));
  CaughtLog log;
  SourceRig rig(top.path());
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.got("queue.depth{queue=mail} 42", 2'000));
  CHECK(rig.seen["b 1.5"] == 1);
  CHECK(rig.by_script["60/env.sh"] == 2);
  CHECK(rig.counts.received == 3);
  CHECK(rig.counts.accepted == 2);
  CHECK(rig.counts.bad.snapshot().at("no_value") == 1);
  CHECK(log.has("scripts/60/env.sh: bad line reason=no_value line=\"broken\" why=\""));
  std::string text = *read_file(where, 10'000);
  for (auto line : {"RUNNEL_HOST=web-1\n", "RUNNEL_INTERVAL=60\n", "LANG=C.UTF-8\n", "0077\n", "\n/\n"}) {
    INFO(text);
    CHECK(text.find(line) != std::string::npos);
  }
  CHECK(text.find("RUNNEL_SCRIPT=" + (top / "60/env.sh") + "\n") != std::string::npos);
  CHECK(text.find("RUNNEL_TEST_SECRET") == std::string::npos);
  CHECK(text.find("\n4\n") != std::string::npos);  // 0, 1, 2 and the one with which ls reads the folder
  REQUIRE(rig.until([&] { return rig.reported(self::kScriptExit, "60/env.sh") >= 0; }, 2'000));
  CHECK(rig.reported(self::kScriptExit, "60/env.sh") == 0);
  CHECK(rig.reported(self::kScriptDuration, "60/env.sh") > 0);
}

TEST_CASE("whatever a hook does, it is gone within its timeout and two seconds, and delays no other") {
  struct Row {
    const char* name;
    std::string body;
    std::string says;
  };
  TempFolder top;
  std::string pids = top.folder("pids.d");
  auto note = [&](const char* name) { return "echo $$ >> " + pids + "/" + name + "\n"; };
  std::vector<Row> rows{
      {"hang", "echo a.hang 1; sleep 1000", "was stopped after its timeout of 500ms"},
      {"deaf", "trap '' TERM; echo a.deaf 1; while :; do sleep 0.05; done",
       "was stopped after its timeout of 500ms"},
      {"closed", "echo a.closed 1; exec >&- 2>&-; sleep 1000", "was stopped after its timeout of 500ms"},
      {"daemon",
       "setsid sh -c 'echo $$ >> " + pids +
           "/daemon; sleep 1000' >/dev/null 2>&1 & echo a.daemon 1; sleep 0.2",
       ""},
      {"wiped",
       "setsid env -i /bin/sh -c 'echo $$ >> " + pids +
           "/wiped; sleep 1000' >/dev/null 2>&1 & echo a.wiped 1; sleep 1000",
       "was stopped after its timeout of 500ms"},
      {"forks", "for i in 1 2 3 4 5 6 7 8 9; do (sleep 1000)& done; echo a.forks 1; wait",
       "was stopped after its timeout of 500ms"},
      {"bomb", "echo a.bomb 1; n=0; b() { sleep 1000 & [ $n -lt 6 ] && { n=$((n+1)); b & b & }; wait; }; b",
       "was stopped after"},
      {"sessions",
       "n=${1:-6}; [ $n = 6 ] && echo a.sessions 1; [ $n -gt 0 ] && for i in 1 2; do setsid \"$0\" $((n - "
       "1)) & done; sleep 1000",
       "was stopped after"},
      {"signal", "echo a.signal 1; kill -SEGV $$", "was killed by signal 11"},
      {"code", "echo a.code 1; exit 3", "failed with exit code 3"},
  };
  for (const Row& row : rows)
    top.file(row.name, sh("# runnel: timeout=500ms interval=1h\n" + note(row.name) + row.body));
  top.file("honest", sh("# runnel: interval=1s\necho honest 1"));
  CaughtLog log;
  {
    SourceRig rig(top.path(), [](ScriptsConfig& config) { config.max_running = 20; });
    REQUIRE(rig.source->start().ok());
    for (const Row& row : rows) {
      INFO(row.name);
      CHECK(rig.got(fmt::format("a.{} 1", row.name), 3'000));
    }
    int64_t longest_turn = 0;
    int64_t end = rig.clock.mono_ns() + 2'500'000'000;
    while (rig.clock.mono_ns() < end) {
      int64_t before = rig.clock.mono_ns();
      rig.loop.run_once(20);
      longest_turn = std::max(longest_turn, rig.clock.mono_ns() - before);
    }
    CHECK(longest_turn < 500'000'000);  // far above what it takes, far below a hook that holds the loop
    CHECK(rig.seen["honest 1"] >= 2);
    // 0.5 s of timeout and 2 s more have passed: nothing is left but the honest one's run, if any.
    for (const Row& row : rows) {
      INFO(row.name);
      std::ifstream in(pids + "/" + row.name);
      int noted = 0;
      for (pid_t pid = 0; in >> pid; noted++) CHECK_FALSE(alive(pid));
      CHECK(noted >= 1);
      INFO(log.text());
      if (!row.says.empty()) CHECK(log.has(fmt::format("scripts/{}: {}", row.name, row.says)));
    }
    CHECK(rig.reported(self::kScriptExit, "signal") == 128 + SIGSEGV);
    CHECK(rig.reported(self::kScriptExit, "code") == 3);
    CHECK(rig.reported(self::kScriptExit, "deaf") == 128 + SIGKILL);
    CHECK(rig.reported(self::kScriptExit, "hang") == 128 + SIGTERM);
  }
}

TEST_CASE("a fork bomb is over two seconds after its timeout, and the loop lives through it") {
  // Unbounded only where the kernel bounds it: processes of a user other than root.
  bool root = geteuid() == 0;
  TempFolder top;
  REQUIRE(chmod(top.path().c_str(), 0755) == 0);
  top.file("bomb", sh(root ? "# runnel: timeout=500ms\necho a 1; b() { b | b & b; }; b 2>/dev/null"
                           : "# runnel: timeout=500ms\necho a 1; for i in 1 2 3 4 5; do (sleep 99)& (sleep "
                             "99)& done; wait"));
  CaughtLog log;
  SourceRig rig(top.path(), [&](ScriptsConfig& config) {
    if (root) config.user = "nobody";
    config.interval_ms = 3'600'000;
  });
  int64_t began = rig.clock.mono_ns();
  REQUIRE(rig.source->start().ok());
  CHECK(
      rig.until([&] { return rig.source->idle() && rig.reported(self::kScriptExit, "bomb") >= 0; }, 10'000));
  CHECK(rig.no_children());
  // 2.5 s by contract; the rest is for a machine that is busy with five hundred processes.
  CHECK(rig.clock.mono_ns() - began < 5'000'000'000);
  CHECK(rig.seen["a 1"] == 1);
}

TEST_CASE(
    "a process that left its session and its environment is ended when no other hook can be its parent") {
  TempFolder top;
  std::string pid_file = top / "pid.txt";
  top.file("leaves", sh("setsid env -i /bin/sh -c 'echo $$ > " + pid_file +
                        "; sleep 1000' >/dev/null 2>&1 & sleep 0.3"));
  SourceRig rig(top.path(), [](ScriptsConfig& config) { config.interval_ms = 3'600'000; });
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.until([&] { return pid_in(pid_file) > 0; }, 3'000));
  pid_t pid = pid_in(pid_file);
  CHECK(rig.until([&] { return !alive(pid); }, 3'000));
  CHECK(rig.until([&] { return rig.source->idle(); }, 3'000));
}

TEST_CASE("a flood is cut at the cap, what came before counts") {
  TempFolder top;
  top.file("flood", sh("echo first 1; exec yes flood 1"));
  top.file("errors", sh("echo good 1; yes complaint >&2"));
  CaughtLog log;
  SourceRig rig(top.path(), [](ScriptsConfig& config) { config.max_output = 100'000; });
  REQUIRE(rig.source->start().ok());
  CHECK(rig.until([&] { return log.count("printed more than 100000 and was stopped") == 2; }, 4'000));
  CHECK(rig.seen["first 1"] == 1);
  CHECK(rig.seen["good 1"] == 1);
  CHECK(rig.counts.received <= 20'000);
  CHECK(rig.counts.received == rig.counts.accepted + rig.counts.bad.sum());
  CHECK(log.count("scripts/errors: stderr: complaint") == 20);
  CHECK(log.has(" more lines"));
}

TEST_CASE("a bad line stands between quotes in the log, its own escaped") {
  TempFolder top;
  top.file("json", sh("cat <<'END'\n{\"key\":\"jc\",\"unit\":\"a\\\\b\"}\nEND"));
  CaughtLog log;
  SourceRig rig(top.path());
  REQUIRE(rig.source->start().ok());
  CHECK(rig.until([&] { return log.has("bad line"); }, 3'000));
  INFO(log.text());
  CHECK(log.has(R"(scripts/json: bad line reason=no_value line="{\"key\":\"jc\",\"unit\":\"a\\\\b\"}" why=)"
                "\"there is no value\"\n"));
}

TEST_CASE("stderr goes to the log under the hook's name, escaped") {
  TempFolder top;
  top.file("talks", sh("echo 'disk is\tfull' >&2; printf 'no newline\\033[31m' >&2; echo a 1"));
  CaughtLog log;
  SourceRig rig(top.path());
  REQUIRE(rig.source->start().ok());
  CHECK(rig.got("a 1"));
  CHECK(rig.until([&] { return rig.source->idle(); }, 3'000));
  CHECK(log.has("WARNING scripts/talks: stderr: disk is\\tfull\n"));
  CHECK(log.has("stderr: no newline\\x1b[31m\n"));
}

TEST_CASE("stderr is limited over time, not by the run") {
  StderrLines lines;
  std::vector<std::string> logged;
  auto log = [&](std::string_view line) { logged.emplace_back(line); };
  // Three lines a second for two minutes and a half, one of them without its end.
  for (int second = 0; second < 150; second++) {
    lines.feed("one\ntwo\n\nth", second * 1'000, log);
    lines.feed("ree", second * 1'000, log);
    lines.finish(second * 1'000 + 500, log);
  }
  auto count = [&](const std::string& text) { return std::count(logged.begin(), logged.end(), text); };
  CHECK(count("one") + count("two") + count("three") == 60);
  // 7 runs are 21 lines; then 60 s of 3 lines less the 20 of the next period; the same again.
  CHECK(count("1 more lines") == 1);
  CHECK(count("160 more lines") == 2);
  CHECK(logged.size() == 63);
  // A new file is heard at once, and nothing that was held back is forgotten: 23 runs since the last count.
  logged.clear();
  lines.renew();
  lines.feed("new\n" + std::string(600, 'x') + "\n", 150'000, log);
  lines.finish(150'000, log);
  CHECK(logged == std::vector<std::string>{"new", std::string(500, 'x') + "…", "69 more lines"});
}

TEST_CASE("the stderr of a hook that complains every second does not fill the log") {
  TempFolder top;
  top.file("talks.1s.sh", sh("seq -f 'line %g' 15 >&2; echo a 1"));
  CaughtLog log;
  SourceRig rig(top.path());
  REQUIRE(rig.source->start().ok());
  CHECK(rig.until([&] { return rig.samples_of("talks.1s.sh") >= 4; }, 8'000));
  CHECK(rig.until([&] { return rig.source->idle(); }, 3'000));
  CHECK(log.count("stderr: line ") == 20);
  CHECK(log.count("stderr: 10 more lines") == 1);
}

TEST_CASE("a program that cannot be run says why") {
  TempFolder top;
  top.file("no_line", "echo a 1\n");
  top.file("no_interpreter", "#!/nonexistent/interpreter\n");
  top.file("windows", "#!/bin/sh\r\necho a 1\r\n");
  CaughtLog log;
  SourceRig rig(top.path());
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.until(
      [&] {
        return rig.reported(self::kScriptExit, "windows") > 0 &&
               rig.reported(self::kScriptExit, "no_interpreter") > 0 &&
               rig.reported(self::kScriptExit, "no_line") > 0;
      },
      3'000));
  CHECK(rig.reported(self::kScriptExit, "no_line") == 126);
  CHECK(rig.reported(self::kScriptExit, "no_interpreter") == 127);
  CHECK(log.has("has no #! line (its first line must name the interpreter: #!/bin/sh)"));
  CHECK(log.has("its first line is \"#!/nonexistent/interpreter\"; is that interpreter installed?"));
  CHECK(log.has("Windows line end"));
}

TEST_CASE("the first aligned run does not follow close upon the one at once") {
  TempFolder top;
  constexpr int64_t kInterval = 2'000;
  // In its own words, and each run once: when it ran.
  top.file("when.2s.sh", sh("echo ran.$(date +%s%3N) 1"));
  SourceRig rig(top.path());
  rig.run_for(Folder::kSettleMs + 50);
  // 100 to 400 ms before the next aligned run.
  auto phase = [&] { return (rig.clock.wall_ms() - splay_ms("when.2s.sh", kInterval)) % kInterval; };
  REQUIRE(rig.until([&] { return phase() > kInterval - 400 && phase() < kInterval - 100; }, 3 * kInterval));
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.until([&] { return rig.seen.size() >= 3; }, 5 * kInterval));
  std::vector<int64_t> times;
  for (const auto& [sample, n] : rig.seen) times.push_back(std::stoll(sample.substr(4)));
  INFO(times[0] << " " << times[1] << " " << times[2]);
  CHECK(times[1] - times[0] >= kInterval / 2);
  CHECK(times[1] - times[0] < 2 * kInterval);
  CHECK(times[2] - times[1] >= kInterval / 2);
}

TEST_CASE("one hook never runs twice at a time, and no more than max_running hooks do") {
  TempFolder top;
  std::string journal = top / "journal.txt";
  for (int i = 0; i < 4; i++)
    top.file("slow" + std::to_string(i),
             sh("echo start >> " + journal + "; sleep 0.4; echo end >> " + journal + "; echo a 1"));
  SourceRig rig(top.path(),
                [](ScriptsConfig& config) { config.max_running = 2, config.interval_ms = 3'600'000; });
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.until([&] { return rig.seen["a 1"] == 4; }, 5'000));
  std::ifstream in(journal);
  int now = 0, most = 0;
  for (std::string word; in >> word;) most = std::max(most, now += word == "start" ? 1 : -1);
  CHECK(most == 2);
  CHECK(now == 0);

  TempFolder other;
  std::string count = other / "count.txt";
  other.file("long.1s.sh", sh("echo x >> " + count + "; sleep 3; echo b 1"));
  SourceRig second(other.path(), [](ScriptsConfig& config) { config.timeout_ms = 10'000; });
  REQUIRE(second.source->start().ok());
  second.run_for(2'400);
  CHECK(read_file(count, 100).value() == "x\n");
  CHECK(second.reported(self::kScriptSkipped, "long.1s.sh", "overlap") >= 1);
}

TEST_CASE("the folder decides: dropped in, replaced, renamed, removed") {
  TempFolder top;
  SourceRig rig(top / "hooks", [](ScriptsConfig& config) { config.interval_ms = 1'000; });
  CaughtLog log;
  CHECK_FALSE(rig.source->start().ok());  // it is not there yet
  rig.run_for(50);
  top.folder("hooks");
  top.file("hooks/first", sh("echo first 1"));
  CHECK(rig.got("first 1", 3'000));

  top.file("hooks/second", sh("echo second 1"));
  CHECK(rig.got("second 1", 2'000));
  CHECK(unlink((top / "hooks/second").c_str()) == 0);
  CHECK(rig.until([&] { return rig.source->hooks() == 1; }, 2'000));
  int before = rig.seen["second 1"];
  rig.run_for(1'500);
  CHECK(rig.seen["second 1"] == before);

  top.file("hooks/first", sh("echo replaced 1"));
  CHECK(rig.got("replaced 1", 2'000));

  top.folder("hooks/1h");
  top.file("hooks/1h/third", sh("echo third 1"));
  CHECK(rig.got("third 1", 2'000));

  // A hook that is hanging when its file is removed ends.
  std::string pid_file = top / "pid.txt";
  top.file("hooks/hang", sh("# runnel: timeout=1h\necho $$ > " + pid_file + "; sleep 1000"));
  REQUIRE(rig.until([&] { return pid_in(pid_file) > 0; }, 2'000));
  pid_t pid = pid_in(pid_file);
  CHECK(unlink((top / "hooks/hang").c_str()) == 0);
  CHECK(rig.until([&] { return !alive(pid); }, 4'000));

  // Half a file is not run: it is still being written.
  std::string half = top / "hooks/half";
  {
    std::ofstream out(half);
    out << "#!/bin/sh\n" << std::flush;
    REQUIRE(chmod(half.c_str(), 0755) == 0);
    for (int i = 0; i < 8; i++) {
      rig.run_for(150);
      out << "# more\n" << std::flush;
      CHECK(rig.reported(self::kScriptExit, "half") == -1);
    }
    out << "echo whole 1\n";
  }
  CHECK(rig.got("whole 1", 2'000));
}

TEST_CASE("a hook that others could write is refused, with the chmod that mends it, and runs once mended") {
  TempFolder top;
  std::string hook = top.file("hook", sh("echo a 1"), 0777);
  CaughtLog log;
  SourceRig rig(top.path(), [](ScriptsConfig& config) { config.interval_ms = 1'000; });
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.until([&] { return log.has("chmod go-w " + hook); }, 2'000));
  rig.run_for(1'500);
  CHECK(rig.seen.empty());
  CHECK(log.count("is not run: ") == 1);
  REQUIRE(chmod(hook.c_str(), 0755) == 0);
  CHECK(rig.got("a 1", 2'000));

  // Swapped between two runs: by a link to a file that others can write.
  std::string other = top.file("other.txt", sh("echo evil 1"), 0644);
  REQUIRE(chmod(other.c_str(), 0777) == 0);
  REQUIRE(symlink(other.c_str(), (top / "new").c_str()) == 0);
  REQUIRE(rename((top / "new").c_str(), hook.c_str()) == 0);
  REQUIRE(rig.until([&] { return log.has("chmod go-w " + other); }, 2'000));
  rig.run_for(1'200);
  CHECK(rig.seen["evil 1"] == 0);
}

TEST_CASE("the check before each run sees what no watch tells of") {
  TempFolder top;
  std::string parent = top.folder("parent");
  top.folder("parent/hooks");
  top.file("parent/hooks/hook", sh("echo a 1"));
  CaughtLog log;
  SourceRig rig(top / "parent/hooks", [](ScriptsConfig& config) { config.interval_ms = 1'000; });
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.got("a 1"));
  REQUIRE(chmod(parent.c_str(), 0777) == 0);
  REQUIRE(rig.until([&] { return log.has("chmod go-w " + parent); }, 3'000));
  int before = rig.seen["a 1"];
  CHECK(rig.reported(self::kScriptSkipped, "hook", "refused") == 1);
  rig.run_for(1'200);
  CHECK(rig.seen["a 1"] == before);
}

TEST_CASE("a hook that is due before its removal was noticed is gone, which is no error") {
  TempFolder top;
  top.folder("parent");
  top.folder("parent/hooks");
  top.file("parent/hooks/hook", sh("echo a 1"));
  CaughtLog log;
  SourceRig rig(top / "parent/hooks", [](ScriptsConfig& config) { config.interval_ms = 1'000; });
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.got("a 1"));
  // The watch is on the folder itself and does not see this.
  REQUIRE(rename((top / "parent").c_str(), (top / "elsewhere").c_str()) == 0);
  CHECK(rig.until([&] { return log.has("INFO scripts/hook: is gone"); }, 3'000));
  rig.run_for(1'200);
  INFO(log.text());
  CHECK(log.count("is gone") == 1);
  CHECK_FALSE(log.has("is not run"));
  CHECK(rig.reported(self::kScriptSkipped, "hook", "refused") == -1);
  CHECK(rig.source->hooks() == 0);
}

TEST_CASE("files that are no hooks are left alone, and what looks like one is pointed out") {
  TempFolder top;
  top.file("README.md", "# text\n", 0644);
  top.file("data", "1\n", 0644);
  top.file("forgotten.sh", sh("echo no 1"), 0644);
  top.file(".hidden", sh("echo no 1"));
  top.file("saved~", sh("echo no 1"));
  top.file("hook.dpkg-new", sh("echo no 1"));
  top.file("my hook", sh("echo no 1"));
  top.folder("lib");
  top.file("lib/helper", sh("echo no 1"));
  top.folder("0");
  top.file("0/forever", sh("echo no 1"));
  top.file("header", sh("# runnel: interval=often\necho no 1"));
  top.file("good", sh("echo yes 1"));
  top.folder("60");
  top.folder("60/deeper");
  REQUIRE(symlink("/nonexistent/hook", (top / "dangling").c_str()) == 0);
  CaughtLog log;
  SourceRig rig(top.path());
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.got("yes 1"));
  CHECK(rig.until([&] { return log.has("header line 2: interval: "); }, 1'000));
  CHECK(rig.source->hooks() == 1);
  CHECK(rig.seen.size() == 1);
  CHECK(log.count("is not executable and is not run: chmod +x " + (top / "forgotten.sh")) == 1);
  CHECK(log.count("rename '" + (top / "my hook") + "'") == 1);
  CHECK(log.has(top / "0/: 0s is not between 1s and 1d"));
  CHECK_FALSE(log.has("README"));
  CHECK_FALSE(log.has("scripts/data"));
  // Another look, with something new to complain of, does not repeat the old.
  REQUIRE(symlink("loop", (top / "loop").c_str()) == 0);
  CHECK(rig.until([&] { return log.has((top / "loop") + " is ignored: it is a link that leads nowhere"); },
                  2'000));
  for (const std::string& once :
       {(top / "lib/") + " is ignored: a sub-folder must be named after the interval of its hooks (60/, 5m/)",
        (top / "60/deeper/") + " is ignored: a folder named after an interval has no sub-folders",
        (top / "dangling") + " is ignored: it is a link that leads nowhere", top / "0/: 0s is not between"}) {
    INFO(once << "\n" << log.text());
    CHECK(log.count("WARNING scripts: " + once) == 1);
  }
}

TEST_CASE("failures are logged when they change, and back off") {
  TempFolder top;
  std::string flag = top / "flag.txt";
  std::string hook = top.file("fails.1s.sh", sh("[ -e " + flag + " ] && { echo a 1; exit 0; }; exit 4"));
  CaughtLog log;
  SourceRig rig(top.path());
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.until([&] { return log.has("failures=3 next=2s"); }, 6'000));
  CHECK(rig.until([&] { return rig.reported(self::kScriptSkipped, "fails.1s.sh", "backoff") >= 1; }, 3'000));
  CHECK(log.count("failed with exit code 4") <= 3);  // the first, and each longer pause
  std::ofstream(flag) << "x";
  CHECK(rig.got("a 1", 6'000));
  CHECK(rig.until([&] { return log.has("works again after"); }, 1'000));
}

TEST_CASE("no runs while the log is full") {
  TempFolder top;
  top.file("hook.1s.sh", sh("echo a 1"));
  SourceRig rig(top.path());
  rig.may_run = false;
  REQUIRE(rig.source->start().ok());
  REQUIRE(
      rig.until([&] { return rig.reported(self::kScriptSkipped, "hook.1s.sh", "log_full") >= 2; }, 4'000));
  CHECK(rig.seen.empty());
  rig.may_run = true;
  CHECK(rig.got("a 1"));
}

TEST_CASE("children that the process had before are not touched") {
  pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  TempFolder top;
  top.file("hook", sh("echo a 1"));
  {
    SourceRig rig(top.path());
    bool ok = false;
    REQUIRE(rig.run_once(&ok));
    CHECK(rig.until([&] { return rig.source->idle(); }, 2'000));
    CHECK(alive(child));
    kill(child, SIGKILL);
    CHECK(rig.no_children());
  }
}

TEST_CASE("stop ends what runs, soon") {
  TempFolder top;
  top.file("deaf", sh("# runnel: timeout=1h\ntrap '' TERM; echo a 1; while :; do sleep 0.05; done"));
  SourceRig rig(top.path());
  REQUIRE(rig.source->start().ok());
  rig.run_for(600);
  CHECK_FALSE(rig.source->idle());
  rig.source->stop();
  CHECK(rig.until([&] { return rig.source->idle(); }, 2'500));
  CHECK(rig.seen["a 1"] == 1);  // what it had said counts
}

TEST_CASE("destroyed while hooks run, the source leaves neither processes nor zombies") {
  TempFolder top;
  std::string pid_file = top / "pid.txt";
  top.file("deaf",
           sh("trap '' TERM; setsid sleep 1000 & echo $$ > " + pid_file + "; while :; do sleep 0.05; done"));
  SourceRig rig(top.path());
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.until([&] { return pid_in(pid_file) > 0; }, 3'000));
  rig.source.reset();
  CHECK(children_of(getpid()).empty());
}

TEST_CASE("one round runs each hook once and tells how it went") {
  TempFolder top;
  top.file("a", sh("echo a 1"));
  top.file("b", sh("sleep 0.2; echo b 1"));
  {
    SourceRig rig(top.path(), [](ScriptsConfig& config) { config.max_running = 1; });
    bool ok = false;
    REQUIRE(rig.run_once(&ok));
    CHECK(ok);
    CHECK(rig.seen == std::map<std::string, int>{{"a 1", 1}, {"b 1", 1}});
  }
  struct Row {
    const char* name;
    std::string text;
    mode_t mode;
  };
  for (const Row& row : std::vector<Row>{{"fails", sh("exit 1"), 0755}, {"refused", sh("exit 0"), 0777}}) {
    TempFolder other;
    other.file("good", sh("echo a 1"));
    other.file(row.name, row.text, row.mode);
    CaughtLog log;
    SourceRig rig(other.path());
    bool ok = true;
    REQUIRE(rig.run_once(&ok));
    CHECK_FALSE(ok);
    CHECK(rig.seen["a 1"] == 1);
  }
  SourceRig absent(top / "nowhere");
  CaughtLog log;
  bool ok = false;
  REQUIRE(absent.run_once(&ok));
  CHECK(ok);
}

TEST_CASE("another configuration disturbs only what it concerns") {
  TempFolder top;
  std::string runs = top / "runs.txt";
  top.file("pinned", sh("# runnel: interval=1h timeout=5s\necho x >> " + runs + "; echo pinned 1"));
  top.file("plain", sh("echo plain $RUNNEL_INTERVAL"));
  TempFolder other;
  other.file("else", sh("echo else 1"));
  SourceRig rig(top.path(), [](ScriptsConfig& config) { config.interval_ms = 3'600'000; });
  REQUIRE(rig.source->start().ok());
  REQUIRE(rig.got("plain 3600"));
  rig.config.interval_ms = 1'000;
  REQUIRE(rig.source->reconfigure(rig.config, rig.context).ok());
  CHECK(rig.got("plain 1"));
  CHECK(read_file(runs, 100).value() == "x\n");
  rig.config.dir = other.path();
  REQUIRE(rig.source->reconfigure(rig.config, rig.context).ok());
  CHECK(rig.got("else 1"));
  CHECK(rig.source->hooks() == 1);
  rig.config.user = "no-such-user-here";
  Status status = rig.source->reconfigure(rig.config, rig.context);
  REQUIRE_FALSE(status.ok());
  CHECK(status.error().find("no user \"no-such-user-here\"") != std::string::npos);
}

TEST_CASE("hooks run as the configured user") {
  if (geteuid() != 0) return;  // only root can
  TempFolder top;
  REQUIRE(chmod(top.path().c_str(), 0755) == 0);
  top.file("who", sh("echo uid $(id -u); echo gid $(id -g); echo home ${#HOME}; cat /proc/self/status | sed "
                     "-n 's/^NoNewPrivs:\\s*/nnp /p'"));
  SourceRig rig(top.path(), [](ScriptsConfig& config) { config.user = "nobody"; });
  REQUIRE(rig.source->start().ok());
  CHECK(rig.got("uid 65534"));
  CHECK(rig.seen["gid 65534"] == 1);
  CHECK(rig.seen["nnp 1"] == 1);
}
