#include "framing.h"

#include <algorithm>
#include <charconv>

namespace runnel_httpd_module {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

// Names of headers and of codings.
bool is(std::string_view text, std::string_view name) {
  return std::equal(text.begin(), text.end(), name.begin(), name.end(),
                    [](char a, char b) { return lower(a) == b; });
}

std::string_view trim(std::string_view text) {
  size_t from = text.find_first_not_of(" \t");
  if (from == std::string_view::npos) return {};
  return text.substr(from, text.find_last_not_of(" \t") - from + 1);
}

}  // namespace

void Framing::header(std::string_view name, std::string_view value) {
  Header* found = is(name, "content-length")      ? &length_
                  : is(name, "transfer-encoding") ? &transfer_
                  : is(name, "content-encoding")  ? &content_
                                                  : nullptr;
  if (found == nullptr) return;
  found->value = trim(value);
  found->count++;
}

Framing::Judgement Framing::judge(size_t max_body) const {
  constexpr const char* kBadRequest = "bad_request";
  if (length_.count > 1 || transfer_.count > 1 || (length_.count > 0 && transfer_.count > 0))
    return {kBadRequest, 400, false};
  if (transfer_.count > 0 && !is(transfer_.value, "chunked")) return {"transfer_encoding", 501, false};
  if (length_.count > 0) {
    size_t length = 0;
    std::string_view digits = length_.value;
    auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
    if (error == std::errc::result_out_of_range || (error == std::errc() && length > max_body))
      return {"body_too_large", 413, false};
    if (error != std::errc() || end != digits.data() + digits.size()) return {kBadRequest, 400, false};
  }
  bool gzip = is(content_.value, "gzip") || is(content_.value, "x-gzip");
  if (content_.count > 1 || (!gzip && !content_.value.empty() && !is(content_.value, "identity")))
    return {"content_encoding", 415, false};
  return {"", 0, gzip};
}

}  // namespace runnel_httpd_module
