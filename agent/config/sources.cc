#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <map>
#include <utility>

#include "base/address.h"
#include "base/fd.h"
#include "base/text.h"
#include "config/ffwd_listen.h"
#include "config/schema.h"
#include "config/sections.h"

namespace runnel {
namespace {

class SourceReader {
 public:
  SourceReader(LoadContext& context, Config& config)
      : context_(context), problems_(context.problems), config_(config) {}

  void read(const Node& sources) {
    std::vector<std::string> names{"statsd", "scripts", "host", "riemann", "ffwd"};
    report_unknown_keys(sources, "source", names, problems_);
    read_each<StatsdConfig>(sources, "statsd", config_.statsd, [this](const Node& t, StatsdConfig& c) {
      check_statsd(t, c);
      check_listeners("statsd", {"udp", "tcp", "unix", "unixgram"}, t, c);
    });
    read_each<ScriptsConfig>(sources, "scripts", config_.scripts, [this](const Node& t, ScriptsConfig& c) {
      check_folder(t, "source.scripts", "dir", c.dir, c.enabled, kMayComeLater);
      check_user(t, c);
    });
    read_each<HostConfig>(sources, "host", config_.host, [this](const Node& t, HostConfig& c) {
      check_folder(t, "source.host", "root", c.root, c.enabled, kMustExist);
      check_collectors(t);
      if (c.interval_ms > 0 && c.interval_ms < 100)
        problems_.error(at(t, "interval"),
                        "source.host.interval is shorter than 100ms (\"0s\" is the agent's)");
    });
    read_each<RiemannConfig>(sources, "riemann", config_.riemann, [this](const Node& t, RiemannConfig& c) {
      check_listeners("riemann", {"tcp", "udp", "tls"}, t, c);
      check_tls(t, c);
    });
    read_each<FfwdConfig>(sources, "ffwd", config_.ffwd, [this](const Node& t, FfwdConfig& c) {
      check_listeners("ffwd", ffwd_schemes(), t, c);
      check_percentiles(t, "source.ffwd", "distribution", c.percentiles);
      if (c.enabled && !t.get("listen") && !problems_.incomplete())
        problems_.error(t.position,
                        "source.ffwd.listen is missing (for example [\"udp+json://127.0.0.1:19000\"])");
    });
    check_statsd_names();
    check_loops();
  }

 private:
  static const Position& at(const Node& table, const char* key) {
    const Node* node = table.get(key);
    return node ? node->position : table.position;
  }
  // Whether the value is what the file says, or the default where it says nothing.
  bool is_known(const Node& table, const char* key) const {
    const Node* node = table.get(key);
    return node ? node->is_string() && !node->unknown : !problems_.incomplete();
  }

  // A [[source.statsd]] whose name is unknown may be meant to change another one.
  static bool names_itself(const Node& table) {
    const Node* name = table.get("name");
    return !name || !name->unknown;
  }

  template <class T>
  void read_each(const Node& sources, const char* name, std::vector<T>& out,
                 const std::function<void(const Node&, T&)>& check) {
    const Node* node = sources.get(name);
    if (!node) return;
    std::string section = fmt::format("source.{}", name);
    if (node->is_table()) {
      read_one(*node, section, name, out, check);
    } else if (node->is_table_array()) {
      constexpr bool kMany = std::is_same_v<T, StatsdConfig>;
      if (!kMany && node->items.size() > 1) {
        problems_.error(node->items[1].position, fmt::format("only one [{}] is possible", section));
        return;
      }
      for (const Node& item : node->items) {
        if (kMany && node->items.size() > 1 && !item.get("name") && !problems_.incomplete())
          problems_.error(item.position, fmt::format("{}.name is missing (each of several [[{}]] needs one)",
                                                     section, section));
        read_one(item, section, name, out, check);
      }
    } else {
      problems_.error(node->position, fmt::format("{} is {}, not a table (write [{}])", section,
                                                  kind_name(node->kind), section));
    }
  }

  template <class T>
  void read_one(const Node& table, const std::string& section, const char* name, std::vector<T>& out,
                const std::function<void(const Node&, T&)>& check) {
    T source;
    source.position = table.position;
    report_unknown_keys(table, section, key_names<T>(), problems_);
    // A wrong value keeps its default meanwhile, so the checks can still find what else is wrong.
    read_keys(table, section, source, problems_);
    if (const Node* enabled = table.get("enabled"); enabled && enabled->unknown) source.enabled = false;
    if constexpr (std::is_same_v<T, StatsdConfig>) {
      if (is_known(table, "name")) statsd_names_.emplace_back(source.name, source.position);
    }
    check(table, source);
    if (source.enabled && !contains(context_.catalog.sources, name) && !context_.built_in)
      problems_.warning(table.position,
                        fmt::format("this build does not have the source {} yet: it stays off", name));
    out.push_back(std::move(source));
  }

  static Result<ListenAddress> parse_listener(const std::string& source, const std::string& url,
                                              std::string& scheme) {
    if (source != "ffwd") {
      auto address = parse_listen_address(url);
      if (address.ok()) scheme = scheme_name(address->scheme);
      return address;
    }
    auto listen = parse_ffwd_listen(url);
    if (!listen.ok()) return Error{listen.error()};
    scheme = listen->scheme;
    return listen->address;
  }

  template <class T>
  void check_listeners(const std::string& source, const std::vector<std::string>& possible, const Node& table,
                       const T& c) {
    std::string what = fmt::format("source.{}.listen", source);
    const Node* node = table.get("listen");
    if (node ? !node->is_array() || node->unknown : problems_.incomplete()) return;
    if (node && node->items.empty() && c.enabled)
      problems_.error(node->position,
                      fmt::format("{} names no address (enabled = false turns the source off)", what));
    // One by one: c.listen has the default where one of them is wrong.
    size_t count = node ? node->items.size() : c.listen.size();
    for (size_t i = 0; i < count; i++) {
      if (node && (!node->items[i].is_string() || node->items[i].unknown)) continue;
      const Position& position = node ? node->items[i].position : table.position;
      std::string scheme;
      auto address = parse_listener(source, node ? node->items[i].text : c.listen[i], scheme);
      if (!address.ok()) {
        problems_.error(position, fmt::format("{}: {}", what, address.error()));
        continue;
      }
      auto built = context_.catalog.listen_schemes.find(source);
      if (!contains(possible, scheme)) {
        problems_.error(position, fmt::format("{}: {} does not listen on {}:// ({})", what, source, scheme,
                                              join(possible)));
      } else if (contains(context_.catalog.sources, source) &&
                 built != context_.catalog.listen_schemes.end() && !contains(built->second, scheme)) {
        problems_.error(position, fmt::format("{}: {}:// is not in this build (use {})", what, scheme,
                                              join(built->second)));
      } else if (c.enabled && names_itself(table)) {
        claim(*address, what, position);
      }
    }
  }

  void check_tls(const Node& table, const RiemannConfig& c) {
    const char* const files[] = {"tls_ca", "tls_cert", "tls_key"};  // in the order of TlsProblem::File
    const std::string* const paths[] = {&c.tls_ca, &c.tls_cert, &c.tls_key};
    const Node* listen = table.get("listen");
    bool known = listen ? listen->is_array() && !listen->unknown : !problems_.incomplete();
    bool has_tls = listen && listen->is_array() &&
                   std::any_of(listen->items.begin(), listen->items.end(),
                               [](const Node& n) { return n.is_string() && n.text.starts_with("tls://"); });
    if (!has_tls) {
      for (const char* key : files)
        if (table.get(key) && known)
          problems_.warning(at(table, key), fmt::format("source.riemann.{} has no effect without a tls:// "
                                                        "address in listen",
                                                        key));
      return;
    }
    bool complete = true;
    for (size_t i = 0; i < 3; i++) {
      bool wanted = i > 0 || c.client_auth != "none";
      if (const Node* node = table.get(files[i]);
          node ? !is_known(table, files[i]) : problems_.incomplete()) {
        complete = false;
      } else if (paths[i]->empty() && wanted && c.enabled) {
        problems_.error(at(table, files[i]),
                        fmt::format("source.riemann.{} is missing ({})", files[i],
                                    i == 0 ? "a file with the authorities of clients' certificates, or "
                                             "client_auth = \"none\""
                                           : "a tls:// listener needs a certificate and its key"));
        complete = false;
      } else if (!paths[i]->empty() && !wanted) {
        problems_.warning(
            at(table, files[i]),
            fmt::format("source.riemann.{} has no effect with client_auth = \"none\"", files[i]));
      }
    }
    if (!complete || !c.enabled || !context_.catalog.check_tls) return;
    bool good_key = true;
    for (const TlsProblem& problem : context_.catalog.check_tls(c.tls())) {
      const char* key = files[static_cast<size_t>(problem.file)];
      std::string text = fmt::format("source.riemann.{}: {}", key, problem.text);
      problem.is_warning ? problems_.warning(at(table, key), text) : problems_.error(at(table, key), text);
      good_key &= problem.file != TlsProblem::File::key;
    }
    if (good_key) check_secret_file(*table.get("tls_key"), c.tls_key, "source.riemann.tls_key", problems_);
  }

  void claim(const ListenAddress& address, const std::string& what, const Position& position) {
    std::string endpoint = endpoint_of(address);
    if (endpoint.empty()) return;
    auto [first, is_new] = listeners_.emplace(endpoint, position);
    if (!is_new)
      problems_.error(position, fmt::format("{}: {} is taken already by {}", what, to_string(address),
                                            to_string(first->second)));
  }

  void check_percentiles(const Node& table, const char* section, const char* of,
                         const std::vector<double>& percentiles) {
    if (percentiles.size() > 20)
      problems_.error(at(table, "percentiles"),
                      fmt::format("{}.percentiles: more than 20 (each is a value of every {})", section, of));
  }

  void check_statsd(const Node& table, StatsdConfig& c) {
    check_percentiles(table, "source.statsd", "timer", c.percentiles);
    // Of the permissions alone, and some for the owner.
    bool octal = (c.mode.size() == 3 || (c.mode.size() == 4 && c.mode[0] == '0')) &&
                 c.mode.find_first_not_of("01234567") == std::string::npos &&
                 c.mode[c.mode.size() - 3] != '0';
    if (!octal && is_known(table, "mode"))
      problems_.error(
          at(table, "mode"),
          fmt::format("source.statsd.mode \"{}\" is not an octal mode (\"0660\")", excerpt(c.mode)));
    if (!octal) c.mode = StatsdConfig{}.mode;
    check_group(table, c.group);
    check_delete_idle(table, c.delete_idle);
    check_repeat(table, c);
  }

  void check_group(const Node& table, const std::string& group) {
    if (group.empty() || !is_known(table, "group") || parse_uint(group)) return;
    struct group entry {};
    struct group* found = nullptr;
    std::vector<char> buffer(64 << 10);
    int rc = ::getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (rc == 0 && !found)
      problems_.error(at(table, "group"),
                      fmt::format("source.statsd.group: there is no group \"{}\"", excerpt(group)));
  }

  // What the file leaves out keeps its default.
  void check_delete_idle(const Node& table, StringMap& map) {
    const Node* node = table.get("delete_idle");
    if (!node || !node->is_table() || node->unknown) return;
    StringMap whole = StatsdConfig{}.delete_idle;
    for (const auto& [key, value] : map) {
      if (!whole.contains(key)) {
        std::vector<std::string> known;
        for (const auto& [name, ignored] : whole) known.push_back(name);
        problems_.error(node->position, fmt::format("source.statsd.delete_idle: unknown type \"{}\"{}",
                                                    excerpt(key), hint(key, known)));
      } else if (value != "true" && value != "false") {
        problems_.error(
            node->position,
            fmt::format("source.statsd.delete_idle.{} is \"{}\" (write true or false)", key, excerpt(value)));
      } else {
        whole[key] = value;
      }
    }
    map = whole;
  }

  void check_repeat(const Node& table, const StatsdConfig& c) {
    const Node* node = table.get("repeat");
    if (!node || !node->is_array() || node->unknown) return;
    std::vector<std::string> seen;
    for (const Node& item : node->items) {
      if (!item.is_string() || item.unknown) continue;
      if (contains(seen, item.text))
        problems_.error(item.position,
                        fmt::format("source.statsd.repeat names {} twice", excerpt(item.text)));
      seen.push_back(item.text);
      auto address = parse_listen_address(item.text);
      if (!address.ok()) {
        problems_.error(item.position, "source.statsd.repeat: " + address.error());
      } else if (address->scheme != ListenAddress::Scheme::udp &&
                 address->scheme != ListenAddress::Scheme::unix_datagram) {
        problems_.error(
            item.position,
            fmt::format("source.statsd.repeat: packets go on over udp:// or unixgram://, not {}://",
                        scheme_name(address->scheme)));
      } else if (address->scheme == ListenAddress::Scheme::udp && address->port == 0) {
        problems_.error(item.position,
                        fmt::format("source.statsd.repeat: \"{}\" has no port to send to", item.text));
      } else if (c.enabled) {
        repeats_.emplace_back(*address, item.position);
      }
    }
  }

  // A packet that comes back goes round for ever: no target may be where a source of this agent listens. A listener on all
  // addresses has those of the host.
  void check_loops() {
    for (const auto& [target, position] : repeats_)
      for (const StatsdConfig& source : config_.statsd)
        for (const std::string& url : source.listen) {
          auto listen = parse_listen_address(url);
          if (!source.enabled || !listen.ok() || listen->scheme != target.scheme) continue;
          bool wildcard = listen->host == "0.0.0.0" || listen->host == "::";
          bool same = target.is_unix()
                          ? listen->path == target.path
                          : listen->port == target.port &&
                                (listen->host == target.host ||
                                 (wildcard && (target.host.starts_with("127.") || target.host == "::1")));
          if (same)
            problems_.error(position,
                            fmt::format("source.statsd.repeat: {} is where this agent listens: a loop",
                                        to_string(target)));
        }
  }

  void check_statsd_names() {
    // Their own metrics carry the name as the tag `source`, beside the other sources.
    std::map<std::string, Position> names;
    for (const char* other : {"scripts", "host", "riemann", "ffwd"}) names[other] = {};
    for (const auto& [name, position] : statsd_names_) {
      if (!is_plain_name(name)) {
        problems_.error(
            position,
            fmt::format("source.statsd.name \"{}\" is not a name (letters, digits, - and _)", excerpt(name)));
        continue;
      }
      auto [first, is_new] = names.emplace(name, position);
      if (is_new) continue;
      bool reserved = first->second.file.empty();
      problems_.error(
          position, fmt::format("source.statsd.name \"{}\" is {} (each needs its own)", name,
                                reserved ? "another source" : "used already at " + to_string(first->second)));
    }
  }

  enum Absent { kMustExist, kMayComeLater };  // the hooks' folder is looked for until it appears

  void check_folder(const Node& table, const char* section, const char* key, const std::string& path,
                    bool enabled, Absent absent) {
    if (!enabled || context_.built_in || !is_known(table, key)) return;
    struct stat info {};
    bool found = ::stat(path.c_str(), &info) == 0;
    if (!found && errno == ENOENT && absent == kMayComeLater) {
      problems_.warning(at(table, key), fmt::format("{}.{}: {}: {} (create it: hooks run once it is there)",
                                                    section, key, excerpt(path, 200), errno_text(ENOENT)));
    } else if (!found) {
      problems_.error(at(table, key), fmt::format("{}.{}: {}: {} (create it, or write enabled = false)",
                                                  section, key, excerpt(path, 200), errno_text(errno)));
    } else if (!S_ISDIR(info.st_mode)) {
      problems_.error(at(table, key),
                      fmt::format("{}.{}: {} is not a folder", section, key, excerpt(path, 200)));
    }
  }

  void check_user(const Node& table, const ScriptsConfig& c) {
    if (c.user.empty() || !c.enabled) return;
    passwd entry{};
    passwd* found = nullptr;
    char buffer[4096];
    int rc = ::getpwnam_r(c.user.c_str(), &entry, buffer, sizeof buffer, &found);
    if (rc != 0 && rc != ENOENT) {
      problems_.error(at(table, "user"), fmt::format("source.scripts.user: cannot look up \"{}\": {}",
                                                     excerpt(c.user), errno_text(rc)));
    } else if (!found) {
      problems_.error(at(table, "user"),
                      fmt::format("source.scripts.user: there is no user \"{}\"", excerpt(c.user)));
    } else if (::geteuid() != 0) {
      problems_.warning(at(table, "user"),
                        "source.scripts.user has no effect: only root can run hooks as another user");
    }
  }

  void check_collectors(const Node& table) {
    const Node* node = table.get("collectors");
    if (!node || !node->is_array() || node->unknown) return;
    const auto& known = context_.catalog.collectors;
    for (const Node& item : node->items) {
      if (!item.is_string() || item.unknown) continue;
      std::string name = item.text;
      bool leaves_out = !name.empty() && name[0] == '-';
      if (leaves_out) name.erase(0, 1);
      if (contains(known, name) || (!leaves_out && (name == "default" || name == "all"))) continue;
      std::vector<std::string> names = known;
      if (!leaves_out) names.insert(names.end(), {"default", "all"});
      problems_.error(item.position, fmt::format("source.host.collectors: unknown collector \"{}\"{}",
                                                 excerpt(name), hint(name, names)));
    }
    // ["-disk"] alone is the default without it.
    if (node->items.empty())
      problems_.error(node->position,
                      "source.host.collectors names none (write [\"default\"], or enabled = false)");
  }

  LoadContext& context_;
  Problems& problems_;
  Config& config_;
  std::map<std::string, Position> listeners_;
  std::vector<std::pair<std::string, Position>> statsd_names_;
  std::vector<std::pair<ListenAddress, Position>> repeats_;
};

}  // namespace

void read_sources(const Node& root, LoadContext& context, Config& config) {
  const Node* sources = root.get("source");
  if (!sources) return;
  if (!sources->is_table()) {
    context.problems.error(sources->position, "source is not a table (write for example [source.statsd])");
    return;
  }
  SourceReader(context, config).read(*sources);
}

}  // namespace runnel
