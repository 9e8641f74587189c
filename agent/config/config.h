// What the configuration says, as plain values with every default filled in. Made by config/load.h; whoever
// gets a part of it copies what it keeps. Equality is what reload compares to leave undisturbed what did not
// change. Durations are milliseconds, sizes bytes.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "net/tls_settings.h"

namespace runnel {

using StringMap = std::map<std::string, std::string>;

struct AgentConfig {
  std::string host;              // never ""
  bool host_from_system = true;  // the file does not name it: it is gethostname() and follows renames
  int64_t interval_ms = 10'000;
  StringMap tags;
  StringMap pinned_tags;
  std::string tags_file;
  std::string tags_env_prefix;  // what the environment has with it is in `tags` already
  StringMap resource;
  std::string resource_env_prefix;  // the same of `resource`
  std::string state_dir = "/var/lib/runnel";
  std::string control = "/run/runnel/control.sock";
  int64_t shutdown_timeout_ms = 10'000;
  std::string log_level = "info";      // debug, info, warning, error
  std::string unknown_keys = "error";  // error, warn
  std::string metrics_file;
  bool self_metrics = true;
  bool operator==(const AgentConfig&) const = default;
};

// Where a value stands, for errors that are found after loading (a port that is taken).
struct Position {
  std::string file;
  int line = 0, column = 0;
  bool operator==(const Position&) const { return true; }  // moving a table in the file is no change
};
std::string to_string(const Position& position);  // FILE:LINE:COLUMN

struct StatsdConfig {
  std::string name = "statsd";  // of [[source.statsd]]; tag `source` of its metrics
  bool enabled = true;
  std::vector<std::string> listen{"udp://127.0.0.1:8125"};
  StringMap tags;
  int64_t max_series = 100'000;
  int64_t receivers = 1;              // threads that share the load
  int64_t receive_buffer = 8 << 20;   // SO_RCVBUF wanted, in bytes
  int64_t max_connections = 1024;     // of tcp:// and unix:// listeners together
  int64_t idle_timeout_ms = 300'000;  // of a connection; 0: never
  std::string mode = "0666";          // of unix sockets, octal
  std::string group;                  // of unix sockets; "" leaves it
  std::vector<double> percentiles{50, 90, 95, 99};
  std::string tag_style = "any";  // any, dogstatsd, influx, librato, signalfx
  std::string origin = "none";    // none, tags
  bool sanitize = false;
  std::string gauge_sign = "delta";  // delta, absolute
  int64_t gauge_ttl_ms = 300'000;    // 0: for ever
  std::string counters = "delta";    // delta, total, rate
  StringMap delete_idle{{"counters", "true"}, {"gauges", "false"}, {"sets", "true"}, {"timers", "true"}};
  std::vector<std::string> repeat;  // udp:// and unixgram:// addresses that raw packets go on to
  Position position;
  bool operator==(const StatsdConfig&) const = default;
};

struct RiemannConfig {
  bool enabled = true;
  std::vector<std::string> listen{"tcp://127.0.0.1:5555", "udp://127.0.0.1:5555"};
  StringMap tags;
  std::string keep = "auto";  // auto, events, metrics
  int64_t max_frame = 1 << 20;
  int64_t max_connections = 1024;
  int64_t idle_timeout_ms = 300'000;      // of a connection without a whole message; 0: never
  int64_t receive_buffer = 8 << 20;       // SO_RCVBUF wanted of UDP sockets, in bytes
  std::string tls_ca, tls_cert, tls_key;  // for tls:// listeners: paths of PEM files
  std::string client_auth = "require";    // require, request, none
  int64_t handshake_timeout_ms = 10'000;  // of tls:// connections
  Position position;

  bool has_tls() const {  // a listener is tls://
    for (const std::string& url : listen)
      if (url.starts_with("tls://")) return true;
    return false;
  }
  TlsSettings tls() const { return {tls_ca, tls_cert, tls_key, client_auth}; }
  bool operator==(const RiemannConfig&) const = default;
};

struct FfwdConfig {
  bool enabled = true;
  std::vector<std::string> listen;  // config/ffwd_listen.h
  StringMap tags;
  std::vector<double> percentiles{50, 90, 95, 99};  // of distributions
  int64_t min_interval_ms = 0;                      // of a series; 0: whatever comes
  int64_t max_connections = 1024;                   // of each of its protocols over TCP
  int64_t idle_timeout_ms = 300'000;    // of a connection without a whole line or request; 0: never
  int64_t request_timeout_ms = 30'000;  // of http://: from a request's first line to the end of its body
  int64_t max_body = 4 << 20;           // of http://: bytes, as they come and inflated
  int64_t receive_buffer = 8 << 20;     // SO_RCVBUF wanted of UDP sockets, in bytes
  Position position;
  bool operator==(const FfwdConfig&) const = default;
};

struct ScriptsConfig {
  bool enabled = true;
  std::string dir = "/etc/runnel/scripts.d";
  int64_t interval_ms = 10'000;
  int64_t timeout_ms = 5'000;
  std::string user;
  int64_t max_output = 1 << 20;  // bytes of stdout one run may print
  int64_t max_running = 8;       // hooks that may run at the same time
  Position position;
  bool operator==(const ScriptsConfig&) const = default;
};

struct HostConfig {
  bool enabled = true;
  std::string root = "/";
  std::vector<std::string> collectors{"default"};
  int64_t interval_ms = 0;  // 0: agent.interval
  Position position;
  bool operator==(const HostConfig&) const = default;
};

struct JournalConfig {
  int64_t max_bytes = 256 << 20;
  std::string durability = "synced";      // synced, written, memory
  std::string when_full = "drop_oldest";  // drop_oldest, drop_newest, block
  std::string on_disk_error = "memory";   // memory, drop
  int64_t max_memory = 32 << 20;
  std::string min_free = "5%";  // as written; the loader turns it into the two below
  double min_free_share = 0.05;
  int64_t min_free_bytes = 0;
  int64_t quarantine_max_bytes = 16 << 20;
  bool operator==(const JournalConfig&) const = default;
};

// The value of one option that a sink's descriptor declares (runnel_sink.h: runnel_value, owning its memory).
struct OptionValue {
  bool is_set = false;
  bool has_value = false;  // set, or has a default
  int64_t integer = 0;
  double number = 0;
  std::string text;
  std::vector<std::string> list;
  StringMap map;
  bool operator==(const OptionValue&) const = default;
};

struct BatchConfig {
  int64_t max_events = 10'000;
  int64_t max_bytes = 1 << 20;
  int64_t max_age_ms = 1'000;
  bool operator==(const BatchConfig&) const = default;
};

struct OutputConfig {
  std::string name;
  std::string sink;
  std::string encoding = "json";
  std::string schema;  // of an encoding that has several
  std::string compression = "none";
  int64_t compression_level = 0;
  std::string filter;
  BatchConfig batch;
  int64_t splay_ms = 0;
  std::string when_full;             // "" is [journal] when_full
  std::vector<OptionValue> options;  // in the order of the sink's descriptor
  Position position;
  bool operator==(const OutputConfig&) const = default;
};

struct Config {
  AgentConfig agent;
  std::vector<StatsdConfig> statsd;
  std::vector<RiemannConfig> riemann;  // none or one
  std::vector<FfwdConfig> ffwd;        // none or one
  std::vector<ScriptsConfig> scripts;  // none or one
  std::vector<HostConfig> host;        // none or one
  JournalConfig journal;
  std::vector<OutputConfig> outputs;
  bool built_in = false;  // no file: a port that is taken or a folder that is absent is a warning
  std::string hash;       // of the effective configuration, for runnel.info
  std::vector<std::string> warnings;
};

}  // namespace runnel
