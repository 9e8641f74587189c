// What becomes of FFWD's points in a batch. One thread.
//
//   a metric     a sample of kind gauge; attributes are its tags, FFWD's tags are bare ones (value "") where no attribute has
//                that name. A distribution that cannot be read becomes an event: nothing is worked out of it, it is passed on
//                as the attribute `distribution` in base64.
//   an event     an event; attributes stay attributes, tags tags
//   host         the point's; where it has none, an attribute `host` is the host and no attribute (FFWD's schemas 1.1 and 2.0
//                put it there), and where there is neither the agent's. An attribute beside a host stays one.
//   resource     the point's; `proc`, the process that sent it, is added where there is none of that name
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "source/ffwd/point.h"

namespace runnel::ffwd {

class Mapper {
 public:
  void append(const Points& points, Batch& batch);

 private:
  void append_one(const Points& points, const Point& point, Batch& batch);
  uint32_t origin_of(const Points& points, const Point& point, std::string_view host, Batch& batch);

  std::vector<Tag> tags_;                // scratch
  std::vector<std::string_view> texts_;  // scratch
  std::string base64_;                   // scratch
};

}  // namespace runnel::ffwd
