#include "config/ffwd_listen.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.h"

namespace runnel {
namespace {

using Scheme = ListenAddress::Scheme;

constexpr struct {
  std::string_view name;
  FfwdFormat format;
  Scheme transport;
} kSchemes[] = {
    {"udp+json", FfwdFormat::json, Scheme::udp},         {"tcp+json", FfwdFormat::json, Scheme::tcp},
    {"udp+protobuf", FfwdFormat::protobuf, Scheme::udp}, {"http", FfwdFormat::http, Scheme::tcp},
    {"carbon+tcp", FfwdFormat::carbon, Scheme::tcp},     {"carbon+udp", FfwdFormat::carbon, Scheme::udp}};

}  // namespace

std::vector<std::string> ffwd_schemes() {
  std::vector<std::string> names;
  for (const auto& scheme : kSchemes) names.emplace_back(scheme.name);
  return names;
}

Result<FfwdListen> parse_ffwd_listen(std::string_view url) {
  size_t separator = url.find("://");
  if (separator == std::string_view::npos)
    return Error{
        fmt::format("\"{}\" has no scheme (write for example udp+json://127.0.0.1:19000)", excerpt(url))};
  std::string_view name = url.substr(0, separator), rest = url.substr(separator);
  for (const auto& scheme : kSchemes) {
    if (scheme.name != name) continue;
    std::string transport(scheme_name(scheme.transport));
    auto address = parse_listen_address(transport + std::string(rest));
    if (address.ok()) return FfwdListen{scheme.name, scheme.format, *address};
    // The error speaks of the address as we asked for it.
    std::string error = address.error(), asked = transport + "://";
    for (size_t at = 0; (at = error.find(asked, at)) != std::string::npos; at += name.size() + 3)
      error.replace(at, asked.size(), std::string(name) + "://");
    return Error{error};
  }
  std::string hint =
      name == "udp" || name == "tcp" || name == "carbon" ? " says not enough" : " is none of ffwd's";
  return Error{fmt::format("\"{}\": the scheme \"{}\"{} ({})", excerpt(url), excerpt(name), hint,
                           fmt::join(ffwd_schemes(), ", "))};
}

std::string ffwd_url(const FfwdListen& wanted, std::string_view bound) {
  return std::string(wanted.scheme) + std::string(bound.substr(bound.find("://")));
}

}  // namespace runnel
