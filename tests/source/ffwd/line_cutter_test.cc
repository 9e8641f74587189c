// Streams cut into lines, however the bytes come.
#include "source/ffwd/line_cutter.h"

#include "support/catch.h"

using namespace runnel::ffwd;

using Lines = std::vector<std::string>;

namespace {

// What comes out, too long lines as "!", where the bytes come in pieces of `step`.
Lines cut(const std::string& bytes, size_t step, LineCutter& cutter) {
  Lines lines;
  LineCutter::Out out{[&](std::string_view line) { lines.emplace_back(line); },
                      [&] { lines.emplace_back("!"); }};
  for (size_t at = 0; at < bytes.size(); at += step)
    cutter.feed(std::string_view(bytes).substr(at, step), out);
  return lines;
}

}  // namespace

TEST_CASE("the same lines come out however the bytes are split") {
  std::string longest(LineCutter::kMaxLine, 'x'), too_long = longest + "x";
  struct Row {
    std::string bytes;
    Lines lines;
    bool partial;
  } rows[] = {
      {"", {}, false},
      {"a\n", {"a"}, false},
      {"a\nb\nc", {"a", "b"}, true},
      {"\n\n", {"", ""}, false},
      {"a\r\nb\n", {"a\r", "b"}, false},
      {std::string("a\0b\n", 4), {std::string("a\0b", 3)}, false},
      {longest + "\nb\n", {longest, "b"}, false},
      {too_long + "\nb\n", {"!", "b"}, false},
      {too_long + too_long + "\n" + too_long, {"!", "!"}, false},
      {"a\n" + too_long + "tail", {"a", "!"}, false},
  };
  for (const Row& row : rows)
    for (size_t step : {size_t{1}, size_t{3}, size_t{1000}, size_t{65536}, size_t{1} << 20}) {
      INFO(&row - rows << " in steps of " << step);
      LineCutter cutter;
      CHECK(cut(row.bytes, step, cutter) == row.lines);
      CHECK(cutter.partial() == row.partial);
    }
}

TEST_CASE("a line that is over gives its memory back") {
  LineCutter cutter;
  CHECK(cutter.held_bytes() == 0);
  CHECK(cut(std::string(50'000, 'x'), 1000, cutter).empty());
  CHECK(cutter.held_bytes() >= 50'000);
  CHECK(cut("\n", 1, cutter).size() == 1);
  CHECK(cutter.held_bytes() == 0);
}
