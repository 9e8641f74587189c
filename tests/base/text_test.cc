#include "base/text.h"

#include "support/catch.h"

using namespace runnel;

TEST_CASE("durations and sizes read back what they print") {
  struct {
    const char* text;
    int64_t ms;
  } good[] = {{"500ms", 500},    {"10s", 10'000},    {"5m", 300'000}, {"1.5s", 1500},
              {"2h", 7'200'000}, {"1d", 86'400'000}, {"0", 0}};
  for (auto& row : good) {
    INFO(row.text);
    auto parsed = parse_duration_ms(row.text);
    REQUIRE(parsed.ok());
    CHECK(*parsed == row.ms);
    CHECK(*parse_duration_ms(format_duration(row.ms)) == row.ms);
  }
  for (const char* bad : {"", "10", "s", "10 parsecs", "-1s", "1e3s", "99999999999999d", "10ss"}) {
    INFO(bad);
    CHECK_FALSE(parse_duration_ms(bad).ok());
  }
  CHECK(*parse_size("64KiB") == 65536);
  CHECK(*parse_size("8MiB") == 8 << 20);
  CHECK(*parse_size("1kB") == 1000);
  CHECK(*parse_size("512") == 512);
  for (const char* bad : {"", "KiB", "8MB/s", "-1", "1PiBB", "99999999999999999999"})
    CHECK_FALSE(parse_size(bad).ok());
  for (int64_t n : {0L, 1L, 1000L, 1024L, 65536L, 1L << 30}) CHECK(*parse_size(format_size(n)) == n);
}

TEST_CASE("numbers are finite and whole") {
  CHECK(parse_double("1.5") == 1.5);
  CHECK(parse_double("+3") == 3.0);
  CHECK(parse_double("1e3") == 1000.0);
  CHECK(parse_double("1e-400") == 0.0);
  CHECK(parse_double("-0.25") == -0.25);
  for (const char* bad : {"", "+", "-", "nan", "NaN", "inf", "-inf", "infinity", "1e400", "-1e400", "1.5x",
                          " 1", "0x10", "+-1", "++1", "1,5"}) {
    INFO(bad);
    CHECK_FALSE(parse_double(bad).has_value());
  }
  CHECK(parse_int("-9223372036854775808") == INT64_MIN);
  CHECK_FALSE(parse_int("9223372036854775808").has_value());
  CHECK_FALSE(parse_uint("-1").has_value());
}

TEST_CASE("hostile bytes are escaped and UTF-8 is left alone") {
  CHECK(escape_control("a\nb\x01\x7f") == "a\\nb\\x01\\x7f");
  CHECK(escape_control("grün") == "grün");
  CHECK(escape_control("\xff\xc0\x80") == "\\xff\\xc0\\x80");
  CHECK(escape_control("\xed\xa0\x80") == "\\xed\\xa0\\x80");  // a surrogate
  CHECK(escape_control("a\xc2\x9b b\xe2\x80\xae c") ==
        "a\\xc2\\x9b b\\xe2\\x80\\xae c");  // CSI, right-to-left
  CHECK(escape_control("naïve — “é”") == "naïve — “é”");
  CHECK(excerpt("say \"a\\b\"\n") == "say \\\"a\\\\b\\\"\\n");
  CHECK(valid_utf8("grün € 😀"));
  for (const char* bad :
       {"\xff", "\xc3", "\xe2\x82", "\xf0\x9f\x98", "\xf4\x90\x80\x80", "\xc0\xaf", "\xe0\x80\xaf"})
    CHECK_FALSE(valid_utf8(bad));
  CHECK(excerpt(std::string(200, 'x'), 10) == "xxxxxxxxxx…");
}

TEST_CASE("the nearest key is offered only for a slip of the hand") {
  std::vector<std::string> keys{"interval", "timeout", "user", "dir"};
  CHECK(nearest("intervall", keys) == "interval");
  CHECK(nearest("tiemout", keys) == "timeout");
  CHECK(nearest("sure", keys) == "");
  CHECK(nearest("uesr", keys) == "user");  // neighbours swapped are one slip
  CHECK(nearest("idr", keys) == "dir");
  CHECK(nearest("", keys) == "");
  CHECK(nearest("completely", keys) == "");
}

TEST_CASE("doubles print so that they read back the same") {
  for (double d : {0.1, 1e300, -2.5, 8.16496580927726, 1e15, 123456789.0, 5e-324}) {
    std::string text;
    append_double(text, d);
    INFO(text);
    CHECK(parse_double(text) == d);
  }
  std::string text;
  append_double(text, 1000000);
  CHECK(text == "1000000");
}
