// Encoder: batch → bytes, one sample or event at a time. An instance belongs to one output and its thread; it
// keeps scratch memory between calls, so that encoding allocates nothing once it is warm. It keeps no view of
// a batch.
//
// A payload is   begin · { sample | event } … · end   appended to one string. A *record* is a run of bytes in
// it that stands alone (a line without its line end): what a sink of records such as Kafka sends as one
// message. The caller that needs the records hands over a vector with collect(); an encoding may append
// several for one sample.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "metric/batch.h"

namespace runnel {

struct RecordSpan {
  size_t offset = 0, size = 0;  // in `out`, without the separator behind it
};

class Encoder {
 public:
  virtual ~Encoder() = default;

  virtual std::string_view name() const = 0;          // "json", as in the configuration
  virtual std::string_view content_type() const = 0;  // "application/x-ndjson"

  // Spans of the records are appended to `spans` from now on; null (the start) where nobody wants them. The
  // caller owns the vector and clears it between payloads.
  void collect(std::vector<RecordSpan>* spans) { spans_ = spans; }

  virtual void begin(std::string& out) { (void)out; }  // what stands before the first record of a payload
  virtual void end(std::string& out) { (void)out; }    // and behind the last one

  // False: the format cannot say it (a value that is NaN, a time beyond the format's range); nothing is
  // appended, and the caller counts the record as dropped with the reason "unencodable".
  [[nodiscard]] virtual bool sample(const Batch& batch, const Sample& sample, std::string& out) = 0;
  [[nodiscard]] virtual bool event(const Batch& batch, const Event& event, std::string& out) = 0;

 protected:
  void append_record(std::string& out, std::string_view record, std::string_view separator) {
    if (spans_) spans_->push_back({out.size(), record.size()});
    out.append(record).append(separator);
  }

 private:
  std::vector<RecordSpan>* spans_ = nullptr;
};

// One row of `runnel list encodings`; the configuration's `encoding` must be one of the names.
struct EncoderInfo {
  std::string_view name, help;
  std::unique_ptr<Encoder> (*make_plain)();
  // Versions of the format that `schema` chooses from, the default first; empty where there is only one.
  std::vector<std::string_view> schemas = {};
  std::unique_ptr<Encoder> (*make_schema)(std::string_view schema) = nullptr;

  std::unique_ptr<Encoder> make(std::string_view schema = {}) const {
    return make_schema != nullptr ? make_schema(schema) : make_plain();
  }
};
const std::vector<EncoderInfo>& encoders();
const EncoderInfo* find_encoder(std::string_view name);  // null where there is none

// `name,k=v,…`, tags sorted by key: the bytes that identify a series outside the agent (a Kafka key). Bytes
// that are not UTF-8 become U+FFFD, nothing else is escaped. With `host` not empty, `host=…` stands among the
// tags unless the series has such a tag.
void append_series_key(std::string& out, const SeriesView& series, std::string_view host = {});
// The same without host; returns where in `out` a `,host=…` would stand, or npos where the series has such a tag.
size_t append_series_key_place(std::string& out, const SeriesView& series);
// Valid UTF-8, with U+FFFD for each byte that is not.
void append_utf8(std::string& out, std::string_view text);

}  // namespace runnel
