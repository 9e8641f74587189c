#include "journal/log.h"

#include <algorithm>
#include <chrono>

namespace runnel {

uint64_t LogEntry::records() const {
  uint64_t n = 0;
  for (const RecordRange& range : ranges) n += range.size();
  return n;
}

uint64_t Settlement::sum() const {
  uint64_t total = delivered + filtered;
  for (const auto& [reason, n] : dropped) total += n;
  return total;
}

std::optional<LogEntry> LogReader::take(int64_t wait_ns) {
  std::unique_lock lock(log_.mutex_);
  if (queue_.empty() && wait_ns > 0)
    wake_.wait_for(lock, std::chrono::nanoseconds(wait_ns), [this] { return poked_ || !queue_.empty(); });
  poked_ = false;
  if (queue_.empty()) return std::nullopt;
  LogEntry entry = std::move(queue_.front());
  queue_.pop_front();
  uint64_t n = entry.records();
  queued_ -= n;
  in_flight_ += n;
  queued_bytes_ -= entry.bytes;
  in_flight_bytes_ += entry.bytes;
  taken_ages_.push_back(entry.appended_mono_ns);
  return entry;
}

void LogReader::settle(const Settlement& done, const Freed& freed) {
  std::lock_guard lock(log_.mutex_);
  delivered_ += done.delivered;
  filtered_ += done.filtered;
  for (const auto& [reason, n] : done.dropped) dropped_[reason] += n;
  in_flight_ -= done.sum();
  in_flight_bytes_ -= freed.bytes;
  taken_ages_.erase(taken_ages_.begin(), taken_ages_.begin() + static_cast<std::ptrdiff_t>(freed.entries));
}

void LogReader::give_back(LogEntry entry) {
  std::lock_guard lock(log_.mutex_);
  uint64_t n = entry.records();
  in_flight_ -= n;
  queued_ += n;
  in_flight_bytes_ -= entry.bytes;
  queued_bytes_ += entry.bytes;
  taken_ages_.pop_back();
  queue_.push_front(std::move(entry));
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

void LogReader::drop_front(const char* reason) {
  uint64_t n = queue_.front().records();
  dropped_[reason] += n;
  queued_ -= n;
  queued_bytes_ -= queue_.front().bytes;
  queue_.pop_front();
}

ReaderSnapshot LogReader::snapshot() const {
  std::lock_guard lock(log_.mutex_);
  ReaderSnapshot s;
  s.appended = appended_;
  s.delivered = delivered_;
  s.filtered = filtered_;
  s.dropped = dropped_;
  s.queued = queued_;
  s.in_flight = in_flight_;
  s.bytes = queued_bytes_ + in_flight_bytes_;
  int64_t now = log_.clock_.mono_ns(), oldest = now;
  if (!taken_ages_.empty()) oldest = std::min(oldest, taken_ages_.front());
  if (!queue_.empty()) oldest = std::min(oldest, queue_.front().appended_mono_ns);
  s.lag_s = static_cast<double>(now - oldest) / 1e9;
  return s;
}

uint64_t Log::append(Batch batch, const std::function<void()>& on_accepted) {
  LogEntry entry;
  entry.appended_mono_ns = clock_.mono_ns();
  batch.samples.shrink_to_fit();  // it may wait here for a night
  batch.events.shrink_to_fit();
  entry.bytes = batch.bytes();
  uint32_t n = static_cast<uint32_t>(batch.records());
  entry.ranges.push_back({0, n});
  entry.batch = std::make_shared<const Batch>(std::move(batch));
  {
    std::lock_guard lock(mutex_);
    entry.first = next_;
    next_ += n;
    for (auto& [name, reader] : readers_) {
      if (reader->closed_) continue;
      reader->appended_ += n;
      auto room = [this, &entry, &reader = reader] {
        return reader->queued_bytes_ + reader->in_flight_bytes_ + entry.bytes <=
               static_cast<size_t>(max_bytes_);
      };
      if (reader->when_full_ == WhenFull::drop_newest && !room()) {
        reader->dropped_["log_full"] += n;
        continue;
      }
      if (reader->when_full_ == WhenFull::drop_oldest)
        while (!room() && !reader->queue_.empty()) reader->drop_front("log_full");
      reader->queue_.push_back(entry);
      reader->queued_ += n;
      reader->queued_bytes_ += entry.bytes;
      reader->wake_.notify_all();
    }
  }
  if (on_accepted) on_accepted();
  return entry.first;
}

bool Log::blocked() const {
  std::lock_guard lock(mutex_);
  return std::any_of(readers_.begin(), readers_.end(), [this](const auto& named) {
    const LogReader& r = *named.second;
    return r.when_full_ == WhenFull::block && !r.closed_ &&
           r.queued_bytes_ + r.in_flight_bytes_ >= static_cast<size_t>(max_bytes_);
  });
}

LogReader& Log::add_reader(const std::string& name, WhenFull when_full) {
  std::lock_guard lock(mutex_);
  auto& slot = readers_[name];
  if (!slot) slot.reset(new LogReader(*this, name, when_full));
  slot->when_full_ = when_full;
  slot->closed_ = false;
  return *slot;
}

LogReader* Log::find_reader(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto it = readers_.find(name);
  return it == readers_.end() ? nullptr : it->second.get();
}

void Log::close_reader(const std::string& name) {
  std::lock_guard lock(mutex_);
  if (auto it = readers_.find(name); it != readers_.end()) it->second->closed_ = true;
}

void Log::remove_reader(const std::string& name) {
  std::lock_guard lock(mutex_);
  readers_.erase(name);
}

void Log::set_max_bytes(int64_t max_bytes) {
  std::lock_guard lock(mutex_);
  max_bytes_ = max_bytes;
}

}  // namespace runnel
