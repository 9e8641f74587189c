// A small host: drives one sink through the ABI as the agent does, with options by name. For tests of
// plugins.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "runnel_sink.h"

namespace runnel_test {

using Strings = std::vector<std::string>;
using Map = std::map<std::string, std::string>;
// Durations in ms and sizes in bytes are int64_t.
using OptionSetting = std::variant<bool, int64_t, double, std::string, Strings, Map>;
struct Options : std::map<std::string, OptionSetting> {
  using std::map<std::string, OptionSetting>::map;
};

struct Record {
  std::string text;
  uint32_t sample = 0;
  runnel_record_type type = RUNNEL_RECORD_METRIC;
  std::string series = "name";
  std::map<std::string, std::string> tags = {};
};

struct Payload {
  std::string bytes = "", id = "id-1", content_type = "application/x-ndjson", content_encoding = "";
  std::vector<Record> records = {};  // their texts, a line each, become bytes
  uint32_t samples = 1;
};

struct Answer {
  runnel_outcome outcome;
  std::string message;
  uint32_t retry_after_ms;
  std::vector<uint8_t> samples;
  int64_t took_ms;
};

class SinkHost {
 public:
  // Option names and types are checked against the descriptor; a mistake in a test throws.
  SinkHost(const runnel_sink* sink, const Options& options);
  ~SinkHost();
  SinkHost(const SinkHost&) = delete;
  SinkHost& operator=(const SinkHost&) = delete;

  // What check finds: "option: text" or "option.entry: text".
  Strings check() const;
  bool create();  // false: error() says why
  const std::string& error() const { return error_; }
  Answer write(const Payload& payload, std::chrono::milliseconds within = std::chrono::seconds(10));
  void interrupt() { sink_->interrupt(instance_); }
  void reopen() {
    if (sink_->reopen) sink_->reopen(instance_);
  }
  void tick() {
    if (sink_->tick) sink_->tick(instance_);
  }
  void destroy();

  Strings logs() const;
  std::map<std::string, double> metrics() const;  // "name{k=v}" → last value
  std::string everything_said() const;  // log lines, answers' messages, metrics: must hold no secret

 private:
  const runnel_sink* sink_;
  std::vector<runnel_value> values_;
  std::vector<std::unique_ptr<std::string>> texts_;
  std::vector<std::unique_ptr<std::vector<runnel_str>>> lists_;
  std::vector<std::unique_ptr<std::vector<runnel_pair>>> maps_;
  runnel_host host_{};
  void* instance_ = nullptr;
  std::string error_;
  uint32_t attempt_ = 0;
  mutable std::mutex mutex_;  // the callbacks come from any thread
  Strings logs_, messages_;
  std::map<std::string, double> metrics_;

  runnel_str keep(std::string text);
  void set_default(const runnel_option& option, runnel_value& value);
  void set(const runnel_option& option, runnel_value& value, const OptionSetting& setting);
  void set_list(runnel_value& value, const Strings& list);
  void set_map(runnel_value& value, const Map& map);
};

// A module's descriptor. Throws with dlerror's words; the module stays loaded.
const runnel_sink* load_sink(const std::string& path);

// A folder that goes with the test.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(std::string_view name) const { return path_ + "/" + std::string(name); }

 private:
  std::string path_;
};

inline bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}
std::string read_file(const std::string& path);  // "" where there is none
void write_file(const std::string& path, std::string_view text);
bool file_exists(const std::string& path);

// A Python helper of tests/support as a child: what it prints, line by line. Ends with the object.
class Helper {
 public:
  explicit Helper(const std::string& module);  // "support.http_server"
  ~Helper();
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;

  // The rest of the next line that begins with `prefix`; skips others. Throws after 30 s or at the child's
  // end.
  std::string wait_line(std::string_view prefix);

 private:
  int to_child_ = -1, from_child_ = -1;
  int pid_ = -1;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<std::string> lines_;
  bool ended_ = false;
  std::thread reader_;  // always, so that the child never waits for a test that does not look
};

}  // namespace runnel_test
