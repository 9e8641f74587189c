#include "stdout_sink.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "sink_calls.h"

namespace {

using namespace runnel_plugin;

class StdoutSink {
 public:
  StdoutSink(const runnel_host* host, const runnel_value*) : host_(host) {}
  ~StdoutSink() { close_own(); }
  StdoutSink(const StdoutSink&) = delete;
  StdoutSink& operator=(const StdoutSink&) = delete;

  runnel_outcome write(const runnel_payload& payload, uint64_t deadline_ns, runnel_answer* answer) {
    if (way_ == Way::kUnknown) find_way();
    const std::string_view bytes = view(payload.bytes), id = view(payload.id);
    // What a pipe has taken cannot be taken back: the same payload goes on where it stopped; before another
    // one the line that was begun is ended, so that only that line is damaged.
    if (written_ > 0 && (id.empty() || id != partial_id_)) {
      if (!line_ended_ && !end_line(deadline_ns)) return stopped(deadline_ns, answer);
      written_ = 0;
    }
    while (written_ < bytes.size()) {
      const ssize_t count = put(bytes.substr(written_), deadline_ns);
      if (count < 0) {
        if (written_ > 0) partial_id_ = id;
        line_ended_ = written_ == 0 || bytes[written_ - 1] == '\n' || payload.content_encoding.size > 0;
        return stopped(deadline_ns, answer);
      }
      written_ += static_cast<size_t>(count);
    }
    written_ = 0;
    return RUNNEL_DELIVERED;
  }

  void interrupt() { interrupt_.raise(); }
  void reopen() {
    interrupt_.clear();
    close_own();
  }

 private:
  // O_NONBLOCK belongs to the open file description, which the agent shares with the shell that started it:
  // setting it on descriptor 1 would break that shell's other programs. So pipes and terminals are opened
  // anew through /proc with a description of our own; a socket has MSG_DONTWAIT; a regular file does not
  // block for anybody's sake and must keep the shared offset. Where /proc does not help, poll and pieces of
  // at most PIPE_BUF bytes, which a pipe that polls writable takes without blocking (pipe(7)).
  enum class Way { kUnknown, kOwn, kSocket, kPlain };

  void find_way() {
    struct stat status {};
    way_ = Way::kPlain;
    fd_ = STDOUT_FILENO;
    piece_ = 4096;
    if (fstat(STDOUT_FILENO, &status) != 0) return;
    if (S_ISSOCK(status.st_mode)) {
      way_ = Way::kSocket;
    } else if (S_ISREG(status.st_mode)) {
      piece_ = SIZE_MAX / 2;
    } else {
      const int own = open("/proc/self/fd/1", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
      if (own >= 0) {
        way_ = Way::kOwn;
        fd_ = own;
      }
    }
  }

  void close_own() {
    if (way_ == Way::kOwn) close(fd_);
    way_ = Way::kUnknown;
  }

  // Writes some of `bytes`; -1 with error_ set (0: interrupted or out of time) where nothing more can be
  // written.
  ssize_t put(std::string_view bytes, uint64_t deadline_ns) {
    for (;;) {
      error_ = 0;
      if (interrupt_.raised()) return -1;
      if (way_ == Way::kPlain && interrupt_.wait_writable(fd_, deadline_ns) != Interrupt::Woken::kReady)
        return -1;
      const size_t size = way_ == Way::kPlain ? std::min(bytes.size(), piece_) : bytes.size();
      const ssize_t count = way_ == Way::kSocket ? send(fd_, bytes.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL)
                                                 : ::write(fd_, bytes.data(), size);
      if (count > 0) return count;
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno != EAGAIN) {
        error_ = errno;
        return -1;
      }
      if (interrupt_.wait_writable(fd_, deadline_ns) != Interrupt::Woken::kReady) return -1;
    }
  }

  bool end_line(uint64_t deadline_ns) {
    if (put("\n", deadline_ns) < 0) return false;
    line_ended_ = true;
    return true;
  }

  runnel_outcome stopped(uint64_t deadline_ns, runnel_answer* answer) const {
    if (error_ == 0) {
      if (interrupt_.raised()) return answer_with(answer, RUNNEL_RETRY, "interrupted");
      return answer_with(answer, RUNNEL_RETRY,
                         monotonic_ns() >= deadline_ns ? "stdout: whoever reads it does not keep up"
                                                       : "stdout: cannot wait for it");
    }
    const std::string text = "stdout: " + error_text(error_);
    switch (error_) {
      // A reader that has gone never comes back to this pipe, and the data is not at fault: keep it.
      case EPIPE:
      case ECONNRESET:
        return answer_with(answer, RUNNEL_HOLD,
                           text + " (its reader has gone; start the agent again with one)");
      case EBADF:
      case EIO:  // the terminal was closed
      case EINVAL:
      case ENXIO:
        return answer_with(answer, RUNNEL_HOLD, text);
      default:  // ENOSPC, EDQUOT, EFBIG: it leads into a file on a disk that is full
        return answer_with(answer, RUNNEL_RETRY, text);
    }
  }

  [[maybe_unused]] const runnel_host* host_;
  Interrupt interrupt_;
  Way way_ = Way::kUnknown;
  int fd_ = -1;       // our own only where way_ is kOwn
  size_t piece_ = 0;  // most bytes a write for kPlain
  int error_ = 0;
  size_t written_ = 0;  // of the payload partial_id_
  bool line_ended_ = true;
  std::string partial_id_;
};

using Calls = SinkCalls<StdoutSink>;

constexpr runnel_sink kSink{
    .abi_version = RUNNEL_SINK_ABI,
    .struct_size = sizeof(runnel_sink),
    .option_size = sizeof(runnel_option),
    .capabilities = 0,
    .name = "stdout",
    .help = "Writes to standard output",
    .options = nullptr,
    .option_count = 0,
    .default_encoding = "pretty",
    .default_compression = nullptr,
    .check = nullptr,
    .create = Calls::create,
    .write = Calls::write,
    .interrupt = Calls::interrupt,
    .reopen = Calls::reopen,
    .destroy = Calls::destroy,
    .tick = nullptr,
    .encodings = nullptr,
};

}  // namespace

extern "C" const runnel_sink* runnel_stdout_sink(void) {
  return &kSink;
}
