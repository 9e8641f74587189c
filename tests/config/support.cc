#include "config/support.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace runnel::test {
namespace {

const char* const kMethods[] = {"GET", "POST", "PUT", nullptr};

// In the order of the enumeration runnel_option_type, then what needs a second one.
const runnel_option kFakeOptions[] = {
    {"follow", RUNNEL_OPTION_BOOL, 0, "true", "whether to follow", nullptr, 0, 0},
    {"count", RUNNEL_OPTION_INT, 0, "3", "how many", nullptr, 1, 10},
    {"ratio", RUNNEL_OPTION_FLOAT, 0, "0.5", "how much", nullptr, 0, 1},
    {"url", RUNNEL_OPTION_STRING, RUNNEL_OPTION_REQUIRED, nullptr, "where to", nullptr, 0, 0},
    {"method", RUNNEL_OPTION_ENUM, 0, "\"POST\"", "which verb", kMethods, 0, 0},
    {"timeout", RUNNEL_OPTION_DURATION, 0, "\"30s\"", "how long", nullptr, 1, 600'000},
    {"limit", RUNNEL_OPTION_SIZE, 0, "\"64KiB\"", "how large", nullptr, 1024, 1e18},
    {"brokers", RUNNEL_OPTION_LIST, 0, "[]", "who", nullptr, 0, 0},
    {"headers", RUNNEL_OPTION_MAP, 0, "{}", "what else", nullptr, 0, 0},
    {"password_file", RUNNEL_OPTION_SECRET_FILE, 0, nullptr, "file of the password", nullptr, 0, 0},
    {"token", RUNNEL_OPTION_STRING, RUNNEL_OPTION_SECRET, nullptr, "the password itself", nullptr, 0, 0},
    {"codes", RUNNEL_OPTION_MAP, RUNNEL_OPTION_SECRET, nullptr, "several of them", nullptr, 0, 0},
};
enum { kUrl = 3, kBrokers = 7, kHeaders = 8, kToken = 10 };

void check_fake(const runnel_value* values, void (*error)(void*, size_t, const char*, const char*),
                void* context) {
  const runnel_value& url = values[kUrl];
  if (std::strncmp(url.text.data, "http://", 7) != 0)
    error(context, kUrl, nullptr, "not http:// (write http://…)");
  for (size_t i = 0; i < values[kHeaders].count; i++) {
    const runnel_pair& pair = values[kHeaders].map[i];
    if (std::strchr(pair.key.data, ' '))
      error(context, kHeaders, pair.key.data, "a space in a header's name");
  }
  for (size_t i = 0; i < values[kBrokers].count; i++)
    if (std::strchr(values[kBrokers].list[i].data, ':') == nullptr)
      error(context, kBrokers, values[kBrokers].list[i].data, "no port");
  if (values[kToken].is_set && values[kBrokers].count == 0)
    error(context, 99, nullptr, "a token without brokers");
}

const runnel_option kSqueezeOptions[] = {
    {"compression", RUNNEL_OPTION_STRING, 0, "\"lz4\"", "its own list", nullptr, 0, 0},
};
const runnel_option kBrokenOptions[] = {
    {"count", RUNNEL_OPTION_INT, 0, "\"many\"", nullptr, nullptr, 0, 0},
    {"filter", RUNNEL_OPTION_STRING, 0, nullptr, nullptr, nullptr, 0, 0},
    {"later", static_cast<runnel_option_type>(11), 0, "{{", nullptr, nullptr, 0, 0},
};

const char* const kRecordEncodings[] = {"json", "influx", nullptr};

runnel_sink descriptor(const char* name, uint32_t capabilities, const runnel_option* options, size_t count) {
  runnel_sink sink{};
  sink.abi_version = RUNNEL_SINK_ABI;
  sink.struct_size = sizeof(runnel_sink);
  sink.option_size = sizeof(runnel_option);
  sink.capabilities = capabilities;
  sink.name = name;
  sink.help = "made up";
  sink.options = options;
  sink.option_count = count;
  return sink;
}

const std::vector<runnel_sink>& sinks() {
  static const std::vector<runnel_sink> all = [] {
    runnel_sink fake = descriptor("fake", 0, kFakeOptions, std::size(kFakeOptions));
    fake.check = check_fake;
    fake.default_compression = "gzip";
    runnel_sink plain = descriptor("plain", 0, nullptr, 0);
    plain.default_encoding = "pretty";
    runnel_sink stdout_sink = descriptor("stdout", 0, nullptr, 0);
    runnel_sink records = descriptor("records", RUNNEL_SINK_WANTS_RECORDS, nullptr, 0);
    records.encodings = kRecordEncodings;
    runnel_sink squeeze =
        descriptor("squeeze", RUNNEL_SINK_WANTS_RECORDS | RUNNEL_SINK_COMPRESSES_ITSELF, kSqueezeOptions, 1);
    runnel_sink broken = descriptor("broken", 0, kBrokenOptions, std::size(kBrokenOptions));
    broken.default_encoding = "morse";
    return std::vector<runnel_sink>{fake, plain, stdout_sink, records, squeeze, broken};
  }();
  return all;
}

}  // namespace

Catalog make_catalog() {
  Catalog catalog;
  for (const runnel_sink& sink : sinks()) catalog.sinks.emplace_back(sink.name);
  catalog.find_sink = [](const std::string& name) -> Result<const runnel_sink*> {
    for (const runnel_sink& sink : sinks())
      if (name == sink.name) return &sink;
    return Error{"there is no sink \"" + name + "\""};
  };
  catalog.encodings = {"json", "influx", "pretty"};
  catalog.schemas = {{"influx", {"2", "1"}}};
  catalog.compressions = {"none", "gzip", "zstd"};
  catalog.collectors = {"cpu", "memory", "disk"};
  catalog.check_filter = [](const std::string& filter) -> Status {
    if (filter.find("(") != std::string::npos) return Error{"column 3: ( without )"};
    return {};
  };
  return catalog;
}

std::vector<std::string> lines(const std::vector<Problem>& problems) {
  std::vector<std::string> out;
  for (const Problem& p : problems) out.push_back(to_string(p));
  return out;
}

TemporaryFolder::TemporaryFolder() {
  char name[] = "/tmp/runnel-config-XXXXXX";
  if (!mkdtemp(name)) throw std::runtime_error("mkdtemp");
  path_ = name;
}
TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TemporaryFolder::write(const std::string& name, const std::string& text, unsigned mode) const {
  std::string path = path_ + "/" + name;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
  if (::chmod(path.c_str(), mode) != 0) throw std::runtime_error("chmod");
  return path;
}

std::vector<std::string> TemporaryFolder::lines(const std::vector<Problem>& problems) const {
  std::vector<std::string> out = test::lines(problems);
  for (std::string& line : out)
    for (size_t at; (at = line.find(path_ + "/")) != std::string::npos;) line.erase(at, path_.size() + 1);
  return out;
}

bool same_settings(const Config& a, const Config& b) {
  return a.agent == b.agent && a.statsd == b.statsd && a.riemann == b.riemann && a.ffwd == b.ffwd &&
         a.scripts == b.scripts && a.host == b.host && a.journal == b.journal && a.outputs == b.outputs;
}

}  // namespace runnel::test
