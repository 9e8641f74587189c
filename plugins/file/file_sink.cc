#include "file_sink.h"

#include <charconv>

#include "log_file.h"
#include "sink_calls.h"

namespace {

using namespace runnel_plugin;

constexpr const char* kFsyncChoices[] = {"never", "batch", "interval", nullptr};
enum Fsync { kNever, kBatch, kInterval };

enum Option { kPath, kMode, kRotateSize, kRotateAge, kKeep, kFsync, kFsyncInterval, kOptionCount };

constexpr double kYearMs = 365.0 * 86'400'000;

constexpr runnel_option kOptions[kOptionCount] = {
    {"path", RUNNEL_OPTION_STRING, RUNNEL_OPTION_REQUIRED, nullptr,
     "File to append to; its folder must exist", nullptr, 0, 0},
    {"mode", RUNNEL_OPTION_STRING, 0, "\"0640\"", "Permissions of files it makes, in octal, less the umask",
     nullptr, 0, 0},
    {"rotate_size", RUNNEL_OPTION_SIZE, 0, nullptr,
     "Starts a new file when the next batch would make this one larger; without it size does not matter",
     nullptr, 1024, 1e18},
    {"rotate_age", RUNNEL_OPTION_DURATION, 0, nullptr,
     "Starts a new file when this one is older; without it age does not matter", nullptr, 1000, 10 * kYearMs},
    {"keep", RUNNEL_OPTION_INT, 0, "7", "How many rotated files stay: PATH.1 is the newest", nullptr, 0,
     9999},
    {"fsync", RUNNEL_OPTION_ENUM, 0, "\"interval\"",
     "When data is forced to the disk: never, with each batch before it counts as delivered, or every "
     "fsync_interval",
     kFsyncChoices, 0, 0},
    {"fsync_interval", RUNNEL_OPTION_DURATION, 0, "\"10s\"", "For fsync = \"interval\"", nullptr, 100,
     kYearMs},
};

// "0640" → 0640; -1 where it is not one.
int parse_mode(std::string_view text) {
  unsigned mode = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mode, 8);
  return text.empty() || error != std::errc{} || end != text.data() + text.size() || mode > 0777
             ? -1
             : static_cast<int>(mode);
}

void check(const runnel_value* values, void (*error)(void*, size_t, const char*, const char*),
           void* context) {
  const std::string_view path = view(values[kPath].text);
  if (path.empty() || path.back() == '/') error(context, kPath, nullptr, "must name a file");
  if (path.find('\0') != path.npos) error(context, kPath, nullptr, "must not contain a NUL");
  const int mode = parse_mode(view(values[kMode].text));
  if (mode < 0) error(context, kMode, nullptr, "must be octal digits, at most \"0777\"");
  if (mode >= 0 && (mode & 0200) == 0) error(context, kMode, nullptr, "must let the owner write (\"0640\")");
  if (values[kFsyncInterval].is_set && values[kFsync].integer != kInterval)
    error(context, kFsyncInterval, nullptr, "has no effect (set fsync = \"interval\" with it)");
  if (values[kKeep].is_set && values[kRotateSize].integer == 0 && values[kRotateAge].integer == 0)
    error(context, kKeep, nullptr, "has no effect (set rotate_size or rotate_age with it)");
}

class FileSink {
 public:
  FileSink(const runnel_host* host, const runnel_value* values)
      : host_(host),
        path_(view(values[kPath].text)),
        file_(path_, static_cast<mode_t>(parse_mode(view(values[kMode].text)))),
        rotate_size_(static_cast<uint64_t>(values[kRotateSize].integer)),
        rotate_age_ms_(values[kRotateAge].integer),
        keep_(static_cast<int>(values[kKeep].integer)),
        fsync_(static_cast<Fsync>(values[kFsync].integer)),
        fsync_interval_ns_(static_cast<uint64_t>(values[kFsyncInterval].integer) * 1'000'000u) {}
  ~FileSink() { leave_file(); }
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;

  runnel_outcome write(const runnel_payload& payload, uint64_t deadline_ns, runnel_answer* answer) {
    if (interrupted_.load()) return answer_with(answer, RUNNEL_RETRY, "interrupted");
    if (monotonic_ns() >= deadline_ns) return answer_with(answer, RUNNEL_RETRY, path_ + ": out of time");
    if (const int error = file_.open()) return failed("open", error, answer);
    if (rotation_due(payload.bytes.size)) {
      rotate();
      if (const int error = file_.open()) return failed("open", error, answer);
    }
    if (const int error = file_.append(view(payload.bytes))) {
      const runnel_outcome outcome = failed("write", error, answer);
      if (error == EIO || error == ESTALE)
        file_.close();  // the disk or the server behind it may be another one now
      return outcome;
    }
    if (fsync_ == kBatch) {
      int error = file_.sync();
      if (error == 0 && file_.size() == payload.bytes.size)
        error = file_.sync_directory();  // the file is new
      if (error == EACCES) error = 0;    // a folder that may be written to and not read cannot be synced
      if (error != 0) {
        // After a failed fsync the kernel has forgotten the pages and the next one would succeed without
        // them: only writing the data again helps.
        file_.undo_last_append();
        file_.close();
        count_sync_error();
        return failed("fsync", error, answer);
      }
    } else if (fsync_ == kInterval) {
      if (unsynced_since_ns_ == 0) unsynced_since_ns_ = monotonic_ns();
      sync_when_due();
    }
    return RUNNEL_DELIVERED;
  }

  void tick() {
    if (fsync_ == kInterval) sync_when_due();
    if (file_.is_open() && rotation_due(0)) rotate();
  }

  void interrupt() { interrupted_.store(true); }

  void reopen() {
    interrupted_.store(false);
    leave_file();
    last_rotation_failure_ns_ = 0;
  }

 private:
  static constexpr uint64_t kRotationPauseNs = 60'000'000'000u;  // between attempts when rotating fails

  bool rotation_due(size_t next_bytes) const {
    if (!file_.can_rotate() || file_.size() == 0) return false;  // an empty file is as good as a new one
    if (last_rotation_failure_ns_ != 0 && monotonic_ns() - last_rotation_failure_ns_ < kRotationPauseNs)
      return false;
    return (rotate_size_ > 0 && file_.size() + next_bytes > rotate_size_) ||
           (rotate_age_ms_ > 0 && file_.age_ms() >= rotate_age_ms_);
  }

  // A file that cannot be rotated (its folder is not ours) goes on growing: losing data would be worse.
  void rotate() {
    sync_before_leaving();
    if (const int error = file_.rotate(keep_)) {
      if (last_rotation_failure_ns_ == 0)
        log(RUNNEL_LOG_ERROR, path_ + ": cannot rotate: " + error_text(error) + "; it goes on growing");
      last_rotation_failure_ns_ = monotonic_ns();
    } else {
      last_rotation_failure_ns_ = 0;
      log(RUNNEL_LOG_DEBUG, path_ + ": rotated");
    }
  }

  void sync_when_due() {
    if (unsynced_since_ns_ != 0 && monotonic_ns() - unsynced_since_ns_ >= fsync_interval_ns_)
      sync_before_leaving();
  }

  void sync_before_leaving() {
    if (unsynced_since_ns_ == 0 || !file_.is_open()) return;
    unsynced_since_ns_ = 0;
    if (const int error = file_.sync()) {
      count_sync_error();
      log(RUNNEL_LOG_ERROR,
          path_ + ": fsync: " + error_text(error) + "; what was written since the last one may be lost");
      file_.close();
    }
  }

  void leave_file() {
    sync_before_leaving();
    file_.close();
  }

  void count_sync_error() {
    host_->metric(host_->context, "runnel.file.fsync_errors", nullptr, 0, RUNNEL_METRIC_TOTAL,
                  ++sync_errors_);
  }

  void log(runnel_log_level level, const std::string& text) const {
    host_->log(host_->context, level, text.c_str());
  }

  runnel_outcome failed(const char* action, int error, runnel_answer* answer) const {
    std::string text = path_ + ": " + action + ": " + error_text(error);
    switch (error) {
      case EROFS:
      case EACCES:
      case EPERM:
      case EISDIR:
      case ENOTDIR:
      case ELOOP:
      case ENAMETOOLONG:
      case EINVAL:
        return answer_with(answer, RUNNEL_HOLD, text);
      case ENOTSUP:
        return answer_with(answer, RUNNEL_HOLD, path_ + ": is neither a file nor a character device");
      case ENOENT:
        return answer_with(answer, RUNNEL_RETRY, text + " (its folder must be there)");
      // A lock of another agent, or of the instance that this one replaces; a device that is full.
      case EWOULDBLOCK:
        return answer_with(answer, RUNNEL_RETRY, path_ + ": another process is writing to it", 1000);
      case ENOSPC:
      case EDQUOT:
        return answer_with(answer, RUNNEL_RETRY, text + " (the disk is full: free some space)");
      case EFBIG:
        return answer_with(answer, RUNNEL_RETRY, text + " (a limit on file sizes: set rotate_size below it)");
      default:
        return answer_with(answer, RUNNEL_RETRY, text);
    }
  }

  const runnel_host* host_;
  std::string path_;
  LogFile file_;
  uint64_t rotate_size_;   // 0: never
  int64_t rotate_age_ms_;  // 0: never
  int keep_;
  Fsync fsync_;
  uint64_t fsync_interval_ns_;
  std::atomic<bool> interrupted_{false};
  uint64_t unsynced_since_ns_ = 0;  // 0: nothing to sync
  uint64_t last_rotation_failure_ns_ = 0;
  double sync_errors_ = 0;
};

using Calls = SinkCalls<FileSink>;

constexpr runnel_sink kSink{
    .abi_version = RUNNEL_SINK_ABI,
    .struct_size = sizeof(runnel_sink),
    .option_size = sizeof(runnel_option),
    .capabilities = 0,
    .name = "file",
    .help = "Appends to a file, with rotation",
    .options = kOptions,
    .option_count = kOptionCount,
    .default_encoding = nullptr,
    .default_compression = nullptr,
    .check = check,
    .create = Calls::create,
    .write = Calls::write,
    .interrupt = Calls::interrupt,
    .reopen = Calls::reopen,
    .destroy = Calls::destroy,
    .tick = Calls::tick,
    .encodings = nullptr,
};

}  // namespace

extern "C" const runnel_sink* runnel_file_sink(void) {
  return &kSink;
}
