// The stdout sink on real pipes, sockets and files behind descriptor 1.
#include "stdout_sink.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <thread>

#include "plugins/sink_host.h"
#include "support/catch.h"

using namespace runnel_test;
using namespace std::chrono_literals;

namespace {

// Descriptor 1 is something else while this lives; Catch writes to it, so no assertion may fail meanwhile:
// tests keep results and look at them afterwards.
class ScopedStdout {
 public:
  explicit ScopedStdout(int fd) : saved_(fcntl(1, F_DUPFD_CLOEXEC, 3)) {
    fflush(stdout);
    if (fd >= 0)
      dup2(fd, 1);
    else
      close(1);
  }
  ~ScopedStdout() {
    dup2(saved_, 1);
    close(saved_);
  }
  ScopedStdout(const ScopedStdout&) = delete;
  ScopedStdout& operator=(const ScopedStdout&) = delete;

 private:
  int saved_;
};

struct Pipe {
  int fds[2] = {-1, -1};
  Pipe() {
    if (pipe2(fds, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    signal(SIGPIPE, SIG_IGN);  // as the host does
  }
  ~Pipe() {
    close_reader();
    close(fds[1]);
  }
  void close_reader() {
    if (fds[0] >= 0) close(fds[0]);
    fds[0] = -1;
  }
  std::string take(size_t size) {
    std::string text(size, '\0');
    size_t have = 0;
    while (have < size) {
      const ssize_t count = read(fds[0], text.data() + have, size - have);
      if (count <= 0) break;
      have += static_cast<size_t>(count);
    }
    text.resize(have);
    return text;
  }
  std::string take_all() {  // what is in it now
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    return take(8 << 20);
  }
};

std::string lines(size_t size) {
  std::string text;
  for (int i = 0; text.size() < size; ++i) text += "line " + std::to_string(i) + "\n";
  return text;
}

}  // namespace

TEST_CASE("stdout: a payload goes out as it is, with the shell's flags untouched") {
  Pipe pipe;
  SinkHost host(runnel_stdout_sink(), {});
  std::vector<Answer> answers;
  int flags = 0;
  {
    ScopedStdout replaced(pipe.fds[1]);
    host.create();
    answers.push_back(host.write({.bytes = "one\n"}));
    answers.push_back(host.write({.bytes = "two\n", .id = "id-2"}));
    flags = fcntl(1, F_GETFL);
  }
  for (const Answer& answer : answers) CHECK(answer.outcome == RUNNEL_DELIVERED);
  CHECK((flags & O_NONBLOCK) == 0);
  CHECK(pipe.take_all() == "one\ntwo\n");
  CHECK(std::string(runnel_stdout_sink()->default_encoding) == "pretty");
}

TEST_CASE("stdout: a full pipe is waited for until the deadline, then goes on where it stopped") {
  Pipe pipe;
  const std::string text = lines(300'000);  // a pipe holds 64 KiB
  SinkHost host(runnel_stdout_sink(), {});
  Answer first{}, second{};
  std::string got;
  {
    ScopedStdout replaced(pipe.fds[1]);
    host.create();
    first = host.write({.bytes = text}, 100ms);
    std::thread reader([&] { got = pipe.take(text.size()); });
    second = host.write({.bytes = text}, 10s);
    if (second.outcome != RUNNEL_DELIVERED) close(1), close(pipe.fds[1]), host.destroy();
    reader.join();
  }
  CHECK(first.outcome == RUNNEL_RETRY);
  CHECK(first.message == "stdout: whoever reads it does not keep up");
  CHECK(first.took_ms >= 100);
  CHECK(second.outcome == RUNNEL_DELIVERED);
  CHECK(got == text);  // every byte once
}

TEST_CASE("stdout: another payload after half of one begins on a new line") {
  Pipe pipe;
  fcntl(pipe.fds[1], F_SETPIPE_SZ, 4096);
  SinkHost host(runnel_stdout_sink(), {});
  Answer first{}, second{};
  std::string start, rest;
  {
    ScopedStdout replaced(pipe.fds[1]);
    host.create();
    first = host.write({.bytes = std::string(10'000, 'x') + "\n", .id = "a"}, 50ms);
    start = pipe.take(4096);
    second = host.write({.bytes = "next\n", .id = "b"}, 5s);
    rest = pipe.take_all();
  }
  CHECK(first.outcome == RUNNEL_RETRY);
  CHECK(start == std::string(4096, 'x'));
  CHECK(second.outcome == RUNNEL_DELIVERED);
  CHECK(rest == "\nnext\n");
}

TEST_CASE("stdout: interrupt ends a write to a full pipe at once, and the next one too") {
  Pipe pipe;
  const std::string text = lines(300'000);
  SinkHost host(runnel_stdout_sink(), {});
  Answer blocked{}, after{}, reopened{};
  std::string got;
  {
    ScopedStdout replaced(pipe.fds[1]);
    host.create();
    std::thread other([&] {
      std::this_thread::sleep_for(100ms);
      host.interrupt();
    });
    blocked = host.write({.bytes = text}, 60s);
    other.join();
    after = host.write({.bytes = text}, 60s);
    host.reopen();
    std::thread reader([&] { got = pipe.take(text.size()); });
    reopened = host.write({.bytes = text}, 10s);
    if (reopened.outcome != RUNNEL_DELIVERED) close(1), close(pipe.fds[1]), host.destroy();
    reader.join();
  }
  CHECK(blocked.outcome == RUNNEL_RETRY);
  CHECK(blocked.message == "interrupted");
  CHECK(blocked.took_ms < 30'000);
  CHECK(after.outcome == RUNNEL_RETRY);
  CHECK(after.took_ms < 30'000);
  CHECK(reopened.outcome == RUNNEL_DELIVERED);
  CHECK(got == text);
}

TEST_CASE("stdout: a reader that has gone and a descriptor that is not there hold, a full disk tries again") {
  struct Row {
    const char* what;
    runnel_outcome outcome;
    const char* message;
  };
  const Row rows[] = {
      {"gone", RUNNEL_HOLD, "Broken pipe"},
      {"closed", RUNNEL_HOLD, "Bad file descriptor"},
      {"/dev/full", RUNNEL_RETRY, "No space left on device"},
      {"/dev/null", RUNNEL_DELIVERED, ""},
  };
  for (const Row& row : rows) {
    INFO(row.what);
    Pipe pipe;
    if (std::string(row.what) == "gone") pipe.close_reader();
    const int device = row.what[0] == '/' ? open(row.what, O_WRONLY | O_CLOEXEC) : -1;
    SinkHost host(runnel_stdout_sink(), {});
    host.create();  // before: what it opens must not become descriptor 1
    Answer answer{};
    {
      ScopedStdout replaced(device >= 0 ? device : row.what[0] == 'g' ? pipe.fds[1] : -1);
      answer = host.write({.bytes = "text\n"}, 2s);
    }
    if (device >= 0) close(device);
    CHECK(answer.outcome == row.outcome);
    INFO(answer.message);
    CHECK(contains(answer.message, row.message));
  }
}

TEST_CASE("stdout: a socket and a file") {
  int sockets[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
  TemporaryFolder folder;
  const int file = open((folder / "out").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  REQUIRE(write(file, "before\n", 7) == 7);
  std::vector<Answer> answers;
  for (const int fd : {sockets[1], file}) {
    SinkHost host(runnel_stdout_sink(), {});
    ScopedStdout replaced(fd);
    host.create();
    answers.push_back(host.write({.bytes = "text\n"}, 2s));
  }
  char received[16] = {};
  CHECK(read(sockets[0], received, sizeof received) == 5);
  CHECK(std::string(received) == "text\n");
  CHECK(read_file(folder / "out") == "before\ntext\n");
  for (const Answer& answer : answers) CHECK(answer.outcome == RUNNEL_DELIVERED);

  // A socket whose peer does not read: bounded by the deadline, like a pipe.
  SinkHost host(runnel_stdout_sink(), {});
  Answer stuck{};
  {
    ScopedStdout replaced(sockets[1]);
    host.create();
    stuck = host.write({.bytes = std::string(8 << 20, 'x')}, 100ms);
  }
  CHECK(stuck.outcome == RUNNEL_RETRY);
  close(sockets[0]);
  close(sockets[1]);
  close(file);
}
