// tcp: /proc/net/{snmp,netstat,sockstat,sockstat6}. All of it is of one network namespace. /proc/net/tcp would have every
// state, but costs 20 µs a socket; these files cost the same whatever the number of connections.
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "source/host/collectors.h"
#include "source/host/procfs.h"
#include "source/host/scan.h"

namespace runnel {
namespace {

constexpr HostMetric kConnections{"system.network.connection.count", "{connection}"};
constexpr HostMetric kTcpSockets{"system.network.linux.tcp.sockets", "{socket}"};
constexpr HostMetric kTcpMemory{"system.network.linux.tcp.memory", "By"};
constexpr HostMetric kSockets{"system.network.linux.sockets", "{socket}"};
constexpr HostMetric kSegments{"system.network.linux.tcp.segments", "{segment}", Kind::total};

struct Column {
  std::string_view name;  // in the file
  HostMetric metric;
  Tag tag{};  // none where the key is empty
};

constexpr Column kSnmp[] = {
    // RFC 4022 has the meanings
    {"ActiveOpens", {"system.network.linux.tcp.active_opens", "{connection}", Kind::total}},
    {"PassiveOpens", {"system.network.linux.tcp.passive_opens", "{connection}", Kind::total}},
    {"AttemptFails", {"system.network.linux.tcp.attempt_fails", "{connection}", Kind::total}},
    {"EstabResets", {"system.network.linux.tcp.established_resets", "{connection}", Kind::total}},
    {"CurrEstab", kConnections, {"network.connection.state", "established"}},
    {"InSegs", kSegments, {"network.io.direction", "receive"}},
    {"OutSegs", kSegments, {"network.io.direction", "transmit"}},
    {"RetransSegs", {"system.network.linux.tcp.retransmits", "{segment}", Kind::total}},
    {"InErrs", {"system.network.linux.tcp.receive_errors", "{segment}", Kind::total}},
    {"OutRsts", {"system.network.linux.tcp.resets_sent", "{segment}", Kind::total}},
};
constexpr Column kNetstat[] = {
    {"SyncookiesSent", {"system.network.linux.tcp.syncookies_sent", "{segment}", Kind::total}},
    {"SyncookiesFailed", {"system.network.linux.tcp.syncookies_failed", "{segment}", Kind::total}},
    {"ListenOverflows", {"system.network.linux.tcp.listen_overflows", "{connection}", Kind::total}},
    {"ListenDrops", {"system.network.linux.tcp.listen_drops", "{connection}", Kind::total}},
    {"TCPTimeouts", {"system.network.linux.tcp.timeouts", "{timeout}", Kind::total}},
    {"TCPAbortOnMemory", {"system.network.linux.tcp.aborts_on_memory", "{connection}", Kind::total}},
    {"TCPBacklogDrop", {"system.network.linux.tcp.backlog_drops", "{segment}", Kind::total}},
    {"TCPSynRetrans", {"system.network.linux.tcp.syn_retransmits", "{segment}", Kind::total}},
};

// A file of pairs of lines, names and then values: "Tcp: RtoAlgorithm …" / "Tcp: 1 …". The names, 2 KB of them in
// netstat, are compared as a whole with those of the last round, and only looked at when they differ.
class Table {
 public:
  Table(ProcFile& file, std::string_view prefix, const Column* columns, size_t count)
      : file_(file), prefix_(prefix), columns_(columns), count_(count) {}

  void collect(Round& round) {
    std::string_view text = file_.read(round), names, values;
    if (text.empty()) return;
    while (next_line(text, names)) {
      if (!names.starts_with(prefix_)) continue;
      if (!next_line(text, values) || !values.starts_with(prefix_)) {
        round.bad(file_, "malformed", names);
        return;
      }
      if (names != names_) learn(names);
      add(round, values);
      return;
    }
    round.bad(file_, "incomplete", prefix_);
  }

 private:
  void learn(std::string_view names) {
    names_ = names;
    at_.clear();
    next_word(names);
    for (std::string_view name = next_word(names); !name.empty(); name = next_word(names)) {
      const Column* column =
          std::find_if(columns_, columns_ + count_, [&](const Column& c) { return c.name == name; });
      at_.push_back(column == columns_ + count_ ? nullptr : column);
    }
    while (!at_.empty() && at_.back() == nullptr) at_.pop_back();
  }

  void add(Round& round, std::string_view values) {
    std::string_view rest = values;
    next_word(rest);
    for (const Column* column : at_) {
      uint64_t value = 0;
      if (column == nullptr) {
        next_word(rest);  // also the -1 of MaxConn
      } else if (!next_number(rest, value)) {
        round.bad(file_, "malformed", values);
        return;
      } else if (column->metric.name == kConnections.name) {
        round.add(column->metric, {column->tag, {"network.transport", "tcp"}}, count_number(value));
      } else if (!column->tag.key.empty()) {
        round.add(column->metric, {column->tag}, count_number(value));
      } else {
        round.add(column->metric, {}, count_number(value));
      }
    }
  }

  ProcFile& file_;
  std::string_view prefix_;
  const Column* columns_;
  size_t count_;
  std::string names_;
  std::vector<const Column*> at_;  // by position in the line; nullptr is not wanted
};

// "TCP: inuse 5 orphan 0 tw 0 alloc 7 mem 1"
struct SocketLine {
  uint64_t inuse = 0, orphan = 0, time_wait = 0, alloc = 0, mem = 0, used = 0;
  bool seen = false;
};

class Tcp final : public Collector {
 public:
  explicit Tcp(Procfs& procfs)
      : snmp_(procfs.net_file("tcp", "snmp"), "Tcp: ", kSnmp, std::size(kSnmp)),
        netstat_(procfs.net_file("tcp", "netstat"), "TcpExt: ", kNetstat, std::size(kNetstat)),
        sockstat_(procfs.net_file("tcp", "sockstat")),
        sockstat6_(procfs.net_file("tcp", "sockstat6", true)),  // absent where IPv6 is off
        page_size_(static_cast<uint64_t>(::sysconf(_SC_PAGESIZE))) {}

  void collect(Round& round) override {
    snmp_.collect(round);
    netstat_.collect(round);
    SocketLine all, tcp, tcp6, udp, udp6;
    std::string_view text = sockstat_.read(round), line;
    while (next_line(text, line)) {
      if (line.starts_with("sockets: ")) read(round, sockstat_, line, all);
      if (line.starts_with("TCP: ")) read(round, sockstat_, line, tcp);
      if (line.starts_with("UDP: ")) read(round, sockstat_, line, udp);
    }
    text = sockstat6_.read(round);
    while (next_line(text, line)) {
      if (line.starts_with("TCP6: ")) read(round, sockstat6_, line, tcp6);
      if (line.starts_with("UDP6: ")) read(round, sockstat6_, line, udp6);
    }
    constexpr std::string_view kState = "network.linux.socket.state";
    if (all.seen) round.add(kSockets, {}, count_number(all.used));
    if (udp.seen) round.add(kConnections, {{"network.transport", "udp"}}, sum(udp.inuse, udp6.inuse));
    if (!tcp.seen) return;
    round.add(kConnections, {{"network.connection.state", "time_wait"}, {"network.transport", "tcp"}},
              count_number(tcp.time_wait));
    round.add(kTcpSockets, {{kState, "inuse"}}, sum(tcp.inuse, tcp6.inuse));
    round.add(kTcpSockets, {{kState, "orphan"}}, count_number(tcp.orphan));
    round.add(kTcpSockets, {{kState, "alloc"}}, count_number(tcp.alloc));
    round.add(kTcpMemory, {}, scaled_number(tcp.mem, page_size_));
  }

 private:
  static Number sum(uint64_t a, uint64_t b) { return count_number(a + b < a ? UINT64_MAX : a + b); }

  static void read(Round& round, ProcFile& file, std::string_view line, SocketLine& out) {
    std::string_view rest = line;
    next_word(rest);
    for (std::string_view key = next_word(rest); !key.empty(); key = next_word(rest)) {
      uint64_t value = 0;
      if (!next_number(rest, value)) {
        round.bad(file, "malformed", line);
        return;
      }
      if (key == "inuse") out.inuse = value;
      if (key == "orphan") out.orphan = value;
      if (key == "tw") out.time_wait = value;
      if (key == "alloc") out.alloc = value;
      if (key == "mem") out.mem = value;
      if (key == "used") out.used = value;
    }
    out.seen = true;
  }

  Table snmp_, netstat_;
  ProcFile& sockstat_;
  ProcFile& sockstat6_;
  uint64_t page_size_;
};

}  // namespace

std::unique_ptr<Collector> make_tcp(const HostContext& context) {
  return std::make_unique<Tcp>(context.procfs);
}

}  // namespace runnel
