// Whatever a segment file holds, the scanner comes to its end: what it finds and what it calls damaged lies in the file, in
// order and without overlaps, and each record it finds is sound, also for one who looks at those bytes alone.
#include <errno.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "fuzz/check.h"
#include "journal/batch_codec.h"
#include "journal/segment_scanner.h"

using namespace runnel;

namespace {

// One file, in memory, that gives at most `piece` bytes a read.
class OneFile : public RealFileSystem {
 public:
  OneFile(std::string_view bytes, size_t piece) : bytes_(bytes), piece_(piece) {}
  int open(const std::string&, int, unsigned) override { return 1'000'000; }
  void close(int) override {}
  int64_t regular_file_size(int) override { return static_cast<int64_t>(bytes_.size()); }
  ssize_t pread(int, void* to, size_t size, int64_t offset) override {
    if (reads_++ % 3 == 2) return -EINTR;
    if (offset >= static_cast<int64_t>(bytes_.size())) return 0;
    std::string_view from = bytes_.substr(static_cast<size_t>(offset), std::min(size, piece_));
    std::memcpy(to, from.data(), from.size());
    return static_cast<ssize_t>(from.size());
  }

 private:
  std::string_view bytes_;
  size_t piece_, reads_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  OneFile fs(bytes, size_t{1} + data[0] * size_t{64});
  SegmentScanner scanner(fs, "segment");
  FUZZ_CHECK(scanner.open().ok());
  int64_t before = scanner.offset();
  FUZZ_CHECK(before == 0 || before == static_cast<int64_t>(kSegmentHead));
  auto damaged = [&](const SegmentScanner::Damage& damage) {
    FUZZ_CHECK(damage.from >= before && damage.to > damage.from &&
               damage.to <= static_cast<int64_t>(bytes.size()));
    before = damage.to;
  };
  std::string scratch;
  while (auto found = scanner.next(damaged)) {
    FUZZ_CHECK(found->offset >= before);
    before = found->offset + static_cast<int64_t>(kRecordHead + found->payload.size());
    FUZZ_CHECK(before <= static_cast<int64_t>(bytes.size()) && before == scanner.offset());
    std::string_view alone = bytes.substr(static_cast<size_t>(found->offset));
    auto head = parse_record_head(alone);
    FUZZ_CHECK(head && head->first == found->head.first && head->stored == found->payload.size());
    FUZZ_CHECK(sound_payload(*head, alone.substr(kRecordHead, head->stored)));
    if (head->raw > 1 << 20) continue;  // a lie about the size would only be slow
    if (auto batch = unpack(*head, found->payload, scratch)) (void)decode_batch(*batch).ok();
  }
  FUZZ_CHECK(scanner.error() == 0);
  FUZZ_CHECK(scanner.offset() + scanner.tail_bytes() == static_cast<int64_t>(bytes.size()));
  return 0;
}
