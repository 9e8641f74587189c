// What the other side of an output refused for good, put aside for an operator: `runnel quarantine`. A file an incident
// in STATE_DIR/quarantine, written whole and synced before the records count as quarantined:
//
//   OUTPUT.EPOCH-FIRST-LAST.ndjson   a line a record:
//   {"output":"main","time":MS,"reason":"rejected","answer":"what the other side said","record":{…},"frozen":"BASE64"}
//
// `record` is the json encoding, for eyes; `frozen` the record as the journal writes it (journal/batch_codec.h), from
// which a replay takes it, bit for bit. The agent only adds files, the command reads and removes them. Any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "journal/file_system.h"
#include "metric/batch.h"

namespace runnel {

struct Selection;

class Quarantine {
 public:
  // `max_bytes` of all files together: what does not fit is not put aside.
  Quarantine(const Clock& clock, FileSystem& fs, std::string folder, int64_t max_bytes)
      : clock_(clock), fs_(fs), folder_(std::move(folder)), max_bytes_(max_bytes) {}
  Status put(const std::string& output, const Selection& records, const std::string& reason,
             const std::string& answer);

 private:
  const Clock& clock_;
  FileSystem& fs_;
  const std::string folder_;
  const int64_t max_bytes_;
};

// ---- for the command --------------------------------------------------------------------------------------------

struct QuarantineFile {
  std::string name, output;
  int64_t bytes = 0;
  size_t records = 0;
  int64_t time_ms = 0;         // when it was put aside
  std::string reason, answer;  // of its first record
};
// In name order; files of other names are left out. An absent folder holds none.
Result<std::vector<QuarantineFile>> list_quarantine(const std::string& folder);
// All records of a file.
Result<Batch> read_quarantine(const std::string& path);

}  // namespace runnel
