#include "source/riemann/reply.h"

#include <cstdint>
#include <protozero/pbf_writer.hpp>

namespace runnel::riemann {

void append_ok(std::string& out) {
  out += kOkReply;
}

void append_error(std::string& out, std::string_view error) {
  error = error.substr(0, kMaxErrorText);
  size_t start = out.size();
  out.append(4, '\0');
  protozero::pbf_writer message(out);
  message.add_bool(2, false);
  message.add_string(3, error.data(), error.size());
  auto length = static_cast<uint32_t>(out.size() - start - 4);
  for (size_t i = 0; i < 4; i++) out[start + i] = static_cast<char>(length >> (24 - 8 * i));
}

std::string refuse_oks(std::string_view answers, std::string_view error) {
  std::string out;
  while (answers.size() >= 4) {
    size_t size = 4;
    for (size_t i = 0; i < 4; i++) size += size_t{static_cast<uint8_t>(answers[i])} << (24 - 8 * i);
    std::string_view answer = answers.substr(0, size);
    if (answer == kOkReply) {
      append_error(out, error);
    } else {
      out += answer;
    }
    answers.remove_prefix(answer.size());
  }
  return out;
}

}  // namespace runnel::riemann
