// FFWD's JSON, by simdjson. Pure: bytes in, points out, whose texts live in the decoder until it decodes again. One thread.
//
//   a line      {"type":"metric"|"event","key","value","time","host","tags":["t"],"attributes":{"k":"v"},"resource":{"k":"v"},
//               "proc"}, events also "state","description","ttl" (s)
//   a body      {"commonTags":{},"commonResource":{},"points":[{"key","tags":{},"resource":{},"value","timestamp"}]}, where a
//               point's own tags and resource win over the common ones
//
// A value is a number (of /v2/batch {"doubleValue":number} or {"distributionValue":"base64"}; either is taken everywhere),
// tags may also be a map, values of maps also numbers and booleans, as the libraries that FFWD was built with had it. null is
// the same as absent. NaN and Infinity, which Python writes as they are and Java in quotes, are no value: an event is taken
// without one, a metric refused. Other members are ignored. A member or tag that is there twice is refused: which one was
// meant is not known.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "source/ffwd/point.h"

namespace runnel::ffwd {

class JsonDecoder {
 public:
  static constexpr size_t kMaxDepth = 32;  // of objects and lists in each other; what means something has 4

  JsonDecoder();
  ~JsonDecoder();
  JsonDecoder(const JsonDecoder&) = delete;

  // One object: one point, or one refusal.
  void line(std::string_view text, Points& out);

  // A body is taken or refused as a whole; only a metric that is not finite costs nothing but itself.
  struct Refused {
    std::string_view reason;
    std::string message;  // which point, and what about it
    size_t points = 1;    // that the body had, as far as that is known
  };
  std::optional<Refused> batch(std::string_view body, Points& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace runnel::ffwd
