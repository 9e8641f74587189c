// Where an output stands, as it is kept on disk: FORMAT.md, "Cursor". Two slots of a file are written in turn, each with
// a checksum and a generation, so that a write that is cut costs the newer one and never both. Losing a cursor costs
// duplicates and never data. A CursorFile belongs to one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "journal/file_system.h"

namespace runnel {

// A payload that is sent next or was sent last: records [first, last] in sequence numbers of `epoch`, cut out of a
// whole by `path` (output/payload.h).
struct InFlight {
  uint64_t epoch = 0, first = 0, last = 0;
  std::string path;
  bool operator==(const InFlight&) const = default;
};

struct Cursor {
  static constexpr size_t kSlot = 512;
  static constexpr size_t kMaxSkips = 16;
  static constexpr size_t kMaxPath = 64;

  uint64_t position = 0;  // all before it is settled
  // Ranges [from, to) beyond the position that are settled, too, ascending: what when_full = "drop_newest" left out; a
  // recovery that sends fresh data first will keep its second range here.
  std::vector<std::pair<uint64_t, uint64_t>> skips;
  std::optional<InFlight> in_flight;
  bool operator==(const Cursor&) const = default;
};

// One slot, kSlot bytes. Skips beyond kMaxSkips are left out (their records would come again), a longer path too.
std::string encode_cursor(const Cursor& cursor, uint64_t generation);
std::optional<std::pair<Cursor, uint64_t>> decode_cursor(std::string_view slot);

class CursorFile {
 public:
  CursorFile(FileSystem& fs, std::string path) : fs_(fs), path_(std::move(path)) {}
  // What the file says; nothing where there is none or both slots are damaged (`damaged`).
  std::optional<Cursor> load(bool& damaged);
  int save(const Cursor& cursor);  // 0 or -errno; to the kernel: lasting after sync
  int sync();
  const std::string& path() const { return path_; }

 private:
  int open();

  FileSystem& fs_;
  const std::string path_;
  File file_;
  uint64_t generation_ = 0;
};

}  // namespace runnel
