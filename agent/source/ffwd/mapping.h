// What becomes of FFWD's points in a batch. One thread.
//
//   a metric     a sample of kind gauge; attributes are its tags, FFWD's tags are bare ones (value "") where no attribute has
//                that name. A distribution (digest.h) is a sample of that kind; one that cannot be read becomes an event:
//                nothing is worked out of it, it is passed on as the attribute `distribution` in base64.
//   an event     an event; attributes stay attributes, tags tags
//   host         the point's; where it has none, an attribute `host` is the host and no attribute (FFWD's schemas 1.1 and 2.0
//                put it there), and where there is neither the agent's. An attribute beside a host stays one.
//   resource     the point's; `proc`, the process that sent it, is added where there is none of that name
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "source/ffwd/point.h"

namespace runnel::ffwd {

class Mapper {
 public:
  // Of distributions: ascending, of 0 to 100.
  void percentiles(std::vector<double> percentiles) { percentiles_ = std::move(percentiles); }
  // How many distributions could not be read.
  size_t append(const Points& points, Batch& batch);

 private:
  std::optional<Distribution> read_distribution(const Point& point);
  void append_one(const Points& points, const Point& point, std::optional<Distribution> distribution,
                  Batch& batch);
  uint32_t origin_of(const Points& points, const Point& point, std::string_view host, Batch& batch);

  std::vector<double> percentiles_{50, 90, 95, 99};
  std::vector<Tag> tags_;                // scratch
  std::vector<std::string_view> texts_;  // scratch
  std::string bytes_;                    // scratch: of a distribution, or its base64
};

}  // namespace runnel::ffwd
