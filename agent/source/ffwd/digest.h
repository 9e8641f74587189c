// Distributions as FFWD's clients send them: t-digests (Dunning, Ertl: "Computing extremely accurate quantiles using
// t-digests", 2019) in the four forms that its author's Java library writes, versions 3.2 (which semantic-metrics has) and
// 3.3. Big-endian. Pure, any thread.
//
//   MergingDigest  verbose  i32 1 · f64 min · f64 max · f64 compression · i32 n · n × (f64 weight · f64 mean)
//                  small    i32 2 · f64 min · f64 max · f32 compression · i16 room · i16 buffer · i16 n
//                           · n × (f32 weight · f32 mean)
//   AVLTreeDigest  verbose  i32 1 · f64 min · f64 max · f64 compression · i32 n · n × f64 mean · n × i32 weight
//                  small    i32 2 · f64 min · f64 max · f64 compression · i32 n · n × f32 step from the mean before
//                           · n × weight in 7 bits a byte, low ones first
//
// Nothing in them says which of the two it is; n and the length do, as no text of at most kMaxOpaque bytes has the length of
// both. Refused is what is shorter or longer than it says, a number that is not finite, means that are not ascending or
// beyond min and max (by more than rounding, 10^-12), a weight below 1 or not whole, an n above the room: then nothing is known
// of it and the sender's bytes are passed on.
//
// What is known: count is exact up to 2^24 values a centroid (small forms) or 2^53, min and max are exact. sum, mean and the
// percentiles of a digest that has not merged anything are exact (small forms: to 1 in 10^7); then a percentile p is off by at most
// a centroid, a share of π·√(p(1-p)) / compression of all values: at the usual 100 1.6 % of the ranks at p50, 0.3 % at p99. stddev
// is that of the centroids, below the truth by what they hold of it.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "metric/batch.h"

namespace runnel::ffwd {

// `percentiles` ascending, of 0 to 100. Of a digest of nothing, as a reporter sends it of an idle interval, count and sum are 0,
// the other numbers NaN, which no encoding writes, and there are no percentiles.
std::optional<Distribution> read_digest(std::string_view bytes, const std::vector<double>& percentiles);

}  // namespace runnel::ffwd
