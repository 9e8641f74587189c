// What a StatsD line costs from its bytes to its cell: W2's datagrams of 30 lines through Aggregator::add_lines, without
// sockets. The lines are those of the load generator (statsd_blast -m 30 -c 1000), drawn by the same generator of random
// numbers; an interval is 10 s of W2, 6 million lines, so that timers go through their exact values into the sketch.
//
//   statsd_lines_bench                        ns a line, CPU time, median of 5 intervals, a JSON line for each mix
//   statsd_lines_bench --callgrind C,G,T,S    one interval of that mix, for valgrind --tool=callgrind
//                                             --toggle-collect='runnel::statsd::Aggregator::add_lines*'; prints the lines
#include <time.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "metric/batch.h"
#include "source/statsd/aggregator.h"

using namespace runnel;

namespace {

constexpr uint32_t kSeries = 1000;
constexpr int kLines = 30;  // a datagram
constexpr int kDatagrams = 4096;
constexpr int kPasses = 49;  // an interval: 6,021,120 lines
constexpr int kIntervals = 5;

using Mix = std::array<int, 4>;  // percent of counters, gauges, timers, sets

// splitmix64, as statsd_blast draws from it.
struct Random {
  uint64_t state = 1;
  uint64_t operator()() {
    uint64_t z = (state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
  }
  int below(int n) { return static_cast<int>((*this)() % static_cast<uint64_t>(n)); }
};

int type_of(uint32_t series, const Mix& mix) {
  int share = static_cast<int>(static_cast<uint32_t>((uint64_t{series} * 2654435761u) >> 7) % 100);
  for (int type = 0, sum = 0; type < 4; type++)
    if (share < (sum += mix[static_cast<size_t>(type)])) return type;
  return 0;
}

std::string line_of(uint32_t series, const Mix& mix, Random& random) {
  constexpr const char* kKeys[] = {"cnt", "gau", "tim", "set"};
  int type = type_of(series, mix);
  char name[64], value[32];
  std::snprintf(name, sizeof name, "bench.%s.svc%02u.requests.%07u:", kKeys[type], series % 64, series);
  if (type == 0) {
    std::snprintf(value, sizeof value, "%d|c", 1 + random.below(9));
  } else if (type == 1) {
    int tenths = random.below(100000);
    std::snprintf(value, sizeof value, "%d.%d|g", tenths / 10, tenths % 10);
  } else if (type == 2) {
    int thousandths = 1 + random.below(999999);
    std::snprintf(value, sizeof value, "%d.%03d|ms", thousandths / 1000, thousandths % 1000);
  } else {
    std::snprintf(value, sizeof value, "u%d|s", random.below(1000));
  }
  return std::string(name) + value;
}

// Every series once in random order, then again.
std::vector<std::string> datagrams(const Mix& mix) {
  Random random;
  std::vector<uint32_t> order(kSeries);
  for (uint32_t i = 0; i < kSeries; i++) order[i] = i;
  size_t at = kSeries;
  std::vector<std::string> all(kDatagrams);
  for (std::string& datagram : all) {
    for (int i = 0; i < kLines; i++) {
      if (at == kSeries) {
        for (uint32_t left = kSeries; left > 1; left--) std::swap(order[left - 1], order[random() % left]);
        at = 0;
      }
      if (i > 0) datagram += '\n';
      datagram += line_of(order[at++], mix, random);
    }
  }
  return all;
}

double cpu_ns() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

class Load {
 public:
  explicit Load(const Mix& mix) : datagrams_(datagrams(mix)), aggregator_({}) {}

  // Lines of an interval; its CPU time without the flush in `ns`.
  uint64_t run(double& ns) {
    uint64_t accepted = 0, refused = 0;
    const statsd::Aggregator::Judged judged = [&](const auto&, std::string_view) { refused++; };
    double begin = cpu_ns();
    for (int pass = 0; pass < kPasses; pass++)
      for (const std::string& datagram : datagrams_)
        accepted += aggregator_.add_lines(datagram, judged).accepted;
    ns = cpu_ns() - begin;
    Batch batch("statsd");
    aggregator_.flush(batch, 1'700'000'000'000, 10'000);
    constexpr uint64_t kWanted = uint64_t{kPasses} * kDatagrams * kLines;
    if (accepted == kWanted && refused == 0 && batch.samples.size() == kSeries) return accepted;
    std::fprintf(stderr, "%llu lines accepted of %llu, %zu samples\n",
                 static_cast<unsigned long long>(accepted), static_cast<unsigned long long>(kWanted),
                 batch.samples.size());
    return 0;
  }

 private:
  std::vector<std::string> datagrams_;
  statsd::Aggregator aggregator_;
};

bool time_lines(const Mix& mix) {
  Load load(mix);
  std::vector<double> ns_per_line;
  for (int i = 0; i < kIntervals; i++) {
    double ns = 0;
    uint64_t lines = load.run(ns);
    if (lines == 0) return false;
    ns_per_line.push_back(ns / static_cast<double>(lines));
  }
  std::sort(ns_per_line.begin(), ns_per_line.end());
  std::printf(
      R"({"bench":"statsd_lines","mix":"%d,%d,%d,%d","series":%u,"ns_per_line":%.1f,"least_ns_per_line":%.1f})"
      "\n",
      mix[0], mix[1], mix[2], mix[3], kSeries, ns_per_line[kIntervals / 2], ns_per_line[0]);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 1) return time_lines({70, 10, 20, 0}) && time_lines({100, 0, 0, 0}) ? 0 : 1;
  Mix mix{};
  if (argc != 3 || std::strcmp(argv[1], "--callgrind") != 0 ||
      std::sscanf(argv[2], "%d,%d,%d,%d", &mix[0], &mix[1], &mix[2], &mix[3]) != 4) {
    std::fprintf(stderr, "statsd_lines_bench [--callgrind C,G,T,S]\n");
    return 2;
  }
  double ns = 0;
  uint64_t lines = Load(mix).run(ns);
  std::printf("%llu\n", static_cast<unsigned long long>(lines));
  return lines > 0 ? 0 : 1;
}
