// Payload: what one write hands to a sink, and the records it stands for. Built by PayloadBuilder on the output's
// thread: filter → encode → compress. A payload can be cut in halves and built again from the same records, so that a
// retry carries the same bytes and a poison record can be found.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "filter/filter.h"
#include "journal/log.h"
#include "output/compress.h"
#include "output/encode/encoder.h"
#include "runnel_sink.h"

namespace runnel {

// Records of one entry that a payload stands for.
struct Portion {
  LogEntry entry;  // its `ranges` are the portion
};

// A set of records in log order, with the way it was cut out of a whole: "" the whole, "0"/"1" its halves, "01" …
struct Selection {
  std::vector<Portion> portions;
  std::string path;
  uint64_t records() const;
  uint64_t first() const, last() const;            // sequence numbers; not of an empty one
  std::pair<Selection, Selection> halves() const;  // of at least two records
};

class PayloadBuilder {
 public:
  struct Parts {
    std::unique_ptr<Encoder> encoder;
    std::unique_ptr<Compressor> compressor;
    Filter filter;
    bool want_records = false;
    std::string id_prefix;  // agent id
  };
  explicit PayloadBuilder(Parts parts);

  void begin();
  // Encodes records of the entry from `range.first` on, until the range ends or the payload holds `max_records` or
  // `max_bytes`; returns how many it took, at least 1 when the payload was empty.
  uint32_t add(const LogEntry& entry, RecordRange range, int64_t max_records, int64_t max_bytes);
  void add(const Selection& selection);  // all of it: retries and halves keep within the limits by themselves
  Status finish(std::string_view path);  // `path` of the selection goes into the id

  // What the payload holds; payload() is valid from finish until the next begin.
  const runnel_payload& payload() const { return payload_; }
  uint64_t encoded() const { return encoded_.size(); }  // samples and events inside
  uint64_t filtered() const { return filtered_; }       // met, and kept back by the filter
  uint64_t unencodable() const { return unencodable_; }
  size_t bytes() const { return text_.size(); }
  // The records inside for whose index (0 … encoded()-1) `chosen` says yes, in log order.
  Selection select(const std::function<bool(size_t)>& chosen) const;

 private:
  struct Encoded {
    uint32_t entry;   // index in entries_
    uint32_t record;  // index in its batch
  };
  const Batch& batch_of(const Encoded& encoded) const { return *entries_[encoded.entry].batch; }
  void append(uint32_t entry, uint32_t record);
  void make_records();

  Parts parts_;
  std::string text_, compressed_, id_;
  std::vector<RecordSpan> spans_;
  std::vector<uint32_t> span_owner_;  // index in encoded_
  std::vector<Encoded> encoded_;
  uint64_t filtered_ = 0, unencodable_ = 0;
  std::vector<LogEntry> entries_;  // keeps the batches that `encoded_` and the records point into
  runnel_payload payload_{};
  std::vector<runnel_record> records_;
  std::vector<runnel_pair> pairs_;
  std::string series_keys_;
  struct Place {  // of an encoded record, in the two above
    size_t key, key_end, on_host, on_host_end, tags, resource;
  };
  std::vector<Place> places_;
};

}  // namespace runnel
