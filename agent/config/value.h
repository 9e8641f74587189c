// One value of the configuration: what a key takes (ValueSpec), what a file said (Value), and the way from a
// Node to it and back to text. The agent's own keys and the options of sinks go through the same functions.
// Main thread.
#pragma once

#include <string>
#include <vector>

#include "config/config.h"
#include "config/problems.h"
#include "config/toml_tree.h"

namespace runnel {

enum class ValueType {
  boolean,
  integer,
  real,
  string,
  choice,
  duration,  // "10s", milliseconds inside
  size,      // "8MiB", bytes inside
  string_list,
  number_list,
  string_map,
  text_map,  // a map whose numbers and booleans are taken as their text
  secret_file
};

struct ValueSpec {
  ValueType type = ValueType::string;
  double minimum = 0,
         maximum = 0;  // of numbers, durations (ms), sizes (bytes), each of a number_list; both 0: none
  const char* const* choices = nullptr;  // NULL-terminated
  bool secret = false;                   // neither messages nor print_value show it
};

struct Value : OptionValue {
  std::vector<double> numbers;
  bool operator==(const Value&) const = default;
};

// `what` names the key in messages ("agent.interval"). False: an error was reported, here or earlier, and `out` is not to be
// used.
bool read_value(const Node& node, const ValueSpec& spec, const std::string& what, Problems& problems,
                Value& out);

// The file behind a SECRET_FILE: there and readable, else an error; readable by others, a warning.
void check_secret_file(const Node& node, const std::string& path, const std::string& what,
                       Problems& problems);

// As TOML, on one line; reads back as the same value unless it is secret.
std::string print_value(const Value& value, const ValueSpec& spec);
std::string print_string(
    std::string_view text);                   // quoted; `${` is written so that it is not substituted again
std::string print_key(std::string_view key);  // bare where TOML allows that
// "user:password@" of a URL without the password.
std::string redact_url(const std::string& text);

std::string_view type_name(ValueType type);     // "duration"
std::string range_text(const ValueSpec& spec);  // "100ms to 1d", "one of a, b"; "" for no limit
std::string choices_text(const char* const* choices);

}  // namespace runnel
