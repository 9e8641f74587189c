// `runnel quarantine`: what an output's other side refused, seen, sent again or thrown away. Works on the files beside a
// running agent: the agent only adds to them.
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "agent/catalog.h"
#include "agent/identity.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/cli.h"
#include "output/output.h"
#include "output/quarantine.h"
#include "output/sink_registry.h"
#include "version.h"

namespace runnel::cli {
namespace {

constexpr int64_t kReplayMs = 60'000;  // for one file

int failed(const std::string& text) {
  fmt::print(stderr, "runnel: {}\n", text);
  return 1;
}

void list(const std::vector<QuarantineFile>& files) {
  for (const QuarantineFile& file : files) {
    auto seconds = static_cast<std::time_t>(file.time_ms / 1000);
    fmt::print("{}  {:%Y-%m-%dT%H:%M:%SZ}  records={} bytes={} reason={} answer=\"{}\"\n", file.name,
               fmt::gmtime(seconds), file.records, file.bytes, file.reason,
               escape_control(excerpt(file.answer, 200)));
  }
  if (files.empty()) fmt::print("nothing is in quarantine\n");
}

// Sends the records of a file to its output, from a log of its own. What is refused again comes back as another file.
int replay(const Config& config, SinkRegistry& registry, const std::string& folder,
           const QuarantineFile& file) {
  std::string path = folder + "/" + file.name + ".ndjson";
  auto batch = read_quarantine(path);
  if (!batch.ok()) return failed(batch.error());
  auto wanted = std::find_if(config.outputs.begin(), config.outputs.end(),
                             [&](const OutputConfig& o) { return o.name == file.output; });
  if (wanted == config.outputs.end())
    return failed(fmt::format("{}: there is no output \"{}\" in the configuration", file.name, file.output));
  auto descriptor = registry.find(wanted->sink);
  if (!descriptor.ok()) return failed(descriptor.error());
  SystemClock clock;
  RealFileSystem fs;
  Quarantine again(clock, fs, folder, INT64_MAX);
  uint64_t records = batch->records();
  auto id = load_agent_id(config.agent.state_dir);
  std::string agent_id = id.ok() ? *id : random_id();
  Log log(clock, INT64_MAX);
  LogReader& reader = log.add_reader(file.output, WhenFull::drop_oldest);
  OutputTimes times;
  times.hold_ms = 1000;
  times.backoff_cap_ms = 5000;
  auto output = Output::create(reader, clock, *wanted, **descriptor, {file.output, kVersion, agent_id},
                               agent_id, config.agent.host, times, &again);
  if (!output.ok()) return failed(output.error());
  log.append(std::move(*batch));
  (*output)->start();
  (*output)->drain();
  if (!(*output)->join_for(kReplayMs)) {
    (*output)->abandon();
    if (!(*output)->join_for(kReplayMs)) ::_exit(1);
  }
  ReaderSnapshot s = reader.snapshot();
  fmt::print("{}: records={} delivered={} filtered={} refused={} left={}\n", file.name, records, s.delivered,
             s.filtered, s.quarantined, s.queued);
  // Removed only where every record has gone somewhere; what was delivered in part comes twice when it is tried again.
  if (s.delivered + s.filtered + s.quarantined != records) return 1;
  if (::unlink(path.c_str()) != 0) return failed(path + ": " + errno_text(errno));
  return s.quarantined == 0 ? 0 : 1;
}

int show(const std::string& folder, const QuarantineFile& file) {
  auto text = read_file(folder + "/" + file.name + ".ndjson", 256 << 20);
  if (!text.ok()) return failed(text.error());
  fmt::print("{}", *text);
  return 0;
}

}  // namespace

int quarantine(const Arguments& arguments) {
  std::string verb = arguments.words.empty() ? "list" : arguments.words[0];
  if (verb != "list" && verb != "show" && verb != "replay" && verb != "drop")
    return usage_error(
        fmt::format("quarantine {}? (list, show NAME, replay NAME, drop NAME)", excerpt(verb)));
  SinkRegistry registry;
  std::string config_file = config_path(arguments);
  LoadResult loaded = config_file.empty() ? load_builtin_config(make_catalog(registry))
                                          : load_config(config_file, make_catalog(registry), false);
  for (const Problem& problem : loaded.errors) fmt::print(stderr, "{}\n", to_string(problem));
  if (!loaded.errors.empty()) return kExitConfig;
  std::string folder = loaded.config.agent.state_dir + "/quarantine";
  auto files = list_quarantine(folder);
  if (!files.ok()) return failed(files.error());
  if (verb == "list") {
    list(*files);
    return 0;
  }
  if (arguments.words.size() < 2)
    return usage_error(fmt::format("quarantine {} wants a name of the list, an output or \"all\"", verb));
  const std::string& name = arguments.words[1];
  int code = 0;
  bool any = false;
  for (const QuarantineFile& file : *files) {
    if (name != "all" && name != file.name && name != file.output) continue;
    any = true;
    if (verb == "show") code = std::max(code, show(folder, file));
    if (verb == "replay") code = std::max(code, replay(loaded.config, registry, folder, file));
    if (verb == "drop" && ::unlink((folder + "/" + file.name + ".ndjson").c_str()) != 0)
      code = failed(file.name + ": " + errno_text(errno));
  }
  if (!any) return failed(fmt::format("nothing in quarantine is called \"{}\"", excerpt(name)));
  return code;
}

}  // namespace runnel::cli
