// One output: a thread that takes entries from its reader of the log, builds payloads and writes them to its sink until
// the sink has said what became of every record. One dead or slow output delays no other: nothing is shared but the
// log's mutex.
//
// What a sink's answer means (runnel_sink.h):
//   delivered  settled
//   retry      again after the time the sink names (at most 5 min), else a full-jitter back-off from 0.5 s to 60 s
//   hold       again every 60 s and on reload; nothing is dropped
//   split      in halves; a single record that is too large goes the way of a rejected one (too_large)
//   reject     in halves, at most 32 requests a payload, and only what is left goes to quarantine (without one, or where it
//              is full, it is dropped: rejected). Where nothing of the payload passes, the back end is wrong and not
//              the data: the output holds
//
// What is sent next is saved with the reader before it is sent, and what is settled after it (journal/cursor.h). A payload
// that was in flight when the output or the agent ended is sent again first: the same records under the same id.
//
// Threads: the methods belong to the loop's thread, apart from the private ones, which the output's thread runs.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/backoff.h"
#include "base/clock.h"
#include "base/log_limit.h"
#include "base/result.h"
#include "config/config.h"
#include "journal/log.h"
#include "metric/self_metrics.h"
#include "output/payload.h"
#include "output/quarantine.h"
#include "output/sink.h"

namespace runnel {

// Times that tests shorten.
struct OutputTimes {
  int64_t backoff_base_ms = 500, backoff_cap_ms = 60'000;
  int64_t hold_ms = 60'000;
  int64_t retry_after_cap_ms = 300'000;
  int64_t write_ms = 60'000;  // deadline of one write; sinks have shorter time-outs of their own
};

class Output {
 public:
  // `id_prefix`: agent id, for idempotency ids. `host`: fixes the splay. `quarantine` may be null; it outlives the output.
  static Result<std::unique_ptr<Output>> create(LogReader& reader, const Clock& clock,
                                                const OutputConfig& config, const runnel_sink& descriptor,
                                                const SinkIdentity& identity, const std::string& id_prefix,
                                                const std::string& host, const OutputTimes& times = {},
                                                Quarantine* quarantine = nullptr);
  void start();  // the thread; until then the instance only exists, so that a reload can still be called off
  ~Output();     // abandon() and a join without limit, where the thread still runs
  Output(const Output&) = delete;

  void reopen();  // SIGHUP: the sink opens its files anew; a hold or a back-off ends
  // The thread delivers what the log has for it now, and ends; called again after that, what has come since.
  void drain();
  void abandon();  // the thread ends as soon as the sink lets go; what is not settled goes back to the reader
  bool join_for(int64_t ms);  // true: the thread has ended
  void leak();                // the sink ignores interrupt and the process is about to end: let it be

  void report(SelfReport& report) const;
  const OutputConfig& config() const { return config_; }
  const LogReader& reader() const { return reader_; }

 private:
  struct Item {
    Selection selection;
    int64_t wait_ms = 0;  // before it is sent
    bool built = false;   // the builder holds its payload
    InFlight whole{};     // the run of records without a hole that it is, or was cut out of
  };
  enum class Verdict { done, split, reject, abandoned };

  Output(LogReader& reader, const Clock& clock, const OutputConfig& config, std::unique_ptr<Sink> sink,
         PayloadBuilder builder, const std::string& host, const OutputTimes& times, Quarantine* quarantine);
  void run();
  Selection gather();
  void deliver(Selection whole);
  Verdict send(Item& item, std::vector<Item>& work);
  void by_sample(const runnel_answer& answer, runnel_outcome whole, const InFlight& whole_run,
                 std::vector<Item>& work);
  bool wait(int64_t ms);  // false: abandoned
  void save_before(Item& item, const std::vector<Item>& work, const std::vector<Item>& doubtful,
                   const Selection& rejected);
  void save_after();
  void reopen_now();
  void tick_when_due();
  void shrink();
  void give_back(std::vector<Item>& work, const Selection& rejected);
  void put_aside(const Selection& selection, const char* reason, const std::string& message);
  void drop(const Selection& selection, const char* reason, const std::string& message,
            bool quarantined = false);
  void tell_failure(const char* what, int64_t wait_ms, const std::string& message);
  void tell_delivered();

  LogReader& reader_;
  const Clock& clock_;
  const OutputConfig config_;
  const OutputTimes times_;
  std::unique_ptr<Sink> sink_;
  const int64_t splay_ms_;
  Quarantine* const quarantine_;

  std::atomic<bool> draining_{false}, abandoned_{false}, reopen_{false};
  std::atomic<uint64_t> retries_{0}, bytes_{0};
  std::mutex ended_mutex_;
  std::condition_variable ended_wake_;
  bool ended_ = false;

  // The output's thread only.
  PayloadBuilder builder_;
  Backoff backoff_;
  LogLimit limit_;
  std::optional<LogEntry> carry_;    // the rest of an entry that did not fit into the last payload
  std::optional<InFlight> resumed_;  // what was in flight before this output: the next payload
  std::vector<LogEntry> taken_;      // entries of the payload under way, in order
  int64_t ticked_ns_ = 0;
  int64_t max_bytes_;         // shrinks when the other side says that a payload is too large
  int failures_ = 0;          // in a row
  std::string last_message_;  // of the last answer
  uint64_t parts_sent_ = 0;   // groups that had an id of their own
  std::thread thread_;
};

}  // namespace runnel
