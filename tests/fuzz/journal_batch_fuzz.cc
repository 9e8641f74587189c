// Whatever bytes decode as a batch: the batch holds together, it is bounded by what came, and it encodes to bytes that
// decode to the same and encode to themselves. (The bytes that came need not be those: a varint may be longer than it must.)
#include <cstdint>
#include <string>
#include <string_view>

#include "fuzz/check.h"
#include "journal/batch_codec.h"

using namespace runnel;

namespace {

// Touches everything that an output would.
size_t walk(const Batch& batch) {
  size_t sum = batch.source().size();
  auto series = [&](SeriesRef ref) {
    SeriesView view = batch.view(ref);
    sum += view.name().size();
    for (Tag tag : view) sum += tag.key.size() + tag.value.size();
  };
  for (const Sample& s : batch.samples) {
    series(s.series);
    sum += batch.view(s.unit).size() + batch.origins.at(s.origin).host.size();
    FUZZ_CHECK(s.kind <= Kind::set);
    if (s.kind == Kind::distribution) sum += batch.distributions.at(s.distribution).percentiles.size();
  }
  for (const Event& e : batch.events) {
    series(e.series);
    sum += batch.view(e.state).size() + batch.view(e.description).size() +
           batch.origins.at(e.origin).host.size();
    for (uint32_t i = 0; i < e.tag_count; i++) sum += batch.view(batch.event_tags.at(e.tags + i)).size();
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  auto batch = decode_batch(bytes);
  if (!batch.ok()) return 0;
  size_t touched = walk(*batch);
  FUZZ_CHECK(batch->records() <= size);
  std::string once, twice;
  size_t values = encode_batch(*batch, once);
  FUZZ_CHECK(values <= once.size());
  auto again = decode_batch(once);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->samples.size() == batch->samples.size() && again->events.size() == batch->events.size());
  FUZZ_CHECK(walk(*again) == touched);
  encode_batch(*again, twice);
  FUZZ_CHECK(once == twice);
  return 0;
}
