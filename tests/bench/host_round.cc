// CPU time of one round of the host collectors against the floor of the same run.
//
//   host_round_bench [-i SECONDS] [-n ROUNDS]      exit 1 where a target is missed
//
// Four processes at the same time, each paced at one collection an interval, so that all find the same machine with
// caches as cold as in service: the floor of nine files and seven collectors, the larger floor and all ten. The floor
// of nine files is the program that $RUNNEL_HOST_FLOOR names, else host_floor in the folder $RUNNEL_SHARED_BENCH, else
// yardsticks/host_floor_all beside this one. Times are CLOCK_PROCESS_CPUTIME_ID; pairs are compared by their medians.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "source/host/host_source.h"

using namespace runnel;

namespace {

constexpr double kTarget = 1.5;

struct Timing {
  double median_us = 0, min_us = 0;
  size_t samples = 0;
};

double cpu_us() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

void sleep_for(double seconds) {
  timespec t{static_cast<time_t>(seconds),
             static_cast<long>((seconds - static_cast<double>(static_cast<time_t>(seconds))) * 1e9)};
  nanosleep(&t, nullptr);
}

// In a child, so that its CPU time and caches are its own.
void measure(const std::vector<std::string>& names, double interval, int rounds) {
  HostConfig config;
  config.collectors = names;
  SourceCounts counts;
  HostCollectors collectors(config, counts);
  std::vector<double> us;
  size_t samples = 0;
  for (int i = 0; i < rounds; i++) {
    sleep_for(interval);
    double start = cpu_us();
    Batch batch("host");
    collectors.collect(batch, 1'700'000'000'000 + i * 1000);
    us.push_back(cpu_us() - start);
    samples = batch.samples.size();
  }
  std::sort(us.begin(), us.end());
  std::printf("{\"collections\":%d,\"median_us\":%.1f,\"min_us\":%.1f,\"max_us\":%.1f,\"samples\":%zu}\n",
              rounds, us[us.size() / 2], us.front(), us.back(), samples);
}

double number_after(const std::string& text, const char* key) {
  size_t at = text.find(key);
  return at == std::string::npos ? 0 : std::atof(text.c_str() + at + std::strlen(key));
}

bool read_result(FILE* pipe, Timing& result) {
  char line[512] = "";
  bool ok = std::fgets(line, sizeof line, pipe) != nullptr;
  ok = ::pclose(pipe) == 0 && ok;
  result.median_us = number_after(line, "\"median_us\":");
  result.min_us = number_after(line, "\"min_us\":");
  result.samples = static_cast<size_t>(number_after(line, "\"samples\":"));
  return ok && result.median_us > 0;
}

}  // namespace

int main(int argc, char** argv) {
  double interval = 1;
  int rounds = 20, c;
  std::string child;
  while ((c = getopt(argc, argv, "i:n:c:")) != -1) {
    if (c == 'i') interval = std::atof(optarg);
    if (c == 'n') rounds = std::atoi(optarg);
    if (c == 'c') child = optarg;  // a child of this program
    if (c == '?') return std::fprintf(stderr, "host_round_bench [-i SECONDS] [-n ROUNDS]\n"), 2;
  }
  if (rounds < 1 || interval <= 0) return 2;
  const std::vector<std::string> seven{"cpu", "memory", "network", "disk", "pressure", "paging", "load"};
  if (child == "seven") return measure(seven, interval, rounds), 0;
  if (child == "all") return measure({"all"}, interval, rounds), 0;

  char self[4096] = "";
  ssize_t size = ::readlink("/proc/self/exe", self, sizeof self - 1);
  if (size <= 0) return std::perror("/proc/self/exe"), 1;
  std::string own(self, static_cast<size_t>(size));
  std::string floor_all = own.substr(0, own.rfind('/') + 1) + "yardsticks/host_floor_all";
  std::string floor = floor_all;
  const char* given = std::getenv("RUNNEL_HOST_FLOOR");
  const char* folder = std::getenv("RUNNEL_SHARED_BENCH");
  if (given != nullptr && *given != '\0') {
    floor = given;
  } else if (folder != nullptr && ::access((std::string(folder) + "/host_floor").c_str(), X_OK) == 0) {
    floor = std::string(folder) + "/host_floor";
  }

  std::string pace = " -i " + std::to_string(interval) + " -n " + std::to_string(rounds);
  const std::string commands[] = {floor + pace, own + " -c seven" + pace, floor_all + " -a" + pace,
                                  own + " -c all" + pace};
  FILE* pipes[4];
  Timing results[4];
  for (int i = 0; i < 4; i++) {
    pipes[i] = ::popen(commands[i].c_str(), "re");
    if (pipes[i] == nullptr) return std::perror(commands[i].c_str()), 1;
    sleep_for(interval / 4);  // out of step with the others
  }
  bool ok = true;
  for (int i = 0; i < 4; i++) ok = read_result(pipes[i], results[i]) && ok;
  if (!ok) return std::fprintf(stderr, "a measurement failed\n"), 1;
  double seven_ratio = results[1].median_us / results[0].median_us;
  double all_ratio = results[3].median_us / results[2].median_us;
  std::printf(
      "{\"bench\":\"host_round\",\"rounds\":%d,\"interval_s\":%g,"
      "\"floor_us\":%.1f,\"seven_us\":%.1f,\"seven_ratio\":%.2f,\"seven_samples\":%zu,"
      "\"floor_all_us\":%.1f,\"all_us\":%.1f,\"all_ratio\":%.2f,\"all_samples\":%zu,\"target_ratio\":%.1f}\n",
      rounds, interval, results[0].median_us, results[1].median_us, seven_ratio, results[1].samples,
      results[2].median_us, results[3].median_us, all_ratio, results[3].samples, kTarget);
  return seven_ratio <= kTarget && all_ratio <= kTarget ? 0 : 1;
}
