// `name value [key=value …]`, words apart by spaces or tabs.
#include <utility>
#include <vector>

#include "base/text.h"
#include "source/script/formats/format.h"

namespace runnel::script {
namespace {
constexpr std::string_view kBlank = " \t";
}

Verdict read_simple(std::string_view line, Intake& intake) {
  auto word = [&line] {
    size_t begin = line.find_first_not_of(kBlank);
    if (begin == std::string_view::npos) return std::exchange(line, {}).substr(0, 0);
    size_t end = line.find_first_of(kBlank, begin);
    std::string_view found = line.substr(begin, end == std::string_view::npos ? end : end - begin);
    line = end == std::string_view::npos ? std::string_view{} : line.substr(end);
    return found;
  };
  std::string_view name = word();
  if (Verdict verdict = check_name(name); !verdict.good()) return verdict;
  // Not a rule of the wire, but a slip: labels belong to Prometheus text, and would become part of the name here.
  if (name.find_first_of("{}\"") != std::string_view::npos)
    return {bad::kName, "braces or quotes in the name (format=prometheus reads labels)"};
  std::string_view text = word();
  if (text.empty()) return {bad::kNoValue, "a line is `name value`, with `key=value` for each tag"};
  Value value = read_number(text);
  if (!value.number) return {bad::kValue, value.why};
  std::vector<Tag> tags;
  for (std::string_view tag = word(); !tag.empty(); tag = word()) {
    size_t equals = tag.find('=');
    if (equals == std::string_view::npos) return {bad::kTags, "what follows the value is not key=value"};
    tags.push_back({tag.substr(0, equals), tag.substr(equals + 1)});
    if (has_control(tags.back().value)) return {bad::kTags, "control characters in the value of a tag"};
  }
  if (Verdict verdict = check_series(name, tags); !verdict.good()) return verdict;
  intake.add(name, tags.data(), tags.size(), *value.number);
  return {};
}

}  // namespace runnel::script
