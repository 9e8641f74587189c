#include "base/module.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <link.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "base/fd.h"
#include "base/trust.h"

namespace runnel {
namespace {

// dlopen(3) maps what the headers promise; where the file is shorter, touching it is SIGBUS and not an error. So the
// promise is compared with the file first (elf(5)).
Status check_complete(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat st {};
  if (!fd.valid() || ::fstat(fd.get(), &st) != 0)
    return Error{fmt::format("{}: {}", path, errno_text(errno))};
  ElfW(Ehdr) header{};
  if (!S_ISREG(st.st_mode) || ::pread(fd.get(), &header, sizeof header, 0) != sizeof header ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return Error{fmt::format("{}: is no shared object", path)};
  auto size = static_cast<uint64_t>(st.st_size);
  for (size_t i = 0; i < header.e_phnum; i++) {
    ElfW(Phdr) segment{};
    auto at = static_cast<off_t>(header.e_phoff + i * sizeof segment);
    if (::pread(fd.get(), &segment, sizeof segment, at) != sizeof segment || segment.p_offset > size ||
        segment.p_filesz > size - segment.p_offset)
      return Error{fmt::format("{}: is cut short (install it again)", path)};
  }
  return {};
}

}  // namespace

Result<void*> load_symbol(const std::string& path, const char* symbol) {
  if (Status trust = check_trust(path, ::geteuid()); !trust.ok()) return Error{trust.error()};
  if (Status complete = check_complete(path); !complete.ok()) return Error{complete.error()};
  void* object = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (object == nullptr) {
    std::string_view why = ::dlerror();  // "libssl.so.3: cannot open shared object file: No such …"
    return Error{fmt::format("{}: {}{}", path, why,
                             why.find("cannot open shared object file") == why.npos
                                 ? ""
                                 : " (install the package of that library)")};
  }
  void* found = ::dlsym(object, symbol);
  if (found == nullptr) {
    ::dlclose(object);
    return Error{fmt::format("{}: does not export {}", path, symbol)};
  }
  return found;
}

std::string module_folder() {
  char path[4096];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  if (n <= 0) return "/usr/lib/runnel";
  std::string dir(path, static_cast<size_t>(n));
  dir.resize(dir.find_last_of('/'));
  return dir + "/../lib/runnel";
}

}  // namespace runnel
