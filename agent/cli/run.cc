#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <exception>

#include "agent/agent.h"
#include "agent/catalog.h"
#include "base/log.h"
#include "cli/cli.h"

namespace runnel::cli {
namespace {

std::string own_executable() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  return n > 0 ? std::string(path, static_cast<size_t>(n)) : "runnel";
}

}  // namespace

int run(const Arguments& arguments) {
  ::signal(SIGHUP, SIG_IGN);  // until there is something to reload
  // A few threads that allocate little: one arena more than the main one, instead of eight a core.
  ::mallopt(M_ARENA_MAX, 2);
  // Large blocks (a flush of many series, a payload) come from mmap and go back when they are freed. Left alone, glibc
  // raises the limit to the largest block freed so far, and what a flush of 100,000 series took stays: 60 bytes a series.
  ::mallopt(M_MMAP_THRESHOLD, 128 << 10);
  ::mallopt(M_TRIM_THRESHOLD, 128 << 10);
  SinkRegistry registry;
  std::string path = config_path(arguments);
  LoadResult loaded = path.empty() ? load_builtin_config(make_catalog(registry))
                                   : load_config(path, make_catalog(registry), false);
  for (const Problem& warning : loaded.warnings) log::warning("config", "{}", to_string(warning));
  if (!loaded.errors.empty()) {
    for (const Problem& problem : loaded.errors) log::error("config", "{}", to_string(problem));
    return kExitConfig;
  }
  try {
    SystemClock clock;
    Loop loop;
    Agent agent(loop, clock, registry, {path, own_executable(), arguments.once});
    Config config = std::move(loaded.config);
    loaded = {};
    if (Status started = agent.start(std::move(config)); !started.ok()) {
      log::error("agent", "{}", started.error());
      return kExitConfig;
    }
    return agent.run();
  } catch (const std::exception& failure) {
    log::error("agent", "cannot start: {}", failure.what());
    return 1;
  }
}

}  // namespace runnel::cli
