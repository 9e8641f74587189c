#include "config/environment.h"

#include <fmt/format.h>

#include <string_view>

#include "base/text.h"

namespace runnel {

EnvironmentTags tags_from_environment(const char* const* variables, const std::string& prefix) {
  EnvironmentTags found;
  StringMap names;  // of tags: the variable that each is from
  for (; *variables != nullptr; variables++) {
    std::string_view variable = *variables;
    size_t equals = variable.find('=');
    if (!variable.starts_with(prefix) || equals == std::string_view::npos || equals < prefix.size()) continue;
    std::string_view name = variable.substr(0, equals), value = variable.substr(equals + 1);
    auto refuse = [&](std::string_view what) {
      found.errors.push_back(fmt::format("the environment variable {} {}", excerpt(name), what));
    };
    std::string tag(name.substr(prefix.size()));
    for (char& c : tag)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (tag.empty()) {
      refuse("names no tag behind the prefix");
    } else if (!valid_utf8(variable)) {
      refuse("is not UTF-8");
    } else if (auto [first, is_new] = names.emplace(tag, name); !is_new) {
      refuse(fmt::format("is the same tag as {}", excerpt(first->second)));
    } else {
      found.tags.emplace(std::move(tag), value);
    }
  }
  return found;
}

}  // namespace runnel
