#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <new>
#include <sstream>

#include "base/text.h"
#include "output/encode/encoder.h"
#include "output/records.h"
#include "support/catch.h"

using namespace runnel;

namespace runnel::test {

Batch everything() {
  Batch batch("test");
  batch.origins[0] = {"web-1", {}};
  uint32_t described = batch.origin({"web-1", {{"build", "1.4.2"}, {"zone", "a \"b\""}}});
  uint32_t other = batch.origin({"db-7", {}});
  uint32_t nobody = batch.origin({"", {}});
  constexpr int64_t kTime = 1'763'769'600'000;
  auto add = [&](std::string_view name, std::initializer_list<Tag> tags, Kind kind, Number value) -> Sample& {
    Sample s;
    s.series = batch.series(name, tags);
    s.kind = kind;
    s.time_ms = kTime;
    s.value = value;
    batch.add(s);
    return batch.samples.back();
  };
  {
    Sample& s = add("api.requests", {{"site", "lon"}}, Kind::counter, Number::integer(42));
    s.interval_ms = 10'000, s.origin = described, s.unit = batch.string("1"), s.ttl_s = 60;
  }
  {
    Sample& s = add("system.network.io", {{"direction", "receive"}, {"device", "eth0"}}, Kind::total,
                    Number::integer(INT64_MAX));
    s.start_ms = 1'763'000'000'000, s.unit = batch.string("By");
  }
  add("minimal", {}, Kind::gauge, Number::integer(0)).origin = nobody;
  add("elsewhere", {}, Kind::gauge, Number(0.1)).origin = other;
  add("users", {{"prod", ""}}, Kind::set, Number::integer(7)).interval_ms = 90'000;
  {
    Sample& s = add("api.latency", {{"site", "lon"}}, Kind::distribution, {});
    s.interval_ms = 10'000, s.unit = batch.string("ms");
    Distribution d;
    d.count = 3, d.sum = 60, d.min = 10, d.max = 30, d.mean = 20, d.stddev = 8.16496580927726;
    d.percentiles = {{50, 20}, {90, 30}, {95, 30}, {99, 30}, {99.9, 30}};
    s.distribution = batch.add_distribution(d);
  }
  for (double value : {-0.0, 5e-324, -1.7976931348623157e308, 1e21, 9007199254740993.0, 1.0 / 3})
    add("number", {}, Kind::gauge, Number(value));
  add("number", {}, Kind::gauge, Number::integer(INT64_MIN));
  add("before 1970", {}, Kind::gauge, Number(1.5)).time_ms = -1;
  add("at 1970", {}, Kind::gauge, Number(1.5)).time_ms = 0;
  // What formats trip over.
  add("#comment", {{"host", "own"}, {"unit", "own"}, {"metric_type", "own"}}, Kind::gauge, Number(1.5));
  add("sp ace,comma=eq", {{"k ,=", "v ,="}, {"time", "noon"}, {"", "empty key"}}, Kind::gauge, Number(1.5));
  add("back\\slash", {{"dir", "C:\\"}, {"mid", "a\\b"}, {"trap", "a\\,evil=1"}, {"two", "\\\\srv\\share"}},
      Kind::gauge, Number(1.5));
  add("quote\"s", {{"q", "\"'`"}}, Kind::gauge, Number(1.5));
  add("control\n\r\t\x01\x1b[31m\x7f", {{"nl", "a\nb=1 2"}}, Kind::gauge, Number(1.5));
  add("utf8 ü €😀", {{"broken", "a\xff\xc3(\xed\xa0\x80z"}}, Kind::gauge, Number(1.5));
  add("terminal",
      {{"c1",
        "\xc2\x9b"
        "31m"},
       {"bidi",
        "\xe2\x80\xae"
        "abc"}},
      Kind::gauge, Number(1.5));
  // What no format says: counted by the caller.
  add("nan", {}, Kind::gauge, Number(std::nan("")));
  add("infinite", {}, Kind::gauge, Number(-INFINITY));

  auto event = [&](std::string_view key, std::initializer_list<Tag> attributes) -> Event& {
    Event e;
    e.series = batch.series(key, attributes);
    e.time_ms = kTime;
    batch.add(e);
    return batch.events.back();
  };
  {
    Event& e = event("deploy", {{"by", "ci"}});
    e.state = batch.string("ok"), e.description = batch.string("v42"), e.ttl_s = 60;
    e.has_value = true, e.value = Number::integer(1);
    batch.set_event_tags(e, {"web"});
  }
  {
    Event& e = event("disk full", {});
    e.origin = described;
    e.state = batch.string("critical");
    e.description = batch.string("say \"hi\"\\\nnext line, x=1");
    e.ttl_s = 0.5F;
    batch.set_event_tags(e, {"a", "b c", "d\"e"});
  }
  event("bare", {}).origin = nobody;
  return batch;
}

std::string encode(Encoder& encoder, const Batch& batch, size_t* unencodable) {
  std::string out;
  size_t refused = 0;
  encoder.begin(out);
  for (const Sample& s : batch.samples) refused += !encoder.sample(batch, s, out);
  for (const Event& e : batch.events) refused += !encoder.event(batch, e, out);
  encoder.end(out);
  if (unencodable) *unencodable = refused;
  return out;
}

std::string hostile_text(std::mt19937& random, size_t limit) {
  static const std::string kPieces[] = {"\"",
                                        "\\",
                                        "\\\\",
                                        ",",
                                        "=",
                                        " ",
                                        "\n",
                                        "\r",
                                        "\t",
                                        std::string(1, '\0'),
                                        "\x1b",
                                        "\x7f",
                                        "\xff",
                                        "\xc3",
                                        "\xed\xa0\x80",
                                        "\xf4\x90\x80\x80",
                                        "ü",
                                        "😀",
                                        "\xe2\x80\xae",
                                        "#",
                                        "{",
                                        "}",
                                        "\\n",
                                        "plain",
                                        "twelve_bytes",
                                        "'",
                                        "\xc0\x80"};
  std::string text;
  size_t want = random() % (limit + 1);
  while (text.size() < want) {
    if (random() % 4 == 0) {
      text += static_cast<char>(random());
    } else {
      text += kPieces[random() % std::size(kPieces)];
    }
  }
  return text;
}

}  // namespace runnel::test

namespace {
std::atomic<size_t> allocations{0};
}
void* operator new(size_t size) {
  allocations++;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void* operator new(size_t size,
                   const std::nothrow_t&) noexcept {  // std::stable_sort's; all or none, for ASan
  allocations++;
  return std::malloc(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  std::free(memory);
}

namespace {

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

// RUNNEL_GOLDEN=write makes the files anew; read the diff of the commit afterwards.
void compare_with_golden(const std::string& name, const std::string& text) {
  std::string path = std::string(RUNNEL_TESTS_DIR) + "/golden/encode/" + name + ".txt";
  const char* mode = std::getenv("RUNNEL_GOLDEN");
  if (mode && std::string(mode) == "write") {
    std::ofstream(path, std::ios::binary) << text;
    return;
  }
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  std::stringstream golden;
  golden << file.rdbuf();
  if (golden.str() == text) {
    SUCCEED();
    return;
  }
  std::string diff;
  auto want = lines(golden.str()), got = lines(text);
  for (size_t i = 0; i < std::max(want.size(), got.size()); i++) {
    if (i < want.size() && i < got.size() && want[i] == got[i]) continue;
    if (i < want.size()) diff += "- " + want[i] + "\n";
    if (i < got.size()) diff += "+ " + got[i] + "\n";
  }
  FAIL(path << " differs:\n" << diff);
}

}  // namespace

TEST_CASE("encodings are as the golden files show") {
  setenv("TZ", "UTC", 1);
  tzset();
  Batch batch = test::everything();
  for (const EncoderInfo& info : encoders()) {
    auto encoder = info.make();
    CHECK(encoder->name() == info.name);
    CHECK_FALSE(encoder->content_type().empty());
    size_t unencodable = 0;
    std::string text = test::encode(*encoder, batch, &unencodable);
    // NaN and infinity, which eyes may see; FFWD's readers refuse times before 1970, too.
    CHECK(unencodable == (info.name == "pretty" ? 0 : info.name == "ffwd" ? 4 : 2));
    compare_with_golden(std::string(info.name), text);
    CHECK(valid_utf8(text));
    std::string again =
        test::encode(*encoder, batch);  // an instance can be used again; pretty's column stays wide
    CHECK(again == test::encode(*encoder, batch));
    if (info.name != "pretty") CHECK(again == text);
  }
}

TEST_CASE("ffwd writes each schema that FFWD had") {
  const EncoderInfo* info = find_encoder("ffwd");
  CHECK(info->schemas == std::vector<std::string_view>{"2.0.0", "1.1.0", "1.0.0"});
  Batch everything = test::everything();
  for (const char* schema : {"1.0.0", "1.1.0"})
    compare_with_golden(std::string("ffwd-") + schema, test::encode(*info->make(schema), everything));
  CHECK(test::encode(*info->make("2.0.0"), everything) == test::encode(*info->make(), everything));

  Batch batch("test");
  uint32_t origin = batch.origin({"ffwd-host", {}});
  auto encode = [&](std::initializer_list<Tag> tags, Number value, const char* schema,
                    std::string_view unit = {}) {
    Sample s;
    s.series = batch.series("api", tags);
    s.origin = origin, s.time_ms = 1'763'769'600'000, s.value = value, s.unit = batch.string(unit);
    std::string out;
    REQUIRE(info->make(schema)->sample(batch, s, out));
    out.pop_back();
    return out;
  };
  // What FFWD itself wrote (0.8.13, read back from a broker), its map in our order.
  CHECK(encode({{"site", "lon"}, {"unit", "1"}, {"role", "db"}, {"what", "requests"}}, Number::integer(42),
               "2.0.0") ==
        R"({"version":"2.0.0","key":"api","time":1763769600000,"attributes":{"host":"ffwd-host","role":"db",)"
        R"("site":"lon","unit":"1","what":"requests"},"resource":{},"value":{"doubleValue":42.0}})");
  // What the sender has set wins over host and unit; 1.0.0 has a field for the host.
  CHECK(encode({{"host", "own"}, {"unit", "own"}}, Number(0.5), "1.1.0", "By") ==
        R"({"version":"1.1.0","key":"api","time":1763769600000,"attributes":{"host":"own","unit":"own"},)"
        R"("resource":{},"value":0.5})");
  CHECK(
      encode({{"prod", ""}}, Number(1e21), "1.0.0", "By") ==
      R"({"version":"1.0.0","key":"api","host":"ffwd-host","time":1763769600000,"attributes":{"unit":"By"},)"
      R"("tags":["prod"],"value":1e+21})");
}

TEST_CASE("pretty shows local time, of any year") {
  Batch batch("test");
  auto show = [&](int64_t time_ms) {
    Sample s;
    s.series = batch.series("a", {});
    s.time_ms = time_ms;
    std::string out;
    REQUIRE(find_encoder("pretty")->make()->sample(batch, s, out));
    return out.substr(0, out.find(' '));
  };
  setenv("TZ", "XXX-05:30", 1);  // POSIX form: works without the time zone database
  tzset();
  CHECK(show(1'763'769'600'007) == "05:30:00.007");
  setenv("TZ", "UTC", 1);
  tzset();
  CHECK(show(-1) == "23:59:59.999");
  CHECK(show(INT64_MAX).find(".807") != std::string::npos);
  CHECK(show(INT64_MIN).find(".192") != std::string::npos);
}

TEST_CASE("records are found by their spans") {
  Batch batch = test::everything();
  for (const EncoderInfo& info : encoders()) {
    auto encoder = info.make();
    std::vector<RecordSpan> spans;
    encoder->collect(&spans);
    size_t unencodable = 0;
    std::string text = test::encode(*encoder, batch, &unencodable);
    const size_t more = info.name == "ffwd" ? 10 : 0;  // a distribution is one record a statistic
    REQUIRE(spans.size() == batch.records() - unencodable + more);
    std::string joined;
    for (RecordSpan span : spans) {
      std::string record = text.substr(span.offset, span.size);
      CHECK(record.find('\n') == std::string::npos);
      joined += record + "\n";
    }
    CHECK(joined == text);
    encoder->collect(nullptr);
    CHECK_FALSE(test::encode(*encoder, batch).empty());
    CHECK(spans.size() == batch.records() - unencodable + more);
  }
}

TEST_CASE("indices that a batch does not have are refused, not followed") {
  Batch batch("test");
  Sample s;
  s.series = batch.series("a", {});
  s.kind = Kind::distribution;
  s.distribution = 3;
  Sample origin = s;
  origin.kind = Kind::gauge;
  origin.origin = 9;
  origin.time_ms = 1;
  for (const EncoderInfo& info : encoders()) {
    auto encoder = info.make();
    std::string out;
    CHECK_FALSE(encoder->sample(batch, s, out));
    CHECK(out.empty());
    CHECK(encoder->sample(batch, origin, out));
    CHECK(out.find("host") == std::string::npos);
  }
}

TEST_CASE("encoding allocates nothing once it is warm") {
  Batch batch = test::everything();
  for (const char* name : {"json", "influx", "ffwd"}) {
    auto encoder = find_encoder(name)->make();
    std::string out = test::encode(*encoder, batch);
    out.clear();
    size_t refused = 0, before = allocations;
    for (const Sample& s : batch.samples) refused += !encoder->sample(batch, s, out);
    for (const Event& e : batch.events) refused += !encoder->event(batch, e, out);
    CHECK(allocations == before);
    CHECK(refused == (std::string_view(name) == "ffwd" ? 4 : 2));
  }
  size_t before = allocations;
  auto encoder = find_encoder("json")->make();
  CHECK(allocations > before);  // the count works
}

TEST_CASE("unknown encodings are not found") {
  CHECK(find_encoder("json") == &encoders()[0]);
  CHECK(find_encoder("JSON") == nullptr);
  CHECK(find_encoder("") == nullptr);
}

TEST_CASE("a series key is name and sorted tags") {
  struct Row {
    std::string_view name;
    std::vector<Tag> tags;
    std::string_view host, key;
  };
  const Row rows[] = {
      {"a.b", {}, "", "a.b"},
      {"a.b", {{"z", "1"}, {"a", ""}}, "", "a.b,a=,z=1"},
      {"a.b", {}, "h", "a.b,host=h"},
      {"a.b", {{"a", "1"}, {"z", "2"}}, "h", "a.b,a=1,host=h,z=2"},
      {"a.b", {{"a", "1"}}, "h", "a.b,a=1,host=h"},
      {"a.b", {{"z", "1"}}, "h", "a.b,host=h,z=1"},
      {"a.b", {{"host", "own"}, {"z", "1"}}, "h", "a.b,host=own,z=1"},
      {"ü\xff",
       {{"k\xc3", "\xed\xa0\x80€"}},
       "",
       "ü\xef\xbf\xbd,k\xef\xbf\xbd=\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd€"},
  };
  for (const Row& row : rows) {
    Batch batch("test");
    SeriesView view = batch.view(batch.series(row.name, row.tags.data(), row.tags.size()));
    std::string key = "before ";
    append_series_key(key, view, row.host);
    CHECK(key == "before " + std::string(row.key));
  }
}
