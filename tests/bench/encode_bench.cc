// What it costs to encode and compress 1000 series, and what they weigh. Prints a JSON object a line.
//
// Yardsticks, in the same run and on the same bytes: memcpy of the encoded payload (what any encoder must at
// least do), and the codec alone, called straight from its library at the same level with a context kept
// between calls. `ratio` is encode + compress through the agent's classes over the sum of the two yardsticks.
// Times are CPU time of the thread, the best of many rounds: the machine may be busy. Values change between
// rounds, series do not.
//
//   encode_bench            the default levels, with yardsticks; exit 1 where a target is missed
//   encode_bench levels     every level worth considering: the numbers behind the defaults in compress.cc
#include <fmt/format.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "metric/batch.h"
#include "output/compress.h"
#include "output/encode/encoder.h"

using namespace runnel;

namespace {

constexpr size_t kSeries = 1000;
constexpr int kRounds = 60;
constexpr double kTargetNs = 1000;  // encoding + compressing, a series

int64_t cpu_ns() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

// Counters and gauges as a web service with StatsD and the host collectors make them: three tags of the
// sender, `site` from the agent's configuration, the host in the origin.
Batch make_batch(unsigned round) {
  static const char* const kRoutes[] = {"users", "orders", "cart",   "search",
                                        "login", "images", "health", "payments"};
  static const char* const kMethods[] = {"GET", "POST", "PUT", "DELETE"};
  static const char* const kStatus[] = {"200", "304", "404", "500"};
  static const char* const kDevices[] = {"sda", "sdb", "nvme0n1", "nvme1n1", "dm-0", "dm-1", "md0", "loop0"};
  static const char* const kModes[] = {"user", "system", "idle", "iowait", "irq", "softirq", "steal", "nice"};
  std::mt19937 random(round);
  Batch batch("bench");
  batch.origins[0].host = "web-1.lon.example.net";
  int64_t time = 1'763'769'600'000 + round * 10'000;
  size_t made = 0;
  auto add = [&](std::string_view name, std::initializer_list<Tag> tags, Kind kind, Number value,
                 const char* unit) {
    if (made == kSeries) return;
    Sample s;
    s.series = batch.series(name, tags);
    s.unit = batch.string(unit);
    s.kind = kind;
    s.time_ms = time;
    s.interval_ms = kind == Kind::counter ? 10'000 : 0;
    s.value = value;
    batch.add(s);
    made++;
  };
  auto whole = [&](uint32_t limit) { return Number::integer(random() % limit); };
  auto fraction = [&] { return Number(static_cast<double>(random() % 100'000) / 1000); };
  for (int pool = 0; pool < 4; pool++)  // 4 × 8 × 4 × 4 = 512 counters
    for (const char* route : kRoutes)
      for (const char* method : kMethods)
        for (const char* status : kStatus)
          add(fmt::format("api.pool{}.requests", pool),
              {{"method", method}, {"route", route}, {"site", "lon"}, {"status", status}}, Kind::counter,
              whole(20'000), "1");
  for (int pool = 0; pool < 2; pool++)  // 64 gauges
    for (const char* route : kRoutes)
      for (const char* method : kMethods)
        add(fmt::format("api.pool{}.in_flight", pool),
            {{"method", method}, {"route", route}, {"site", "lon"}, {"version", "1.4.2"}}, Kind::gauge,
            whole(50), "1");
  for (int cpu = 0; cpu < 32; cpu++)  // 256 gauges
    for (const char* mode : kModes)
      add("system.cpu.utilization",
          {{"cpu", fmt::format("{}", cpu)}, {"mode", mode}, {"rack", "r12"}, {"site", "lon"}}, Kind::gauge,
          fraction(), "1");
  for (const char* device : kDevices)  // 8 × 2 × 3 = 48 totals and gauges
    for (const char* direction : {"read", "write"}) {
      std::initializer_list<Tag> tags = {
          {"device", device}, {"direction", direction}, {"rack", "r12"}, {"site", "lon"}};
      add("system.disk.io", tags, Kind::counter, whole(100'000'000), "By");
      add("system.disk.operations", tags, Kind::counter, whole(100'000), "1");
      add("system.disk.latency", tags, Kind::gauge, fraction(), "ms");
    }
  for (int queue = 0; made < kSeries; queue++)
    add("worker.queue.depth",
        {{"queue", fmt::format("mail-{:03}", queue)}, {"rack", "r12"}, {"site", "lon"}, {"tier", "back"}},
        Kind::gauge, queue % 3 == 0 ? fraction() : whole(1000), "1");
  return batch;
}

size_t encode(Encoder& encoder, const Batch& batch, std::string& out) {
  out.clear();
  encoder.begin(out);
  size_t records = 0;
  for (const Sample& s : batch.samples) records += encoder.sample(batch, s, out);
  encoder.end(out);
  return records;
}

// Best CPU time of a call, in ns a series.
double best_ns(const std::function<void(int round)>& call) {
  int64_t best = INT64_MAX;
  for (int i = 0; i < kRounds; i++) {
    int64_t start = cpu_ns();
    call(i);
    best = std::min(best, cpu_ns() - start);
  }
  return static_cast<double>(best) / static_cast<double>(kSeries);
}

// The codec alone, as a program that needs nothing else would call it.
class BareCodec {
 public:
  BareCodec(std::string_view name, int level) : gzip_(name == "gzip"), zstd_(name == "zstd"), level_(level) {
    if (gzip_) deflateInit2(&stream_, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    if (zstd_) context_ = ZSTD_createCCtx();
  }
  ~BareCodec() {
    if (gzip_) deflateEnd(&stream_);
    if (zstd_) ZSTD_freeCCtx(context_);
  }
  size_t operator()(const std::string& in, std::vector<char>& out) {
    if (gzip_) {
      deflateReset(&stream_);
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
      stream_.avail_in = static_cast<uInt>(in.size());
      stream_.next_out = reinterpret_cast<Bytef*>(out.data());
      stream_.avail_out = static_cast<uInt>(out.size());
      if (deflate(&stream_, Z_FINISH) != Z_STREAM_END) std::abort();
      return out.size() - stream_.avail_out;
    }
    if (zstd_) {
      size_t size = ZSTD_compressCCtx(context_, out.data(), out.size(), in.data(), in.size(), level_);
      if (ZSTD_isError(size)) std::abort();
      return size;
    }
    return in.size();
  }

 private:
  bool gzip_, zstd_;
  int level_;
  z_stream stream_{};
  ZSTD_CCtx* context_ = nullptr;
};

bool measure(std::string_view encoding, std::string_view compression, int level,
             const std::vector<Batch>& batches) {
  auto encoder = find_encoder(encoding)->make();
  auto compressor = Compressor::create(compression, level);
  if (!compressor) std::abort();
  int actual = level;
  for (const CompressionInfo& info : compressions())
    if (info.name == compression && level == 0) actual = info.default_level;

  std::string text, payload;
  size_t bytes = 0, payload_bytes = 0, payloads = 0;
  auto batch = [&](int round) -> const Batch& {
    return batches[static_cast<size_t>(round) % batches.size()];
  };
  double encode_ns = best_ns([&](int round) {
    if (encode(*encoder, batch(round), text) != kSeries) std::abort();
  });
  double both_ns = best_ns([&](int round) {
    encode(*encoder, batch(round), text);
    if (!(*compressor)->compress(text, payload)) std::abort();
    bytes += text.size(), payload_bytes += payload.size(), payloads++;
  });
  std::vector<char> copy(text.size() * 2 + 4096);
  double copy_ns = best_ns([&](int) {
    std::memcpy(copy.data(), text.data(), text.size());
    asm volatile("" ::"r"(copy.data()) : "memory");
  });
  BareCodec codec(compression, actual);
  double codec_ns = compression == "none" ? 0 : best_ns([&](int) { codec(text, copy); });
  double values = static_cast<double>(payloads * kSeries);
  fmt::print(
      "{{\"bench\":\"encode\",\"encoding\":\"{}\",\"compression\":\"{}\",\"level\":{},\"series\":{},"
      "\"encode_ns\":{:.0f},\"encode_compress_ns\":{:.0f},\"memcpy_ns\":{:.1f},\"codec_ns\":{:.0f},\"ratio\":"
      "{:.2f},"
      "\"text_bytes_per_value\":{:.1f},\"bytes_per_value\":{:.2f}}}\n",
      encoding, compression, actual, kSeries, encode_ns, both_ns, copy_ns, codec_ns,
      both_ns / (copy_ns + codec_ns), static_cast<double>(bytes) / values,
      static_cast<double>(payload_bytes) / values);
  bool target =
      (encoding == "json" && compression == "zstd") || (encoding == "influx" && compression == "gzip");
  return !target || level != 0 || both_ns <= kTargetNs;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Batch> batches;
  for (unsigned i = 0; i < 10; i++) batches.push_back(make_batch(i));
  bool levels = argc > 1 && std::strcmp(argv[1], "levels") == 0;
  bool good = true;
  for (const char* encoding : {"json", "influx"}) {
    if (levels) {
      for (int level : {1, 2, 3, 4, 5, 6, 9}) measure(encoding, "gzip", level, batches);
      for (int level : {-5, -1, 1, 2, 3, 4, 5, 6, 9}) measure(encoding, "zstd", level, batches);
    } else {
      for (const char* compression : {"none", "gzip", "zstd"})
        good &= measure(encoding, compression, 0, batches);
    }
  }
  if (!good)
    fmt::print(stderr, "encode_bench: json + zstd or influx + gzip above {} ns a series\n", kTargetNs);
  return good ? 0 : 1;
}
