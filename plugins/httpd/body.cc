#include "body.h"

#include <algorithm>

namespace runnel_httpd_module {
namespace {

constexpr const char* kTooLarge = "body_too_large";
constexpr const char* kRatio = "gzip_ratio";
constexpr const char* kBadGzip = "bad_gzip";
constexpr int kGzip = 15 + 16;  // inflateInit2(): the largest window, gzip's header

}  // namespace

Body::~Body() {
  if (gzip_) ::inflateEnd(&zip_);
}

bool Body::begin_gzip() {
  gzip_ = ::inflateInit2(&zip_, kGzip) == Z_OK;
  return gzip_;
}

const char* Body::add(std::string_view bytes, size_t max_size) {
  came_ += bytes.size();
  if (came_ > max_size) return kTooLarge;
  if (gzip_) return inflate_more(bytes, max_size);
  text_ += bytes;
  return "";
}

const char* Body::inflate_more(std::string_view bytes, size_t max_size) {
  zip_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  zip_.avail_in = static_cast<uInt>(bytes.size());
  char out[32768];
  do {
    if (!inside_ && zip_.avail_in == 0) return "";
    inside_ = true;
    zip_.next_out = reinterpret_cast<Bytef*>(out);
    zip_.avail_out = sizeof out;
    int code = ::inflate(&zip_, Z_NO_FLUSH);
    size_t made = sizeof out - zip_.avail_out;
    if (text_.size() + made > max_size) return kTooLarge;
    text_.append(out, made);
    if (text_.size() > std::max(kFree, came_ * kMaxRatio)) return kRatio;
    if (code == Z_STREAM_END) {
      inside_ = false;
      if (::inflateReset(&zip_) != Z_OK) return kBadGzip;
    } else if (code != Z_OK && code != Z_BUF_ERROR) {
      return kBadGzip;
    }
  } while (zip_.avail_in > 0 || zip_.avail_out == 0);
  return "";
}

const char* Body::finish() {
  return gzip_ && (inside_ || came_ == 0) ? kBadGzip : "";
}

}  // namespace runnel_httpd_module
