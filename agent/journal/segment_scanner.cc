#include "journal/segment_scanner.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/fd.h"

namespace runnel {
namespace {

constexpr size_t kWindow = 256 << 10;

}  // namespace

Status SegmentScanner::open() {
  // O_NONBLOCK: a FIFO of that name must not stop us.
  int fd = fs_.open(path_, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
  if (fd < 0) return Error{fmt::format("{}: {}", path_, errno_text(-fd))};
  file_ = File(fs_, fd);
  if (int64_t size = fs_.regular_file_size(fd); size < 0)
    return Error{fmt::format("{}: {}", path_,
                             size == -EINVAL ? "not a regular file" : errno_text(static_cast<int>(-size)))};
  std::string_view head = window(0, kSegmentHead);
  auto parsed = parse_segment_head(head);
  if (parsed) {
    version_ = parsed->version;
    epoch_ = parsed->epoch;
  }
  // With a damaged head the records behind it are looked for like any others.
  at_ = parsed ? static_cast<int64_t>(kSegmentHead) : 0;
  return {};
}

// `size` bytes from `offset` on, less at the end of the file or of what can be read.
std::string_view SegmentScanner::window(int64_t offset, size_t size) {
  auto inside = [&] {
    return offset >= buffer_at_ &&
           offset + static_cast<int64_t>(size) <= buffer_at_ + static_cast<int64_t>(buffer_.size());
  };
  if (!inside()) {
    size_t want = std::max(size, kWindow);
    buffer_.resize(want);
    ssize_t n = pread_whole(fs_, file_.get(), buffer_.data(), want, offset);
    if (n < 0) error_ = static_cast<int>(-n);
    buffer_.resize(n < 0 ? 0 : static_cast<size_t>(n));
    buffer_at_ = offset;
  }
  size_t from = static_cast<size_t>(offset - buffer_at_);
  return std::string_view(buffer_).substr(std::min(from, buffer_.size()), size);
}

// A sound head. All records of a segment are of its epoch: a sender could have put the bytes of another record into a tag,
// to be found behind damage.
std::optional<RecordHead> SegmentScanner::head_at(int64_t offset) {
  std::optional<RecordHead> head = parse_record_head(window(offset, kRecordHead));
  return head && epoch_ && head->epoch != *epoch_ ? std::nullopt : head;
}

// The next place with a sound head, or `end`.
int64_t SegmentScanner::find_head(int64_t from, int64_t end) {
  while (from < end) {
    std::string_view bytes = window(from, kWindow);
    size_t at = bytes.find(kRecordMagic);
    if (at == std::string_view::npos) {
      if (bytes.size() < kWindow) return end;
      from += static_cast<int64_t>(bytes.size() - (kRecordMagic.size() - 1));
      continue;
    }
    from += static_cast<int64_t>(at);
    if (head_at(from)) return from;
    from++;
  }
  return end;
}

std::optional<SegmentScanner::Found> SegmentScanner::next(const std::function<void(const Damage&)>& damaged) {
  int64_t size = fs_.regular_file_size(file_.get());
  // A window that ended where the file did is read again when the file has grown.
  if (buffer_.size() < kWindow && buffer_at_ + static_cast<int64_t>(buffer_.size()) < size) buffer_.clear();
  while (at_ + static_cast<int64_t>(kRecordHead) <= size) {
    std::optional<RecordHead> head = head_at(at_);
    int64_t end = head ? at_ + static_cast<int64_t>(kRecordHead + head->stored) : 0;
    if (head && end <= size) {
      std::string_view payload = window(at_ + static_cast<int64_t>(kRecordHead), head->stored);
      int64_t offset = std::exchange(at_, end);
      if (sound_payload(*head, payload)) return Found{*head, offset, payload};
      damaged({offset, end, head});
      continue;
    }
    int64_t next = find_head(at_ + 1, size);
    if (next == size) break;  // the tail
    damaged({at_, next, std::nullopt});
    at_ = next;
  }
  return std::nullopt;
}

int64_t SegmentScanner::tail_bytes() {
  int64_t size = fs_.regular_file_size(file_.get());
  return size < 0 ? 0 : size - at_;
}

}  // namespace runnel
