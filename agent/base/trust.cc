#include "base/trust.h"

#include <fmt/format.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <deque>

#include "base/fd.h"
#include "base/text.h"

namespace runnel {
namespace {

constexpr int kMaxLinks = 40;  // as the kernel: path_resolution(7)

std::string user_name(uid_t uid) {
  passwd entry{}, *found = nullptr;
  char buffer[4096];
  if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found != nullptr) return entry.pw_name;
  return fmt::format("user {}", uid);
}

Status check_owner(const std::string& path, const struct stat& st, uid_t agent) {
  if (st.st_uid == 0 || st.st_uid == agent) return {};
  return Error{fmt::format("{} belongs to {}, not to root or the agent's user: chown{} root {}", path,
                           user_name(st.st_uid), S_ISLNK(st.st_mode) ? " -h" : "", shell_word(path))};
}

Status check_mode(const std::string& path, const struct stat& st) {
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) == 0) return {};
  if (S_ISDIR(st.st_mode) && (st.st_mode & S_ISVTX) != 0) return {};
  const char* who = (st.st_mode & S_IWOTH) == 0 ? "its group" : "everybody";
  const char* whom = (st.st_mode & S_IWOTH) == 0 ? "g-w" : (st.st_mode & S_IWGRP) == 0 ? "o-w" : "go-w";
  return Error{fmt::format("{} is writable by {} (mode {:04o}): chmod {} {}", path, who, st.st_mode & 07777,
                           whom, shell_word(path))};
}

void push_front(std::deque<std::string>& components, std::string_view path) {
  auto parts = split(path, '/');
  for (auto part = parts.rbegin(); part != parts.rend(); ++part)
    if (!part->empty() && *part != ".") components.emplace_front(*part);
}

}  // namespace

std::string shell_word(const std::string& text) {
  bool plain = !text.empty();
  for (char c : text)
    plain = plain && ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      std::string_view("/._-+,:@").find(c) != std::string_view::npos);
  if (plain) return text;
  std::string quoted = "'";
  for (char c : text) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

Status check_trust(const std::string& path, uid_t agent) {
  if (!path.starts_with('/')) return Error{fmt::format("{} is not an absolute path", path)};
  std::string at = "/";  // always physical: no symbolic link in it
  struct stat st {};
  std::deque<std::string> pending;
  push_front(pending, path);
  int links = 0;
  for (;;) {
    if (::lstat(at.c_str(), &st) != 0) return Error{fmt::format("{}: {}", at, errno_text(errno))};
    if (Status status = check_owner(at, st, agent); !status) return status;
    if (S_ISLNK(st.st_mode)) {
      if (++links > kMaxLinks) return Error{fmt::format("{}: too many symbolic links", path)};
      char target[PATH_MAX];
      ssize_t size = ::readlink(at.c_str(), target, sizeof target);
      if (size < 0) return Error{fmt::format("{}: {}", at, errno_text(errno))};
      std::string_view text(target, static_cast<size_t>(size));
      push_front(pending, text);
      size_t slash = at.rfind('/');
      at = text.starts_with('/') || slash == 0 ? "/" : at.substr(0, slash);
      // The folder that holds the link was checked on the way in; "/" was the first of all.
    } else {
      if (Status status = check_mode(at, st); !status) return status;
      if (pending.empty()) break;
      if (!S_ISDIR(st.st_mode)) return Error{fmt::format("{} is not a folder", at)};
    }
    if (pending.empty()) break;  // a link to the folder that holds it, or to "/"
    std::string next = std::move(pending.front());
    pending.pop_front();
    if (next == "..") {
      size_t slash = at.rfind('/');
      at = slash == 0 ? "/" : at.substr(0, slash);
    } else {
      at += (at.size() > 1 ? "/" : "") + next;
    }
  }
  if (!S_ISREG(st.st_mode)) return Error{fmt::format("{} is not a regular file", path)};
  return {};
}

}  // namespace runnel
