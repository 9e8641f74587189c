#include "journal/log_reader.h"

#include <algorithm>
#include <chrono>

#include "base/fd.h"
#include "base/log.h"
#include "base/text.h"
#include "journal/batch_codec.h"
#include "journal/journal_state.h"
#include "journal/log.h"
#include "journal/segment_scanner.h"

namespace runnel {
namespace {

constexpr auto kLookAgain = std::chrono::milliseconds(200);  // while the newest batch is not written yet
constexpr int kReadTries = 5;  // a second apart, of a segment that cannot be read
constexpr auto kReadPause = std::chrono::seconds(1);

}  // namespace

uint64_t LogEntry::records() const {
  uint64_t n = 0;
  for (const RecordRange& range : ranges) n += range.size();
  return n;
}

uint64_t Settlement::sum() const {
  uint64_t total = delivered + filtered + quarantined;
  for (const auto& [reason, n] : dropped) total += n;
  return total;
}

LogReader::LogReader(Log& log, std::string name, WhenFull when_full)
    : log_(log), name_(std::move(name)), when_full_(when_full) {}

LogReader::~LogReader() = default;

// Where the cursor says, where there is one, else at the beginning of what the folder holds; `end` is behind that. A
// reader of which the folder came late has taken newer entries already.
void LogReader::start(uint64_t end) {
  Journal* j = log_.journal_.get();
  bool late = next_ > end;
  if (!late) next_ = floor_ = end;
  if (j == nullptr) return;
  if (!cursor_)
    cursor_ =
        std::make_shared<SharedCursor>(j->store.file_system(), j->store.folder() + "/" + name_ + ".cursor");
  if (!j->opened || (j->appended && !late)) return;
  uint64_t begin = j->segments.empty() ? end : std::min(end, j->segments.front().first), position = begin;
  if (auto stored = j->cursors.find(name_); stored != j->cursors.end()) {
    position = std::clamp(stored->second.position, begin, end);
    skips_.insert(skips_.begin(), stored->second.skips.begin(), stored->second.skips.end());
    if (!late) saved_in_flight_ = stored->second.in_flight;
  }
  if (late) skips_.emplace_back(end, next_);
  next_ = floor_ = position;
  uint64_t found = log_.count(*this, position, end);
  queued_ += found;
  appended_ += found;
  if (found > 0) log::info(name_, "goes on with records={} of the journal", found);
}

std::optional<LogEntry> LogReader::take(int64_t wait_ns) {
  std::unique_lock lock(log_.mutex_);
  auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(wait_ns);
  for (;;) {
    if (!returned_.empty()) {
      poked_ = false;
      LogEntry entry = std::move(returned_.front());
      returned_.pop_front();
      count_taken(entry);
      return entry;
    }
    for (auto [from, to] : skips_)
      if (next_ >= from && next_ < to) next_ = to;
    bool not_written = false;
    if (next_ < std::min({limit_, end_, log_.next_})) {
      if (const LogSlot* slot = log_.find_slot(next_)) {
        not_written = !log_.ready(*slot);
        if (!not_written || wait_ns == 0) {
          poked_ = false;
          return take_slot(*slot);
        }
      } else if (log_.journal_) {
        uint64_t before = next_;
        if (auto entry = take_from_disk(lock)) {
          poked_ = false;
          return entry;
        }
        if (next_ != before) continue;
      }
    }
    auto now = std::chrono::steady_clock::now();
    if (poked_ || now >= deadline) {
      poked_ = false;
      return std::nullopt;
    }
    wake_.wait_until(lock, not_written ? std::min(deadline, now + kLookAgain) : deadline);
  }
}

void LogReader::end_here() {
  std::lock_guard lock(log_.mutex_);
  end_ = log_.next_;
}

void LogReader::count_taken(const LogEntry& entry) {
  uint64_t n = entry.records();
  queued_ -= n;
  in_flight_ += n;
  if (!log_.journal_) {
    queued_bytes_ -= entry.bytes;
    in_flight_bytes_ += entry.bytes;
  }
  taken_ages_.push_back(entry.appended_mono_ns);
}

LogEntry LogReader::take_slot(const LogSlot& slot) {
  LogEntry entry;
  entry.first = slot.first;
  entry.epoch = log_.epoch_;
  entry.appended_mono_ns = slot.appended_mono_ns;
  entry.bytes = slot.bytes;
  entry.batch = slot.batch;
  entry.ranges.push_back({static_cast<uint32_t>(next_ - slot.first), slot.records});
  next_ = slot.end();
  count_taken(entry);
  log_.evict();
  return entry;
}

// The next entry out of the segments, read and decoded without the mutex. Nothing: look again, perhaps further on.
std::optional<LogEntry> LogReader::take_from_disk(std::unique_lock<std::mutex>& lock) {
  Journal& j = *log_.journal_;
  uint64_t want = next_;
  auto segment =
      std::find_if(j.segments.begin(), j.segments.end(), [&](const Segment& s) { return want < s.end; });
  uint64_t in_memory = log_.tail_.empty() ? log_.next_ : log_.tail_.front().first;
  if (segment == j.segments.end() || segment->first > want) {
    // Numbers that nothing is under (a gap counts as nothing), or a file that was taken from us.
    uint64_t to = segment == j.segments.end() ? in_memory : std::min(segment->first, in_memory);
    log_.move_on(*this, to, "damaged");
    if (next_ == want) j.tidy = true;
    return std::nullopt;
  }
  uint64_t number = segment->number, segment_end = segment->end;
  lock.unlock();
  int error = 0;
  std::optional<LogEntry> entry = read_segment(number, want, error);
  lock.lock();
  if (next_ != want) return std::nullopt;  // moved on meanwhile: what was read is not counted as taken
  if (!entry) {
    if (error != 0 && ++read_failures_ < kReadTries) {
      wake_.wait_for(lock, kReadPause, [this] { return poked_; });
      return std::nullopt;
    }
    read_failures_ = 0;
    uint64_t lost = log_.count(*this, want, segment_end);
    if (lost > 0) log::error(name_, "journal segment {}: records={} cannot be read", number, lost);
    j.damaged += lost;
    log_.move_on(*this, std::min(segment_end, in_memory), "damaged");
    return std::nullopt;
  }
  read_failures_ = 0;
  if (entry->first > want) {
    uint64_t lost = log_.count(*this, want, entry->first);
    if (lost > 0) log::error(name_, "journal segment {}: records={} are damaged", number, lost);
    j.damaged += lost;
    log_.move_on(*this, entry->first, "damaged");
  }
  uint64_t end = entry->first + entry->batch->records();
  entry->ranges = {
      {static_cast<uint32_t>(next_ - entry->first), static_cast<uint32_t>(entry->batch->records())}};
  entry->appended_mono_ns = j.mono_at_open - (j.wall_at_open - entry->appended_mono_ns) * 1'000'000;
  next_ = end;
  count_taken(*entry);
  return entry;
}

// The record that holds `want`, or the first behind it. `appended_mono_ns` is still the wall time in ms.
std::optional<LogEntry> LogReader::read_segment(uint64_t number, uint64_t want, int& error) {
  if (!scanner_ || scanner_number_ != number || scanner_next_ > want) {
    const SegmentStore& store = log_.journal_->store;
    scanner_ = std::make_unique<SegmentScanner>(log_.journal_->store.file_system(), store.path_of(number));
    scanner_number_ = number;
    scanner_next_ = 0;
    if (Status opened = scanner_->open(); !opened.ok()) {
      log::warning(name_, "journal: {}", opened.error());
      error = -1;
      scanner_.reset();
      return std::nullopt;
    }
  }
  auto ignore = [](const SegmentScanner::Damage&) {};
  while (auto found = scanner_->next(ignore)) {
    scanner_next_ = found->head.end();
    if (found->head.end() <= want) continue;
    std::string scratch;
    auto bytes = unpack(found->head, found->payload, scratch);
    if (!bytes) continue;
    auto batch = decode_batch(*bytes);
    if (!batch.ok() || batch->records() != found->head.records) {
      log::error(name_, "journal segment {}: {}", number,
                 batch.ok() ? "a batch of another size" : batch.error());
      continue;
    }
    LogEntry entry;
    entry.first = found->head.first;
    entry.epoch = found->head.epoch;
    entry.appended_mono_ns = found->head.time_ms;
    entry.bytes = batch->bytes();
    entry.batch = std::make_shared<const Batch>(std::move(*batch));
    return entry;
  }
  error = scanner_->error();
  scanner_.reset();
  return std::nullopt;
}

void LogReader::settle(const Settlement& done, const Freed& freed) {
  std::lock_guard lock(log_.mutex_);
  delivered_ += done.delivered;
  filtered_ += done.filtered;
  quarantined_ += done.quarantined;
  for (const auto& [reason, n] : done.dropped) dropped_[reason] += n;
  in_flight_ -= done.sum();
  if (!log_.journal_) in_flight_bytes_ -= freed.bytes;
  taken_ages_.erase(taken_ages_.begin(), taken_ages_.begin() + static_cast<std::ptrdiff_t>(freed.entries));
}

void LogReader::give_back(LogEntry entry) {
  std::lock_guard lock(log_.mutex_);
  uint64_t n = entry.records();
  in_flight_ -= n;
  queued_ += n;
  if (!log_.journal_) {
    in_flight_bytes_ -= entry.bytes;
    queued_bytes_ += entry.bytes;
  }
  taken_ages_.pop_back();
  returned_.push_front(std::move(entry));
}

void LogReader::save(uint64_t position, const std::optional<InFlight>& in_flight) {
  std::unique_lock lock(log_.mutex_);
  store(position, in_flight, lock);
}

void LogReader::save_at_rest() {
  std::unique_lock lock(log_.mutex_);
  bool nothing = returned_.empty();
  store(nothing ? next_ : returned_.front().first + returned_.front().ranges.front().first,
        nothing ? std::nullopt : saved_in_flight_, lock);
}

void LogReader::store(uint64_t position, const std::optional<InFlight>& in_flight,
                      std::unique_lock<std::mutex>& lock) {
  position = std::min(position, next_);  // a folder that came late has put older entries before it
  if (position <= floor_ && in_flight == saved_in_flight_) return;
  floor_ = std::max(floor_, position);
  saved_in_flight_ = in_flight;
  std::erase_if(skips_, [this](const auto& skip) { return skip.second <= floor_; });
  if (!log_.journal_ || !log_.journal_->opened) return;  // perhaps it is another agent's
  Cursor cursor{floor_, skips_, saved_in_flight_};
  lock.unlock();
  int error = 0;
  {
    std::lock_guard cursor_lock(cursor_->mutex);
    error = cursor_->file.save(cursor);
    cursor_->dirty = true;
  }
  lock.lock();
  Journal& j = *log_.journal_;
  if (error != 0) j.errors++;  // costs duplicates after a crash; the thread says what ails the disk
  bool passed = j.segments.size() > 1 && j.segments.front().end <= floor_;
  if (!j.cursors_dirty || passed) j.wake.notify_all();
  j.cursors_dirty = true;
  j.tidy = j.tidy || passed;
}

std::optional<InFlight> LogReader::in_flight() const {
  std::lock_guard lock(log_.mutex_);
  return saved_in_flight_;
}

bool LogReader::pause(int64_t wait_ns) {
  std::unique_lock lock(log_.mutex_);
  bool poked = wake_.wait_for(lock, std::chrono::nanoseconds(wait_ns), [this] { return poked_; });
  poked_ = false;
  return poked;
}

void LogReader::poke() {
  std::lock_guard lock(log_.mutex_);
  poked_ = true;
  wake_.notify_all();
}

void LogReader::set_when_full(WhenFull when_full) {
  std::lock_guard lock(log_.mutex_);
  when_full_ = when_full;
}

ReaderSnapshot LogReader::snapshot() const {
  std::lock_guard lock(log_.mutex_);
  ReaderSnapshot s;
  s.appended = appended_;
  s.delivered = delivered_;
  s.filtered = filtered_;
  s.quarantined = quarantined_;
  s.dropped = dropped_;
  s.queued = queued_;
  s.in_flight = in_flight_;
  s.bytes = log_.journal_ ? static_cast<size_t>(log_.held_on_disk(*this)) : queued_bytes_ + in_flight_bytes_;
  int64_t now = log_.clock_.mono_ns(), oldest = now;
  if (!taken_ages_.empty()) oldest = std::min(oldest, taken_ages_.front());
  if (!returned_.empty()) oldest = std::min(oldest, returned_.front().appended_mono_ns);
  if (queued_ > 0 && taken_ages_.empty() && returned_.empty()) {
    if (const LogSlot* slot = log_.find_slot(next_)) {
      oldest = slot->appended_mono_ns;
    } else if (log_.journal_) {
      // As old as the segment that it stands in: a bound, to the size of a segment.
      const Journal& j = *log_.journal_;
      for (const Segment& segment : j.segments) {
        if (next_ >= segment.end) continue;
        oldest = j.mono_at_open - (j.wall_at_open - segment.first_time_ms) * 1'000'000;
        break;
      }
    }
  }
  s.lag_s = static_cast<double>(std::max<int64_t>(0, now - oldest)) / 1e9;
  return s;
}

}  // namespace runnel
