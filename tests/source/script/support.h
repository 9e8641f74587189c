// What the tests of the script source share: output through a reader, samples as text, a folder of hooks, a running
// source on a real loop.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/text.h"
#include "source/script/line_reader.h"
#include "source/script/script_source.h"
#include "support/catch.h"

namespace runnel::script {

inline std::string describe(const Batch& batch, const Sample& sample, int64_t run_time_ms) {
  SeriesView series = batch.view(sample.series);
  std::string text(series.name());
  std::string tags;
  for (Tag tag : series)
    tags += (tags.empty() ? "" : ",") + std::string(tag.key) + "=" + std::string(tag.value);
  if (!tags.empty()) text += "{" + tags + "}";
  text += " ";
  if (sample.kind == Kind::distribution) {
    text += "n";
    append_double(text, batch.distributions[sample.distribution].count);
  } else if (sample.value.is_integer()) {
    text += std::to_string(sample.value.as_integer());
  } else {
    append_double(text, sample.value.as_double());
  }
  if (sample.kind != Kind::gauge) text += " " + std::string(kind_name(sample.kind));
  if (sample.time_ms != run_time_ms) text += " @" + std::to_string(sample.time_ms);
  return text;
}

// All of one run's output, fed in pieces of `piece` bytes.
struct Reading {
  static constexpr int64_t kTime = 1'763'769'600'000;
  explicit Reading(std::string_view output, std::optional<Format> format = {}, size_t piece = SIZE_MAX,
                   bool whole = true) {
    Intake intake(
        "test.sh", kTime, 10'000, counts, [this](Batch&& batch) { batches.push_back(std::move(batch)); },
        false);
    LineReader reader(format, intake);
    while (!output.empty()) {
      reader.feed(output.substr(0, piece));
      output.remove_prefix(std::min(piece, output.size()));
    }
    reader.finish(whole);
    intake.finish();
    detected = reader.format();
    for (const Batch& batch : batches) {
      for (const Sample& sample : batch.samples) samples.push_back(describe(batch, sample, kTime));
      for (const Event& event : batch.events) events.emplace_back(batch.view(event.series).name());
    }
  }
  bool balanced() const {
    return counts.received == counts.accepted + counts.bad.sum() + counts.dropped.sum();
  }

  SourceCounts counts;
  std::vector<Batch> batches;
  std::vector<std::string> samples, events;
  std::optional<Format> detected;
};

// A folder in /tmp with modes that the trust check takes, whatever the umask.
class TempFolder {
 public:
  TempFolder() {
    char name[] = "/tmp/runnel_script_XXXXXX";
    REQUIRE(mkdtemp(name) != nullptr);
    path_ = name;
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  std::string folder(const std::string& name, mode_t mode = 0755) const {
    std::string path = *this / name;
    mkdir(path.c_str(), mode);
    REQUIRE(chmod(path.c_str(), mode) == 0);
    return path;
  }
  std::string file(const std::string& name, const std::string& text, mode_t mode = 0755) const {
    std::string path = *this / name;
    {
      std::ofstream out(path);
      out << text;
    }
    REQUIRE(chmod(path.c_str(), mode) == 0);
    return path;
  }

 private:
  std::string path_;
};

}  // namespace runnel::script
