// agent/journal/FORMAT.md: the bytes of its worked example are what this build writes, and it reads them.
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <regex>
#include <string>

#include "journal/batch_codec.h"
#include "journal/cursor.h"
#include "journal/record.h"
#include "journal/segment_scanner.h"
#include "journal/segment_store.h"
#include "support/catch.h"

using namespace runnel;

namespace {

constexpr uint64_t kEpoch = 1'763'769'600'000;
constexpr int64_t kTime = 1'763'769'600'000;

Batch example_batch() {
  Batch batch("statsd");
  Sample sample;
  sample.series = batch.series("api.hits", {{"route", "home"}});
  sample.kind = Kind::total;
  sample.time_ms = kTime;
  sample.start_ms = kTime - 60'000;
  sample.interval_ms = 10'000;
  sample.ttl_s = 30;
  sample.value = Number::integer(42);
  batch.add(sample);
  sample.series = batch.series("api.time", {{"route", "home"}});
  sample.unit = batch.string("ms");
  sample.kind = Kind::gauge;
  sample.value = Number(1.5);
  batch.add(sample);
  return batch;
}

Batch example_event() {
  Batch batch("riemann");
  Event event;
  event.series = batch.series("deploy", {{"by", "ci"}});
  event.state = batch.string("ok");
  event.description = batch.string("v2");
  batch.set_event_tags(event, {"web", "eu"});
  event.origin = batch.origin({"web-1", {{"os", "linux"}}});
  event.time_ms = kTime;
  event.ttl_s = 60;
  batch.add(event);
  return batch;
}

std::string example_segment() {
  std::string bytes, encoded;
  append_segment_head(bytes, {kJournalVersion, 1, kEpoch, 1, kTime});
  RecordHead head;
  head.first = 1;
  head.records = 2;
  head.epoch = kEpoch;
  head.time_ms = kTime + 250;
  size_t values = encode_batch(example_batch(), encoded);
  RecordWriter().append(bytes, head, encoded, values);
  return bytes;
}

std::string encoded(const Batch& batch) {
  std::string bytes;
  encode_batch(batch, bytes);
  return bytes;
}

std::string example_cursor() {
  Cursor cursor;
  cursor.position = 2;
  cursor.skips = {{10, 20}};
  cursor.in_flight = InFlight{kEpoch, 2, 3, "01"};
  return encode_cursor(cursor, 7);
}

std::string hex_of(const std::string& bytes) {
  std::string text;
  for (unsigned char c : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[c >> 4];
    text += kDigits[c & 15];
  }
  return text;
}

// The hex of the block of FORMAT.md that follows the line `<!-- NAME -->`: what stands before each ';'. "(00 x N)" are N
// zeros.
std::string hex_in_format(const std::string& name) {
  std::ifstream file(RUNNEL_SOURCE_DIR "/agent/journal/FORMAT.md");
  std::string text(std::istreambuf_iterator<char>(file), {});
  size_t at = text.find("<!-- " + name + " -->");
  REQUIRE(at != std::string::npos);
  at = text.find("```\n", at) + 4;
  std::string hex, block = text.substr(at, text.find("```", at) - at);
  static const std::regex kZeros(R"(\(00 x (\d+)\))");
  for (std::smatch match; std::regex_search(block, match, kZeros);) {
    std::string zeros;
    for (int n = std::stoi(match[1]); n > 0; n--) zeros += "00";
    block.replace(static_cast<size_t>(match.position()), static_cast<size_t>(match.length()), zeros);
  }
  bool comment = false;
  for (char c : block) {
    if (c == ';') comment = true;
    if (c == '\n') comment = false;
    if (!comment && c != ' ' && c != '\n') hex += c;
  }
  return hex;
}

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

struct Folder {
  Folder() { REQUIRE(::mkdtemp(path.data()) != nullptr); }
  ~Folder() { std::filesystem::remove_all(path); }
  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path + "/" + name, std::ios::binary) << bytes;
  }
  std::string path = "/tmp/runnel-format-XXXXXX";
};

}  // namespace

TEST_CASE("FORMAT.md: the worked example is what is written") {
  CHECK(hex_of(example_segment()) == hex_in_format("segment"));
  CHECK(hex_of(encoded(example_event())) == hex_in_format("event"));
  CHECK(hex_of(example_cursor()) == hex_in_format("cursor"));
}

TEST_CASE("FORMAT.md: the worked example is read back") {
  Folder folder;
  folder.write("00000000000000000001.seg", bytes_of(hex_in_format("segment")));
  // In the second slot: an odd generation.
  folder.write("main.cursor", std::string(4096, '\0') + bytes_of(hex_in_format("cursor")));
  RealFileSystem fs;
  SegmentStore store(fs, folder.path);
  auto found = store.open();
  REQUIRE(found.ok());
  CHECK(found->records == 2);
  CHECK(found->end == 3);
  CHECK(found->last_epoch == kEpoch);
  CHECK(found->damaged_regions == 0);

  SegmentScanner scanner(fs, store.path_of(1));
  REQUIRE(scanner.open().ok());
  CHECK(scanner.version() == kJournalVersion);
  auto record = scanner.next([](const SegmentScanner::Damage&) { FAIL(); });
  REQUIRE(record);
  CHECK(record->head.first == 1);
  CHECK(record->head.time_ms == kTime + 250);
  CHECK(record->head.stored == record->head.raw);  // too short for zstd: the example can be read by eye
  std::string scratch;
  auto batch = decode_batch(*unpack(record->head, record->payload, scratch));
  REQUIRE(batch.ok());
  REQUIRE(batch->records() == 2);
  CHECK(batch->source() == "statsd");
  CHECK(batch->view(batch->samples[1].series).name() == "api.time");
  CHECK(batch->view(batch->samples[1].series).find("route") == "home");
  CHECK(batch->view(batch->samples[1].unit) == "ms");
  CHECK(batch->samples[0].value == Number::integer(42));
  CHECK(batch->samples[1].value == Number(1.5));
  CHECK(batch->samples[1].interval_ms == 10'000);
  CHECK(hex_of(encoded(*batch)) == hex_of(std::string(record->payload)));

  auto events = decode_batch(bytes_of(hex_in_format("event")));
  REQUIRE(events.ok());
  REQUIRE(events->events.size() == 1);
  const Event& event = events->events[0];
  CHECK(events->view(event.series).find("by") == "ci");
  CHECK(events->view(event.description) == "v2");
  CHECK(event.tag_count == 2);
  CHECK(event.ttl_s == 60);
  CHECK_FALSE(event.has_value);
  CHECK(events->origins[event.origin].host == "web-1");

  bool damaged = true;
  auto cursor = CursorFile(fs, folder.path + "/main.cursor").load(damaged);
  REQUIRE(cursor);
  CHECK_FALSE(damaged);
  CHECK(cursor->position == 2);
  CHECK(cursor->skips == std::vector<std::pair<uint64_t, uint64_t>>{{10, 20}});
  CHECK(cursor->in_flight == InFlight{kEpoch, 2, 3, "01"});
}

TEST_CASE("a segment or a batch of a newer version is left alone") {
  Folder folder;
  std::string bytes;
  append_segment_head(bytes, {kJournalVersion + 1, 1, kEpoch, 1, kTime});
  folder.write("00000000000000000001.seg", bytes + "of another form");
  RealFileSystem fs;
  SegmentStore store(fs, folder.path);
  auto found = store.open();
  REQUIRE(found.ok());
  CHECK(found->segments.empty());
  CHECK(std::filesystem::exists(store.path_of(1)));
  std::string batch = encoded(example_batch());
  batch[0]++;
  CHECK_FALSE(decode_batch(batch).ok());
}
