#include <fmt/format.h>

#include <algorithm>

#include "config/load.h"
#include "config/schema.h"
#include "config/sink_options.h"

namespace runnel {
namespace {

constexpr size_t kHelpColumn = 40;

class Printer {
 public:
  explicit Printer(const Catalog& catalog) : catalog_(catalog) {}

  std::string print(const Config& config) {
    out_ = "# The effective configuration: every key, with its default where the file does not set it.\n";
    AgentConfig agent = config.agent;
    if (agent.host_from_system) agent.host.clear();
    header("[agent]");
    keys(agent);
    sources("statsd", config.statsd);
    sources("scripts", config.scripts);
    sources("host", config.host);
    sources("riemann", config.riemann);
    sources("ffwd", config.ffwd);
    header("[journal]");
    keys(config.journal);
    for (const OutputConfig& output : config.outputs) print_output(output);
    return std::move(out_);
  }

 private:
  void header(const std::string& text) { out_ += "\n" + text + "\n"; }

  void line(const std::string& text, const std::string& help) {
    out_ += text;
    if (!help.empty()) {
      if (text.size() < kHelpColumn) out_.append(kHelpColumn - text.size(), ' ');
      out_ += "  # " + help;
    }
    out_ += '\n';
  }

  static std::string full_help(const std::string& help, const std::string& range) {
    if (range.empty()) return help;
    return help.empty() ? range : fmt::format("{} ({})", help, range);
  }

  template <class T>
  void key(const T& config, const Key<T>& k) {
    line(fmt::format("{} = {}", k.name, print_value(get_member(config, k), k.spec)),
         full_help(k.help, range_text(k.spec)));
  }
  template <class T>
  void keys(const T& config) {
    for (const Key<T>& k : keys_of<T>()) key(config, k);
  }

  // A table that is absent means off, so a source that is not configured is shown as a comment.
  template <class T>
  void sources(const char* name, const std::vector<T>& list) {
    if (list.empty()) header(fmt::format("# [source.{}] is not configured", name));
    bool is_array = list.size() > 1;
    for (const T& source : list) {
      header(fmt::format("{}source.{}{}", is_array ? "[[" : "[", name, is_array ? "]]" : "]"));
      keys(source);
    }
  }

  void print_output(const OutputConfig& output) {
    header(fmt::format("[output.{}]", print_key(output.name)));
    auto found = catalog_.find_sink ? catalog_.find_sink(output.sink) : Result<const runnel_sink*>(nullptr);
    const runnel_sink* sink = found.ok() ? *found : nullptr;
    bool own_compression = sink && (sink->capabilities & RUNNEL_SINK_COMPRESSES_ITSELF) != 0;
    for (const Key<OutputConfig>& k : keys_of<OutputConfig>()) {
      if (!own_compression || !std::string(k.name).starts_with("compression")) key(output, k);
    }
    std::string batch;
    for (const Key<BatchConfig>& k : keys_of<BatchConfig>())
      batch += fmt::format("{} {} = {}", batch.empty() ? "" : ",", k.name,
                           print_value(get_member(output.batch, k), k.spec));
    line(fmt::format("batch = {{{} }}", batch), "a payload is sent when it reaches one of these");
    for (size_t i = 0; sink && i < sink->option_count && i < output.options.size(); i++)
      print_sink_option(sink_option(*sink, i), output.options[i]);
  }

  void print_sink_option(const runnel_option& option, const OptionValue& value) {
    std::string help = full_help(option.help ? option.help : "", range_text(option_spec(option)));
    if (value.has_value) {
      // A sink is told whether the file names an option, so a default is shown without being set.
      line(fmt::format("{}{} = {}", value.is_set ? "" : "# ", option.name, print_option(option, value)),
           help);
    } else {
      line(fmt::format("# {} is not set", option.name), help);
    }
  }

  const Catalog& catalog_;
  std::string out_;
};

}  // namespace

std::string print_config(const Config& config, const Catalog& catalog) {
  return Printer(catalog).print(config);
}

}  // namespace runnel
