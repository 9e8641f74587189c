#include "agent/catalog.h"

#include "filter/filter.h"
#include "net/tls.h"
#include "output/compress.h"
#include "output/encode/encoder.h"
#include "source/host/host_source.h"

namespace runnel {

Catalog make_catalog(SinkRegistry& registry) {
  Catalog catalog;
  catalog.find_sink = [&registry](const std::string& sink) { return registry.find(sink); };
  catalog.sinks = registry.names();
  for (const EncoderInfo& encoder : encoders()) {
    catalog.encodings.emplace_back(encoder.name);
    if (!encoder.schemas.empty())
      catalog.schemas[std::string(encoder.name)] = {encoder.schemas.begin(), encoder.schemas.end()};
  }
  for (const CompressionInfo& compression : compressions())
    catalog.compressions.emplace_back(compression.name);
  catalog.collectors = collector_names();
  catalog.check_filter = [](const std::string& text) -> Status {
    auto filter = Filter::compile(text);
    if (!filter.ok()) return Error{filter.error()};
    return {};
  };
  catalog.check_tls = [](const TlsSettings& settings) {
    std::vector<TlsProblem> problems;
    (void)TlsContext::make(settings, problems);
    return problems;
  };
  return catalog;
}

}  // namespace runnel
