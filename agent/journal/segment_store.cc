#include "journal/segment_store.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "journal/record.h"
#include "journal/segment_scanner.h"

namespace runnel {
namespace {

constexpr std::string_view kSuffix = ".seg";
constexpr size_t kDigits = 20;

std::optional<uint64_t> number_of(const std::string& name) {
  if (name.size() != kDigits + kSuffix.size() || !name.ends_with(kSuffix)) return std::nullopt;
  auto number = parse_int(std::string_view(name).substr(0, kDigits));
  return number && *number > 0 ? std::optional(static_cast<uint64_t>(*number)) : std::nullopt;
}

// Sorted by sequence and without overlaps. They overlap after a failed sync (what was not synced was written again) and
// where somebody copied a file: the records are the same.
void part(std::vector<Segment>& segments, std::vector<uint64_t>& superfluous) {
  std::sort(segments.begin(), segments.end(), [](const Segment& a, const Segment& b) {
    return a.first != b.first ? a.first < b.first : a.end != b.end ? a.end > b.end : a.number > b.number;
  });
  std::vector<Segment> kept;
  for (Segment& next : segments) {
    if (!kept.empty() && next.end <= kept.back().end) {
      superfluous.push_back(next.number);
      continue;
    }
    if (!kept.empty()) kept.back().end = std::min(kept.back().end, next.first);
    kept.push_back(next);
  }
  segments = std::move(kept);
}

}  // namespace

std::string SegmentStore::path_of(uint64_t number) const {
  return fmt::format("{}/{:020}{}", folder_, number, kSuffix);
}

int SegmentStore::take_lock() {
  std::string path = folder_ + "/lock";
  int fd = fs_.open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0640);
  if (fd < 0) return fd;
  File file(fs_, fd);
  if (int error = fs_.lock(fd); error != 0) return error;
  lock_ = std::move(file);
  return 0;
}

int SegmentStore::make_usable() {
  int error = fs_.make_folder(folder_);
  if (error == 0 && !lock_.valid()) error = take_lock();
  return error;
}

Result<Recovered> SegmentStore::open() {
  int error = make_usable();
  if (error == -EWOULDBLOCK) return Error{fmt::format("{}: another agent uses it", folder_)};
  std::vector<std::string> names;
  if (error == 0) error = fs_.list(folder_, names);
  if (error != 0) return Error{fmt::format("{}: {}", folder_, errno_text(-error))};
  std::vector<uint64_t> numbers;
  for (const std::string& name : names)
    if (auto number = number_of(name)) numbers.push_back(*number);
  std::sort(numbers.begin(), numbers.end());
  Recovered found;
  std::vector<uint64_t> superfluous;
  std::vector<Gap> gaps;
  for (uint64_t number : numbers) {
    number_ = std::max(number_, number);
    size_t before = found.segments.size();
    if (!scan(number, found, gaps)) continue;
    if (found.segments.size() == before)
      superfluous.push_back(number);  // nothing in it, or nothing that is left of it
  }
  part(found.segments, superfluous);
  for (uint64_t number : superfluous) remove(number);
  if (!superfluous.empty()) sync_folder();
  for (const Segment& segment : found.segments) {
    if (segment.first > found.end && found.bytes > 0) found.gaps.emplace_back(found.end, segment.first);
    found.end = segment.end;
    found.bytes += segment.bytes;
    found.records += segment.end - segment.first;
    for (const Gap& gap : gaps) {
      if (gap.number != segment.number || gap.to > segment.end) continue;
      found.gaps.emplace_back(gap.from, gap.to);
      found.records -= gap.to - gap.from;
    }
  }
  return found;
}

// False: a file that is not ours to judge, left alone.
bool SegmentStore::scan(uint64_t number, Recovered& into, std::vector<Gap>& gaps) {
  SegmentScanner scanner(fs_, path_of(number));
  if (Status opened = scanner.open(); !opened.ok()) {
    log::error("journal", "{}: left alone", opened.error());
    return false;
  }
  if (scanner.version() && *scanner.version() != kJournalVersion) {
    into.foreign = true;
    log::error("journal", "{}: of format version {}, this build reads {}: left alone", path_of(number),
               *scanner.version(), kJournalVersion);
    return false;
  }
  Segment segment;
  segment.number = number;
  auto tell = [&](int64_t from, int64_t to, const std::string& what) {
    into.damaged_regions++;
    if (into.damaged_regions <= 20)
      log::error("journal", "{}: bytes {} to {} are damaged{}", path_of(number), from, to, what);
  };
  auto damaged = [&](const SegmentScanner::Damage& damage) {
    tell(damage.from, damage.to,
         damage.head ? fmt::format(": records={} sequences {} to {} are lost", damage.head->records,
                                   damage.head->first, damage.head->end() - 1)
                     : "");
  };
  while (auto found = scanner.next(damaged)) {
    const RecordHead& head = found->head;
    into.last_epoch = std::max(into.last_epoch, head.epoch);
    if (segment.end == 0) {
      segment.first = head.first;
      segment.first_time_ms = head.time_ms;
    } else if (head.first < segment.end) {
      continue;  // a second copy
    } else if (head.first > segment.end) {
      gaps.push_back({segment.end, head.first, number});
      into.damaged_records += head.first - segment.end;
    }
    segment.end = head.end();
  }
  if (int64_t tail = scanner.tail_bytes(); tail > 0) {
    int64_t size = scanner.tail_bytes() + scanner.offset();
    tell(scanner.offset(), size, " or were cut while they were written");
  }
  segment.bytes = scanner.offset() + scanner.tail_bytes();
  if (scanner.error() != 0) {
    log::error("journal", "{}: {}", path_of(number), errno_text(scanner.error()));
    if (segment.end == 0) return false;  // it may be read another day
  }
  if (segment.end > 0) into.segments.push_back(segment);
  return true;
}

int SegmentStore::begin(uint64_t epoch, uint64_t first, int64_t now_ms) {
  uint64_t number = number_ + 1;
  int fd = fs_.open(path_of(number), O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0640);
  if (fd < 0) {
    if (fd == -EEXIST) number_ = number;
    return fd;
  }
  number_ = number;
  file_ = File(fs_, fd);
  std::string head;
  append_segment_head(head, {kJournalVersion, number, epoch, first, now_ms});
  bytes_ = 0;
  int error = append(head);
  if (error == 0) error = fs_.sync_folder(folder_);
  if (error != 0) {
    file_.reset();
    fs_.unlink(path_of(number));
  }
  return error;
}

int SegmentStore::append(std::string_view records) {
  int error = write_whole(fs_, file_.get(), records);
  if (error == 0) {
    bytes_ += static_cast<int64_t>(records.size());
  } else {
    (void)fs_.truncate(file_.get(), bytes_);  // a part of a record is only what the next start would tell of
  }
  return error;
}

int SegmentStore::sync() {
  return fs_.fdatasync(file_.get());
}

bool SegmentStore::there(uint64_t number) {
  int fd = fs_.open(path_of(number), O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
  if (fd >= 0) fs_.close(fd);
  return fd != -ENOENT && fd != -ENOTDIR;
}

void SegmentStore::remove(uint64_t number) {
  int error = fs_.unlink(path_of(number));
  if (error != 0 && error != -ENOENT) log::warning("journal", "{}: {}", path_of(number), errno_text(-error));
}

void SegmentStore::sync_folder() {
  (void)fs_.sync_folder(folder_);  // names that come back are read again and known to be settled
}

}  // namespace runnel
