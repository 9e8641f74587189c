#include "filter/filter.h"

#include <algorithm>

#include "base/text.h"
#include "filter/tree.h"

namespace runnel {
namespace {

using filter::Field;
using filter::Node;

// One record as the tree asks about it.
struct Subject {
  const Batch& batch;
  SeriesView series;
  uint32_t origin;
  const Sample* sample;  // one of the two is set
  const Event* event;
};

const Origin* origin_of(const Subject& s) {
  return s.origin < s.batch.origins.size() ? &s.batch.origins[s.origin] : nullptr;
}

std::optional<std::string_view> in_series(const Subject& s, std::string_view name) {
  bool found = false;
  std::string_view value = s.series.find(name, &found);
  return found ? std::optional(value) : std::nullopt;
}

std::optional<std::string_view> in_event_tags(const Subject& s, std::string_view name) {
  for (uint32_t i = 0; i < s.event->tag_count; i++)
    if (s.batch.view(s.batch.event_tags[s.event->tags + i]) == name) return std::string_view{};
  return std::nullopt;
}

std::optional<std::string_view> look_up(const Node& node, const Subject& s) {
  switch (node.field) {
    case Field::key:
      return s.series.name();
    case Field::host: {
      const Origin* origin = origin_of(s);
      return origin && !origin->host.empty() ? std::optional<std::string_view>(origin->host) : std::nullopt;
    }
    case Field::name: {
      auto value = in_series(s, node.name);
      return value || s.sample ? value : in_event_tags(s, node.name);
    }
    case Field::tag:
      return s.sample ? in_series(s, node.name) : in_event_tags(s, node.name);
    case Field::attribute:
      return s.event ? in_series(s, node.name) : std::nullopt;
    case Field::resource: {
      const Origin* origin = origin_of(s);
      if (!origin) return std::nullopt;
      for (const auto& [key, value] : origin->resource)
        if (key == node.name) return std::string_view(value);
      return std::nullopt;
    }
  }
  return std::nullopt;
}

bool evaluate(const Node& node, const Subject& s) {
  auto holds = [&](const Node& child) { return evaluate(child, s); };
  switch (node.op) {
    case Node::Op::always:
      return true;
    case Node::Op::never:
      return false;
    case Node::Op::all_of:
      return std::all_of(node.children.begin(), node.children.end(), holds);
    case Node::Op::any_of:
      return std::any_of(node.children.begin(), node.children.end(), holds);
    case Node::Op::negate:
      return !holds(node.children[0]);
    case Node::Op::type_is:
      return node.event == (s.event != nullptr);
    case Node::Op::kind_is:
      return s.sample && s.sample->kind == node.kind;
    case Node::Op::present:
      return look_up(node, s).has_value();
    case Node::Op::equal: {
      auto value = look_up(node, s);
      return value && *value == node.text;
    }
    case Node::Op::match: {
      auto value = look_up(node, s);
      return value && node.pattern->matches(*value);
    }
  }
  return false;
}

}  // namespace

Filter::Filter() = default;
Filter::~Filter() = default;
Filter::Filter(Filter&&) noexcept = default;
Filter& Filter::operator=(Filter&&) noexcept = default;

Result<Filter> Filter::compile(std::string_view text) {
  Filter compiled;
  if (trim(text).empty()) return compiled;
  auto tree = filter::parse(text);
  if (!tree) return Error{tree.error()};
  compiled.root_ = std::make_unique<Node>(std::move(*tree));
  return compiled;
}

bool Filter::matches(const Batch& batch, const Sample& sample) const {
  return !root_ || evaluate(*root_, {batch, batch.view(sample.series), sample.origin, &sample, nullptr});
}

bool Filter::matches(const Batch& batch, const Event& event) const {
  return !root_ || evaluate(*root_, {batch, batch.view(event.series), event.origin, nullptr, &event});
}

}  // namespace runnel
