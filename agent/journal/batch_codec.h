// Batch ↔ bytes: the payload of a journal record (FORMAT.md, "Batch"). Columns, so that what does not change along a
// flush costs a byte a batch and zstd finds the rest; names share what they begin with. Pure functions, any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "metric/batch.h"

namespace runnel {

// Batches that hold more (Batch::bytes()) are not for the journal; sources make batches of at most a few MiB.
inline constexpr size_t kMaxBatch = size_t{64} << 20;

// Appends the batch to `out`. Returns the size of its first part: names and what hardly changes. The values of samples
// follow, and compress better apart (record.h).
size_t encode_batch(const Batch& batch, std::string& out);

// The batch of exactly these bytes. Whatever they are: nothing is read outside of them, and memory is bounded by a small
// multiple of their number and kMaxBatch.
Result<Batch> decode_batch(std::string_view bytes);

}  // namespace runnel
