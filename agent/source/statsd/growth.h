// What fills a table of series, in words for the one who has to mend it: a name with very many values of a tag, or a
// prefix (else a suffix) that very many names share. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace runnel::statsd {

struct SampledSeries {
  std::string_view name, tags;  // canonical spelling (series_key.h)
};

// `prefix="web.user." share=93%` or `name="api.requests" tag="user_id" share=80%`: the share of the sampled series that it
// explains. Empty where there are none.
std::string describe_growth(const std::vector<SampledSeries>& sample);

}  // namespace runnel::statsd
