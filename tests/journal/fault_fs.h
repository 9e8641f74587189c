// A FileSystem that fails, stops or forgets on demand. Mutating calls are counted; everything else is the real one.
#pragma once

#include <fcntl.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <mutex>
#include <set>
#include <string>

#include "journal/file_system.h"

namespace runnel::test {

class FaultFs final : public RealFileSystem {
 public:
  // The n-th mutating call from now is the last that begins: a write of it is done by half, others not at all, and
  // nothing has an effect any more. As if the process had been killed there. 0: never.
  int64_t die_at = 0;
  bool short_writes = false;  // a few bytes at a time, every other call EINTR
  // Asked before each mutating call: 0, or the -errno it fails with.
  std::function<int(const char* call, const std::string& path)> fail;
  std::atomic<bool> sync_after_failure =
      false;  // a descriptor was written or synced again after a sync that failed

  int64_t calls() const { return calls_; }
  bool dead() const { return dead_; }

  int open(const std::string& path, int flags, unsigned mode) override {
    if ((flags & O_CREAT) != 0)
      if (int error = before("open", path); error != 0) return error;
    int fd = RealFileSystem::open(path, flags, mode);
    std::lock_guard lock(mutex_);
    if (fd >= 0) paths_[fd] = path;
    failed_.erase(fd);
    return fd;
  }
  ssize_t write(int fd, const void* bytes, size_t size) override {
    if (short_writes && (turn_++ % 2) == 0) return -EINTR;
    if (int error = before("write", path_of(fd)); error != 0) {
      if (dying_ && size > 1) (void)RealFileSystem::write(fd, bytes, size / 2);
      dying_ = false;
      return error;
    }
    if (has_failed(fd)) sync_after_failure = true;
    return RealFileSystem::write(fd, bytes, short_writes ? std::min<size_t>(size, 7) : size);
  }
  ssize_t pwrite(int fd, const void* bytes, size_t size, int64_t offset) override {
    if (short_writes && (turn_++ % 2) == 0) return -EINTR;
    if (int error = before("pwrite", path_of(fd)); error != 0) {
      if (dying_ && size > 1) (void)RealFileSystem::pwrite(fd, bytes, size / 2, offset);
      dying_ = false;
      return error;
    }
    return RealFileSystem::pwrite(fd, bytes, short_writes ? std::min<size_t>(size, 7) : size, offset);
  }
  int truncate(int fd, int64_t size) override {
    if (int error = before("truncate", path_of(fd)); error != 0) return error;
    return RealFileSystem::truncate(fd, size);
  }
  int fdatasync(int fd) override {
    std::string path = path_of(fd);
    if (int error = before("fdatasync", path); error != 0) {
      std::lock_guard lock(mutex_);
      failed_.insert(fd);
      return error;
    }
    std::lock_guard lock(mutex_);
    if (failed_.contains(fd)) sync_after_failure = true;
    safe_[path] = content(path);
    return RealFileSystem::fdatasync(fd);
  }
  int sync_folder(const std::string& path) override {
    if (int error = before("sync_folder", path); error != 0) return error;
    std::lock_guard lock(mutex_);
    names_.clear();
    for (const auto& entry : std::filesystem::directory_iterator(path)) names_.insert(entry.path().string());
    return RealFileSystem::sync_folder(path);
  }
  int make_folder(const std::string& path) override {
    if (int error = before("make_folder", path); error != 0) return error;
    return RealFileSystem::make_folder(path);
  }
  int rename(const std::string& from, const std::string& to) override {
    if (int error = before("rename", from); error != 0) return error;
    return RealFileSystem::rename(from, to);
  }
  int unlink(const std::string& path) override {
    if (int error = before("unlink", path); error != 0) return error;
    return RealFileSystem::unlink(path);
  }

  // The power goes: every file has what was synced of it, names that were not synced are gone.
  void forget_unsynced(const std::string& folder) {
    std::lock_guard lock(mutex_);
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      std::string path = entry.path().string();
      if (!names_.contains(path)) {
        std::filesystem::remove(path);
      } else {
        std::ofstream(path, std::ios::binary | std::ios::trunc) << (safe_.contains(path) ? safe_[path] : "");
      }
    }
  }

  static std::string content(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

 private:
  std::string path_of(int fd) {
    std::lock_guard lock(mutex_);
    return paths_[fd];
  }
  int before(const char* call, const std::string& path) {
    if (dead_) return -EIO;
    int64_t call_number = ++calls_;
    if (die_at > 0 && call_number == die_at) {
      dead_ = dying_ = true;
      return -EIO;
    }
    return fail ? fail(call, path) : 0;
  }

  bool has_failed(int fd) {
    std::lock_guard lock(mutex_);
    return failed_.contains(fd);
  }

  std::mutex mutex_;
  std::atomic<int64_t> calls_ = 0;
  std::atomic<int> turn_ = 0;
  std::atomic<bool> dead_ = false, dying_ = false;
  std::map<int, std::string> paths_;
  std::set<int> failed_;
  std::map<std::string, std::string> safe_;  // path → what is synced of it
  std::set<std::string> names_;
};

}  // namespace runnel::test
