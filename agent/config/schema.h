// Every key of the agent's own sections in one table a section: name, type, range, help and the member that
// holds it. Loading, printing, hints for slips of the hand, and docs/configuration.md all come from these
// tables. A new key is a member in config.h and a line in schema.cc.
#pragma once

#include <span>
#include <string>
#include <variant>
#include <vector>

#include "config/config.h"
#include "config/value.h"

namespace runnel {

template <class T>
using Member = std::variant<bool T::*, int64_t T::*, std::string T::*, std::vector<std::string> T::*,
                            std::vector<double> T::*, StringMap T::*>;

template <class T>
struct Key {
  const char* name;
  ValueSpec spec;
  Member<T> member;
  const char* help;                    // one line, no full stop
  const char* default_note = nullptr;  // where the default is not one value
};

// The keys of a section, in the order in which they are printed.
template <class T>
std::span<const Key<T>> keys_of();
template <>
std::span<const Key<AgentConfig>> keys_of();
template <>
std::span<const Key<StatsdConfig>> keys_of();
template <>
std::span<const Key<RiemannConfig>> keys_of();
template <>
std::span<const Key<FfwdConfig>> keys_of();
template <>
std::span<const Key<ScriptsConfig>> keys_of();
template <>
std::span<const Key<HostConfig>> keys_of();
template <>
std::span<const Key<JournalConfig>> keys_of();
template <>
std::span<const Key<OutputConfig>> keys_of();  // without `batch`, which is a table of its own
template <>
std::span<const Key<BatchConfig>> keys_of();

template <class T>
void set_member(T& config, const Key<T>& key, const Value& value);
template <class T>
Value get_member(const T& config, const Key<T>& key);

// Reads the keys of `table` into `config`; what is absent keeps its default. False where an error was
// reported.
template <class T>
bool read_keys(const Node& table, const std::string& section, T& config, Problems& problems);

// Reports each key of `table` that is not among `known`, with the nearest that is.
void report_unknown_keys(const Node& table, const std::string& section, const std::vector<std::string>& known,
                         Problems& problems);
template <class T>
std::vector<std::string> key_names();

// For the manual: all sections with their keys as text.
struct KeyText {
  std::string name, type, default_value, help;
};
struct SectionText {
  std::string name, help;  // "[agent]"
  std::vector<KeyText> keys;
};
std::vector<SectionText> describe_sections();

// ---- inline part
// ----------------------------------------------------------------------------------------------

template <class T>
void set_member(T& config, const Key<T>& key, const Value& value) {
  struct Set {
    T& config;
    const Value& value;
    void operator()(bool T::*m) { config.*m = value.integer != 0; }
    void operator()(int64_t T::*m) { config.*m = value.integer; }
    void operator()(std::string T::*m) { config.*m = value.text; }
    void operator()(std::vector<std::string> T::*m) { config.*m = value.list; }
    void operator()(std::vector<double> T::*m) { config.*m = value.numbers; }
    void operator()(StringMap T::*m) { config.*m = value.map; }
  };
  std::visit(Set{config, value}, key.member);
}

template <class T>
Value get_member(const T& config, const Key<T>& key) {
  struct Get {
    const T& config;
    Value& value;
    void operator()(bool T::*m) { value.integer = config.*m; }
    void operator()(int64_t T::*m) { value.integer = config.*m; }
    void operator()(std::string T::*m) { value.text = config.*m; }
    void operator()(std::vector<std::string> T::*m) { value.list = config.*m; }
    void operator()(std::vector<double> T::*m) { value.numbers = config.*m; }
    void operator()(StringMap T::*m) { value.map = config.*m; }
  };
  Value value;
  value.has_value = true;
  std::visit(Get{config, value}, key.member);
  return value;
}

template <class T>
bool read_keys(const Node& table, const std::string& section, T& config, Problems& problems) {
  bool good = true;
  for (const Key<T>& key : keys_of<T>()) {
    const Node* node = table.get(key.name);
    if (!node) continue;
    Value value;
    if (read_value(*node, key.spec, section + "." + key.name, problems, value)) {
      set_member(config, key, value);
    } else {
      good = false;
    }
  }
  return good;
}

template <class T>
std::vector<std::string> key_names() {
  std::vector<std::string> names;
  for (const Key<T>& key : keys_of<T>()) names.emplace_back(key.name);
  return names;
}

}  // namespace runnel
