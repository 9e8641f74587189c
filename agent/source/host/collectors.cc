#include "source/host/collectors.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "base/text.h"
#include "source/host/host_source.h"

namespace runnel {
namespace {

struct Row {
  CollectorInfo info;
  CollectorFactory make;
};

constexpr Row kCollectors[] = {
    {{"cpu", "time of each CPU by mode, interrupts, context switches (/proc/stat)", true}, make_cpu},
    {{"memory", "memory by state, slab, hugepages (/proc/meminfo)", true}, make_memory},
    {{"filesystem", "space and inodes of mounted file systems (/proc/1/mountinfo, statvfs)", true},
     make_filesystem},
    {{"disk", "operations, bytes and times of block devices (/proc/diskstats)", true}, make_disk},
    {{"network", "bytes, packets, errors and drops of interfaces (/proc/net/dev)", true}, make_network},
    {{"pressure", "stall times of CPU, memory, I/O and interrupts (/proc/pressure)", true}, make_pressure},
    {{"tcp", "connections, retransmits, full listen queues (/proc/net/snmp, netstat, sockstat)", true},
     make_tcp},
    {{"paging", "swap, page faults, OOM kills (/proc/vmstat, /proc/meminfo)", true}, make_paging},
    {{"load", "load averages and uptime (/proc/loadavg, /proc/uptime)", true}, make_load},
    {{"processes", "processes running, blocked, created; threads (/proc/stat, /proc/loadavg)", true},
     make_processes},
};

}  // namespace

std::vector<CollectorInfo> list_collectors() {
  std::vector<CollectorInfo> out;
  for (const Row& row : kCollectors) out.push_back(row.info);
  return out;
}

std::vector<std::string> collector_names() {
  std::vector<std::string> out;
  for (const Row& row : kCollectors) out.emplace_back(row.info.name);
  return out;
}

CollectorFactory find_collector(std::string_view name) {
  for (const Row& row : kCollectors)
    if (row.info.name == name) return row.make;
  return nullptr;
}

Result<std::vector<std::string>> select_collectors(const std::vector<std::string>& words) {
  bool taken[std::size(kCollectors)] = {};
  auto take = [&](auto which) {
    for (size_t i = 0; i < std::size(kCollectors); i++) taken[i] = taken[i] || which(kCollectors[i].info);
  };
  auto by_default = [](const CollectorInfo& info) { return info.by_default; };
  // ["-disk"] alone means the default without it.
  if (!words.empty() && words.front().starts_with('-')) take(by_default);
  for (const std::string& word : words) {
    bool out = word.starts_with('-');
    std::string_view name = std::string_view(word).substr(out ? 1 : 0);
    if (!out && name == "default") {
      take(by_default);
    } else if (!out && name == "all") {
      take([](const CollectorInfo&) { return true; });
    } else if (find_collector(name) != nullptr) {
      for (size_t i = 0; i < std::size(kCollectors); i++)
        if (kCollectors[i].info.name == name) taken[i] = !out;
    } else {
      std::vector<std::string> known = collector_names();
      if (!out) known.insert(known.end(), {"default", "all"});
      std::string near = nearest(name, known);
      if (!near.empty())
        return Error{fmt::format("there is no collector \"{}\" (did you mean \"{}\"?)", excerpt(name), near)};
      return Error{
          fmt::format("there is no collector \"{}\" (`runnel list collectors` names them)", excerpt(name))};
    }
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < std::size(kCollectors); i++)
    if (taken[i]) names.emplace_back(kCollectors[i].info.name);
  if (names.empty()) return Error{"no collector is left (name one, or set enabled = false)"};
  return names;
}

}  // namespace runnel
