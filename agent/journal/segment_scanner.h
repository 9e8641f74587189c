// Reads a segment file from one end to the other: the sound records in their order, what is damaged between them. It is
// what recovery sees of a file at the start and what an output reads its backlog with. Owns the file and a window of
// it; memory is the window and the largest payload. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "journal/file_system.h"
#include "journal/record.h"

namespace runnel {

class SegmentScanner {
 public:
  struct Found {
    RecordHead head;
    int64_t offset = 0;        // of the record in the file
    std::string_view payload;  // sound; until the next call
  };
  struct Damage {
    int64_t from = 0, to = 0;        // bytes of the file that are no sound record
    std::optional<RecordHead> head;  // of a record whose head is sound and whose payload is not
  };

  SegmentScanner(FileSystem& fs, std::string path) : fs_(fs), path_(std::move(path)) {}
  // Opens a regular file (a link is not followed). `version`: that of its head, where that is sound.
  Status open();
  std::optional<uint32_t> version() const { return version_; }

  // The next sound record; nothing at the end of what stands in the file now (ask again when it has grown). Damage that
  // was passed on the way goes to `damaged`, but for a tail without a record: it may still be written.
  std::optional<Found> next(const std::function<void(const Damage&)>& damaged);
  int64_t offset() const { return at_; }  // behind what was read, where that tail begins
  // Bytes of that tail.
  int64_t tail_bytes();
  int error() const { return error_; }  // of the last read that failed, an errno; 0: none did

 private:
  std::string_view window(int64_t offset, size_t size);
  std::optional<RecordHead> head_at(int64_t offset);
  int64_t find_head(int64_t from, int64_t end);

  FileSystem& fs_;
  const std::string path_;
  File file_;
  std::optional<uint32_t> version_;
  std::optional<uint64_t> epoch_;
  std::string buffer_;
  int64_t buffer_at_ = 0;
  int64_t at_ = 0;
  int error_ = 0;
};

}  // namespace runnel
