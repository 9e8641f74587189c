// The fast way of a line whose series is known, and numbers: whatever they take, the slow way takes the same.
#include "source/statsd/line_scan.h"

#include <fmt/format.h>

#include <bit>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

#include "samples.h"
#include "support/catch.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

std::string mutated(std::minstd_rand& random) {
  static const char* const kSeeds[] = {
      "a.b:1|c|@0.1|#k:v,bare", "a.b:1:2:3|h",      "a.b:1|c:2|ms",     "a.b:7|s",
      "a.b:-1|g|T1|c:x",        "a.b:1.5|c",        "a.b:+2.25|g|#k:v", "a.b:12|ms|#k:v|@0.5",
      "a.b:3|c|c:ci-1|e:it",    "a.b:1|d|card:low", "a.b:1|c|#k:v\r",   "a.b:9007199254740993|c"};
  std::string line = kSeeds[random() % std::size(kSeeds)];
  for (uint32_t n = random() % 4; n-- > 0 && !line.empty();) {
    size_t at = random() % line.size();
    switch (random() % 4) {
      case 0:
        line[at] = static_cast<char>(random());
        break;
      case 1:
        line.erase(at, 1);
        break;
      case 2:
        line.insert(at, 1, ":|#@,+-.cghdms0123T\r"[random() % 20]);
        break;
      default:
        line.insert(at, line.substr(random() % line.size(), random() % 6));
        break;
    }
  }
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

std::string last_verdict(Aggregator& aggregator, std::string_view payload) {
  std::string verdict = "none";
  uint64_t refused = 0;
  auto counts = aggregator.add_lines(payload, [&](const Aggregator::Judgement& judgement, std::string_view) {
    refused += judgement.verdict != Aggregator::Verdict::forwarded;
    verdict = text_of(judgement);
  });
  REQUIRE(counts.received == counts.accepted + refused);
  return counts.accepted > 0 ? "accepted " : verdict;
}

// The caller's part of add_lines(), for add().
std::string_view without_line_end(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::vector<std::string> everything(Aggregator& aggregator) {
  std::vector<std::string> lines = flushed(aggregator);
  for (const std::string& line : texts_of(aggregator.direct())) lines.push_back("direct " + line);
  for (const Event& event : aggregator.direct().events)
    lines.push_back("event " + std::string(aggregator.direct().view(event.series).name()));
  aggregator.direct() = Batch("statsd");
  return lines;
}

// Bit by bit; what underflows to 0 may lose its sign.
bool same_double(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b) || (a == 0 && b == 0);
}

AggregatorOptions options_of(int variant) {
  AggregatorOptions options;
  options.keys.origin_tags = variant == 1;
  options.keys.sanitize = variant == 2;
  options.absolute_gauges = variant == 3;
  options.forwards_gauges = variant == 4;
  return options;
}

}  // namespace

TEST_CASE("the fast way and the slow way of a line agree") {
  for (int variant = 0; variant < 5; variant++) {
    Aggregator fast(options_of(variant)), slow(options_of(variant));
    std::minstd_rand random(static_cast<unsigned>(17 + variant));
    size_t accepted = 0;
    for (int i = 0; i < 60'000; i++) {
      std::string line = mutated(random);
      INFO("variant " << variant << ": " << escape_control(line));
      // The second time its series is known, if it is any good.
      for (int time = 0; time < 2; time++) {
        std::string a = last_verdict(fast, line);
        std::string_view bare = without_line_end(line);
        std::string b = bare.empty() ? "none" : text_of(slow.add(bare));
        REQUIRE(a == b);
        accepted += a == "accepted ";
      }
      if (i % 8 == 0) REQUIRE(everything(fast) == everything(slow));
    }
    REQUIRE(everything(fast) == everything(slow));
    CHECK(accepted > 20'000);
  }
}

TEST_CASE("lines at the limit of lengths are judged alike on both ways") {
  std::string half(Parser::kMaxKey / 2, 'k'), whole(Parser::kMaxKey, 'k');
  std::string lines[] = {"a:1|c",
                         "a:1|c|c:" + whole,
                         "a:1|c|e:" + whole,
                         "a:1|c|c:" + half + "|e:" + half,
                         half + ":1|c|#" + half,
                         half + ":1|c|#" + half + "|c:x",
                         "a:1|c|card:" + whole,
                         "a:1|c|#" + half + "|c:" + half};
  for (int variant = 0; variant < 2; variant++)
    for (const std::string& line : lines) {
      Aggregator fast(options_of(variant)), slow(options_of(variant));
      for (const std::string& known : {std::string("a:1|c"), half + ":1|c|#" + half, "a:1|c|#" + half})
        fast.add(known), slow.add(known);
      INFO(excerpt(line) << " variant " << variant);
      CHECK(last_verdict(fast, line) == text_of(slow.add(line)));
      CHECK(everything(fast) == everything(slow));
    }
}

TEST_CASE("payloads of several lines are their lines, however they end and wherever they are cut") {
  std::minstd_rand random(23);
  Aggregator one({}), whole({}), pieces({});
  for (int round = 0; round < 5'000; round++) {
    std::vector<std::string> lines;
    for (auto n = random() % 12; n > 0; n--) lines.push_back(random() % 8 == 0 ? "" : mutated(random));
    // What ends with a '\r' gets another one where the line end is "\r\n": the first then is part of the line.
    std::string payload, piece;
    std::string verdicts[3];
    auto note = [](std::string& to) {
      return [&to](const Aggregator::Judgement& judgement, std::string_view line) {
        to += fmt::format("{}: {}\n", text_of(judgement), line);
      };
    };
    for (size_t i = 0; i < lines.size(); i++) {
      bool last = i + 1 == lines.size(), crlf = random() % 2 == 0;
      std::string_view bare = crlf ? std::string_view(lines[i]) : without_line_end(lines[i]);
      if (!bare.empty())
        if (auto judgement = one.add(bare); judgement.verdict != Aggregator::Verdict::accepted)
          note(verdicts[0])(judgement, bare);
      std::string text = lines[i] + (crlf ? "\r" : "") + (last && random() % 2 == 0 ? "" : "\n");
      payload += text;
      piece += text;
      if (random() % 3 == 0 || last) {
        pieces.add_lines(piece, note(verdicts[2]));
        piece.clear();
      }
    }
    whole.add_lines(payload, note(verdicts[1]));
    INFO(escape_control(payload));
    REQUIRE(verdicts[1] == verdicts[0]);
    REQUIRE(verdicts[2] == verdicts[0]);
    if (round % 16 != 0) continue;
    auto wanted = everything(one);
    REQUIRE(everything(whole) == wanted);
    REQUIRE(everything(pieces) == wanted);
  }
}

// Behind `end` stands what would make another number, line or field of it.
TEST_CASE("nothing beyond the end is looked at") {
  const char* lines[] = {"a:1|c", "a:1.5|g", "a:1|ms", "a:1|c|@0.5", "a:1|c|#k:v", "a:1|c|c:x", "a:1|c\r"};
  for (const char* line : lines)
    for (std::string_view behind : {"0|c", ".5|c", "s", "|@0.1", "#k:w", "\n", "\r\n", "9"}) {
      std::string longer = std::string(line).append(behind);
      for (size_t n = 0; n <= std::strlen(line); n++) {
        std::unique_ptr<char[]> alone(new char[n]);  // exactly as long: AddressSanitizer watches
        std::memcpy(alone.get(), longer.data(), n);
        INFO(longer << " cut at " << n);
        auto scan = [n](const char* p, LineHead& head, LineFields& fields) {
          const char* end = p + n;
          if (!scan_head(p, end, head)) return false;
          fields.next = end;
          return head.after == end || *head.after == '\n' || scan_fields(head.after, end, fields);
        };
        LineHead a, b;
        LineFields a_fields, b_fields;
        bool first = scan(alone.get(), a, a_fields), second = scan(longer.data(), b, b_fields);
        REQUIRE(first == second);
        if (!first) continue;
        CHECK(std::string_view(a.name, a.name_size) == std::string_view(b.name, b.name_size));
        CHECK(a.type == b.type);
        CHECK(a.number == b.number);
        CHECK(a_fields.tags == b_fields.tags);
        CHECK(a_fields.rate == b_fields.rate);
        CHECK(a_fields.next == alone.get() + n);
      }
    }
}

TEST_CASE("numbers are those of strtod and strtoll, bit by bit") {
  std::minstd_rand random(5);
  size_t integers = 0, decimals = 0;
  for (int i = 0; i < 400'000; i++) {
    std::string text;
    if (random() % 3 == 0) text += "+-"[random() % 2];
    auto digits = [&](uint32_t most) {
      for (auto n = random() % (most + 1); n > 0; n--)
        text += random() % 4 == 0 ? '0' : static_cast<char>('0' + random() % 10);
    };
    digits(random() % 4 == 0 ? 25 : 12);
    if (random() % 2 == 0) text += '.', digits(random() % 4 == 0 ? 25 : 8);
    if (random() % 8 == 0)
      text += "eE"[random() % 2], text += fmt::format("{}{}", random() % 2 == 0 ? "-" : "", random() % 330);
    bool exponent = text.find_first_of("eE") != std::string::npos;
    INFO(text);
    char* end = nullptr;
    errno = 0;
    double wanted = std::strtod(text.c_str(), &end);
    bool is_number = text.find_first_of("0123456789") < text.find_first_of("eE") && *end == '\0';
    // Ours: what would be infinite is none; what is too near to 0 is 0.
    bool out = errno == ERANGE && std::isinf(wanted);
    Number got;
    bool taken = read_number(text, got);
    REQUIRE(taken == (is_number && !out));
    if (!taken) continue;
    if (got.is_integer()) {
      errno = 0;
      long long integer = std::strtoll(text.c_str(), &end, 10);
      REQUIRE(errno == 0);
      REQUIRE(*end == '\0');
      REQUIRE(got.as_integer() == integer);
      integers++;
    } else {
      REQUIRE(same_double(got.as_double(), wanted));
      decimals++;
    }
    // The fast part: as far as it goes, the same.
    Number fast;
    const char* stop = scan_number(text.data(), text.data() + text.size(), fast);
    if (stop == nullptr || exponent) continue;
    REQUIRE(stop == text.data() + text.size());
    REQUIRE(fast.is_integer() == got.is_integer());
    REQUIRE(fast == got);
  }
  CHECK(integers > 50'000);
  CHECK(decimals > 50'000);
}

TEST_CASE("numbers at their edges") {
  struct {
    const char* text;
    bool integer;
    double value;
  } rows[] = {
      {"0", true, 0},
      {"-0", true, 0},
      {"+7", true, 7},
      {"007", true, 7},
      {"1.", false, 1},
      {".5", false, .5},
      {"-.5", false, -.5},
      {"-0.0", false, -0.0},
      {"1e3", false, 1000},
      {"1E-3", false, .001},
      {"+1e3", false, 1000},
      {"999999999999999999", true, 999999999999999999.0},
      {"9223372036854775807", true, 9223372036854775807.0},
      {"-9223372036854775808", true, -9223372036854775808.0},
      {"+9223372036854775807", true, 9223372036854775807.0},
      {"9223372036854775808", false, 9223372036854775808.0},
      {"-9223372036854775809", false, -9223372036854775809.0},
      {"123456789012.345", false, 123456789012.345},
      {"0.000000000000001", false, 1e-15},
      {"0.30000000000000004", false, 0.30000000000000004},
      {"8.5070591730234615865843651857942052864e37", false, 8.5070591730234616e37},
  };
  for (const auto& row : rows) {
    INFO(row.text);
    Number number;
    REQUIRE(read_number(row.text, number));
    CHECK(number.is_integer() == row.integer);
    CHECK(std::bit_cast<uint64_t>(number.as_double()) == std::bit_cast<uint64_t>(row.value));
  }
  for (const char* text :
       {"",      "+",   "-",  ".",  "-.",   "+-5", "-+5", "++5",  "--5",      "e5",    "1e",  "1e+", ".e1",
        "1.2.3", "1,5", " 1", "1 ", "0x10", "nan", "inf", "-inf", "infinity", "1e309", "1_0", "１"}) {
    INFO(text);
    Number number;
    CHECK_FALSE(read_number(text, number));
  }
}
