// Datagrams of FFWD's protobuf clients.
#include "source/ffwd/protobuf.h"

#include <limits>

#include "show.h"
#include "support/catch.h"
#include "wire.h"

using namespace runnel;
using namespace runnel::ffwd;
using namespace std::string_literals;

using Lines = std::vector<std::string>;

namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

const std::string kGood0 = text_field(3, "k") + double_field(4, 1.5);
const std::string kGood1 = text_field(3, "k") + text_field(7, double_field(1, 1.5));

Lines decoded(const std::string& datagram) {
  Points points;
  decode_protobuf(datagram, points);
  return show(points);
}

std::string many(const std::string& one, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; i++) all += one;
  return all;
}

}  // namespace

TEST_CASE("points in protobuf, of both versions") {
  struct Row {
    std::string datagram;
    Lines shown;
  } rows[] = {
      {metric_frame(0, kGood0), {"metric k 1.5f 0"}},
      {metric_frame(0, text_field(1, "p") + int_field(2, 1'700'000'000'123) + kGood0 + text_field(5, "h") +
                           text_field(6, "t") + text_field(6, "") + pair_field(7, "b", "2") +
                           pair_field(7, "a", "1")),
       {"metric k a=1 b=2 t= @h /proc=p 1.5f 1700000000123"}},
      {metric_frame(0, kGood0 + pair_field(7, "a", "1") + pair_field(7, "a", "2")), {"metric k a=2 1.5f 0"}},
      {metric_frame(0, kGood0 + pair_field(7, "host", "h")), {"metric k @h 1.5f 0"}},
      {metric_frame(0, kGood0 + int_field(2, 1'700'000'000)), {"metric k 1.5f 1700000000000"}},
      {metric_frame(0, kGood0 + double_field(4, 2)),
       {"metric k 2f 0"}},  // of a field that is there twice the last
      {metric_frame(0, kGood0 + int_field(99, 1)), {"metric k 1.5f 0"}},
      {event_frame(int_field(1, 1'700'000'000'000) + text_field(2, "e") + double_field(3, 2) +
                   text_field(4, "h") + text_field(5, "ok") + text_field(6, "d") + int_field(7, 60) +
                   text_field(8, "t") + pair_field(9, "a", "1")),
       {"event e a=1 @h [t] 2f 1700000000000 ok d 60"}},
      {event_frame(text_field(2, "e")), {"event e - 0   0"}},
      {event_frame(text_field(2, "e") + double_field(3, kNan) + int_field(7, -1)), {"event e - 0   0"}},
      {metric_frame(1, kGood1), {"metric k 1.5f 0"}},
      {metric_frame(1, text_field(1, "p") + int_field(2, 5'000'000'000'000) + kGood1 + text_field(4, "h") +
                           text_field(5, "t") + pair_field(6, "a", "1") +
                           text_field(6, text_field(1, "empty"))),
       {"metric k a=1 empty= t= @h /proc=p 1.5f 5000000000000"}},
      {metric_frame(1, text_field(3, "k") + text_field(7, text_field(2, "\x00\x01\x02"s))),
       {"event k distribution=AAEC - 0   0"}},
      {metric_frame(1,
                    text_field(3, "k") + text_field(7, text_field(2, "\xFF"s)) + pair_field(6, "stat", "p")),
       {"event k distribution=/w== stat=p - 0   0"}},
      {metric_frame(1, text_field(3, "k") + text_field(7, text_field(2, "ab") + double_field(1, 3))),
       {"metric k 3f 0"}},
      {metric_frame(1, text_field(3, "k") + text_field(7, double_field(1, 3) + text_field(2, "ab"))),
       {"event k distribution=YWI= - 0   0"}},
      // Several frames, also of several versions, and several points in one.
      {metric_frame(0, kGood0) + metric_frame(1, kGood1), {"metric k 1.5f 0", "metric k 1.5f 0"}},
      {frame(0, text_field(1, kGood0) + text_field(2, text_field(2, "e"))),
       {"metric k 1.5f 0", "event e - 0   0"}},
      {many(metric_frame(0, kGood0), 1000), Lines(1000, "metric k 1.5f 0")},
  };
  for (const Row& row : rows) {
    INFO(&row - rows);
    CHECK(decoded(row.datagram) == row.shown);
  }
}

TEST_CASE("frames that lie cost what is behind them, and nothing before") {
  std::string good = metric_frame(0, kGood0);
  struct Row {
    std::string datagram;
    std::string_view reason;
  } rows[] = {
      {"\x00"s, bad::kLength},
      {good.substr(0, 7), bad::kLength},
      {good.substr(0, good.size() - 1), bad::kLength},
      {u32(0) + u32(7), bad::kLength},
      {u32(0) + u32(0), bad::kLength},
      {u32(0) + u32(0xFFFFFFFF) + "x", bad::kLength},
      {u32(2) + u32(8), bad::kVersion},
      {u32(0xFFFFFFFF) + u32(8) + good, bad::kVersion},
      {"{\"type\":\"metric\",\"key\":\"k\",\"value\":1}", bad::kVersion},
  };
  for (const Row& row : rows) {
    INFO(&row - rows);
    CHECK(decoded(row.datagram) == Lines{fmt::format("!{}", row.reason)});
    CHECK(decoded(good + row.datagram) == Lines{"metric k 1.5f 0", fmt::format("!{}", row.reason)});
  }
  CHECK(decoded("") == Lines{"!bad_length"});
}

TEST_CASE("messages that are none cost only themselves, in every build type") {
  std::string eleven(11, '\x80');
  struct Row {
    std::string datagram;
    std::string_view reason;
  } rows[] = {
      {frame(0, ""), bad::kType},
      {frame(1, ""), bad::kType},
      {frame(1, text_field(2, text_field(2, "e"))), bad::kType},  // version 1 has no events
      {frame(0, int_field(9, 1)), bad::kType},
      {frame(0, int_field(1, 1)), bad::kWireType},
      {frame(0, int_field(2, 1)), bad::kWireType},
      {frame(0, "\x0a\x05x"s), bad::kMessage},
      {frame(0, "\x00"s), bad::kMessage},
      {frame(0, "\x0b"s), bad::kMessage},
      {metric_frame(0, "\x10"s + eleven), bad::kMessage},
      {metric_frame(0, kGood0 + "\x1a\x7f"s), bad::kMessage},
      {metric_frame(0, kGood0 + int_field(1, 1)), bad::kWireType},
      {metric_frame(0, kGood0 + text_field(2, "x")), bad::kWireType},
      {metric_frame(0, kGood0 + int_field(3, 1)), bad::kWireType},
      {metric_frame(0, kGood0 + int_field(4, 1)), bad::kWireType},
      {metric_frame(0, kGood0 + int_field(7, 1)), bad::kWireType},
      {metric_frame(0, kGood0 + text_field(7, int_field(1, 1))), bad::kWireType},
      {metric_frame(0, kGood1), bad::kWireType},  // a field 7 whose first is a double
      {metric_frame(1, kGood0), bad::kWireType},  // a field 4 that is a double
      {metric_frame(1, text_field(3, "k") + double_field(7, 1)), bad::kWireType},
      {metric_frame(1, text_field(3, "k") + text_field(7, text_field(1, "x"))), bad::kWireType},
      {event_frame(text_field(2, "e") + text_field(3, "x")), bad::kWireType},
      {event_frame(text_field(2, "e") + text_field(7, "x")), bad::kWireType},
  };
  std::string good = metric_frame(0, kGood0);
  for (const Row& row : rows) {
    INFO(&row - rows);
    CHECK(decoded(row.datagram) == Lines{fmt::format("!{}", row.reason)});
    CHECK(decoded(good + row.datagram + good) ==
          Lines{"metric k 1.5f 0", "metric k 1.5f 0", fmt::format("!{}", row.reason)});
  }
}

TEST_CASE("points that mean nothing cost only themselves") {
  std::string text(Batch::kMaxText + 1, 'x');
  struct Row {
    std::string datagram;
    std::string_view reason;
  } rows[] = {
      {metric_frame(0, double_field(4, 1)), bad::kNoKey},
      {metric_frame(0, text_field(3, "") + double_field(4, 1)), bad::kNoKey},
      {metric_frame(0, text_field(3, "k")), bad::kNoValue},
      {metric_frame(1, text_field(3, "k")), bad::kNoValue},
      {metric_frame(1, text_field(3, "k") + text_field(7, "")), bad::kNoValue},
      {metric_frame(1, text_field(3, "k") + text_field(7, text_field(2, ""))), bad::kNoValue},
      {metric_frame(0, text_field(3, "k") + double_field(4, kNan)), bad::kNotFinite},
      {metric_frame(0, text_field(3, "k") + double_field(4, -kInf)), bad::kNotFinite},
      {metric_frame(1, text_field(3, "k") + text_field(7, double_field(1, kNan))), bad::kNotFinite},
      {metric_frame(0, kGood0 + int_field(2, -1)), bad::kTime},
      {metric_frame(0, kGood0 + int_field(2, INT64_MAX)), bad::kTime},
      {metric_frame(0, kGood0 + int_field(2, kMaxTimeMs + 1)), bad::kTime},
      {event_frame(text_field(2, "e") + int_field(7, -2)), bad::kTtl},
      {metric_frame(0, kGood0 + pair_field(7, "", "v")), bad::kTags},
      {metric_frame(0, kGood0 + text_field(7, "")), bad::kTags},
      {metric_frame(0, text_field(3, "\xFF") + double_field(4, 1)), bad::kUtf8},
      {metric_frame(0, kGood0 + text_field(5, "h\xC3")), bad::kUtf8},
      {metric_frame(0, kGood0 + text_field(6, "\x80")), bad::kUtf8},
      {metric_frame(0, kGood0 + pair_field(7, "k", "\xFE")), bad::kUtf8},
      {metric_frame(0, text_field(3, std::string(kMaxKey + 1, 'k')) + double_field(4, 1)), bad::kTooLong},
      {metric_frame(0, kGood0 + text_field(5, text)), bad::kTooLong},
      {metric_frame(1, text_field(3, "k") + text_field(7, text_field(2, std::string(kMaxOpaque + 1, 'd')))),
       bad::kTooLong},
      {metric_frame(0, kGood0 + many(text_field(6, "t"), kMaxTags + 1)), bad::kTooManyTags},
  };
  std::string good = metric_frame(0, kGood0 + text_field(6, "a") + pair_field(7, "b", "c"));
  for (const Row& row : rows) {
    INFO(&row - rows << " " << row.reason);
    Points points;
    std::string datagram = good + row.datagram + good;  // which the points look into
    decode_protobuf(datagram, points);
    CHECK(show(points) ==
          Lines{"metric k a= b=c 1.5f 0", "metric k a= b=c 1.5f 0", fmt::format("!{}", row.reason)});
    CHECK(points.tags.size() + points.pairs.size() == 4);  // nothing of it is left
  }
}
