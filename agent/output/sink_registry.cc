#include "output/sink_registry.h"

#include <dirent.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "base/module.h"
#include "base/text.h"
#include "file/file_sink.h"
#include "stdout/stdout_sink.h"

namespace runnel {
namespace {

// Small sinks that need no library of their own.
struct BuiltIn {
  const char* name;
  const runnel_sink* (*descriptor)();
};
constexpr BuiltIn kBuiltIn[] = {{"file", runnel_file_sink}, {"stdout", runnel_stdout_sink}};

}  // namespace

Status check_descriptor(const runnel_sink* sink, const std::string& plugin) {
  if (sink == nullptr) return Error{fmt::format("plugin {}: has no descriptor", plugin)};
  if (sink->abi_version != RUNNEL_SINK_ABI)
    return Error{
        fmt::format("plugin {}: speaks ABI version {}, this agent speaks {} (install the plugin that belongs "
                    "to this agent)",
                    plugin, sink->abi_version, RUNNEL_SINK_ABI)};
  // Everything up to `destroy` is version 1's first form; later fields are looked at only where they exist.
  if (sink->struct_size < offsetof(runnel_sink, tick) || sink->option_size < sizeof(runnel_option) ||
      sink->name == nullptr || sink->create == nullptr || sink->write == nullptr ||
      sink->interrupt == nullptr || sink->destroy == nullptr ||
      (sink->option_count > 0 && sink->options == nullptr))
    return Error{
        fmt::format("plugin {}: its descriptor lacks what ABI version {} requires", plugin, RUNNEL_SINK_ABI)};
  return {};
}

SinkRegistry::SinkRegistry(std::string plugin_dir)
    : plugin_dir_(plugin_dir.empty() ? module_folder() + "/plugins" : std::move(plugin_dir)) {}

Result<const runnel_sink*> SinkRegistry::find(const std::string& sink) {
  for (const BuiltIn& built_in : kBuiltIn)
    if (sink == built_in.name) return built_in.descriptor();
  if (sink.starts_with('/')) return load(sink);
  std::string path = plugin_dir_ + "/" + sink + ".so";
  bool plain = std::all_of(sink.begin(), sink.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-';
  });
  if (plain && !sink.empty() && ::access(path.c_str(), F_OK) == 0) return load(path);
  if (sink == "kafka") return Error{"no sink \"kafka\" here (install the package runnel-kafka)"};
  std::string close = nearest(sink, names());
  return Error{fmt::format("no sink \"{}\"{} (this build has: {}; or give the absolute path of a plugin)",
                           excerpt(sink), close.empty() ? "" : fmt::format(", did you mean \"{}\"?", close),
                           fmt::join(names(), ", "))};
}

Result<const runnel_sink*> SinkRegistry::load(const std::string& path) {
  if (auto it = loaded_.find(path); it != loaded_.end()) return it->second;
  auto symbol = load_symbol(path, "runnel_sink_descriptor");
  if (!symbol.ok()) return Error{"plugin " + symbol.error()};
  auto descriptor = reinterpret_cast<runnel_sink_descriptor_fn>(*symbol);
  const runnel_sink* sink = descriptor();
  if (Status good = check_descriptor(sink, path); !good.ok()) return Error{good.error()};
  loaded_[path] = sink;
  return sink;
}

std::vector<std::string> SinkRegistry::names() const {
  std::vector<std::string> names;
  for (const BuiltIn& built_in : kBuiltIn) names.emplace_back(built_in.name);
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(plugin_dir_.c_str()), ::closedir);
  while (dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {
    std::string_view name = entry->d_name;
    if (name.ends_with(".so")) names.emplace_back(name.substr(0, name.size() - 3));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace runnel
