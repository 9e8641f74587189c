#include "journal/record.h"

#define XXH_INLINE_ALL
#include <xxhash.h>
#include <zstd.h>

namespace runnel {
namespace {

constexpr int kLevel = 1;
// A shorter batch is stored as it is: an event for which a sender waits should not wait for the few bytes that zstd saves.
constexpr size_t kWorthCompressing = 256;
// Values that are fewer bytes go with what is before them: a frame of their own would cost more than it saves.
constexpr size_t kWorthAFrame = 512;

}  // namespace

uint64_t checksum(std::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

void append_segment_head(std::string& out, const SegmentHead& head) {
  size_t at = out.size();
  out.append(kSegmentMagic);
  put(out, head.version);
  put(out, uint32_t{0});
  put(out, head.number);
  put(out, head.epoch);
  put(out, head.first);
  put(out, head.made_ms);
  out.resize(at + kSegmentHead - 8);  // room for later versions
  put(out, checksum(std::string_view(out).substr(at)));
}

std::optional<SegmentHead> parse_segment_head(std::string_view bytes) {
  if (bytes.size() < kSegmentHead || !bytes.starts_with(kSegmentMagic)) return std::nullopt;
  if (get<uint64_t>(bytes, kSegmentHead - 8) != checksum(bytes.substr(0, kSegmentHead - 8)))
    return std::nullopt;
  SegmentHead head;
  head.version = get<uint32_t>(bytes, 8);
  head.number = get<uint64_t>(bytes, 16);
  head.epoch = get<uint64_t>(bytes, 24);
  head.first = get<uint64_t>(bytes, 32);
  head.made_ms = get<int64_t>(bytes, 40);
  return head;
}

RecordWriter::RecordWriter() : context_(ZSTD_createCCtx()) {}

RecordWriter::~RecordWriter() {
  ZSTD_freeCCtx(static_cast<ZSTD_CCtx*>(context_));
}

// A frame more in compressed_.
bool RecordWriter::compress(std::string_view bytes) {
  size_t at = compressed_.size();
  compressed_.resize(at + ZSTD_compressBound(bytes.size()));
  size_t size = ZSTD_compressCCtx(static_cast<ZSTD_CCtx*>(context_), compressed_.data() + at,
                                  compressed_.size() - at, bytes.data(), bytes.size(), kLevel);
  if (ZSTD_isError(size)) return false;
  compressed_.resize(at + size);
  return true;
}

void RecordWriter::append(std::string& out, RecordHead head, std::string_view batch, size_t cut) {
  head.raw = static_cast<uint32_t>(batch.size());
  std::string_view payload = batch;
  // Two frames, because a frame as short as these has one Huffman table: 1,000 counters are 6.3 bytes a sample with one
  // table for the digits of names and the bytes of values, 5.6 with one for each.
  if (batch.size() - cut < kWorthAFrame) cut = 0;
  compressed_.clear();
  bool whole = context_ != nullptr && batch.size() >= kWorthCompressing &&
               (cut == 0 || compress(batch.substr(0, cut))) && compress(batch.substr(cut));
  if (whole && compressed_.size() < batch.size()) payload = compressed_;
  size_t at = out.size();
  out.append(kRecordMagic);
  put(out, static_cast<uint32_t>(payload.size()));
  put(out, head.raw);
  put(out, head.records);
  put(out, head.first);
  put(out, head.epoch);
  put(out, head.time_ms);
  put(out, checksum(payload));
  put(out, checksum(std::string_view(out).substr(at, kRecordHead - 8)));
  out.append(payload);
  if (compressed_.capacity() > (size_t{1} << 20)) std::string().swap(compressed_);
}

std::optional<RecordHead> parse_record_head(std::string_view bytes) {
  if (bytes.size() < kRecordHead || !bytes.starts_with(kRecordMagic)) return std::nullopt;
  if (get<uint64_t>(bytes, kRecordHead - 8) != checksum(bytes.substr(0, kRecordHead - 8)))
    return std::nullopt;
  RecordHead head;
  head.stored = get<uint32_t>(bytes, 4);
  head.raw = get<uint32_t>(bytes, 8);
  head.records = get<uint32_t>(bytes, 12);
  head.first = get<uint64_t>(bytes, 16);
  head.epoch = get<uint64_t>(bytes, 24);
  head.time_ms = get<int64_t>(bytes, 32);
  head.checksum = get<uint64_t>(bytes, 40);
  bool possible = head.stored > 0 && head.stored <= head.raw && head.raw <= kMaxStored && head.records > 0 &&
                  head.first > 0 && head.end() > head.first;
  return possible ? std::optional(head) : std::nullopt;
}

bool sound_payload(const RecordHead& head, std::string_view payload) {
  return payload.size() == head.stored && checksum(payload) == head.checksum;
}

std::optional<std::string_view> unpack(const RecordHead& head, std::string_view payload,
                                       std::string& scratch) {
  if (head.stored == head.raw) return payload;
  scratch.resize(head.raw);
  size_t size = ZSTD_decompress(scratch.data(), scratch.size(), payload.data(), payload.size());
  if (ZSTD_isError(size) || size != head.raw) return std::nullopt;
  return std::string_view(scratch);
}

}  // namespace runnel
