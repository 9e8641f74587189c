#include "source/script/folder.h"

#include <dirent.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/fd.h"
#include "source/script/hook_file.h"

namespace runnel::script {
namespace {

int64_t nanoseconds(const timespec& t) {
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

Result<std::vector<std::string>> names_in(const std::string& dir) {
  DIR* stream = ::opendir(dir.c_str());
  if (stream == nullptr) return Error{fmt::format("{}: {}", dir, errno_text(errno))};
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(stream))
    if (!ignored_name(entry->d_name)) names.emplace_back(entry->d_name);
  ::closedir(stream);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

FileMark mark_of(const struct stat& st) {
  return {st.st_dev, st.st_ino, st.st_size, nanoseconds(st.st_mtim), nanoseconds(st.st_ctim)};
}

Folder::Folder(Loop& loop, const Clock& clock, std::string dir, std::function<void()> on_change)
    : loop_(loop),
      clock_(clock),
      dir_(std::move(dir)),
      on_change_(std::move(on_change)),
      timer_(loop, [this] {
        due_ms_ = 0;
        on_change_();
      }) {}

void Folder::stop() {
  timer_.stop();
  watches_.clear();
  due_ms_ = INT64_MIN;  // look_again_in() does nothing any more
}

// The earliest wish wins: a stream of changes must not put off the look for ever.
void Folder::look_again_in(int64_t ms) {
  int64_t now = clock_.mono_ns() / 1'000'000;
  if (due_ms_ != 0 && due_ms_ <= now + ms) return;
  due_ms_ = now + ms;
  timer_.start(ms);
}

void Folder::watch_dir(const std::string& path, const struct stat& st,
                       std::map<std::string, Watch>& watches) {
  Watch watch = std::move(watches_[path]);
  if (!watch.watch || watch.device != st.st_dev || watch.inode != st.st_ino) {
    watch = {st.st_dev, st.st_ino, nullptr};
    auto opened = PathWatch::open(loop_, path, [this](const std::string&) { look_again_in(kDebounceMs); });
    // Without (the limit on inotify watches is small) there is still the look every 30 s.
    if (opened) watch.watch = std::move(opened).value();
  }
  watches[path] = std::move(watch);
}

Status Folder::add_files(const std::string& dir, const std::string& prefix, int64_t interval_ms,
                         Listing& listing, std::map<std::string, Watch>& watches,
                         std::map<std::string, Seen>& seen) {
  struct stat st {};
  if (::stat(dir.c_str(), &st) != 0) return Error{fmt::format("{}: {}", dir, errno_text(errno))};
  if (!S_ISDIR(st.st_mode)) return Error{fmt::format("{} is not a folder", dir)};
  watch_dir(dir, st, watches);  // before the reading: what comes between the two is seen
  auto names = names_in(dir);
  if (!names) return Error{names.error()};
  int64_t now_ms = clock_.mono_ns() / 1'000'000, wall_ms = clock_.wall_ms();
  for (const std::string& name : *names) {
    File file{prefix + name, dir + "/" + name, interval_ms, {}, false};
    if (::stat(file.path.c_str(), &file.st) != 0) {
      int error = errno;
      if (::lstat(file.path.c_str(), &file.st) == 0 && S_ISLNK(file.st.st_mode))
        listing.complaints.push_back(
            fmt::format("{} is ignored: it is a link that leads nowhere ({})", file.path, errno_text(error)));
      continue;  // else it has just gone
    }
    if (S_ISDIR(file.st.st_mode)) {
      if (!prefix.empty()) {
        listing.complaints.push_back(
            fmt::format("{}/ is ignored: a folder named after an interval has no sub-folders", file.path));
        continue;
      }
      auto interval = interval_of_folder(name);
      if (!interval) {
        listing.complaints.push_back(fmt::format("{}/: {}", file.path, interval.error()));
      } else if (!*interval) {
        listing.complaints.push_back(fmt::format(
            "{}/ is ignored: a sub-folder must be named after the interval of its hooks (60/, 5m/)",
            file.path));
      } else {
        if (Status status = add_files(file.path, name + "/", **interval, listing, watches, seen); !status)
          listing.complaints.push_back(status.error());
      }
      continue;
    }
    if (listing.files.size() >= kMaxFiles) {
      listing.complaints.push_back(fmt::format("{}: only the first {} files are looked at", dir_, kMaxFiles));
      break;
    }
    FileMark mark = mark_of(file.st);
    auto known = seen_.find(file.name);
    Seen now = known != seen_.end() && known->second.mark == mark ? known->second : Seen{mark, now_ms};
    // By the wall clock for what was there before us, else by having watched it: the clock may be wrong.
    int64_t age_ms = wall_ms - std::max(mark.modified_ns, mark.changed_ns) / 1'000'000;
    file.settled = age_ms >= kSettleMs || now_ms - now.since_ms >= kSettleMs;
    listing.settled = listing.settled && file.settled;
    seen[file.name] = now;
    listing.files.push_back(std::move(file));
  }
  return {};
}

Result<Folder::Listing> Folder::list() {
  Listing listing;
  std::map<std::string, Watch> watches;
  std::map<std::string, Seen> seen;
  Status status = add_files(dir_, "", 0, listing, watches, seen);
  watches_ = std::move(watches);
  seen_ = std::move(seen);
  look_again_in(!status ? kAbsentMs : listing.settled ? kRescanMs : kSettleMs);
  if (!status) return Error{status.error()};
  return listing;
}

}  // namespace runnel::script
