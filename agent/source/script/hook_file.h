// What a hook's name, folder and first lines say about how it is run. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/result.h"
#include "source/script/formats/format.h"

namespace runnel::script {

// Left by editors and package managers, or hidden: never looked at. `.x`, `x~`, `#x#`, `x.dpkg-new`, `x.rpmsave`, …
bool ignored_name(std::string_view name);
// [A-Za-z0-9_.-]+ that does not begin with a dot.
bool safe_name(std::string_view name);

// "60", "60s", "5m" → milliseconds. nullopt: the folder is not one of hooks. Error: it is, but of no use ("0").
Result<std::optional<int64_t>> interval_of_folder(std::string_view name);
// "queue_depth.60s.sh" → 60000. The unit must be there: "backup.2.sh" is a name like any other.
std::optional<int64_t> interval_of_file(std::string_view name);

inline constexpr int64_t kMinIntervalMs = 1'000, kMaxIntervalMs = 86'400'000;
inline constexpr int64_t kMinTimeoutMs = 100, kMaxTimeoutMs = 3'600'000;

struct HookOptions {
  int64_t interval_ms = 10'000;
  int64_t timeout_ms = 5'000;
  std::optional<Format> format;  // none: detected in each run
  bool operator==(const HookOptions&) const = default;
};

// Reads `# runnel: interval=60s timeout=5s format=prometheus` in the first 20 lines of `text` over `options`.
// Error: "line N: …", what is wrong and what would be right.
Result<HookOptions> read_header(std::string_view text, HookOptions options);

}  // namespace runnel::script
