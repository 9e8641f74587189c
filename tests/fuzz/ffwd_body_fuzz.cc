// A request of FFWD's HTTP input as the module and the decoder see it. The input: a byte that says in what pieces the body comes
// and whether it is packed here, so that the fuzzer need not find gzip's checksum; header lines; an empty line; the body.
// Promised: what says two things about its length is refused; a body is refused or within its bounds, however it is cut; what
// is made of it keeps the decoders' promises.
#include <algorithm>
#include <cstdint>
#include <string>

#include "body.h"
#include "framing.h"
#include "fuzz/ffwd_check.h"
#include "source/ffwd/json.h"
#include "support/gzip.h"

using namespace runnel;
using namespace runnel::ffwd;
using namespace runnel_httpd_module;

namespace {

constexpr size_t kMax = 64 << 10;

// False: refused. `text` is what came of it.
bool read(const std::string& bytes, bool gzip, size_t piece, std::string& text) {
  Body body;
  if (gzip) FUZZ_CHECK(body.begin_gzip());
  for (size_t at = 0; at < bytes.size(); at += piece) {
    size_t size = std::min(piece, bytes.size() - at);
    const char* wrong = body.add(std::string_view(bytes).substr(at, size), kMax);
    size_t came = at + size;
    FUZZ_CHECK(body.text().size() <= kMax);
    if (*wrong != '\0') return false;
    FUZZ_CHECK(body.text().size() <= std::max(Body::kFree, came * Body::kMaxRatio));
  }
  if (*body.finish() != '\0') return false;
  text = body.text();
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  size_t piece = data[0] & 127U;
  bool pack = data[0] >= 128;
  Framing framing;
  size_t lengths = 0;
  while (!input.empty()) {
    std::string_view line = input.substr(0, input.find('\n'));
    input.remove_prefix(std::min(input.size(), line.size() + 1));
    if (line.empty()) break;
    size_t colon = line.find(':');
    if (colon == std::string_view::npos) continue;
    std::string_view name = line.substr(0, colon);
    lengths += name == "content-length" || name == "transfer-encoding";
    framing.header(name, line.substr(colon + 1));
  }
  Framing::Judgement judgement = framing.judge(kMax);
  FUZZ_CHECK((*judgement.refusal == '\0') == (judgement.status == 0));
  FUZZ_CHECK(lengths < 2 || judgement.status == 400);
  if (judgement.status != 0) return 0;

  std::string bytes = pack ? test::gzip(input, 1) : std::string(input), text, again;
  bool gzip = judgement.gzip || pack;
  bool taken = read(bytes, gzip, piece == 0 ? bytes.size() + 1 : piece, text);
  // In one piece more is known of what a byte becomes: what is taken in pieces is taken whole.
  if (taken) FUZZ_CHECK(read(bytes, gzip, bytes.size() + 1, again) && again == text);
  if (pack) FUZZ_CHECK(taken && text == input);
  if (!taken) return 0;

  static JsonDecoder decoder;
  fuzz::check_body(decoder, text);
  return 0;
}
