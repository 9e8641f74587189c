#include "config/problems.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "base/text.h"

namespace runnel {

std::string to_string(const Position& p) {
  return fmt::format("{}:{}:{}", escape_control(p.file), p.line, p.column);
}

std::string to_string(const Problem& p) {
  return fmt::format("{}: {}: {}", to_string(p.position), p.is_warning ? "warning" : "error",
                     escape_control(p.text));
}

void Problems::finish(bool unknown_is_error) {
  for (Problem& p : unknown_) {
    p.is_warning = !unknown_is_error;
    (unknown_is_error ? errors_ : warnings_).push_back(std::move(p));
  }
  unknown_.clear();
  sort(errors_);
  sort(warnings_);
}

void Problems::sort(std::vector<Problem>& problems) const {
  auto rank = [&](const Problem& p) {
    auto at = file_order_.find(p.position.file);
    return std::tuple(at == file_order_.end() ? file_order_.size() : at->second, p.position.line,
                      p.position.column);
  };
  std::stable_sort(problems.begin(), problems.end(),
                   [&](const Problem& a, const Problem& b) { return rank(a) < rank(b); });
}

}  // namespace runnel
