// Filter: FFWD's filter language as a compiled tree (docs/filters.md). `site = lon and not key ~ debug.`
// Compiled while the configuration is read; matching allocates nothing. Not shared between threads: every
// output and pipeline stage compiles its own (glibc's regexec takes a lock in the compiled expression).
// Moves, does not copy.
#pragma once

#include <memory>
#include <string_view>

#include "base/result.h"
#include "metric/batch.h"

namespace runnel {

namespace filter {
struct Node;
}

class Filter {
 public:
  Filter();  // matches everything, as the empty text does
  ~Filter();
  Filter(Filter&&) noexcept;
  Filter& operator=(Filter&&) noexcept;

  // Error: `column N: expected …, got … (did you mean …?)`; columns count characters from 1.
  static Result<Filter> compile(std::string_view text);

  bool matches(const Batch& batch, const Sample& sample) const;
  bool matches(const Batch& batch, const Event& event) const;
  bool matches_all() const { return !root_; }  // the caller may skip the walk over the batch

 private:
  std::unique_ptr<const filter::Node> root_;
};

}  // namespace runnel
