#include "output/compress.h"

#include <zlib.h>
#include <zstd.h>

#include <random>

#include "output/records.h"
#include "support/catch.h"

using namespace runnel;

namespace {

// Readers of their own: a stream of members or frames, as a file of payloads is.
std::string gunzip(const std::string& in) {
  std::string out(1 << 24, '\0');
  z_stream stream{};
  REQUIRE(inflateInit2(&stream, 15 + 16) == Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  stream.avail_in = static_cast<uInt>(in.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  while (stream.avail_in > 0) {
    REQUIRE(inflate(&stream, Z_FINISH) == Z_STREAM_END);
    REQUIRE(inflateReset(&stream) == Z_OK);
  }
  out.resize(out.size() - stream.avail_out);
  inflateEnd(&stream);
  return out;
}

std::string unzstd(const std::string& in) {
  std::string out(1 << 24, '\0');
  size_t size = ZSTD_decompress(out.data(), out.size(), in.data(), in.size());
  REQUIRE_FALSE(ZSTD_isError(size));
  out.resize(size);
  return out;
}

std::string decompress(std::string_view name, const std::string& in) {
  return name == "gzip" ? gunzip(in) : name == "zstd" ? unzstd(in) : in;
}

}  // namespace

TEST_CASE("what is compressed decompresses, at every level, one by one and joined") {
  std::mt19937 random(3);
  std::string noise(300'000, '\0'), repeats;
  for (char& c : noise) c = static_cast<char>(random());
  Batch batch = test::everything();
  std::string text = test::encode(*find_encoder("json")->make(), batch);
  while (repeats.size() < 3'000'000) repeats += text;  // larger than the window
  for (const CompressionInfo& info : compressions()) {
    for (int level = info.min_level; level <= info.max_level; level++) {
      if (level == 0 && info.max_level > 0) continue;
      INFO(info.name << " " << level);
      auto compressor = Compressor::create(info.name, level);
      REQUIRE(compressor.ok());
      CHECK((*compressor)->content_encoding() == (info.name == "none" ? "" : info.name));
      std::string joined, expected, out = "left over";
      for (const std::string* in : {&text, &repeats, &noise, &text}) {
        if (level > 9 && in == &repeats) continue;  // slow, and nothing new
        REQUIRE((*compressor)->compress(*in, out).ok());
        CHECK(decompress(info.name, out) == *in);
        if (info.name != "none" && in == &repeats) CHECK(out.size() < in->size() / 20);
        joined += out;
        expected += *in;
      }
      REQUIRE((*compressor)->compress("", out).ok());
      CHECK(decompress(info.name, out + joined).size() == expected.size());
      CHECK(decompress(info.name, joined) == expected);
    }
  }
}

TEST_CASE("the same text gives the same bytes, whatever was compressed before") {
  for (const char* name : {"gzip", "zstd"}) {
    auto fresh = Compressor::create(name, 0), used = Compressor::create(name, 0);
    std::string a, b;
    REQUIRE((*used)->compress(std::string(100'000, 'x'), b).ok());
    REQUIRE((*used)->compress("hello hello hello", b).ok());
    REQUIRE((*fresh)->compress("hello hello hello", a).ok());
    CHECK(a == b);  // a payload that is sent again after a restart is the same bytes
  }
}

TEST_CASE("a zstd frame states its size and asks for a small window") {
  auto compressor = Compressor::create("zstd", 19);
  std::string text(3'000'000, 'x'), out;
  for (size_t i = 0; i < text.size(); i += 7) text[i] = static_cast<char>('a' + i % 26);
  REQUIRE((*compressor)->compress(text, out).ok());
  CHECK(ZSTD_getFrameContentSize(out.data(), out.size()) == text.size());
  ZSTD_DCtx* context = ZSTD_createDCtx();
  REQUIRE_FALSE(ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, 20)));
  std::string back(text.size() + 1, '\0');
  ZSTD_inBuffer in{out.data(), out.size(), 0};
  ZSTD_outBuffer to{back.data(), back.size(), 0};
  size_t left = 1;
  while (left != 0 && !ZSTD_isError(left)) left = ZSTD_decompressStream(context, &to, &in);
  CHECK(left == 0);
  back.resize(to.pos);
  CHECK(back == text);
  ZSTD_freeDCtx(context);
}

TEST_CASE("compression that does not exist is refused with what does") {
  struct Row {
    const char* name;
    int64_t level;
    const char* error;  // "": fine
  };
  const Row rows[] = {
      {"none", 0, ""},
      {"gzip", 0, ""},
      {"gzip", 9, ""},
      {"zstd", -7, ""},
      {"zstd", 19, ""},
      {"gzipp", 0, "unknown compression \"gzipp\" (did you mean \"gzip\"? none, gzip or zstd)"},
      {"lz4", 0, "unknown compression \"lz4\" (none, gzip or zstd)"},
      {"", 0, "unknown compression \"\" (none, gzip or zstd)"},
      {"GZIP\n", 0, "unknown compression \"GZIP\\n\" (none, gzip or zstd)"},
      {"none", 1, "compression \"none\" takes no level"},
      {"gzip", 10, "compression level 10 is out of range for gzip (1 to 9, 0 for its default)"},
      {"gzip", -1, "compression level -1 is out of range for gzip (1 to 9, 0 for its default)"},
      {"zstd", 20, "compression level 20 is out of range for zstd (-7 to 19, 0 for its default)"},
      {"zstd", INT64_MAX,
       "compression level 9223372036854775807 is out of range for zstd (-7 to 19, 0 for its default)"},
      {"zstd", INT64_MIN,
       "compression level -9223372036854775808 is out of range for zstd (-7 to 19, 0 for its default)"},
  };
  for (const Row& row : rows) {
    INFO(row.name << " " << row.level);
    auto compressor = Compressor::create(row.name, row.level);
    CHECK(compressor.ok() == (row.error[0] == '\0'));
    if (!compressor) CHECK(compressor.error() == row.error);
    CHECK(check_compression(row.name, row.level).ok() == compressor.ok());
  }
}
