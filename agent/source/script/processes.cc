#include "source/script/processes.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "base/fd.h"
#include "base/text.h"

namespace runnel::script {
namespace {

struct CloseDir {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

template <class Each>
void each_number(const std::string& folder, Each each) {
  std::unique_ptr<DIR, CloseDir> dir(::opendir(folder.c_str()));
  if (!dir) return;
  while (const dirent* entry = ::readdir(dir.get()))
    if (auto number = parse_int(entry->d_name)) each(static_cast<pid_t>(*number));
}

// A process may be gone at any moment: no file is no error here.
std::optional<std::string> read_proc(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return std::nullopt;
  std::string text;
  char buffer[4096];
  constexpr size_t kLimit = 1 << 20;
  for (ssize_t n; text.size() < kLimit && (n = ::read(fd.get(), buffer, sizeof buffer)) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  return text;
}

}  // namespace

bool become_subreaper() {
  return ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0;
}

std::optional<ProcessInfo> process_info(pid_t pid) {
  auto text = read_proc(fmt::format("/proc/{}/stat", pid));
  size_t name_end = text ? text->rfind(')') : std::string::npos;  // the name may hold anything, also ") R 1"
  if (name_end == std::string::npos || name_end + 2 >= text->size()) return std::nullopt;
  // Behind the name: state ppid pgrp …; field 22 of proc(5) is the 20th here.
  auto fields = split(std::string_view(*text).substr(name_end + 2), ' ');
  if (fields.size() < 20 || fields[0].empty()) return std::nullopt;
  ProcessInfo info;
  info.pid = pid;
  info.state = fields[0][0];
  info.parent = static_cast<pid_t>(parse_int(fields[1]).value_or(0));
  info.group = static_cast<pid_t>(parse_int(fields[2]).value_or(0));
  info.start_ticks = parse_uint(fields[19]).value_or(0);
  return info;
}

std::vector<pid_t> children_of(pid_t pid) {
  std::vector<pid_t> children;
  bool listed = false;
  // The list of each thread: CONFIG_PROC_CHILDREN, which every distribution's kernel has.
  each_number(fmt::format("/proc/{}/task", pid), [&](pid_t thread) {
    auto text = read_proc(fmt::format("/proc/{}/task/{}/children", pid, thread));
    if (!text) return;
    listed = true;
    for (std::string_view word : split(*text, ' '))
      if (auto child = parse_int(word)) children.push_back(static_cast<pid_t>(*child));
  });
  if (listed) return children;
  each_number("/proc", [&](pid_t candidate) {
    auto info = process_info(candidate);
    if (info && info->parent == pid) children.push_back(candidate);
  });
  return children;
}

std::optional<std::string> process_variable(pid_t pid, std::string_view name) {
  auto text = read_proc(fmt::format("/proc/{}/environ", pid));
  if (!text) return std::nullopt;
  for (std::string_view entry : split(*text, '\0'))
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=')
      return std::string(entry.substr(name.size() + 1));
  return std::nullopt;
}

size_t kill_tree(pid_t pid) {
  constexpr size_t kAtMost = 5'000;  // a turn of the loop must end; what is left is found in the next one
  std::vector<pid_t> found{pid};
  // Read, then killed: a child made in between moves up to the agent and is found there in the next turn.
  for (size_t i = 0; i < found.size() && found.size() < kAtMost; i++) {
    std::vector<pid_t> children = children_of(found[i]);
    ::kill(found[i], SIGKILL);
    found.insert(found.end(), children.begin(), children.end());
  }
  return found.size();
}

pid_t family_of(const ProcessInfo& orphan, const std::optional<std::string>& script,
                const std::vector<Family>& families, bool strangers) {
  if (script) {
    for (const Family& family : families)
      if (family.script == *script) return family.leader;
    return kNobody;
  }
  pid_t only = kNobody;
  for (const Family& family : families) {
    if (family.leader == orphan.group) return family.leader;
    if (family.start_ticks <= orphan.start_ticks) only = only == kNobody ? family.leader : kUnknown;
  }
  return strangers ? kUnknown : only;
}

}  // namespace runnel::script
