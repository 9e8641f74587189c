#include "journal/cursor.h"

#include <fcntl.h>

#include <algorithm>

#include "journal/record.h"

namespace runnel {
namespace {

constexpr std::string_view kMagic = "RUNNELC1";
// The second slot has a sector and a page of its own: what tears one write leaves it alone.
constexpr int64_t kSecondSlot = 4096;

}  // namespace

std::string encode_cursor(const Cursor& cursor, uint64_t generation) {
  std::string slot(kMagic);
  put(slot, kJournalVersion);
  size_t skips = std::min(cursor.skips.size(), Cursor::kMaxSkips);
  put(slot, static_cast<uint32_t>(skips));
  put(slot, generation);
  put(slot, cursor.position);
  InFlight in_flight = cursor.in_flight.value_or(InFlight());
  if (in_flight.path.size() > Cursor::kMaxPath) in_flight = {};
  put(slot, in_flight.epoch);
  put(slot, in_flight.first);
  put(slot, in_flight.last);
  put(slot, static_cast<uint64_t>(in_flight.path.size()));
  slot.append(in_flight.path);
  slot.resize(64 + Cursor::kMaxPath);
  for (size_t i = 0; i < skips; i++) {
    put(slot, cursor.skips[i].first);
    put(slot, cursor.skips[i].second);
  }
  slot.resize(Cursor::kSlot - 8);
  put(slot, checksum(slot));
  return slot;
}

std::optional<std::pair<Cursor, uint64_t>> decode_cursor(std::string_view slot) {
  if (slot.size() != Cursor::kSlot || !slot.starts_with(kMagic)) return std::nullopt;
  if (get<uint64_t>(slot, Cursor::kSlot - 8) != checksum(slot.substr(0, Cursor::kSlot - 8)))
    return std::nullopt;
  if (get<uint32_t>(slot, 8) != kJournalVersion) return std::nullopt;
  Cursor cursor;
  size_t skips = get<uint32_t>(slot, 12);
  uint64_t path = get<uint64_t>(slot, 56);
  if (skips > Cursor::kMaxSkips || path > Cursor::kMaxPath) return std::nullopt;
  cursor.position = get<uint64_t>(slot, 24);
  InFlight in_flight;
  in_flight.epoch = get<uint64_t>(slot, 32);
  in_flight.first = get<uint64_t>(slot, 40);
  in_flight.last = get<uint64_t>(slot, 48);
  in_flight.path = slot.substr(64, path);
  if (in_flight.first > 0 && in_flight.first <= in_flight.last) cursor.in_flight = in_flight;
  uint64_t before = 0;
  for (size_t i = 0; i < skips; i++) {
    size_t at = 64 + Cursor::kMaxPath + 16 * i;
    uint64_t from = get<uint64_t>(slot, at), to = get<uint64_t>(slot, at + 8);
    if (from < before || to <= from) return std::nullopt;
    cursor.skips.emplace_back(from, to);
    before = to;
  }
  return std::pair(cursor, get<uint64_t>(slot, 16));
}

int CursorFile::open() {
  if (file_.valid()) return 0;
  int fd = fs_.open(path_, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK, 0640);
  if (fd < 0) return fd;
  file_ = File(fs_, fd);
  int64_t size = fs_.regular_file_size(fd);
  if (size < 0) file_.reset();
  return size < 0 ? static_cast<int>(size) : 0;
}

std::optional<Cursor> CursorFile::load(bool& damaged) {
  damaged = false;
  int fd = fs_.open(path_, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
  if (fd < 0) return std::nullopt;
  File file(fs_, fd);
  std::optional<Cursor> best;
  for (int64_t offset : {int64_t{0}, kSecondSlot}) {
    char slot[Cursor::kSlot];
    ssize_t n = pread_whole(fs_, fd, slot, sizeof slot, offset);
    auto decoded = n > 0 ? decode_cursor({slot, static_cast<size_t>(n)}) : std::nullopt;
    if (!decoded || (best && decoded->second < generation_)) continue;
    best = decoded->first;
    generation_ = decoded->second;
  }
  damaged = !best;
  return best;
}

int CursorFile::save(const Cursor& cursor) {
  if (int error = open(); error != 0) return error;
  uint64_t next = generation_ + 1;
  int error = pwrite_whole(fs_, file_.get(), encode_cursor(cursor, next), next % 2 == 0 ? 0 : kSecondSlot);
  if (error == 0) {
    generation_ = next;
  } else {
    file_.reset();  // perhaps of a file system that is gone: by its name again
  }
  return error;
}

int CursorFile::sync() {
  if (!file_.valid()) return 0;
  int error = fs_.fdatasync(file_.get());
  if (error != 0) file_.reset();
  return error;
}

}  // namespace runnel
