#include "source/statsd/stream_framer.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "source/statsd/parser.h"
#include "support/catch.h"

using namespace runnel::statsd;

namespace {

using Framing = StreamFramer::Framing;
constexpr size_t kMaxLine = StreamFramer::kMaxLine;

// What came out, in order: "line" or "reason!beginning". Empty lines are nothing.
struct Record {
  std::vector<std::string> seen;
  bool broken = false;
  StreamFramer::Out out{[this](std::string_view payload) {
                          while (!payload.empty()) {
                            size_t end = payload.find('\n');
                            if (end != 0) seen.emplace_back(payload.substr(0, end));
                            payload.remove_prefix(end == std::string_view::npos ? payload.size() : end + 1);
                          }
                        },
                        [this](std::string_view reason, std::string_view bytes) {
                          seen.push_back(fmt::format("{}!{}", reason, bytes));
                        }};
};

// `cuts`: where a new feed begins, rising.
std::vector<std::string> run(Framing framing, std::string_view bytes, const std::vector<size_t>& cuts) {
  Record record;
  StreamFramer framer(framing);
  size_t at = 0;
  bool good = true;
  for (size_t i = 0; i <= cuts.size() && good; i++) {
    size_t end = i < cuts.size() ? cuts[i] : bytes.size();
    // A copy of its own, so that a view kept too long is seen by the sanitizers.
    std::string piece(bytes.substr(at, end - at));
    good = framer.feed(piece, record.out);
    at = end;
  }
  if (!good) record.seen.emplace_back("broken");
  framer.finish(record.out);
  CHECK(framer.held_bytes() <= StreamFramer::kKeep);
  return record.seen;
}

std::string frame(std::string_view payload) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(payload.size() >> shift & 255);
  return bytes.append(payload);
}

void same_however_split(Framing framing, const std::string& bytes, std::mt19937& random) {
  auto whole = run(framing, bytes, {});
  if (bytes.size() < 200)
    for (size_t cut = 0; cut <= bytes.size(); cut++) REQUIRE(run(framing, bytes, {cut}) == whole);
  std::vector<size_t> all;
  if (bytes.size() < 5000)
    for (size_t cut = 1; cut < bytes.size(); cut++) all.push_back(cut);
  REQUIRE(run(framing, bytes, all) == whole);
  for (int i = 0; i < 5; i++) {
    std::vector<size_t> cuts;
    for (size_t n = random() % 8; n > 0; n--) cuts.push_back(random() % (bytes.size() + 1));
    std::sort(cuts.begin(), cuts.end());
    REQUIRE(run(framing, bytes, cuts) == whole);
  }
}

}  // namespace

TEST_CASE("lines of a stream") {
  std::string longest(kMaxLine, 'a'), longer(kMaxLine + 1, 'b');
  std::string shown(StreamFramer::kMaxShown, 'b');
  struct {
    std::string bytes;
    std::vector<std::string> seen;
  } rows[] = {
      {"", {}},
      {"\n\n", {}},
      {"a:1|c\n", {"a:1|c"}},
      {"a:1|c\r\n", {"a:1|c\r"}},
      {"a\n\nb\n", {"a", "b"}},
      {"a\nb", {"a", "unterminated!b"}},
      {"b", {"unterminated!b"}},
      {longest + "\n", {longest}},
      {longest, {"unterminated!" + std::string(StreamFramer::kMaxShown, 'a')}},
      {longer + "\n", {"too_long!" + shown}},
      {longer, {"too_long!" + shown}},
      {longer + longer + "\nc\n", {"too_long!" + shown, "c"}},
      {"x\n" + longer + "\ny\n" + longer + "\nz",
       {"x", "too_long!" + shown, "y", "too_long!" + shown, "unterminated!z"}},
      {longest + "\n" + longest + "\n" + longer + "\n" + longest + "\n",
       {longest, longest, "too_long!" + shown, longest}},
  };
  std::mt19937 random(1);
  for (const auto& row : rows) {
    CHECK(run(Framing::lines, row.bytes, {}) == row.seen);
    same_however_split(Framing::lines, row.bytes, random);
  }
}

TEST_CASE("frames of a stream") {
  std::string largest(StreamFramer::kMaxFrame, 'a');
  struct {
    std::string bytes;
    std::vector<std::string> seen;
  } rows[] = {
      {"", {}},
      {frame(""), {}},
      {frame("a:1|c"), {"a:1|c"}},
      {frame("a\nb\n") + frame("") + frame("c"), {"a", "b", "c"}},
      {frame(largest), {largest}},
      {std::string("\x03"), {std::string("unterminated!\x03")}},
      {frame("abc").substr(0, 4), {"unterminated!"}},
      {frame("abc").substr(0, 6), {"unterminated!ab"}},
      {frame("x") + std::string("\x01\x00\x10\x00z", 5),
       {"x", std::string("bad_frame!\x01\x00\x10\x00", 14), "broken"}},
      {"\xff\xff\xff\xff" + frame("x"), {"bad_frame!\xff\xff\xff\xff", "broken"}},
      {"a:1|c\n", {"bad_frame!a:1|", "broken"}},  // a peer that speaks lines
  };
  std::mt19937 random(2);
  for (const auto& row : rows) {
    CHECK(run(Framing::frames, row.bytes, {}) == row.seen);
    same_however_split(Framing::frames, row.bytes, random);
  }
}

TEST_CASE("however a stream is split, the same comes out") {
  std::mt19937 random(3);
  for (int round = 0; round < 300; round++) {
    std::string lines, frames;
    for (size_t n = random() % 60; n > 0; n--) lines += "a:|\r\n\n\xff"[random() % 7];
    for (size_t n = random() % 8; n > 0; n--) {
      std::string payload;
      for (size_t m = random() % 12; m > 0; m--) payload += "ab\n"[random() % 3];
      frames += frame(payload);
    }
    frames.resize(frames.size() - std::min<size_t>(frames.size(), random() % 4));
    if (round % 20 == 0)
      frames +=
          "\xff\xff\xff\xff"
          "abc";
    if (round % 20 == 0)
      lines.insert(random() % (lines.size() + 1), std::string(kMaxLine - 2 + random() % 5, 'c'));
    same_however_split(Framing::lines, lines, random);
    same_however_split(Framing::frames, frames, random);
    same_however_split(Framing::frames, lines, random);
  }
}

TEST_CASE("a framer holds no more than has come, and lets go of it") {
  Record record;
  StreamFramer frames(Framing::frames), lines(Framing::lines);
  CHECK(frames.feed(std::string("\x00\x00\x10\x00"
                                "abc",
                                7),
                    record.out));
  CHECK(frames.held_bytes() < 64);
  CHECK(frames.feed(std::string((1 << 20) - 3, 'x'), record.out));
  CHECK(frames.held_bytes() <= StreamFramer::kKeep);
  std::string more(1000, 'x');
  for (int i = 0; i < 200; i++) {
    CHECK(lines.feed(more, record.out));
    CHECK(lines.held_bytes() <= 2 * kMaxLine);
  }
  CHECK(lines.held_bytes() <= StreamFramer::kKeep);
  CHECK(lines.feed("\n" + more, record.out));
  CHECK(lines.feed("\n", record.out));
  CHECK(lines.held_bytes() <= StreamFramer::kKeep);
}

TEST_CASE("a broken stream says so once") {
  Record record;
  StreamFramer framer(Framing::frames);
  CHECK_FALSE(framer.feed("\xff\xff\xff\xff", record.out));
  CHECK_FALSE(framer.feed(frame("a"), record.out));
  framer.finish(record.out);
  CHECK(record.seen == std::vector<std::string>{"bad_frame!\xff\xff\xff\xff"});
}
