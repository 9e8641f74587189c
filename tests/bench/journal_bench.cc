// What the journal costs. Prints a JSON object a line; exit 1 where a target is missed.
//
//   cost      1,000 integer counters of statsd_blast a batch, nobody waits: CPU a sample of the thread that appends and of
//             the journal's together, until it is written; bytes a sample on disk; write amplification: bytes handed to
//             write(2) and pwrite(2) for all files, cursors too, over the bytes of payload, and beside it what the kernel
//             counts as sent towards the device (/proc/self/io, write_bytes: pages)
//   append    senders wait for each batch: bytes/s over those of a bare loop of write + fdatasync on the same disk with
//             as many bytes a sync as the journal had
//   idle      after a batch: context switches and writes of the journal's thread in 5 s
//   scan      opening a backlog after a crash, over reading the same files and doing nothing
//   drain     taking, settling and saving all of the backlog, samples a second of the reader's thread; growth of the
//             process's memory meanwhile
//
//     journal_bench [FOLDER] [BACKLOG_MIB]     default: /var/tmp (a tmpfs syncs nothing) and 1024
//     journal_bench fill FOLDER MIB            a backlog for another program: for an output called "dead"
//
// CPU times are of threads, the best of several rounds; throughputs are the best pair of alternating rounds: the machine
// may be busy. /proc/self/task/TID/schedstat: proc(5) and the kernel's sched-stats.rst, first field.
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "journal/log.h"

using namespace runnel;

namespace {

constexpr size_t kSeries = 1000;
constexpr double kCpuTarget = 250, kBytesTarget = 6, kAppendTarget = 0.8, kAmplificationTarget = 1.1;
constexpr double kDrainTarget = 2e6, kScanTarget = 500;

int64_t now_ns(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

// Counts what goes to the disk.
class CountingFileSystem : public RealFileSystem {
 public:
  ssize_t write(int fd, const void* bytes, size_t size) override {
    writes++, bytes_written += size;
    return RealFileSystem::write(fd, bytes, size);
  }
  ssize_t pwrite(int fd, const void* bytes, size_t size, int64_t offset) override {
    writes++, bytes_written += size;
    return RealFileSystem::pwrite(fd, bytes, size, offset);
  }
  int fdatasync(int fd) override {
    syncs++;
    return RealFileSystem::fdatasync(fd);
  }
  std::atomic<uint64_t> writes{0}, bytes_written{0}, syncs{0};
};

// What statsd_blast -C 1000 of counters becomes at a flush, in the order of its table.
Batch counters(uint64_t round) {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    for (size_t i = 0; i < kSeries; i++)
      all.push_back(fmt::format("bench.cnt.svc{:02}.requests.{:07}", i % 64, i));
    std::shuffle(all.begin(), all.end(), std::mt19937(1));
    return all;
  }();
  std::mt19937 random(static_cast<unsigned>(round));
  std::uniform_int_distribution<int64_t> value(30'000, 33'000);
  Batch batch("statsd");
  batch.samples.reserve(kSeries);
  for (const std::string& name : names) {
    Sample sample;
    sample.series = batch.series(name, {});
    sample.kind = Kind::counter;
    sample.time_ms = 1'763'769'600'000 + static_cast<int64_t>(round) * 10'000;
    sample.interval_ms = 10'000;
    sample.value = Number::integer(value(random));
    batch.add(sample);
  }
  return batch;
}

// Riemann events with a text that does not compress: what is measured is the journal and not zstd.
Batch events(size_t count, std::mt19937_64& random) {
  Batch batch("riemann");
  for (size_t i = 0; i < count; i++) {
    std::string text(200, '\0');
    for (char& c : text) c = static_cast<char>(random());
    Event event;
    event.series = batch.series(fmt::format("disk-{}/df", i), {{"plugin", "df"}});
    event.state = batch.string("ok");
    event.description = batch.string(text);
    event.time_ms = 1'763'769'600'000;
    batch.add(event);
  }
  return batch;
}

// It names itself a moment after it has begun.
int journal_thread() {
  for (int tries = 0; tries < 1000; tries++, ::usleep(1000)) {
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream comm(entry.path() / "comm");
      std::string name;
      comm >> name;
      if (name == "journal") return std::stoi(entry.path().filename());
    }
  }
  std::abort();
}

int64_t cpu_ns_of(int tid) {
  std::ifstream stat(fmt::format("/proc/self/task/{}/schedstat", tid));
  int64_t ns = 0;
  stat >> ns;
  return ns;
}

int64_t field_of(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word)
    if (word == key) {
      int64_t value = 0;
      file >> value;
      return value;
    }
  return 0;
}

int64_t context_switches_of(int tid) {
  return field_of(fmt::format("/proc/self/task/{}/status", tid), "voluntary_ctxt_switches:");
}

int64_t resident_kib() {
  return field_of("/proc/self/status", "VmRSS:");
}

struct Folder {
  explicit Folder(const std::string& in) : path(in + "/runnel-bench-XXXXXX") {
    if (::mkdtemp(path.data()) == nullptr) {
      std::perror(path.c_str());
      std::exit(2);
    }
  }
  ~Folder() { std::filesystem::remove_all(path); }
  Folder(const Folder&) = delete;
  std::string path;
};

JournalOptions options_in(const std::string& folder, Durability durability) {
  JournalOptions options;
  options.folder = folder;
  options.durability = durability;
  options.max_bytes = int64_t{1} << 40;
  options.min_free_share = 0;
  return options;
}

// Until what was appended before is written, or synced: whatever the durability waits for.
void wait_for(Log& log, const bool& told) {
  while (!told) {
    ::usleep(200);
    log.take_decisions();
  }
}

bool bench_cost(const std::string& disk) {
  constexpr uint64_t kBatches = 300;
  double best = 1e18, append_ns = 0, thread_ns = 0, bytes = 0, amplification = 0, device = 0;
  for (int round = 0; round < 5; round++) {
    Folder folder(disk);
    CountingFileSystem fs;
    SystemClock clock;
    Log log(clock, 1);
    if (!log.open(options_in(folder.path, Durability::written), fs, [] {}).ok()) std::exit(2);
    LogReader& reader = log.add_reader("bench", WhenFull::drop_oldest);
    int tid = journal_thread();
    std::vector<Batch> batches;
    for (uint64_t i = 0; i < kBatches; i++) batches.push_back(counters(i));
    int64_t thread = cpu_ns_of(tid), appending = 0, to_device = field_of("/proc/self/io", "write_bytes:");
    uint64_t sequence = 0;
    for (uint64_t i = 0; i < kBatches; i++) {
      bool told = false;
      int64_t start = now_ns(CLOCK_THREAD_CPUTIME_ID);
      log.append(std::move(batches[i]), [&](bool safe) { told = safe; });
      appending += now_ns(CLOCK_THREAD_CPUTIME_ID) - start;
      wait_for(log, told);
      auto entry = reader.take(0);
      if (!entry) std::exit(2);
      Settlement done;
      done.delivered = entry->records();
      reader.settle(done, {1, entry->bytes});
      sequence = entry->first + done.delivered;
      reader.save(sequence, std::nullopt);
    }
    thread = cpu_ns_of(tid) - thread;
    log.close(10'000);
    uint64_t payload = 0;
    for (const auto& file : std::filesystem::directory_iterator(folder.path))
      if (file.path().extension() == ".seg") payload += file.file_size();
    double samples = kBatches * kSeries;
    double ns = static_cast<double>(thread + appending) / samples;
    bytes = static_cast<double>(payload) / samples;
    amplification = static_cast<double>(fs.bytes_written) / static_cast<double>(payload);
    device = static_cast<double>(field_of("/proc/self/io", "write_bytes:") - to_device) /
             static_cast<double>(payload);
    if (ns >= best) continue;
    best = ns, append_ns = static_cast<double>(appending) / samples,
    thread_ns = static_cast<double>(thread) / samples;
  }
  bool good = best <= kCpuTarget && bytes <= kBytesTarget && amplification <= kAmplificationTarget;
  fmt::print(
      R"({{"bench":"journal_cost","ns_a_sample":{:.1f},"append_ns":{:.1f},"thread_ns":{:.1f},"bytes_a_sample":{:.2f},)"
      R"("write_amplification":{:.3f},"pages_amplification":{:.3f},"ok":{}}})"
      "\n",
      best, append_ns, thread_ns, bytes, amplification, device, good);
  std::fflush(stdout);
  return good;
}

struct Rate {
  double bytes_s = 0, bytes_a_sync = 0;
};

Rate append_rate(const std::string& disk, size_t batch_events, size_t outstanding, double seconds) {
  Folder folder(disk);
  CountingFileSystem fs;
  SystemClock clock;
  Log log(clock, 1);
  if (!log.open(options_in(folder.path, Durability::synced), fs, [] {}).ok()) std::exit(2);
  log.add_reader("bench", WhenFull::drop_oldest);  // keeps the segments
  std::mt19937_64 random(1);
  std::vector<Batch> made;
  for (size_t i = 0; i < 16; i++) made.push_back(events(batch_events, random));
  auto copy = [](const Batch& from) {
    Batch batch(from.source());
    for (size_t i = 0; i < from.records(); i++) batch.copy_record(from, i);
    return batch;
  };
  size_t waiting = 0, n = 0;
  int64_t start = now_ns(CLOCK_MONOTONIC), end = start + static_cast<int64_t>(seconds * 1e9);
  while (now_ns(CLOCK_MONOTONIC) < end || waiting > 0) {
    while (waiting < outstanding && now_ns(CLOCK_MONOTONIC) < end) {
      waiting++;
      log.append(copy(made[n++ % made.size()]), [&](bool safe) {
        if (!safe) std::exit(2);
        waiting--;
      });
    }
    ::usleep(100);
    log.take_decisions();
  }
  double took = static_cast<double>(now_ns(CLOCK_MONOTONIC) - start) / 1e9;
  auto bytes = static_cast<double>(fs.bytes_written), syncs = static_cast<double>(fs.syncs);
  return {bytes / took, bytes / syncs};
}

double bare_rate(const std::string& disk, size_t bytes_a_sync, double seconds) {
  Folder folder(disk);
  int fd = ::open((folder.path + "/bare").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  std::string bytes(bytes_a_sync, '\0');
  std::mt19937_64 random(1);
  for (char& c : bytes) c = static_cast<char>(random());
  int64_t start = now_ns(CLOCK_MONOTONIC);
  uint64_t written = 0;
  while (now_ns(CLOCK_MONOTONIC) < start + static_cast<int64_t>(seconds * 1e9)) {
    if (::write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()) || ::fdatasync(fd) != 0)
      std::exit(2);
    written += bytes.size();
  }
  double took = static_cast<double>(now_ns(CLOCK_MONOTONIC) - start) / 1e9;
  ::close(fd);
  return static_cast<double>(written) / took;
}

bool bench_append(const std::string& disk) {
  double best = 0, ours = 0, bare = 0, size = 0;
  for (int round = 0; round < 6; round++) {
    Rate rate = append_rate(disk, 100, 64, 1.5);
    double yardstick = bare_rate(disk, static_cast<size_t>(rate.bytes_a_sync), 1.5);
    if (rate.bytes_s / yardstick <= best) continue;
    best = rate.bytes_s / yardstick, ours = rate.bytes_s, bare = yardstick, size = rate.bytes_a_sync;
  }
  bool good = best >= kAppendTarget;
  fmt::print(
      R"({{"bench":"journal_append","mb_s":{:.1f},"bare_mb_s":{:.1f},"kib_a_sync":{:.0f},"ratio":{:.2f},"ok":{}}})"
      "\n",
      ours / 1e6, bare / 1e6, size / 1024, best, good);
  std::fflush(stdout);
  return good;
}

bool bench_idle(const std::string& disk) {
  Folder folder(disk);
  CountingFileSystem fs;
  SystemClock clock;
  Log log(clock, 1);
  if (!log.open(options_in(folder.path, Durability::synced), fs, [] {}).ok()) std::exit(2);
  LogReader& reader = log.add_reader("bench", WhenFull::drop_oldest);
  log.append(counters(0));
  if (auto entry = reader.take(2'000'000'000)) {
    Settlement done;
    done.delivered = entry->records();
    reader.settle(done, {1, entry->bytes});
    reader.save(entry->first + done.delivered, std::nullopt);
  }
  ::sleep(3);
  int tid = journal_thread();
  int64_t switches = context_switches_of(tid);
  uint64_t writes = fs.writes + fs.syncs;
  ::sleep(5);
  switches = context_switches_of(tid) - switches;
  writes = fs.writes + fs.syncs - writes;
  bool good = switches == 0 && writes == 0;
  fmt::print(R"({{"bench":"journal_idle","wake_ups":{},"writes":{},"ok":{}}})"
             "\n",
             switches, writes, good);
  std::fflush(stdout);
  return good;
}

// A backlog of so many bytes on disk; the number of its samples.
uint64_t fill(const std::string& folder, int64_t bytes) {
  RealFileSystem fs;
  SystemClock clock;
  Log log(clock, 1);
  if (!log.open(options_in(folder, Durability::written), fs, [] {}).ok()) std::exit(2);
  LogReader& reader = log.add_reader("dead", WhenFull::drop_oldest);
  std::vector<Batch> made;
  for (uint64_t i = 0; i < 64; i++) made.push_back(counters(i));
  uint64_t samples = 0;
  for (uint64_t i = 0; static_cast<int64_t>(reader.snapshot().bytes) < bytes;) {
    bool told = false;
    for (int k = 0; k < 64; k++, i++) {
      Batch batch("statsd");
      const Batch& from = made[i % made.size()];
      for (const Sample& sample : from.samples) {
        Sample copy = sample;
        copy.series = batch.series_bytes(from.view(sample.series).bytes());
        batch.add(copy);
      }
      samples += batch.records();
      if (k < 63) {
        log.append(std::move(batch));
      } else {
        log.append(std::move(batch), [&](bool safe) { told = safe; });
      }
    }
    wait_for(log, told);
  }
  log.close(10'000);
  return samples;
}

// In a process of its own, so that its memory is not ours.
uint64_t fill_apart(const std::string& folder, int64_t bytes) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) std::exit(2);
  uint64_t samples = 0;
  pid_t child = ::fork();
  if (child == 0) {
    samples = fill(folder, bytes);
    ::_exit(::write(ends[1], &samples, sizeof samples) == sizeof samples ? 0 : 2);
  }
  ::close(ends[1]);
  if (::read(ends[0], &samples, sizeof samples) != sizeof samples) std::exit(2);
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  ::malloc_trim(0);  // what the benchmarks before have freed would hide what this one takes
  return samples;
}

double read_rate(const std::string& folder) {
  std::vector<char> buffer(256 << 10);
  uint64_t bytes = 0;
  int64_t start = now_ns(CLOCK_MONOTONIC);
  for (const auto& file : std::filesystem::directory_iterator(folder)) {
    int fd = ::open(file.path().c_str(), O_RDONLY | O_CLOEXEC);
    for (ssize_t n; (n = ::read(fd, buffer.data(), buffer.size())) > 0;) bytes += static_cast<uint64_t>(n);
    ::close(fd);
  }
  return static_cast<double>(bytes) / (static_cast<double>(now_ns(CLOCK_MONOTONIC) - start) / 1e9);
}

bool bench_backlog(const std::string& disk, int64_t bytes) {
  Folder folder(disk);
  uint64_t samples = fill_apart(folder.path, bytes);
  int64_t idle = resident_kib();
  double read = std::max(read_rate(folder.path), read_rate(folder.path));
  RealFileSystem fs;
  SystemClock clock;
  auto log = std::make_unique<Log>(clock, 1);
  int64_t start = now_ns(CLOCK_MONOTONIC), cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
  if (!log->open(options_in(folder.path, Durability::synced), fs, [] {}).ok()) std::exit(2);
  double took = static_cast<double>(now_ns(CLOCK_MONOTONIC) - start) / 1e9;
  double cpu_took = static_cast<double>(now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / 1e9;
  int64_t opened = resident_kib();
  bool scan_good = static_cast<double>(bytes) / 1e6 / cpu_took >= kScanTarget;
  fmt::print(R"({{"bench":"journal_scan","mib":{},"mb_s":{:.0f},"mb_s_of_cpu":{:.0f},"read_mb_s":{:.0f},)"
             R"("resident_kib_more":{},"ok":{}}})"
             "\n",
             bytes >> 20, static_cast<double>(bytes) / 1e6 / took,
             static_cast<double>(bytes) / 1e6 / cpu_took, read / 1e6, opened - idle, scan_good);
  std::fflush(stdout);

  LogReader& reader = log->add_reader("dead", WhenFull::drop_oldest);
  if (reader.snapshot().queued != samples) {
    fmt::print(stderr, "queued {} of {}\n", reader.snapshot().queued, samples);
    return false;
  }
  int tid = journal_thread();
  int64_t peak = 0, thread = cpu_ns_of(tid);
  cpu = now_ns(CLOCK_THREAD_CPUTIME_ID);
  uint64_t taken = 0, rounds = 0;
  while (taken < samples) {
    auto entry = reader.take(1'000'000'000);
    if (!entry) break;
    Settlement done;
    done.delivered = entry->records();
    taken += done.delivered;
    reader.settle(done, {1, entry->bytes});
    reader.save(entry->first + done.delivered, std::nullopt);
    if (rounds++ % 1000 == 0) peak = std::max(peak, resident_kib());
  }
  cpu_took = static_cast<double>(now_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / 1e9;
  double rate = static_cast<double>(taken) / cpu_took;
  bool good = taken == samples && rate >= kDrainTarget && peak - idle <= 32 << 10;
  fmt::print(
      R"({{"bench":"journal_drain","samples":{},"samples_s":{:.0f},"thread_cpu_s":{:.2f},"journal_cpu_s":{:.2f},)"
      R"("resident_kib":{},"resident_kib_more":{},"ok":{}}})"
      "\n",
      taken, rate, cpu_took, static_cast<double>(cpu_ns_of(tid) - thread) / 1e9, peak, peak - idle, good);
  std::fflush(stdout);
  return scan_good && good;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 4 && std::string(argv[1]) == "fill") {
    fmt::print("{}\n", fill(argv[2], std::stoll(argv[3]) << 20));
    return 0;
  }
  std::string disk = argc > 1 ? argv[1] : "/var/tmp";
  int64_t backlog = (argc > 2 ? std::stoll(argv[2]) : 1024) << 20;
  bool good = bench_cost(disk);
  good &= bench_append(disk);
  good &= bench_idle(disk);
  good &= bench_backlog(disk, backlog);
  return good ? 0 : 1;
}
