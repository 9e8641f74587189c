// The stream's framing and the answers.
#include "source/riemann/framer.h"

#include "source/riemann/reply.h"
#include "support/catch.h"
#include "wire.h"

using namespace runnel::riemann;
using namespace std::string_literals;

namespace {

constexpr size_t kMax = 1000;

struct Cut {
  std::vector<std::string> messages;
  std::string_view wrong;
  bool partial = false;
};

Cut cut(std::string_view bytes, size_t piece) {
  Cut result;
  Framer framer;
  while (!bytes.empty() && result.wrong.empty()) {
    std::string copy(bytes.substr(0, piece));  // its own memory: a view kept too long is found
    bytes.remove_prefix(copy.size());
    result.wrong = framer.feed(copy, kMax, [&](std::string_view m) { result.messages.emplace_back(m); });
  }
  result.partial = framer.partial();
  return result;
}

}  // namespace

TEST_CASE("a stream is cut the same however it arrives") {
  std::string big(kMax, 'b');
  struct Row {
    std::string bytes;
    std::vector<std::string> messages;
    std::string_view wrong;
    bool partial;
  } rows[] = {
      {"", {}, "", false},
      {framed("a"), {"a"}, "", false},
      {framed("a") + framed(big) + framed("c"), {"a", big, "c"}, "", false},
      {framed("abc").substr(0, 3), {}, "", true},
      {framed("abc").substr(0, 6), {}, "", true},
      {framed("a") + "\0\0"s, {"a"}, "", true},
      {framed("a") + "\0\0\0\0"s, {"a"}, "empty_frame", false},
      {framed("a") + framed(big + "x"), {"a"}, "frame_too_large", false},
      {"\x80\0\0\0"s, {}, "frame_too_large", false},
      {"\xFF\xFF\xFF\xFF"s, {}, "frame_too_large", false},
      {"GET / HTTP/1.1\r\n", {}, "frame_too_large", false},
  };
  for (const Row& row : rows)
    for (size_t piece : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, size_t{100}, size_t{100'000}}) {
      INFO(&row - rows << " in pieces of " << piece);
      Cut found = cut(row.bytes, piece);
      CHECK(found.messages == row.messages);
      CHECK(found.wrong == row.wrong);
      if (row.wrong.empty()) CHECK(found.partial == row.partial);
    }
}

TEST_CASE("memory grows with what came, not with what was announced") {
  auto ignore = [](std::string_view) {};
  Framer framer;
  CHECK(framer.held_bytes() == 0);
  CHECK(framer.feed(std::string("\x00\x0F\xFF\xFF", 4), 1 << 20, ignore) == "");
  CHECK(framer.held_bytes() < 100);
  CHECK(framer.feed(std::string(10'000, 'x'), 1 << 20, ignore) == "");
  CHECK(framer.held_bytes() <= 2 * 10'004);
  CHECK(framer.feed(std::string(0xFFFFF - 10'000, 'x'), 1 << 20, ignore) == "");
  CHECK(framer.held_bytes() <= Framer::kKeep);
  CHECK_FALSE(framer.partial());
}

TEST_CASE("answers are those that every client understands") {
  std::string out;
  append_ok(out);
  CHECK(out == "\x00\x00\x00\x02\x10\x01"s);
  append_error(out, "no index");
  CHECK(out.substr(6) == "\x00\x00\x00\x0C\x10\x00\x1A\x08no index"s);
  std::string cut;
  append_error(cut, std::string(5'000, 'x'));
  CHECK(cut.size() == 4 + 2 + 1 + 2 + kMaxErrorText);
  CHECK(cut.substr(0, 4) == "\x00\x00\x03\xED"s);
}
