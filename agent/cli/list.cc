#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "cli/cli.h"
#include "config/sink_options.h"
#include "output/encode/encoder.h"
#include "output/sink_registry.h"
#include "source/host/host_source.h"

namespace runnel::cli {
namespace {

void print_row(std::string_view name, std::string_view help) {
  fmt::print("  {:<14}  {}\n", name, help);
}

void list_sources() {
  print_row("statsd", "StatsD lines over UDP, TCP and unix sockets, aggregated each interval");
  print_row("riemann",
            "Riemann clients over TCP, TLS and UDP, acknowledged when the log has taken what they sent");
  print_row("ffwd", "FFWD's JSON, protobuf and HTTP, and carbon's lines, over UDP and TCP");
  print_row("scripts", "executables in a folder, each run at its interval");
  print_row("host", "what /proc says, see: runnel list collectors");
}

void print_collectors() {
  for (const CollectorInfo& collector : list_collectors())
    print_row(collector.name,
              fmt::format("{}{}", collector.help, collector.by_default ? "" : " (not by default)"));
}

void list_encodings() {
  for (const EncoderInfo& encoder : encoders()) print_row(encoder.name, encoder.help);
}

int list_sinks() {
  SinkRegistry registry;
  int code = 0;
  for (const std::string& name : registry.names()) {
    auto sink = registry.find(name);
    if (sink.ok()) {
      print_row(name, (*sink)->help);
    } else {
      fmt::print(stderr, "runnel: {}\n", sink.error());
      code = 1;
    }
  }
  return code;
}

const char* type_name(runnel_option_type type) {
  switch (type) {
    case RUNNEL_OPTION_BOOL:
      return "bool";
    case RUNNEL_OPTION_INT:
      return "int";
    case RUNNEL_OPTION_FLOAT:
      return "float";
    case RUNNEL_OPTION_STRING:
      return "string";
    case RUNNEL_OPTION_ENUM:
      return "enum";
    case RUNNEL_OPTION_DURATION:
      return "duration";
    case RUNNEL_OPTION_SIZE:
      return "size";
    case RUNNEL_OPTION_LIST:
      return "list";
    case RUNNEL_OPTION_MAP:
      return "map";
    case RUNNEL_OPTION_SECRET_FILE:
      return "secret file";
  }
  return "unknown";
}

int list_sink(const std::string& name) {
  SinkRegistry registry;
  auto found = registry.find(name);
  if (!found.ok()) {
    fmt::print(stderr, "runnel: {}\n", found.error());
    return 1;
  }
  const runnel_sink& sink = **found;
  fmt::print("{}: {}\n  default encoding {}, default compression {}\n\n", sink.name, sink.help,
             sink.default_encoding ? sink.default_encoding : "json",
             sink.default_compression ? sink.default_compression : "none");
  for (size_t i = 0; i < sink.option_count; i++) {
    const runnel_option& option = sink_option(sink, i);
    std::string value = (option.flags & RUNNEL_OPTION_REQUIRED) != 0 ? "required"
                        : option.default_value != nullptr ? fmt::format("default {}", option.default_value)
                                                          : "no default";
    fmt::print("  {:<18} {:<11} {}\n", option.name, type_name(option.type), value);
    if (option.type == RUNNEL_OPTION_ENUM) {
      std::vector<std::string> choices;
      for (const char* const* choice = option.choices; choice && *choice; choice++)
        choices.emplace_back(*choice);
      fmt::print("  {:<18} one of: {}\n", "", fmt::join(choices, ", "));
    }
    fmt::print("  {:<18} {}\n", "", option.help);
  }
  return 0;
}

}  // namespace

int list(const Arguments& arguments) {
  if (arguments.words.empty()) {
    fmt::print("sources:\n");
    list_sources();
    fmt::print("collectors:\n");
    print_collectors();
    fmt::print("encodings:\n");
    list_encodings();
    fmt::print("sinks:\n");
    return list_sinks();
  }
  const std::string& what = arguments.words[0];
  if (what == "sink") {
    if (arguments.words.size() < 2) return usage_error("list sink wants a name, see: runnel list sinks");
    return list_sink(arguments.words[1]);
  }
  if (arguments.words.size() > 1)
    return usage_error(
        fmt::format("list {} does not take \"{}\"", excerpt(what), excerpt(arguments.words[1])));
  if (what == "sinks") return list_sinks();
  if (what == "sources") {
    list_sources();
  } else if (what == "collectors") {
    print_collectors();
  } else if (what == "encodings") {
    list_encodings();
  } else {
    return usage_error(fmt::format(
        "list does not know \"{}\": sources, collectors, encodings, sinks or sink NAME", excerpt(what)));
  }
  return 0;
}

}  // namespace runnel::cli
