#include "config/schema.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"

namespace runnel {
namespace {

constexpr double kHour = 3'600e3, kDay = 86'400e3;                                         // ms
constexpr double kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB, kTiB = 1024 * kGiB;  // bytes

constexpr const char* kLogLevels[] = {"debug", "info", "warning", "error", nullptr};
constexpr const char* kUnknownKeys[] = {"error", "warn", nullptr};
constexpr const char* kDurabilities[] = {"synced", "written", "memory", nullptr};
constexpr const char* kWhenFull[] = {"drop_oldest", "drop_newest", "block", nullptr};
constexpr const char* kOnDiskError[] = {"memory", "drop", nullptr};
constexpr const char* kWhenFullOrEmpty[] = {"", "drop_oldest", "drop_newest", "block", nullptr};

constexpr const char* kTagStyles[] = {"any", "dogstatsd", "influx", "librato", "signalfx", nullptr};
constexpr const char* kOrigins[] = {"none", "tags", nullptr};
constexpr const char* kGaugeSigns[] = {"delta", "absolute", nullptr};
constexpr const char* kClientAuth[] = {"require", "request", "none", nullptr};
constexpr const char* kKeeps[] = {"auto", "events", "metrics", nullptr};
constexpr const char* kCounterForms[] = {"delta", "total", "rate", nullptr};

constexpr ValueSpec kBool{ValueType::boolean};
constexpr ValueSpec kString{ValueType::string};
constexpr ValueSpec kStrings{ValueType::string_list};
constexpr ValueSpec kMap{ValueType::string_map};
constexpr ValueSpec choice(const char* const* choices) {
  return {ValueType::choice, 0, 0, choices};
}
constexpr ValueSpec integer(double from, double to) {
  return {ValueType::integer, from, to};
}
constexpr ValueSpec duration(double from, double to) {
  return {ValueType::duration, from, to};
}
constexpr ValueSpec size(double from, double to) {
  return {ValueType::size, from, to};
}

using A = AgentConfig;
const Key<A> kAgent[] = {
    {"host", kString, &A::host, "name of this host; \"\" is gethostname()"},
    {"interval", duration(100, kDay), &A::interval_ms,
     "flush of aggregates and default collection interval, aligned to the wall clock"},
    {"tags", kMap, &A::tags, "added where the sender has not set them"},
    {"pinned_tags", kMap, &A::pinned_tags, "set whatever the sender says"},
    {"tags_file", kString, &A::tags_file, "`key: value` a line, read again when it changes; \"\" is none"},
    {"tags_env_prefix", kString, &A::tags_env_prefix,
     "variables that begin with it are tags and win over those here: of FFWD_TAG_, FFWD_TAG_SITE is the tag "
     "site; \"\" is none"},
    {"resource", kMap, &A::resource, "describes the sender, not part of a series' identity"},
    {"resource_env_prefix", kString, &A::resource_env_prefix,
     "the same for the resource: of FFWD_RESOURCE_, FFWD_RESOURCE_ZONE is zone; \"\" is none"},
    {"state_dir", kString, &A::state_dir,
     "folder for what outlives a restart, such as the agent's id; created"},
    {"control", kString, &A::control, "the agent's control socket; nothing listens there in this build yet"},
    {"shutdown_timeout", duration(0, kHour), &A::shutdown_timeout_ms,
     "how long outputs may drain after SIGTERM"},
    {"log_level", choice(kLogLevels), &A::log_level, "least level that is logged"},
    {"unknown_keys", choice(kUnknownKeys), &A::unknown_keys,
     "warn: for fleets where a file may be ahead of the binary; check always errs"},
    {"metrics_file", kString, &A::metrics_file,
     "own metrics as Prometheus text, written each interval; \"\" is none"},
    {"self_metrics", kBool, &A::self_metrics, "send the agent's own metrics through the pipeline as well"},
};

using S = StatsdConfig;
const Key<S> kStatsd[] = {
    {"name", kString, &S::name, "names one of several [[source.statsd]]; the tag source of its own metrics"},
    {"enabled", kBool, &S::enabled, "false turns it off without deleting the table"},
    {"listen", kStrings, &S::listen,
     "addresses, udp://IP:PORT, tcp://, unix:///PATH or unixgram://; port 0 picks a free one"},
    {"tags", kMap, &S::tags, "added to what arrives here, where the sender has not set them"},
    {"max_series", integer(1, 10'000'000), &S::max_series,
     "series held at a time; further ones are folded into runnel.overflow, gauges dropped"},
    {"receivers", integer(1, 64), &S::receivers,
     "threads that share the load, for hosts that need more than one core"},
    {"receive_buffer", size(4 * kKiB, kGiB), &S::receive_buffer,
     "socket buffer asked of the kernel, which grants up to net.core.rmem_max"},
    {"max_connections", integer(1, 100'000), &S::max_connections, "of tcp:// and unix:// together"},
    {"idle_timeout", duration(0, kDay), &S::idle_timeout_ms,
     "a connection without a byte for this long is closed; \"0s\" is never"},
    {"mode", kString, &S::mode, "permissions of unix sockets, octal"},
    {"group", kString, &S::group, "group of unix sockets; \"\" leaves the agent's own"},
    {"percentiles",
     {ValueType::number_list, 0.01, 100},
     &S::percentiles,
     "of timers, histograms and distributions"},
    {"tag_style", choice(kTagStyles), &S::tag_style,
     "which tags inside names are understood beside those behind |#; dogstatsd is none"},
    {"origin", choice(kOrigins), &S::origin,
     "tags: the container and external fields become the tags container and external"},
    {"sanitize", kBool, &S::sanitize, "clean names as Etsy's server does"},
    {"gauge_sign", choice(kGaugeSigns), &S::gauge_sign, "what +n and -n of a gauge mean"},
    {"gauge_ttl", duration(0, 365 * kDay), &S::gauge_ttl_ms,
     "a gauge is sent each interval for this long after its last line; \"0s\" is for ever"},
    {"counters", choice(kCounterForms), &S::counters,
     "what is sent of a counter: the interval's sum, the sum since the start, or the rate a second"},
    {"delete_idle",
     {ValueType::text_map},
     &S::delete_idle,
     "by type: true sends nothing of an idle series, false its value or 0, and never forgets it"},
    {"repeat", kStrings, &S::repeat, "udp:// or unixgram:// addresses that every packet is passed on to"},
};

using R = RiemannConfig;
const Key<R> kRiemann[] = {
    {"enabled", kBool, &R::enabled, "false turns it off without deleting the table"},
    {"listen", kStrings, &R::listen, "addresses, tcp://IP:PORT, udp:// or tls://; port 0 picks a free one"},
    {"tags", kMap, &R::tags, "added to what arrives here, where the sender has not set them"},
    {"keep", choice(kKeeps), &R::keep,
     "auto: metrics are samples, states and descriptions events; or only one of them"},
    {"max_frame", size(kKiB, 256 * kMiB), &R::max_frame,
     "a message that says it is longer closes its connection"},
    {"max_connections", integer(1, 100'000), &R::max_connections, "further ones are closed at once"},
    {"idle_timeout", duration(0, kDay), &R::idle_timeout_ms,
     "a connection without a whole message for this long is closed; \"0s\" is never"},
    {"receive_buffer", size(4 * kKiB, kGiB), &R::receive_buffer,
     "socket buffer asked of the kernel for UDP, which grants up to net.core.rmem_max"},
    {"tls_ca", kString, &R::tls_ca,
     "for tls://: file with the authorities that clients' certificates must be from (PEM)"},
    {"tls_cert", kString, &R::tls_cert,
     "for tls://: file with the agent's certificate (PEM, with its chain)"},
    {"tls_key", kString, &R::tls_key, "for tls://: file with its key (PEM)"},
    {"client_auth", choice(kClientAuth), &R::client_auth,
     "whether clients must show a certificate, may (then it must be good), or are not asked"},
    {"handshake_timeout", duration(100, kHour), &R::handshake_timeout_ms,
     "a tls:// connection whose handshake takes longer is closed"},
};

using F = FfwdConfig;
const Key<F> kFfwd[] = {
    {"enabled", kBool, &F::enabled, "false turns it off without deleting the table"},
    {"listen", kStrings, &F::listen,
     "addresses: udp+json://IP:PORT, tcp+json://, udp+protobuf://, carbon+tcp://, carbon+udp://, http://; "
     "port 0 "
     "picks "
     "a free one"},
    {"tags", kMap, &F::tags, "added to what arrives here, where the sender has not set them"},
    {"percentiles", {ValueType::number_list, 0.01, 100}, &F::percentiles, "of distributions"},
    {"min_interval", duration(0, kHour), &F::min_interval_ms,
     "a series that comes more often is thinned: what comes sooner after the last one is dropped and "
     "counted; "
     "\"0s\" takes all"},
    {"max_connections", integer(1, 100'000), &F::max_connections,
     "of each protocol over TCP; further ones are closed at once"},
    {"idle_timeout", duration(0, kDay), &F::idle_timeout_ms,
     "a connection without a whole line or request for this long is closed; \"0s\" is never"},
    {"request_timeout", duration(100, kHour), &F::request_timeout_ms,
     "of http://: a request whose body takes longer closes its connection"},
    {"max_body", size(4 * kKiB, 256 * kMiB), &F::max_body,
     "of http://: a larger body is refused, as it comes and inflated"},
    {"receive_buffer", size(4 * kKiB, kGiB), &F::receive_buffer,
     "socket buffer asked of the kernel for UDP, which grants up to net.core.rmem_max"},
};

using C = ScriptsConfig;
const Key<C> kScripts[] = {
    {"enabled", kBool, &C::enabled, "false turns it off without deleting the table"},
    {"dir", kString, &C::dir, "folder of the hooks; sub-folders such as 60s are intervals"},
    {"interval", duration(100, kDay), &C::interval_ms, "for hooks that do not say"},
    {"timeout", duration(10, kHour), &C::timeout_ms, "for hooks that do not say; then TERM, then KILL"},
    {"user", kString, &C::user, "whom hooks run as when the agent is root; \"\" is the agent itself"},
    {"max_output", size(kKiB, kGiB), &C::max_output, "bytes that one run may print"},
    {"max_running", integer(1, 1000), &C::max_running, "hooks that run at the same time; the others wait"},
};

using H = HostConfig;
const Key<H> kHost[] = {
    {"enabled", kBool, &H::enabled, "false turns it off without deleting the table"},
    {"root", kString, &H::root, "where /proc and /sys of the host are found; another one in containers"},
    {"collectors", kStrings, &H::collectors, "names; \"default\", \"all\", and \"-name\" leaves one out"},
    {"interval", duration(0, kDay), &H::interval_ms, "0s is the agent's interval"},
};

using J = JournalConfig;
const Key<J> kJournal[] = {
    {"max_bytes", size(64 * kKiB, 16 * kTiB), &J::max_bytes, "what may wait for the slowest output"},
    {"durability", choice(kDurabilities), &J::durability,
     "synced: on disk; written: survives a crash of the agent; memory: neither"},
    {"when_full", choice(kWhenFull), &J::when_full, "for the output that lags; block stalls the inputs"},
    {"on_disk_error", choice(kOnDiskError), &J::on_disk_error,
     "what becomes of data that the disk does not take: memory: delivered from there; drop"},
    {"max_memory", size(kMiB, kTiB), &J::max_memory, "of data that is in memory only, while the disk is ill"},
    {"min_free", kString, &J::min_free, "of the file system, left alone: \"5%\" or a size"},
    {"quarantine_max_bytes", size(0, kTiB), &J::quarantine_max_bytes,
     "of records that an output's other side refused and `runnel quarantine` shows; 0 drops them"},
};

using O = OutputConfig;
const Key<O> kOutput[] = {
    {"sink", kString, &O::sink,
     "name of a built-in sink (runnel list sinks), or the absolute path of a plugin (.so)", "required"},
    {"encoding", kString, &O::encoding, "format of the data (runnel list encodings)",
     "the sink's, else \"json\""},
    {"schema", kString, &O::schema,
     "version of the format, of an encoding that has several (docs/encodings.md)", "the encoding's"},
    {"compression", kString, &O::compression, "none, gzip or zstd", "the sink's, else \"none\""},
    {"compression_level",
     {ValueType::integer},
     &O::compression_level,
     "0 is the codec's default; gzip 1 to 9, zstd 1 to 19"},
    {"filter", kString, &O::filter, "what is sent; \"\" is everything"},
    {"splay", duration(0, kHour), &O::splay_ms,
     "sends later by a delay up to this, fixed by the host's name"},
    {"when_full", choice(kWhenFullOrEmpty), &O::when_full,
     "as in [journal], for this output; \"\" is what stands there"},
};

using B = BatchConfig;
const Key<B> kBatch[] = {
    {"max_events", integer(1, 1'000'000), &B::max_events, "samples and events in one payload"},
    {"max_bytes", size(kKiB, 256 * kMiB), &B::max_bytes, "size of a payload before it is compressed"},
    {"max_age", duration(1, kHour), &B::max_age_ms, "how long the first one waits for others"},
};

template <class T>
void describe(std::vector<SectionText>& out, std::string name, std::string help, const char* prefix = "") {
  SectionText section{std::move(name), std::move(help), {}};
  static const T defaults{};  // static: g++ 14 falsely takes it for uninitialized where std::visit is inlined
  for (const Key<T>& key : keys_of<T>()) {
    std::string range = range_text(key.spec);
    section.keys.push_back(
        {fmt::format("{}{}", prefix, key.name), std::string(type_name(key.spec.type)),
         key.default_note ? key.default_note : print_value(get_member(defaults, key), key.spec),
         range.empty() ? key.help : fmt::format("{} ({})", key.help, range)});
  }
  if (*prefix) {
    auto& keys = out.back().keys;
    keys.insert(keys.end(), section.keys.begin(), section.keys.end());
  } else {
    out.push_back(std::move(section));
  }
}

}  // namespace

template <>
std::span<const Key<AgentConfig>> keys_of() {
  return kAgent;
}
template <>
std::span<const Key<StatsdConfig>> keys_of() {
  return kStatsd;
}
template <>
std::span<const Key<RiemannConfig>> keys_of() {
  return kRiemann;
}
template <>
std::span<const Key<FfwdConfig>> keys_of() {
  return kFfwd;
}
template <>
std::span<const Key<ScriptsConfig>> keys_of() {
  return kScripts;
}
template <>
std::span<const Key<HostConfig>> keys_of() {
  return kHost;
}
template <>
std::span<const Key<JournalConfig>> keys_of() {
  return kJournal;
}
template <>
std::span<const Key<OutputConfig>> keys_of() {
  return kOutput;
}
template <>
std::span<const Key<BatchConfig>> keys_of() {
  return kBatch;
}

void report_unknown_keys(const Node& table, const std::string& section, const std::vector<std::string>& known,
                         Problems& problems) {
  for (const Entry& e : table.entries) {
    if (std::find(known.begin(), known.end(), e.key) != known.end()) continue;
    // A slip of the hand is near in letters; the length bounds the work on a hostile file.
    std::string near = e.key.size() <= 64 ? nearest(e.key, known) : "";
    std::string hint;
    if (!near.empty()) {
      hint = fmt::format("did you mean \"{}\"?", near);
    } else {
      for (const std::string& name : known) hint += (hint.empty() ? "known: " : ", ") + name;
    }
    problems.unknown(e.position, fmt::format("unknown key \"{}\"{}{} ({})", excerpt(e.key, 64),
                                             section.empty() ? "" : " in ", section, hint));
  }
}

std::vector<SectionText> describe_sections() {
  std::vector<SectionText> out;
  describe<AgentConfig>(out, "[agent]", "The agent as a whole");
  describe<StatsdConfig>(out, "[source.statsd]", "StatsD, see [statsd.md](statsd.md)");
  describe<ScriptsConfig>(out, "[source.scripts]", "Drop-in hooks");
  describe<HostConfig>(out, "[source.host]", "Metrics of the host from /proc and /sys");
  describe<RiemannConfig>(out, "[source.riemann]", "Riemann clients, see [riemann.md](riemann.md)");
  describe<FfwdConfig>(out, "[source.ffwd]",
                       "What FFWD's clients and Graphite's send, see [from-ffwd.md](from-ffwd.md)");
  describe<JournalConfig>(out, "[journal]", "The log between pipeline and outputs");
  describe<OutputConfig>(out, "[output.NAME]", "Where data goes; any number of them");
  describe<BatchConfig>(out, "", "", "batch.");
  return out;
}

}  // namespace runnel
