// The body of one request as its bytes come: inflated where it is gzip (RFC 1952, several members too), bounded in size and in
// what a byte may become. One thread.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <string>
#include <string_view>

namespace runnel_httpd_module {

class Body {
 public:
  // Deflate makes at most 1,032 bytes of one (zlib's manual). What services report repeats itself and reaches 50.
  static constexpr size_t kMaxRatio = 250;
  static constexpr size_t kFree = 256 << 10;  // bytes that may come out whatever went in

  Body() = default;
  ~Body();
  Body(const Body&) = delete;

  bool begin_gzip();  // false: no memory
  // "" or why it cannot be taken; nothing may be added after that.
  const char* add(std::string_view bytes, size_t max_size);
  const char* finish();
  const std::string& text() const { return text_; }
  std::string& text() { return text_; }

 private:
  const char* inflate_more(std::string_view bytes, size_t max_size);

  z_stream zip_{};
  bool gzip_ = false, inside_ = false;  // inside of a member
  size_t came_ = 0;
  std::string text_;
};

}  // namespace runnel_httpd_module
