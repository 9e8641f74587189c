#include "agent/identity.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>

#include "base/fd.h"
#include "base/text.h"

namespace runnel {
namespace {

bool plausible(std::string_view id) {
  return id.size() == 36 && std::all_of(id.begin(), id.end(), [](char c) {
           return c == '-' || std::isxdigit(static_cast<unsigned char>(c)) != 0;
         });
}

Status make_folders(const std::string& path) {
  for (size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0750) != 0 && errno != EEXIST)
      return Error{fmt::format("{}: {}", part, errno_text(errno))};
    if (at == std::string::npos) return {};
  }
}

}  // namespace

std::string random_id() {
  unsigned char b[16];
  if (::getrandom(b, sizeof b, 0) !=
      sizeof b) {  // only before the kernel's pool is ready, and it then waits: signals
    auto now = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
    for (int i = 0; i < 16; i++) b[i] = static_cast<unsigned char>(now >> (i % 8 * 8));
  }
  b[6] = static_cast<unsigned char>((b[6] & 0x0f) | 0x40);
  b[8] = static_cast<unsigned char>((b[8] & 0x3f) | 0x80);
  std::string id;
  for (int i = 0; i < 16; i++)
    fmt::format_to(std::back_inserter(id), "{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                   b[i]);
  return id;
}

Result<std::string> load_agent_id(const std::string& state_dir) {
  std::string path = state_dir + "/agent_id";
  if (auto text = read_file(path, 256); text.ok())
    if (std::string_view id = trim(*text); plausible(id)) return std::string(id);
  if (Status made = make_folders(state_dir); !made.ok()) return Error{made.error()};
  std::string id = random_id();
  if (Status written = write_file_atomically(path, id + "\n", 0644); !written.ok())
    return Error{written.error()};
  return id;
}

}  // namespace runnel
