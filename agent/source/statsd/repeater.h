// Passes raw payloads on to other StatsD servers (`repeat`), so that a host can move from one to the other without a gap.
// Fire and forget, as the protocol is: what the target's socket does not take at once is dropped and counted. One
// receiver's thread; counts may be read from any.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/fd.h"
#include "base/result.h"

namespace runnel::statsd {

class Repeater {
 public:
  // What a stream brought is cut into datagrams of at most that many bytes, at line ends: an Ethernet frame's worth.
  static constexpr size_t kPacket = 1432;

  struct Counts {  // of a target, in datagrams; shared by the receivers of a source
    std::string url;
    std::atomic<uint64_t> sent{0}, dropped{0};
  };

  // One socket a target. Errors name the URL.
  static Result<std::unique_ptr<Repeater>> open(const std::vector<std::shared_ptr<Counts>>& targets);

  void add(std::string_view datagram);            // a view that lives until send()
  void add_lines(std::string_view stream_lines);  // the same, for what a stream brought
  void send();                                    // what was added

 private:
  struct Target {
    UniqueFd fd;
    std::shared_ptr<Counts> counts;
  };
  void send_to(Target& target);
  std::vector<Target> targets_;
  std::vector<std::string_view> packets_;
};

}  // namespace runnel::statsd
