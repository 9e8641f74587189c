#include "source/statsd/growth.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/text.h"

namespace runnel::statsd {
namespace {

using Names = std::map<std::string_view, size_t>;

Names::const_iterator largest(const Names& counts) {
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; });
}

// The tag key of `name` that has most values.
std::string_view widest_tag(const std::vector<SampledSeries>& sample, std::string_view name) {
  std::map<std::string_view, std::set<std::string_view>> values;
  for (const SampledSeries& series : sample) {
    if (series.name != name || series.tags.empty()) continue;
    for (std::string_view tag : split(series.tags, ',')) {
      size_t colon = std::min(tag.find(':'), tag.size());
      values[tag.substr(0, colon)].insert(tag.substr(colon));
    }
  }
  auto widest = std::max_element(values.begin(), values.end(), [](const auto& a, const auto& b) {
    return a.second.size() < b.second.size();
  });
  return widest == values.end() ? std::string_view() : widest->first;
}

// The longest prefix, cut behind a '.', below which half of all names are: down the tree as long as one branch has that.
std::string_view common_prefix(const std::vector<SampledSeries>& sample, size_t& share) {
  std::string_view prefix;
  share = sample.size();
  for (;;) {
    Names next;
    for (const SampledSeries& series : sample) {
      if (!series.name.starts_with(prefix)) continue;
      size_t dot = series.name.find('.', prefix.size());
      if (dot != std::string_view::npos) next[series.name.substr(0, dot + 1)]++;
    }
    auto most = largest(next);
    if (most == next.end() || most->second * 2 < sample.size()) return prefix;
    prefix = most->first;
    share = most->second;
  }
}

// The longest beginning (or end) that half of all names have, a byte at a time.
std::string common_edge(const std::vector<SampledSeries>& sample, bool at_end, size_t& share) {
  std::vector<std::string_view> names;
  for (const SampledSeries& series : sample) names.push_back(series.name);
  std::string edge;
  share = sample.size();
  for (;;) {
    size_t counts[256] = {};
    auto next = [&](std::string_view name) {
      return static_cast<unsigned char>(at_end ? name[name.size() - 1 - edge.size()] : name[edge.size()]);
    };
    std::erase_if(names, [&](std::string_view name) { return name.size() <= edge.size(); });
    for (std::string_view name : names) counts[next(name)]++;
    auto most = std::max_element(std::begin(counts), std::end(counts));
    if (*most * 2 < sample.size()) break;
    auto byte = static_cast<unsigned char>(most - std::begin(counts));
    std::erase_if(names, [&](std::string_view name) { return next(name) != byte; });
    edge.insert(at_end ? edge.begin() : edge.end(), static_cast<char>(byte));
    share = *most;
  }
  return edge;
}

}  // namespace

std::string describe_growth(const std::vector<SampledSeries>& sample) {
  if (sample.empty()) return {};
  Names names;
  for (const SampledSeries& series : sample) names[series.name]++;
  auto percent = [&](size_t n) { return n * 100 / sample.size(); };
  auto most = largest(names);
  size_t share = 0;
  std::string_view prefix = common_prefix(sample, share);
  // One name with a third of all series has a tag that should not be one.
  if (most->second > 1 && most->second * 3 >= sample.size()) {
    std::string_view tag = widest_tag(sample, most->first);
    if (!tag.empty())
      return fmt::format("name=\"{}\" tag=\"{}\" share={}%", excerpt(most->first), excerpt(tag),
                         percent(most->second));
  }
  if (!prefix.empty()) return fmt::format("prefix=\"{}\" share={}%", excerpt(prefix), percent(share));
  if (most->second * 2 >= sample.size())
    return fmt::format("name=\"{}\" share={}%", excerpt(most->first), percent(most->second));
  for (bool at_end : {false, true})
    if (std::string edge = common_edge(sample, at_end, share); !edge.empty())
      return fmt::format("{}=\"{}\" share={}%", at_end ? "suffix" : "prefix", excerpt(edge), percent(share));
  return fmt::format("names without a common part, such as \"{}\"", excerpt(most->first));
}

}  // namespace runnel::statsd
