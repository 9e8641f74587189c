// The frame of a batch in a segment file, and the head of the file: FORMAT.md, "Segment" and "Record". A record can be
// found and judged without anything that stands around it, so that damage costs what it has hit and no more. Pure
// functions over bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace runnel {

inline constexpr size_t kSegmentHead = 64;
inline constexpr size_t kRecordHead = 56;
inline constexpr uint32_t kJournalVersion = 1;
inline constexpr std::string_view kSegmentMagic = "RUNNELJ1";
inline constexpr std::string_view kRecordMagic = "rnR1";
inline constexpr uint32_t kMaxStored = 128u << 20;  // of a payload, either way: a longer one is damage

struct SegmentHead {
  uint32_t version = kJournalVersion;
  uint64_t number = 0;  // as in the file's name
  uint64_t epoch = 0;   // of its records
  uint64_t first = 0;   // sequence of its first record
  int64_t made_ms = 0;  // since 1970
};
void append_segment_head(std::string& out, const SegmentHead& head);
std::optional<SegmentHead> parse_segment_head(std::string_view bytes);  // nothing where the checksum is wrong

struct RecordHead {
  uint32_t stored = 0;    // bytes of payload behind the head
  uint32_t raw = 0;       // bytes once decompressed; the same number: stored as it is
  uint32_t records = 0;   // samples and events inside, at least 1
  uint64_t first = 0;     // sequence of the first; the others follow
  uint64_t epoch = 0;     // the agent's start that has numbered it
  int64_t time_ms = 0;    // when it was appended, since 1970
  uint64_t checksum = 0;  // of the payload
  uint64_t end() const { return first + records; }
};

// Frames and compresses (zstd 1, kept only where it is smaller) an encoded batch.
class RecordWriter {
 public:
  RecordWriter();
  ~RecordWriter();
  RecordWriter(const RecordWriter&) = delete;
  // `head`: first, records, epoch and time are the caller's. Appends to `out`. `cut`: bytes of the batch before its values.
  void append(std::string& out, RecordHead head, std::string_view batch, size_t cut = 0);

 private:
  bool compress(std::string_view bytes);

  void* context_;  // ZSTD_CCtx; without one (no memory) payloads are stored as they are
  std::string compressed_;
};

// The head at the beginning of `bytes`, if its magic, checksum and numbers are right.
std::optional<RecordHead> parse_record_head(std::string_view bytes);
// True: `payload` is what was written under this head.
bool sound_payload(const RecordHead& head, std::string_view payload);
// The encoded batch of a sound payload; a view of the payload or of `scratch`. Nothing: it does not decompress.
std::optional<std::string_view> unpack(const RecordHead& head, std::string_view payload,
                                       std::string& scratch);

// XXH3, 64 bits, seed 0 (xxhash.com, "XXH3_64bits").
uint64_t checksum(std::string_view bytes);

// Little-endian numbers at a place, as the journal's files have them.
template <class T>
void put(std::string& out, T value) {
  for (size_t i = 0; i < sizeof value; i++)
    out.push_back(static_cast<char>(static_cast<uint64_t>(value) >> (8 * i)));
}
template <class T>
T get(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); i++)
    value |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  return static_cast<T>(value);
}

}  // namespace runnel
