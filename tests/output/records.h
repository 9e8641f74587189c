// Records for the tests of the encoders: what the golden files show, and hostile text.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "metric/batch.h"
#include "output/encode/encoder.h"

namespace runnel::test {

// One of everything: every kind, every optional field set and not, names and values that need escaping.
Batch everything();

// The payload of a whole batch; samples first. `unencodable` counts what the format could not say.
std::string encode(Encoder& encoder, const Batch& batch, size_t* unencodable = nullptr);

// Random text of up to `limit` bytes that likes what breaks formats: quotes, backslashes, delimiters, control
// bytes, broken UTF-8.
std::string hostile_text(std::mt19937& random, size_t limit);

}  // namespace runnel::test
