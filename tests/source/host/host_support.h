// What the tests of the host source share: roots to read below, a statvfs that reads a table, samples as
// text.
#pragma once

#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/text.h"
#include "source/host/collectors.h"
#include "source/host/host_source.h"
#include "source/host/mounts.h"

namespace runnel::test {

namespace fs = std::filesystem;

inline std::string fixture(const std::string& name) {
  return std::string(RUNNEL_TESTS_DIR) + "/fixtures/root/" + name;
}

inline std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// A root of its own, gone with the object.
class TempRoot {
 public:
  TempRoot() {
    std::string pattern = (fs::temp_directory_path() / "runnel-host-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  explicit TempRoot(const std::string& copied) : TempRoot() {
    fs::copy(copied, path_, fs::copy_options::recursive);
  }
  ~TempRoot() { fs::remove_all(path_); }
  TempRoot(const TempRoot&) = delete;

  const std::string& path() const { return path_; }
  std::string at(const std::string& name) const { return path_ + "/" + name; }
  // In place: a descriptor that is open sees the new text.
  void write(const std::string& name, std::string_view text) const {
    fs::create_directories(fs::path(at(name)).parent_path());
    std::ofstream(at(name), std::ios::binary | std::ios::trunc)
        .write(text.data(), static_cast<std::streamsize>(text.size()));
  }
  void remove(const std::string& name) const { fs::remove_all(at(name)); }

 private:
  std::string path_;
};

// Answers from ROOT/statvfs: `mountpoint frsize blocks bfree bavail files ffree`, or `mountpoint errno`.
inline HostProbe table_probe(const std::string& root) {
  std::map<std::string, std::vector<uint64_t>> table;
  std::istringstream in(slurp(root + "/statvfs"));
  for (std::string line; std::getline(in, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream words(line);
    std::string mountpoint;
    words >> mountpoint;
    for (uint64_t n; words >> n;) table[decode_mount(mountpoint)].push_back(n);
  }
  HostProbe probe;
  probe.patience = std::chrono::seconds(20);  // bounded, and never waited for: the table answers at once
  probe.statvfs = [table, root](const char* path, struct statvfs* out) {
    std::string_view below = path;
    if (!below.starts_with(root)) return EINVAL;
    auto row = table.find(std::string(below.substr(root.size())));
    if (row == table.end()) return ENOENT;
    const std::vector<uint64_t>& n = row->second;
    if (n.size() < 6) return static_cast<int>(n.at(0));
    out->f_frsize = n[0], out->f_blocks = n[1], out->f_bfree = n[2], out->f_bavail = n[3];
    out->f_files = n[4], out->f_ffree = n[5];
    return 0;
  };
  return probe;
}

inline HostConfig config_of(const std::string& root, std::vector<std::string> collectors = {"all"}) {
  HostConfig config;
  config.root = root;
  config.collectors = std::move(collectors);
  return config;
}

inline std::string value_text(const Number& value) {
  if (value.is_integer()) return std::to_string(value.as_integer());
  std::string text;
  append_double(text, value.as_double());
  return text;
}

// `name{key=value,…}`
inline std::string series_text(const Batch& batch, const Sample& sample) {
  SeriesView series = batch.view(sample.series);
  std::string out(series.name());
  std::string_view before = "{";
  for (Tag tag : series) {
    out.append(before).append(tag.key).append("=").append(tag.value);
    before = ",";
  }
  return before == "," ? out + "}" : out;
}

// A sample a line: `series kind value unit`, and `since MS` where a total says when it began.
inline std::string sample_text(const Batch& batch, const Sample& sample) {
  std::string out = fmt::format("{} {} {} {}", series_text(batch, sample), kind_name(sample.kind),
                                value_text(sample.value), batch.view(sample.unit));
  if (sample.start_ms != 0) out += fmt::format(" since {}", sample.start_ms);
  return out;
}

// series → value, as text.
inline std::map<std::string, std::string> values(const Batch& batch) {
  std::map<std::string, std::string> out;
  for (const Sample& sample : batch.samples) out[series_text(batch, sample)] = value_text(sample.value);
  return out;
}

// The counts of a source and its collectors over one root.
struct Host {
  explicit Host(const std::string& root, std::vector<std::string> names = {"all"})
      : Host(root, std::move(names), table_probe(root)) {}
  Host(const std::string& root, std::vector<std::string> names, const HostProbe& probe)
      : collectors(config_of(root, std::move(names)), counts, probe) {}

  Batch round() {
    Batch batch("host");
    collectors.collect(batch, time_ms);
    time_ms += 10'000;
    return batch;
  }
  std::map<std::string, std::string> round_values() { return values(round()); }
  bool balanced() const {
    return counts.received == counts.accepted + counts.bad.sum() + counts.dropped.sum();
  }

  int64_t time_ms = 1'763'769'600'000;
  SourceCounts counts;
  HostCollectors collectors;
};

}  // namespace runnel::test
