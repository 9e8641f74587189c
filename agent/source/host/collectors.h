// The table of collectors: name, help, whether by default, how to make one. To add a collector: its .cc, a factory here,
// a row in collectors.cc, its metrics in docs/host.md. Pure data and functions, any thread.
#pragma once

#include <chrono>
#include <memory>
#include <string_view>

#include "source/host/collector.h"
#include "source/host/remote_statvfs.h"

namespace runnel {

class Procfs;

// What tests replace.
struct HostProbe {
  StatvfsCall statvfs = system_statvfs;
  std::chrono::nanoseconds patience = std::chrono::milliseconds(5);  // with remote file systems, a round
};

struct HostContext {
  Procfs& procfs;
  const HostProbe& probe;
};

using CollectorFactory = std::unique_ptr<Collector> (*)(const HostContext&);

std::unique_ptr<Collector> make_cpu(const HostContext& context);
std::unique_ptr<Collector> make_memory(const HostContext& context);
std::unique_ptr<Collector> make_filesystem(const HostContext& context);
std::unique_ptr<Collector> make_disk(const HostContext& context);
std::unique_ptr<Collector> make_network(const HostContext& context);
std::unique_ptr<Collector> make_pressure(const HostContext& context);
std::unique_ptr<Collector> make_tcp(const HostContext& context);
std::unique_ptr<Collector> make_paging(const HostContext& context);
std::unique_ptr<Collector> make_load(const HostContext& context);
std::unique_ptr<Collector> make_processes(const HostContext& context);

// The factory of a name of the table; nullptr where there is none.
CollectorFactory find_collector(std::string_view name);

}  // namespace runnel
