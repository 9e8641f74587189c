#include "source/ffwd/base64.h"

#include <algorithm>
#include <array>
#include <cstdint>

namespace runnel::ffwd {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr uint8_t kNone = 255;

constexpr std::array<uint8_t, 256> digit_values() {
  std::array<uint8_t, 256> values{};
  values.fill(kNone);
  for (size_t i = 0; i < kDigits.size(); i++)
    values[static_cast<unsigned char>(kDigits[i])] = static_cast<uint8_t>(i);
  return values;
}
constexpr std::array<uint8_t, 256> kValues = digit_values();

}  // namespace

void append_base64(std::string& out, std::string_view bytes) {
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t j = 0; j < 3; j++)
      group = group << 8 | (j < count ? static_cast<unsigned char>(bytes[i + j]) : 0);
    for (size_t j = 0; j < 4; j++) out += j <= count ? kDigits[group >> (18 - 6 * j) & 63] : '=';
  }
}

bool read_base64(std::string_view text, std::string& out) {
  out.clear();
  if (text.size() % 4 != 0) return false;
  for (size_t i = 0; i < text.size(); i += 4) {
    size_t digits = 4;
    if (i + 4 == text.size())
      while (digits > 2 && text[i + digits - 1] == '=') digits--;
    uint32_t group = 0;
    for (size_t j = 0; j < 4; j++) {
      uint8_t value = j < digits ? kValues[static_cast<unsigned char>(text[i + j])] : 0;
      if (value == kNone) return false;
      group = group << 6 | value;
    }
    for (size_t j = 0; j < digits - 1; j++) out += static_cast<char>(group >> (16 - 8 * j));
    if (digits < 4 && (group & (digits == 3 ? 0xFFU : 0xFFFFU)) != 0) return false;
  }
  return true;
}

}  // namespace runnel::ffwd
