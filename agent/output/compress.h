// Compression of payloads. One instance an output and thread; contexts are made at the first payload and
// reused, so that an output that never sends holds no compression memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace runnel {

class Compressor {
 public:
  virtual ~Compressor() = default;

  // `name` and `level` as in the configuration; level 0 is the default of the codec in the table below.
  static Result<std::unique_ptr<Compressor>> create(std::string_view name, int64_t level);

  virtual std::string_view content_encoding() const = 0;  // "gzip", "zstd", or "" for none

  // Replaces `out` by one complete gzip member or zstd frame (or by a copy). Payloads written one behind the
  // other decompress to their texts one behind the other.
  virtual Status compress(std::string_view in, std::string& out) = 0;
};

struct CompressionInfo {
  std::string_view name, help;
  int min_level, max_level;  // both 0: takes no level
  int default_level;         // what 0 in the configuration means
};
const std::vector<CompressionInfo>& compressions();

// For the configuration's check: unknown name (with the nearest), level out of range.
Status check_compression(std::string_view name, int64_t level);

}  // namespace runnel
