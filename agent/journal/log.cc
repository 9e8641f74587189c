#include "journal/log.h"

#include <algorithm>
#include <chrono>

#include "base/log.h"
#include "journal/journal_state.h"

namespace runnel {
namespace {

// Readers get what is not written yet when the disk takes longer than this.
constexpr int64_t kDiskDelayNs = 1'000'000'000;
constexpr auto kDecideAtOnce = std::chrono::seconds(2);

uint64_t overlap(const std::vector<std::pair<uint64_t, uint64_t>>& ranges, uint64_t from, uint64_t to) {
  uint64_t n = 0;
  for (auto [a, b] : ranges)
    if (a < to && b > from) n += std::min(b, to) - std::max(a, from);
  return n;
}

}  // namespace

Log::Log(const Clock& clock, int64_t max_bytes)
    : clock_(clock),
      max_bytes_(max_bytes),
      epoch_(static_cast<uint64_t>(std::max<int64_t>(clock.wall_ms(), 1))) {}

Log::~Log() {
  if (journal_ && journal_->thread.joinable() && close(10'000)) return;
  // A thread that hangs in the disk cannot be ended; who gets here has been told by close().
  if (journal_ && journal_->thread.joinable()) std::terminate();
}

// ---- in ---------------------------------------------------------------------------------------------------------

uint64_t Log::append(Batch batch, const Decided& decided) {
  LogSlot slot;
  slot.appended_mono_ns = clock_.mono_ns();
  slot.time_ms = clock_.wall_ms();
  batch.samples.shrink_to_fit();  // it may wait here for a night
  batch.events.shrink_to_fit();
  slot.bytes = batch.bytes();
  slot.records = static_cast<uint32_t>(batch.records());
  slot.batch = std::make_shared<const Batch>(std::move(batch));
  uint64_t first = 0;
  bool decide_now = false;
  {
    std::lock_guard lock(mutex_);
    bool refuse = journal_ && decided && ill();
    if (!refuse) {
      first = slot.first = next_;
      next_ += slot.records;
      bool drop = journal_ && ill() && !journal_->options.memory_on_disk_error;
      for (auto& [name, reader] : readers_) {
        if (slot.first >= reader->limit_) continue;
        reader->appended_ += slot.records;
        if (!journal_) make_room_in_memory(*reader, slot.bytes);
        // What the journal's thread found full may have been delivered since.
        if (journal_ && reader->skipping_) reader->skipping_ = !room_on_disk(*reader);
        if (reader->skipping_ || drop) {
          reader->dropped_[drop ? "disk_error" : "log_full"] += slot.records;
          if (reader->skips_.empty() || reader->skips_.back().second != slot.first) {
            reader->skips_.emplace_back(slot.first, next_);
          } else {
            reader->skips_.back().second = next_;
          }
          continue;
        }
        reader->queued_ += slot.records;
        reader->queued_bytes_ += slot.bytes;
      }
      tail_bytes_ += slot.bytes;
      tail_.push_back(std::move(slot));
      evict();
      if (journal_) {
        journal_->appended = true;
        if (decided) journal_->waiting.push_back({next_, decided});
        journal_->wake.notify_all();
      }
      if (!journal_ || ill())
        for (auto& [name, reader] : readers_) reader->wake_.notify_all();
    } else {
      journal_->refused += slot.records;
    }
    decide_now = decided && (refuse || !journal_);
  }
  if (decide_now) {
    decided(first != 0);
  } else if (decided && decide_at_once_) {
    await_decisions();
  }
  return first;
}

// A reader in memory makes room by its own rule.
void Log::make_room_in_memory(LogReader& reader, size_t bytes) {
  auto room = [&] {
    return reader.queued_bytes_ + reader.in_flight_bytes_ + bytes <= static_cast<size_t>(max_bytes_);
  };
  reader.skipping_ = reader.when_full_ == WhenFull::drop_newest && !room();
  if (reader.when_full_ != WhenFull::drop_oldest) return;
  while (!room() && !reader.returned_.empty()) {
    uint64_t n = reader.returned_.front().records();
    reader.dropped_["log_full"] += n;
    reader.queued_ -= n;
    reader.queued_bytes_ -= reader.returned_.front().bytes;
    reader.returned_.pop_front();
  }
  while (!room()) {
    LogSlot* slot = find_slot(reader.next_);
    if (slot == nullptr) break;
    reader.queued_bytes_ -= slot->bytes;
    move_on(reader, slot->end(), "log_full");
  }
}

void Log::decide_at_once() {
  decide_at_once_ = true;
  await_decisions();
}

void Log::await_decisions() {
  if (!journal_) return;
  {
    std::unique_lock lock(mutex_);
    journal_->decided_wake.wait_for(lock, kDecideAtOnce, [&] { return journal_->waiting.empty(); });
  }
  take_decisions();
}

void Log::take_decisions() {
  if (!journal_) return;
  std::vector<std::pair<Decided, bool>> decisions;
  {
    std::lock_guard lock(mutex_);
    decisions.swap(journal_->decisions);
  }
  for (auto& [decided, safe] : decisions) decided(safe);
}

bool Log::outlives_process() const {
  std::lock_guard lock(mutex_);
  return journal_ != nullptr && !ill();
}

// ---- under the mutex --------------------------------------------------------------------------------------------

// With when_full = "drop_newest": for what is appended now.
bool Log::room_on_disk(const LogReader& reader) const {
  return reader.when_full_ != WhenFull::drop_newest ||
         held_on_disk(reader) + journal_->options.segment_bytes <= max_bytes_;
}

bool Log::ill() const {
  return journal_->ill;
}

LogSlot* Log::find_slot(uint64_t sequence) {
  auto after = std::upper_bound(tail_.begin(), tail_.end(), sequence,
                                [](uint64_t s, const LogSlot& slot) { return s < slot.first; });
  if (after == tail_.begin()) return nullptr;
  LogSlot& slot = *std::prev(after);
  return sequence < slot.end() ? &slot : nullptr;
}

// Records of [from, to) that are there, and meant for the reader.
uint64_t Log::count(const LogReader& reader, uint64_t from, uint64_t to) const {
  if (to <= from) return 0;
  return to - from - overlap(reader.skips_, from, to) - (journal_ ? overlap(journal_->gaps, from, to) : 0);
}

// The reader will not see what is before `to`.
void Log::move_on(LogReader& reader, uint64_t to, const char* reason) {
  to = std::min(to, reader.limit_);
  if (uint64_t n = count(reader, reader.next_, to); n > 0) {
    reader.dropped_[reason] += n;
    reader.queued_ -= n;
  }
  if (reader.floor_ >= reader.next_ && reader.in_flight_ == 0 && reader.returned_.empty())
    reader.floor_ = std::max(reader.floor_, to);
  reader.next_ = std::max(reader.next_, to);
}

bool Log::needs(const LogReader& reader, uint64_t first, uint64_t end) const {
  uint64_t from = std::max(first, journal_ ? std::min(reader.floor_, reader.next_) : reader.next_);
  uint64_t to = std::min(end, reader.limit_);
  return from < to && overlap(reader.skips_, from, to) < to - from;
}

bool Log::ready(const LogSlot& slot) const {
  return !journal_ || ill() || slot.end() <= journal_->written ||
         clock_.mono_ns() - slot.appended_mono_ns > kDiskDelayNs;
}

// Lets go of batches at the front that nobody needs in memory: without a journal those that all have taken; with one
// those that are synced, and taken or beyond what the tail may hold. What cannot be written is bounded, too.
void Log::evict() {
  auto wanted = [&](const LogSlot& slot) {
    return std::any_of(readers_.begin(), readers_.end(), [&](const auto& named) {
      const LogReader& r = *named.second;
      return r.next_ < slot.end() && needs(r, std::max(slot.first, r.next_), slot.end());
    });
  };
  while (!tail_.empty()) {
    LogSlot& front = tail_.front();
    if (!journal_ || front.end() <= journal_->synced) {
      bool beyond = journal_ && tail_bytes_ > static_cast<size_t>(journal_->options.tail_bytes);
      if (!beyond && wanted(front)) return;
    } else {
      Journal& j = *journal_;
      if (tail_bytes_ <= static_cast<size_t>(j.options.max_memory)) return;
      // A flush of many series is not yet a disk that hangs.
      if (!j.ill && clock_.mono_ns() - front.appended_mono_ns < 2 * kDiskDelayNs) return;
      bool blocks = false;
      for (auto& [name, r] : readers_) blocks |= r->when_full_ == WhenFull::block && r->next_ < front.end();
      if (blocks) return;
      for (auto& [name, r] : readers_)
        if (r->next_ < front.end()) move_on(*r, front.end(), "disk_error");
      if (front.end() > j.written) j.gaps.emplace_back(std::max(front.first, j.written), front.end());
      j.written = std::max(j.written, front.end());
      j.synced = std::max(j.synced, front.end());
    }
    tail_bytes_ -= front.bytes;
    tail_.pop_front();
  }
}

int64_t Log::held_on_disk(const LogReader& reader) const {
  int64_t bytes = 0;
  for (const Segment& segment : journal_->segments)
    if (needs(reader, segment.first, segment.end)) bytes += segment.bytes;
  return bytes;
}

// ---- readers ----------------------------------------------------------------------------------------------------

bool Log::blocked() const {
  std::lock_guard lock(mutex_);
  return std::any_of(readers_.begin(), readers_.end(), [this](const auto& named) {
    const LogReader& r = *named.second;
    if (r.when_full_ != WhenFull::block || r.limit_ != UINT64_MAX) return false;
    if (!journal_) return r.queued_bytes_ + r.in_flight_bytes_ >= static_cast<size_t>(max_bytes_);
    bool memory_full = r.queued_ > 0 && journal_->synced < next_ &&
                       tail_bytes_ >= static_cast<size_t>(journal_->options.max_memory);
    return memory_full || held_on_disk(r) >= max_bytes_;
  });
}

LogReader& Log::add_reader(const std::string& name, WhenFull when_full) {
  std::lock_guard lock(mutex_);
  auto& slot = readers_[name];
  if (slot) {
    // What came while it was closed is not for it.
    if (slot->limit_ < next_) slot->skips_.emplace_back(slot->limit_, next_);
  } else {
    slot.reset(new LogReader(*this, name, when_full));
    slot->start(next_);
  }
  slot->when_full_ = when_full;
  slot->limit_ = slot->end_ = UINT64_MAX;
  return *slot;
}

LogReader* Log::find_reader(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto it = readers_.find(name);
  return it == readers_.end() ? nullptr : it->second.get();
}

void Log::close_reader(const std::string& name) {
  std::lock_guard lock(mutex_);
  if (auto it = readers_.find(name); it != readers_.end()) it->second->limit_ = next_;
}

void Log::remove_reader(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto it = readers_.find(name);
  if (it == readers_.end()) return;
  if (it->second->cursor_ && journal_->opened) {
    FileSystem& fs = journal_->store.file_system();
    (void)fs.unlink(it->second->cursor_->file.path());  // an output of that name begins anew
    journal_->tidy = true;
    journal_->wake.notify_all();
  }
  readers_.erase(it);
  evict();
}

void Log::set_max_bytes(int64_t max_bytes) {
  std::lock_guard lock(mutex_);
  max_bytes_ = max_bytes;
}

}  // namespace runnel
