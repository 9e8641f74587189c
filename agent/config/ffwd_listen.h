// Addresses of [source.ffwd] listen: the transport and what is spoken over it, as one scheme. Plain values, any thread.
//
//   udp+json://IP:PORT  tcp+json://  udp+protobuf://  carbon+udp://  carbon+tcp://  http://
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/result.h"

namespace runnel {

enum class FfwdFormat { json, protobuf, carbon, http };

struct FfwdListen {
  std::string_view scheme;  // "udp+json", …
  FfwdFormat format = FfwdFormat::json;
  ListenAddress address;  // udp or tcp
};

std::vector<std::string> ffwd_schemes();
// The error quotes the text and says what to write instead.
Result<FfwdListen> parse_ffwd_listen(std::string_view url);
// The URL of a socket that was bound as `bound` ("udp://127.0.0.1:40123") for what `wanted` said.
std::string ffwd_url(const FfwdListen& wanted, std::string_view bound);

}  // namespace runnel
