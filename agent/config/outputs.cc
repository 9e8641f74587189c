#include <fmt/format.h>

#include <algorithm>
#include <cstddef>

#include "base/text.h"
#include "config/schema.h"
#include "config/sections.h"
#include "config/sink_options.h"

namespace runnel {
namespace {

constexpr size_t kMaxNameLength = 64;

// None: all. The field was appended to the descriptor, so a plugin may be older than it.
std::vector<std::string> carried_encodings(const runnel_sink& sink) {
  std::vector<std::string> names;
  if (sink.struct_size < offsetof(runnel_sink, encodings) + sizeof sink.encodings || !sink.encodings)
    return names;
  for (const char* const* name = sink.encodings; *name; name++) names.emplace_back(*name);
  return names;
}

class OutputReader {
 public:
  OutputReader(const Entry& entry, LoadContext& context)
      : name_(entry.key),
        header_(entry.value.position),
        table_(entry.value),
        context_(context),
        problems_(context.problems),
        section_("output." + excerpt(entry.key, kMaxNameLength)) {}

  OutputConfig read() {
    OutputConfig out;
    out.name = name_;
    out.position = header_;
    const runnel_sink* sink = read_sink(out);
    // Without its sink nobody knows which keys an output has, so only what is common to all is looked at.
    bool own_compression = sink && (sink->capabilities & RUNNEL_SINK_COMPRESSES_ITSELF) != 0;
    for (const Key<OutputConfig>& key : keys_of<OutputConfig>()) {
      std::string key_name = key.name;
      const Node* node = table_.get(key_name);
      bool is_compression = key_name == "compression" || key_name == "compression_level";
      if (!node || key_name == "sink" || (is_compression && own_compression)) continue;
      Value value;
      if (read_value(*node, key.spec, section_ + "." + key_name, problems_, value))
        set_member(out, key, value);
    }
    read_batch(out);
    check_filter(out);
    if (!sink) return out;
    check_encoding(*sink, out);
    if (!own_compression) check_compression(*sink, out);
    std::vector<std::string> known = output_keys(*sink);
    for (size_t i = 0; i < sink->option_count; i++) {
      std::string option = sink_option(*sink, i).name;
      if (contains(known, option))
        problems_.error(
            header_, fmt::format("the sink {} declares the option \"{}\", which is the agent's own (tell its "
                                 "author)",
                                 sink->name, option));
      known.push_back(option);
    }
    report_unknown_keys(table_, section_, known, problems_);
    out.options = read_sink_options(*sink, table_, header_, section_, problems_);
    return out;
  }

 private:
  const Position& at(const char* key) const {
    const Node* node = table_.get(key);
    return node ? node->position : header_;
  }
  bool has_good(const char* key, Node::Kind kind) const {
    const Node* node = table_.get(key);
    return node && node->kind == kind && !node->unknown;
  }

  const runnel_sink* read_sink(OutputConfig& out) {
    const Node* node = table_.get("sink");
    if (!node && problems_.incomplete()) return nullptr;
    if (!node) {
      const auto& sinks = context_.catalog.sinks;
      problems_.error(header_,
                      fmt::format("{}.sink is missing ({})", section_,
                                  sinks.empty() ? "write sink = \"stdout\"" : "one of " + join(sinks)));
      return nullptr;
    }
    Value value;
    if (!read_value(*node, ValueSpec{}, section_ + ".sink", problems_, value)) return nullptr;
    out.sink = value.text;
    if (!context_.catalog.find_sink) {
      problems_.error(node->position, "this build has no sinks");
      return nullptr;
    }
    auto found = context_.catalog.find_sink(out.sink);
    if (found.ok() && *found) return *found;
    std::string near = out.sink.size() <= 64 ? nearest(out.sink, context_.catalog.sinks) : "";
    problems_.error(node->position,
                    fmt::format("{}.sink: {}{}", section_, found.ok() ? "not found" : found.error(),
                                near.empty() || near == out.sink ? "" : " (did you mean \"" + near + "\"?)"));
    return nullptr;
  }

  void read_batch(OutputConfig& out) {
    const Node* node = table_.get("batch");
    if (!node) return;
    std::string section = section_ + ".batch";
    if (!node->is_table()) {
      problems_.error(node->position,
                      fmt::format("{} is {}, not a table (write batch = {{ max_age = \"1s\" }})", section,
                                  kind_name(node->kind)));
      return;
    }
    report_unknown_keys(*node, section, key_names<BatchConfig>(), problems_);
    read_keys(*node, section, out.batch, problems_);
  }

  void check_filter(const OutputConfig& out) {
    if (out.filter.empty() || !context_.catalog.check_filter) return;
    Status status = context_.catalog.check_filter(out.filter);
    if (!status.ok()) problems_.error(at("filter"), fmt::format("{}.filter: {}", section_, status.error()));
  }

  void check_encoding(const runnel_sink& sink, OutputConfig& out) {
    bool is_set = table_.get("encoding") != nullptr;
    if (is_set && !has_good("encoding", Node::Kind::string)) return;
    if (!is_set) out.encoding = sink.default_encoding ? sink.default_encoding : "json";
    const auto& known = context_.catalog.encodings;
    std::vector<std::string> carried = carried_encodings(sink);
    if (!contains(known, out.encoding)) {
      problems_.error(at("encoding"), fmt::format("{}.encoding: unknown encoding \"{}\"{}", section_,
                                                  excerpt(out.encoding), hint(out.encoding, known)));
    } else if (!carried.empty() && !contains(carried, out.encoding)) {
      problems_.error(at("encoding"), fmt::format("{}.encoding: the sink {} does not carry \"{}\" ({})",
                                                  section_, sink.name, out.encoding, join(carried)));
    }
    check_schema(out);
  }

  // "" is the default, also where an encoding has none: `runnel config` prints it so.
  void check_schema(OutputConfig& out) {
    if (table_.get("schema") && !has_good("schema", Node::Kind::string)) return;
    auto found = context_.catalog.schemas.find(out.encoding);
    if (found == context_.catalog.schemas.end()) {
      if (!out.schema.empty())
        problems_.error(at("schema"), fmt::format("{}.schema: the encoding {} has no schemas to choose from",
                                                  section_, excerpt(out.encoding)));
    } else if (out.schema.empty()) {
      out.schema = found->second.front();
    } else if (!contains(found->second, out.schema)) {
      problems_.error(at("schema"),
                      fmt::format("{}.schema: the encoding {} has no schema \"{}\" ({})", section_,
                                  out.encoding, excerpt(out.schema), join(found->second)));
    }
  }

  void check_compression(const runnel_sink& sink, OutputConfig& out) {
    bool is_set = table_.get("compression") != nullptr;
    if (is_set ? !has_good("compression", Node::Kind::string) : problems_.incomplete()) return;
    bool wants_records = (sink.capabilities & RUNNEL_SINK_WANTS_RECORDS) != 0;
    if (!is_set)
      out.compression = sink.default_compression && !wants_records ? sink.default_compression : "none";
    const auto& known = context_.catalog.compressions;
    if (!contains(known, out.compression)) {
      problems_.error(at("compression"), fmt::format("{}.compression: unknown compression \"{}\"{}", section_,
                                                     excerpt(out.compression), hint(out.compression, known)));
      return;
    }
    if (wants_records && out.compression != "none")
      problems_.error(at("compression"),
                      fmt::format("{}.compression: the sink {} takes single records, which are not "
                                  "compressed (write \"none\")",
                                  section_, sink.name));
    // zlib.h: 1 to 9; zstd.h: 20 to 22 ("ultra") need hundreds of megabytes, which this agent has not got.
    int64_t highest = out.compression == "gzip" ? 9 : out.compression == "zstd" ? 19 : 0;
    if (out.compression_level < 0 || out.compression_level > highest) {
      std::string range =
          highest == 0 ? "there is no level to set" : fmt::format("0 to {}, 0 is the default", highest);
      problems_.error(at("compression_level"),
                      fmt::format("{}.compression_level is {}, out of range for {} ({})", section_,
                                  out.compression_level, out.compression, range));
    }
  }

  const std::string& name_;
  const Position& header_;
  const Node& table_;
  LoadContext& context_;
  Problems& problems_;
  std::string section_;
};

}  // namespace

std::vector<std::string> output_keys(const runnel_sink& sink) {
  std::vector<std::string> keys = key_names<OutputConfig>();
  keys.push_back("batch");
  if ((sink.capabilities & RUNNEL_SINK_COMPRESSES_ITSELF) != 0)
    std::erase_if(keys, [](const std::string& key) { return key.starts_with("compression"); });
  return keys;
}

void read_outputs(const Node& root, LoadContext& context, Config& config) {
  const Node* outputs = root.get("output");
  if (outputs && !outputs->is_table()) {
    context.problems.error(outputs->position,
                           "output is not a table (write [output.main] with sink = \"stdout\")");
    return;
  }
  if (!outputs || outputs->entries.empty()) {
    if (context.problems.incomplete()) return;
    context.problems.error(outputs ? outputs->position : root.position,
                           "no output is configured (write [output.main] with sink = \"stdout\")");
    return;
  }
  for (const Entry& e : outputs->entries) {
    if (!e.value.is_table()) {
      context.problems.error(e.position,
                             fmt::format("output.{} is {}, not a table (an output has a name: write "
                                         "[output.main])",
                                         excerpt(e.key, kMaxNameLength), kind_name(e.value.kind)));
      continue;
    }
    if (!is_plain_name(e.key) || e.key.size() > kMaxNameLength)
      context.problems.error(e.position,
                             fmt::format("\"{}\" is not a name for an output (letters, digits, - and _, at "
                                         "most {})",
                                         excerpt(e.key, kMaxNameLength), kMaxNameLength));
    config.outputs.push_back(OutputReader(e, context).read());
  }
}

}  // namespace runnel
