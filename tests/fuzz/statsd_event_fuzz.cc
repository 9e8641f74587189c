// Any bytes as an event or a service check: what is taken is well-formed, what is refused leaves nothing behind.
#include <cstdint>
#include <string_view>

#include "base/text.h"
#include "fuzz/check.h"
#include "source/statsd/event_parser.h"
#include "source/statsd/parser.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

bool is_reason(std::string_view reason) {
  for (std::string_view known :
       {bad::kNoName, bad::kEvent, bad::kTimestamp, bad::kTags, bad::kName, bad::kUtf8, bad::kTooLong})
    if (reason == known) return true;
  return false;
}

bool is_text(std::string_view text, size_t most) {
  return text.size() <= most && valid_utf8(text);
}

bool is_word(std::string_view text, size_t most) {
  return is_text(text, most) && !has_control(text);
}

void check_event(const Batch& batch, const Event& event) {
  SeriesView series = batch.view(event.series);
  FUZZ_CHECK(!series.name().empty());
  FUZZ_CHECK(is_word(series.name(), Parser::kMaxKey));
  std::string_view before;
  for (Tag tag : series) {
    FUZZ_CHECK(before < tag.key);  // sorted, none empty, none twice
    FUZZ_CHECK(is_word(tag.key, Batch::kMaxText));
    FUZZ_CHECK(is_word(tag.value, Batch::kMaxText));
    before = tag.key;
  }
  FUZZ_CHECK(event.tags + event.tag_count == batch.event_tags.size());
  for (StringRef tag : batch.event_tags) {
    FUZZ_CHECK(tag.size > 0);
    FUZZ_CHECK(is_word(batch.view(tag), Batch::kMaxText));
  }
  std::string_view state = batch.view(event.state);
  FUZZ_CHECK(state.empty() || state == "ok" || state == "warning" || state == "critical" ||
             state == "unknown" || state == "error" || state == "info" || state == "success");
  FUZZ_CHECK(is_text(batch.view(event.description), Batch::kMaxText));
  FUZZ_CHECK(event.origin < batch.origins.size());
  FUZZ_CHECK(is_word(batch.origins[event.origin].host, Batch::kMaxText));
  FUZZ_CHECK(event.time_ms >= 0 && event.time_ms % 1000 == 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view line(reinterpret_cast<const char*>(data), size);
  Batch plain("statsd"), tagged("statsd");
  const size_t empty = plain.bytes();
  std::string_view reason = read_event(line, false, plain);
  FUZZ_CHECK(read_event(line, true, tagged) == reason);
  FUZZ_CHECK(is_event_line(line) || reason == bad::kEvent || reason == bad::kUtf8);
  FUZZ_CHECK(plain.samples.empty());
  if (!reason.empty()) {
    FUZZ_CHECK(is_reason(reason));
    FUZZ_CHECK(plain.bytes() == empty && plain.empty() && plain.event_tags.empty());
    FUZZ_CHECK(plain.origins.size() == 1);
    return 0;
  }
  for (const Batch* batch : {&plain, &tagged}) {
    FUZZ_CHECK(batch->events.size() == 1);
    check_event(*batch, batch->events[0]);
  }
  return 0;
}
