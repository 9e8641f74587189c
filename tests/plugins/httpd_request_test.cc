// What the HTTP module reads of a request: the headers that say where its body ends, and the body.
#include <string>
#include <utility>
#include <vector>

#include "body.h"
#include "framing.h"
#include "support/catch.h"
#include "support/gzip.h"

using namespace runnel_httpd_module;
using runnel::test::gzip;
using namespace std::string_literals;

namespace {

constexpr size_t kMax = 1 << 20;

// The text, or "!" and why it is none.
std::string read(const std::string& bytes, bool is_gzip, size_t piece, size_t max = kMax) {
  Body body;
  if (is_gzip) REQUIRE(body.begin_gzip());
  for (size_t at = 0; at < bytes.size(); at += piece) {
    std::string wrong = body.add(std::string_view(bytes).substr(at, piece), max);
    CHECK(body.text().size() <= max);
    if (!wrong.empty()) return "!" + wrong;
  }
  std::string wrong = body.finish();
  return wrong.empty() ? body.text() : "!" + wrong;
}

// Hardly to be compressed.
std::string noise(size_t size) {
  std::string text;
  uint32_t state = 1;
  while (text.size() < size) {
    state = state * 1664525 + 1013904223;
    text += static_cast<char>(state >> 24);
  }
  return text;
}

}  // namespace

TEST_CASE("where a body ends and how it is coded") {
  using Headers = std::vector<std::pair<std::string, std::string>>;
  struct Row {
    Headers headers;
    std::string refusal;  // "gzip": none, and it is
    unsigned status = 0;
  } rows[] = {
      {{}, ""},
      {{{"Host", "x"}, {"Content-Type", "text/plain"}, {"X-Content-Length", "x"}}, ""},
      {{{"Content-Length", "0"}}, ""},
      {{{"content-length", "1048576"}}, ""},
      {{{"Content-Length", " 5\t"}}, ""},
      {{{"Content-Length", "1048577"}}, "body_too_large", 413},
      {{{"Content-Length", "99999999999999999999999"}}, "body_too_large", 413},
      {{{"Content-Length", ""}}, "bad_request", 400},
      {{{"Content-Length", "-1"}}, "bad_request", 400},
      {{{"Content-Length", "+1"}}, "bad_request", 400},
      {{{"Content-Length", "5, 5"}}, "bad_request", 400},
      {{{"Content-Length", "0x5"}}, "bad_request", 400},
      {{{"Content-Length", "5"}, {"CONTENT-LENGTH", "5"}}, "bad_request", 400},
      {{{"Content-Length", "5"}, {"Content-Length", "6"}}, "bad_request", 400},
      {{{"Transfer-Encoding", "chunked"}}, ""},
      {{{"Transfer-Encoding", " Chunked "}}, ""},
      {{{"Transfer-Encoding", "chunked"}, {"Content-Length", "5"}}, "bad_request", 400},
      {{{"Content-Length", "5"}, {"Transfer-Encoding", "gzip"}}, "bad_request", 400},
      {{{"Transfer-Encoding", "chunked"}, {"Transfer-Encoding", "chunked"}}, "bad_request", 400},
      {{{"Transfer-Encoding", "gzip, chunked"}}, "transfer_encoding", 501},
      {{{"Transfer-Encoding", "xchunked"}}, "transfer_encoding", 501},
      {{{"Transfer-Encoding", ""}}, "transfer_encoding", 501},
      {{{"Content-Encoding", "gzip"}}, "gzip"},
      {{{"content-encoding", "X-GZip "}}, "gzip"},
      {{{"Content-Encoding", "Identity"}}, ""},
      {{{"Content-Encoding", ""}}, ""},
      {{{"Content-Encoding", "deflate"}}, "content_encoding", 415},
      {{{"Content-Encoding", "gzip, gzip"}}, "content_encoding", 415},
      {{{"Content-Encoding", "gzip"}, {"Content-Encoding", "gzip"}}, "content_encoding", 415},
  };
  for (const Row& row : rows) {
    Framing framing;
    std::string shown;
    for (const auto& [name, value] : row.headers) {
      framing.header(name, value);
      shown += name + ": " + value + "; ";
    }
    INFO(shown);
    Framing::Judgement judgement = framing.judge(kMax);
    CHECK((judgement.gzip ? "gzip" : judgement.refusal) == row.refusal);
    CHECK(judgement.status == row.status);
  }
}

TEST_CASE("bodies, whole and in pieces") {
  std::string text;
  for (int i = 0; i < 500; i++) text += "{\"key\":\"key-" + std::to_string(i) + "\"},";
  std::string good = gzip(text);
  struct Row {
    std::string bytes;
    bool is_gzip;
    std::string wanted;
  } rows[] = {
      {"", false, ""},
      {text, false, text},
      {good, true, text},
      {gzip(text, 0), true, text},
      {gzip(""), true, ""},
      {gzip("a") + gzip("") + gzip("b"), true, "ab"},
      {gzip(noise(100'000)), true, noise(100'000)},
      {"", true, "!bad_gzip"},
      {"x", true, "!bad_gzip"},
      {text, true, "!bad_gzip"},
      {good.substr(0, good.size() - 1), true, "!bad_gzip"},
      {good.substr(0, 5), true, "!bad_gzip"},
      {good + "more", true, "!bad_gzip"},
      {good + '\0', true, "!bad_gzip"},
      {good.substr(0, good.size() - 8) + "\1\2\3\4" + good.substr(good.size() - 4), true,
       "!bad_gzip"},                                                // its CRC
      {good.substr(0, good.size() - 1) + "\1", true, "!bad_gzip"},  // its length
  };
  for (const Row& row : rows)
    for (size_t piece : {size_t{1}, size_t{7}, size_t{4096}, size_t{1} << 30}) {
      INFO(row.bytes.size() << " bytes in pieces of " << piece);
      CHECK((read(row.bytes, row.is_gzip, piece) == row.wanted));
    }
}

TEST_CASE("a body is bounded as it comes and inflated, and in what a byte becomes") {
  for (size_t piece : {size_t{1}, size_t{1000}, size_t{1} << 30}) {
    INFO("pieces of " << piece);
    CHECK((read(noise(1000), false, piece, 1000) == noise(1000)));
    CHECK(read(noise(1001), false, piece, 1000) == "!body_too_large");
    CHECK((read(gzip(noise(100'000)), true, piece, 101'000) == noise(100'000)));
    CHECK(read(gzip(noise(100'000)), true, piece, 99'999) == "!body_too_large");
    CHECK(read(gzip(std::string(5000, 'x')), true, piece, 4999) == "!body_too_large");
    std::string empty;
    for (int i = 0; i < 1000; i++) empty += gzip("");
    CHECK(read(empty, true, piece, empty.size()) == "");
    CHECK(read(empty, true, piece, empty.size() - 1) == "!body_too_large");
    // Up to kFree whatever it was, beyond that kMaxRatio.
    std::string zeros(Body::kFree, '\0');
    CHECK((read(gzip(zeros), true, piece) == zeros));
    CHECK(read(gzip(zeros + '\0'), true, piece) == "!gzip_ratio");
    CHECK(read(gzip(std::string(64 << 20, '\0')), true, piece, size_t{1} << 30) == "!gzip_ratio");
  }
}
