#include "plugins/sink_host.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace runnel_test {

namespace {

uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<uint64_t>(now.tv_nsec);
}

// "5s", "8MiB" → ms, bytes.
int64_t with_unit(const std::string& text) {
  static const std::map<std::string, int64_t> units = {{"", 1},          {"ms", 1},        {"s", 1000},
                                                       {"m", 60'000},    {"h", 3'600'000}, {"B", 1},
                                                       {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
  size_t digits = 0;
  const int64_t number = std::stoll(text, &digits);
  return number * units.at(text.substr(digits));
}

}  // namespace

SinkHost::SinkHost(const runnel_sink* sink, const Options& options)
    : sink_(sink), values_(sink->option_count) {
  if (sink->abi_version != RUNNEL_SINK_ABI || sink->struct_size != sizeof(runnel_sink) ||
      sink->option_size != sizeof(runnel_option))
    throw std::runtime_error("a descriptor of another version");
  auto left = options;
  for (size_t i = 0; i < sink->option_count; ++i) {
    const runnel_option& option = sink->options[i];
    set_default(option, values_[i]);
    values_[i].is_set = 0;
    if (const auto found = left.find(option.name); found != left.end()) {
      set(option, values_[i], found->second);
      left.erase(found);
    } else if ((option.flags & RUNNEL_OPTION_REQUIRED) != 0) {
      throw std::runtime_error(std::string("the test does not set ") + option.name);
    }
  }
  if (!left.empty()) throw std::runtime_error("no such option: " + left.begin()->first);

  host_.struct_size = sizeof host_;
  host_.context = this;
  host_.output_name = "test";
  host_.agent_version = "9.8.7";
  host_.agent_id = "00000000-0000-4000-8000-000000000000";
  host_.log = [](void* context, runnel_log_level, const char* text) {
    auto& host = *static_cast<SinkHost*>(context);
    const std::lock_guard lock(host.mutex_);
    host.logs_.push_back(text);
  };
  host_.metric = [](void* context, const char* name, const runnel_pair* tags, size_t tag_count,
                    runnel_metric_kind, double value) {
    auto& host = *static_cast<SinkHost*>(context);
    std::string key = name;
    for (size_t i = 0; i < tag_count; ++i)
      key += "{" + std::string(tags[i].key.data, tags[i].key.size) + "=" +
             std::string(tags[i].value.data, tags[i].value.size) + "}";
    const std::lock_guard lock(host.mutex_);
    host.metrics_[key] = value;
  };
  host_.read_secret = [](void*, const char* path, char* buffer, size_t capacity) -> long {
    std::ifstream file(path);
    std::string text;
    if (!file)
      text = std::string(path) + ": no such file";
    else
      text.assign(std::istreambuf_iterator<char>(file), {});
    if (text.size() >= capacity) text.resize(capacity - 1);
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    memcpy(buffer, text.c_str(), text.size() + 1);
    return file ? static_cast<long>(text.size()) : -1;
  };
}

SinkHost::~SinkHost() {
  destroy();
}

void SinkHost::destroy() {
  if (instance_) sink_->destroy(instance_);
  instance_ = nullptr;
}

runnel_str SinkHost::keep(std::string text) {
  texts_.push_back(std::make_unique<std::string>(std::move(text)));
  return {texts_.back()->c_str(), texts_.back()->size()};
}

void SinkHost::set_list(runnel_value& value, const Strings& list) {
  auto strings = std::make_unique<std::vector<runnel_str>>();
  for (const std::string& text : list) strings->push_back(keep(text));
  value.list = strings->data();
  value.count = strings->size();
  lists_.push_back(std::move(strings));
}

void SinkHost::set_map(runnel_value& value, const Map& map) {
  auto pairs = std::make_unique<std::vector<runnel_pair>>();
  for (const auto& [key, text] : map) pairs->push_back({keep(key), keep(text)});
  value.map = pairs->data();
  value.count = pairs->size();
  maps_.push_back(std::move(pairs));
}

void SinkHost::set_default(const runnel_option& option, runnel_value& value) {
  if (!option.default_value) return;
  const std::string text = option.default_value;
  const bool quoted = text.size() >= 2 && text.front() == '"' && text.back() == '"';
  const std::string inner = quoted ? text.substr(1, text.size() - 2) : text;
  switch (option.type) {
    case RUNNEL_OPTION_BOOL:
      return set(option, value, text == "true");
    case RUNNEL_OPTION_INT:
      return set(option, value, static_cast<int64_t>(std::stoll(text)));
    case RUNNEL_OPTION_FLOAT:
      return set(option, value, std::stod(text));
    case RUNNEL_OPTION_LIST:
      if (text != "[]") throw std::runtime_error("a default of a list that this host does not read");
      return;
    case RUNNEL_OPTION_MAP:
      if (text != "{}") throw std::runtime_error("a default of a map that this host does not read");
      return;
    default:
      if (!quoted) throw std::runtime_error(std::string(option.name) + ": default without quotes: " + text);
      if (option.type == RUNNEL_OPTION_DURATION || option.type == RUNNEL_OPTION_SIZE)
        return set(option, value, with_unit(inner));
      return set(option, value, inner);
  }
}

void SinkHost::set(const runnel_option& option, runnel_value& value, const OptionSetting& setting) {
  value.is_set = 1;
  switch (option.type) {
    case RUNNEL_OPTION_BOOL:
      value.integer = std::get<bool>(setting);
      break;
    case RUNNEL_OPTION_INT:
    case RUNNEL_OPTION_DURATION:
    case RUNNEL_OPTION_SIZE:
      value.integer = std::get<int64_t>(setting);
      if ((option.minimum != 0 || option.maximum != 0) &&
          (static_cast<double>(value.integer) < option.minimum ||
           static_cast<double>(value.integer) > option.maximum))
        throw std::runtime_error(std::string(option.name) + ": out of range");
      break;
    case RUNNEL_OPTION_FLOAT:
      value.number = std::get<double>(setting);
      break;
    case RUNNEL_OPTION_LIST:
      set_list(value, std::get<Strings>(setting));
      break;
    case RUNNEL_OPTION_MAP:
      set_map(value, std::get<Map>(setting));
      break;
    case RUNNEL_OPTION_ENUM: {
      value.text = keep(std::get<std::string>(setting));
      value.integer = -1;
      for (int i = 0; option.choices[i]; ++i)
        if (std::string_view(option.choices[i]) == value.text.data) value.integer = i;
      if (value.integer < 0) throw std::runtime_error(std::string(option.name) + ": no such choice");
      break;
    }
    case RUNNEL_OPTION_STRING:
    case RUNNEL_OPTION_SECRET_FILE:
      value.text = keep(std::get<std::string>(setting));
      break;
  }
}

Strings SinkHost::check() const {
  struct Context {
    const runnel_sink* sink;
    Strings errors;
  } context{sink_, {}};
  if (!sink_->check) return {};
  sink_->check(
      values_.data(),
      [](void* self, size_t option, const char* entry, const char* text) {
        auto& found = *static_cast<Context*>(self);
        found.errors.push_back(std::string(found.sink->options[option].name) + (entry ? "." : "") +
                               (entry ? entry : "") + ": " + text);
      },
      &context);
  return context.errors;
}

bool SinkHost::create() {
  char error[512] = "";
  instance_ = sink_->create(&host_, values_.data(), error, sizeof error);
  error_ = error;
  return instance_ != nullptr;
}

Answer SinkHost::write(const Payload& payload, std::chrono::milliseconds within) {
  std::string bytes = payload.bytes;
  std::vector<runnel_record> records;
  std::deque<std::vector<runnel_pair>> tags;
  const auto str = [](const std::string& text) { return runnel_str{text.data(), text.size()}; };
  for (const Record& record : payload.records) {
    runnel_record entry{};
    entry.offset = bytes.size();
    entry.size = record.text.size();
    entry.sample = record.sample;
    entry.type = record.type;
    entry.kind = record.type == RUNNEL_RECORD_METRIC ? RUNNEL_KIND_GAUGE : RUNNEL_KIND_NONE;
    entry.name = {"name", 4};
    entry.series = entry.series_on_host = str(record.series);
    entry.sequence = records.size() + 1;
    tags.emplace_back();
    for (const auto& [key, value] : record.tags) tags.back().push_back({str(key), str(value)});
    entry.tags = tags.back().data();
    entry.tag_count = tags.back().size();
    records.push_back(entry);
    bytes += record.text + "\n";
  }
  runnel_payload out{};
  out.struct_size = sizeof out;
  out.record_size = sizeof(runnel_record);
  out.bytes = str(bytes);
  out.content_type = str(payload.content_type);
  out.content_encoding = str(payload.content_encoding);
  out.encoding = {"json", 4};
  out.id = str(payload.id);
  out.sample_count = payload.samples;
  out.attempt = ++attempt_;
  out.records = records.empty() ? nullptr : records.data();
  out.record_count = records.size();
  std::vector<uint8_t> samples(payload.samples);
  runnel_answer answer{};
  answer.struct_size = sizeof answer;
  if ((sink_->capabilities & RUNNEL_SINK_ANSWERS_RECORDS) != 0) answer.samples = samples.data();
  const uint64_t start = now_ns();
  const runnel_outcome outcome =
      sink_->write(instance_, &out, start + static_cast<uint64_t>(within.count()) * 1'000'000u, &answer);
  messages_.push_back(answer.message);
  return {outcome, answer.message, answer.retry_after_ms, samples,
          static_cast<int64_t>((now_ns() - start) / 1'000'000u)};
}

Strings SinkHost::logs() const {
  const std::lock_guard lock(mutex_);
  return logs_;
}

std::map<std::string, double> SinkHost::metrics() const {
  const std::lock_guard lock(mutex_);
  return metrics_;
}

std::string SinkHost::everything_said() const {
  const std::lock_guard lock(mutex_);
  std::string all = error_;
  for (const Strings* lines : {&logs_, &messages_})
    for (const std::string& line : *lines) all += "\n" + line;
  for (const auto& [name, value] : metrics_) all += "\n" + name;
  return all;
}

const runnel_sink* load_sink(const std::string& path) {
  void* module = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!module) throw std::runtime_error(dlerror());
  void* symbol = dlsym(module, "runnel_sink_descriptor");
  if (!symbol) throw std::runtime_error(dlerror());
  return reinterpret_cast<runnel_sink_descriptor_fn>(symbol)();
}

TemporaryFolder::TemporaryFolder() {
  char path[] = "/tmp/runnel-test-XXXXXX";
  if (!mkdtemp(path)) throw std::runtime_error("no temporary folder");
  path_ = path;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;  // it may be a mount that the test could not leave
  std::filesystem::remove_all(path_, ignored);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, std::string_view text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
}

bool file_exists(const std::string& path) {
  return std::filesystem::exists(path);
}

Helper::Helper(const std::string& module) {
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_addchdir_np(&actions, RUNNEL_TESTS_DIR);
  std::string command = "exec python3 -m " + module;
  char shell[] = "/bin/sh", flag[] = "-c";
  char* arguments[] = {shell, flag, command.data(), nullptr};
  if (posix_spawn(&pid_, shell, &actions, nullptr, arguments, environ) != 0)
    throw std::runtime_error("cannot start sh");
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  to_child_ = in[1];
  from_child_ = out[0];
  reader_ = std::thread([this] {
    std::string buffer;
    char bytes[4096];
    for (ssize_t count; (count = read(from_child_, bytes, sizeof bytes)) > 0;) {
      buffer.append(bytes, static_cast<size_t>(count));
      const std::lock_guard lock(mutex_);
      for (size_t newline; (newline = buffer.find('\n')) != std::string::npos; buffer.erase(0, newline + 1))
        lines_.push_back(buffer.substr(0, newline));
      arrived_.notify_all();
    }
    const std::lock_guard lock(mutex_);
    ended_ = true;
    arrived_.notify_all();
  });
}

Helper::~Helper() {
  close(to_child_);
  for (int i = 0; i < 200 && waitpid(pid_, nullptr, WNOHANG) == 0; ++i) {
    if (i == 150) kill(pid_, SIGKILL);
    usleep(100'000);
  }
  reader_.join();
  close(from_child_);
}

std::string Helper::wait_line(std::string_view prefix) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  std::unique_lock lock(mutex_);
  for (;;) {
    for (; !lines_.empty(); lines_.pop_front()) {
      if (!lines_.front().starts_with(prefix)) continue;
      const std::string rest = lines_.front().substr(prefix.size());
      lines_.pop_front();
      return rest;
    }
    if (ended_) throw std::runtime_error("the helper has ended");
    if (arrived_.wait_until(lock, end) == std::cv_status::timeout)
      throw std::runtime_error("the helper does not say \"" + std::string(prefix) + "\"");
  }
}

}  // namespace runnel_test
