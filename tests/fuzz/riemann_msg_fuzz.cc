// Whatever the bytes: a message is decoded or refused as a whole, each event counts once, all that is taken is valid and
// within its bytes, and becomes records that can be read back.
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/text.h"
#include "fuzz/check.h"
#include "source/riemann/decoder.h"
#include "source/riemann/mapping.h"

using namespace runnel;
using namespace runnel::riemann;

namespace {

struct Bytes {
  const char *begin, *end;
  void holds(std::string_view text) const {
    FUZZ_CHECK(text.empty() || (text.data() >= begin && text.data() + text.size() <= end));
    FUZZ_CHECK(text.size() <= Batch::kMaxText);
    FUZZ_CHECK(valid_utf8(text));
  }
};

void check_event(const Message& message, const EventView& event, const Bytes& bytes) {
  FUZZ_CHECK(!event.service.empty() && event.service.size() <= kMaxService);
  for (std::string_view text : {event.service, event.host, event.state, event.description}) bytes.holds(text);
  FUZZ_CHECK(event.tag_count + event.attribute_count <= kMaxTags);
  FUZZ_CHECK(event.tags + size_t{event.tag_count} <= message.tags.size());
  FUZZ_CHECK(event.attributes + size_t{event.attribute_count} <= message.attributes.size());
  FUZZ_CHECK(!event.has_metric || std::isfinite(event.metric.as_double()));
  FUZZ_CHECK(std::isfinite(event.ttl_s) && event.ttl_s >= 0);
  FUZZ_CHECK(std::abs(event.time_ms) <= 253'402'300'800'000);
}

void check_batch(const Batch& batch) {
  for (const Sample& sample : batch.samples) {
    std::string_view last;
    bool first = true;
    for (Tag tag : batch.view(sample.series)) {
      FUZZ_CHECK(!tag.key.empty() && (first || last < tag.key));
      last = tag.key;
      first = false;
    }
    FUZZ_CHECK(sample.origin < batch.origins.size());
  }
  for (const Event& event : batch.events) {
    FUZZ_CHECK(event.origin < batch.origins.size());
    FUZZ_CHECK(event.tags + size_t{event.tag_count} <= batch.event_tags.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string copy(reinterpret_cast<const char*>(data), size);
  Message message;
  if (!decode(copy, message).empty()) return 0;
  size_t refused = 0;
  for (uint32_t n : message.refused) refused += n;
  FUZZ_CHECK(message.received == message.events.size() + refused);
  Bytes bytes{copy.data(), copy.data() + copy.size()};
  for (const EventView& event : message.events) check_event(message, event, bytes);
  for (std::string_view tag : message.tags) bytes.holds(tag);
  for (const Tag& attribute : message.attributes) {
    bytes.holds(attribute.key);
    bytes.holds(attribute.value);
  }
  Mapper mapper;
  for (Keep keep : {Keep::automatic, Keep::events, Keep::metrics}) {
    Batch batch("riemann");
    size_t dropped = mapper.append(message, keep, batch);
    size_t kept = message.events.size() - dropped;
    FUZZ_CHECK(batch.records() >= kept && batch.records() <= 2 * kept);
    FUZZ_CHECK(keep == Keep::metrics || dropped == 0);
    check_batch(batch);
  }
  return 0;
}
