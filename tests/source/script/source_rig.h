// A ScriptSource on a real loop with the test's own trampoline, and the log of the agent caught from stderr.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "base/fd.h"
#include "source/script/processes.h"
#include "source/script/support.h"

namespace runnel::script {

// Keeps what is written to stderr while it lives.
class CaughtLog {
 public:
  CaughtLog() {
    std::fflush(stderr);
    char name[] = "/tmp/runnel_log_XXXXXX";
    file_ = mkstemp(name);
    REQUIRE(file_ >= 0);
    unlink(name);
    saved_ = dup(STDERR_FILENO);
    dup2(file_, STDERR_FILENO);
  }
  ~CaughtLog() {
    dup2(saved_, STDERR_FILENO);
    close(saved_);
    close(file_);
  }
  std::string text() const {
    std::string all;
    char buffer[4096];
    for (ssize_t n; (n = pread(file_, buffer, sizeof buffer, static_cast<off_t>(all.size()))) > 0;)
      all.append(buffer, static_cast<size_t>(n));
    return all;
  }
  bool has(const std::string& part) const { return text().find(part) != std::string::npos; }
  size_t count(const std::string& part) const {
    std::string all = text();
    size_t n = 0;
    for (size_t at = 0; (at = all.find(part, at)) != std::string::npos; at += part.size()) n++;
    return n;
  }

 private:
  int file_ = -1, saved_ = -1;
};

class SourceRig {
 public:
  explicit SourceRig(const std::string& dir, std::function<void(ScriptsConfig&)> adjust = {}) {
    config.dir = dir;
    if (adjust) adjust(config);
    context.host = "web-1";
    context.trampoline = RUNNEL_TRAMPOLINE;
    context.may_run = [this] { return may_run; };
    source = std::make_unique<ScriptSource>(
        loop, clock, config, context, [this](Batch&& batch) { take(batch); }, counts);
  }
  ~SourceRig() {
    if (!source) return;
    source->stop();
    until([this] { return source->idle(); }, 5'000);
    source.reset();
    CHECK(no_children());
  }

  // Runs the loop until the condition holds; false when it does not within `ms`.
  bool until(const std::function<bool()>& condition, int64_t ms) {
    int64_t end = clock.mono_ns() + ms * 1'000'000;
    while (!condition()) {
      if (clock.mono_ns() > end) return false;
      loop.run_once(20);
    }
    return true;
  }
  void run_for(int64_t ms) {
    until([] { return false; }, ms);
  }
  bool run_once(bool* ok) {
    bool done = false;
    source->run_once([&](bool all_ok) { done = true, *ok = all_ok; });
    return until([&] { return done; }, 20'000);
  }
  bool got(const std::string& sample, int64_t ms = 3'000) {
    return until([&] { return seen[sample] > 0; }, ms);
  }
  size_t samples_of(const std::string& script) const {
    auto found = by_script.find(script);
    return found == by_script.end() ? 0 : found->second;
  }
  double reported(const SelfMetric& metric, const std::string& script, const std::string& reason = "") const {
    SelfReport report;
    source->report(report);
    for (const auto& row : report.rows())
      if (row.metric.name == metric.name && row.tags[0].second == script &&
          (reason.empty() || row.tags[1].second == reason))
        return row.value.as_double();
    return -1;
  }
  // Neither a hook nor a zombie.
  bool no_children() {
    return until([] { return children_of(getpid()).empty(); }, 2'000);
  }

  Loop loop;
  SystemClock clock;
  ScriptsConfig config;
  ScriptContext context;
  SourceCounts counts;
  bool may_run = true;
  std::map<std::string, int> seen;
  std::map<std::string, size_t> by_script;
  std::unique_ptr<ScriptSource> source;

 private:
  void take(const Batch& batch) {
    CHECK(batch.source() == "scripts");
    for (const Sample& sample : batch.samples) {
      seen[describe(batch, sample, sample.time_ms)]++;
      const Origin& origin = batch.origins[sample.origin];
      REQUIRE(origin.resource.size() == 1);
      CHECK(origin.resource[0].first == "script");
      by_script[origin.resource[0].second]++;
    }
  }
};

}  // namespace runnel::script
