#include "source/riemann/riemann_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/text.h"

namespace runnel::riemann {
namespace {

constexpr size_t kBudget = 256 << 10;  // bytes a turn of the loop: some 2 ms of decoding and mapping
constexpr int kReads = 4;              // of up to 64 datagrams, a turn of the loop
constexpr int kLastReads = 4096;       // the same at the end: more than a socket's buffer holds
constexpr int64_t kRetryMs = 20;       // while the log is blocked: when to look again

}  // namespace

RiemannSource::RiemannSource(Loop& loop, const Clock& clock, const RiemannConfig& config, AckInlet inlet,
                             std::function<bool()> blocked, bool optional_ports)
    : loop_(loop),
      clock_(clock),
      config_(config),
      blocked_(std::move(blocked)),
      optional_ports_(optional_ports),
      intake_(clock, std::move(inlet)),
      server_(clock, handlers()),
      timer_(loop, [this] { serve(); }) {}

RiemannSource::~RiemannSource() {
  if (server_watch_ || !listeners_.empty()) stop();
}

ServerHandlers RiemannSource::handlers() {
  ServerHandlers h;
  h.message = [this](std::string_view message, const Peer& peer, std::string& answers) {
    intake_.message(message, peer, answers);
  };
  h.commit = [this](const Decided& decided) { intake_.commit(decided); };
  h.full = [this] { return intake_.full(); };
  h.blocked = blocked_;
  h.cut_off = [this](const Peer& peer) { intake_.refuse("cut_off", peer); };
  h.closed = [this](std::string_view reason, const Peer& peer, std::string_view detail) {
    intake_.closed(reason, peer, detail);
  };
  return h;
}

Result<RiemannSource::Listeners> RiemannSource::bind_all(const RiemannConfig& config, const Listeners& kept,
                                                         bool share) const {
  Listeners listeners;
  ListenerOptions options;
  options.receive_buffer = config.receive_buffer;
  options.taking_over = share;
  for (const std::string& wanted : config.listen) {
    auto same = std::find_if(kept.begin(), kept.end(), [&](const auto& l) {
      return l->wanted() == wanted && std::find(listeners.begin(), listeners.end(), l) == listeners.end();
    });
    if (same != kept.end()) {
      listeners.push_back(*same);
      continue;
    }
    auto listener = Listener::open(wanted, options);
    if (!listener.ok() && optional_ports_) {
      log::warning("riemann", "not listening: {} (a default: goes on without it)", listener.error());
      continue;
    }
    if (!listener.ok())
      return Error{fmt::format("{}: error: {} (stop what listens there, or change listen)",
                               to_string(config.position), listener.error())};
    log::info("riemann", "listening on {}{}", (*listener)->bound(),
              (*listener)->inherited() ? " inherited=true" : "");
    listeners.push_back(std::move(*listener));
  }
  return listeners;
}

// Null where nothing listens on tls://.
Result<std::shared_ptr<const TlsContext>> RiemannSource::load_tls(const RiemannConfig& config) {
  if (!config.has_tls()) return std::shared_ptr<const TlsContext>();
  std::vector<TlsProblem> problems;
  auto tls = TlsContext::make(config.tls(), problems);
  for (const TlsProblem& problem : problems)
    if (!problem.is_warning)
      return Error{fmt::format("{}: error: source.riemann: {}", to_string(config.position), problem.text)};
  log::info("riemann", "tls certificate read from {}", config.tls_cert);
  return tls;
}

Result<std::unique_ptr<RiemannSource>> RiemannSource::open(Loop& loop, const Clock& clock,
                                                           const RiemannConfig& config, AckInlet inlet,
                                                           std::function<bool()> blocked, bool optional_ports,
                                                           bool share_ports) {
  std::unique_ptr<RiemannSource> source(
      new RiemannSource(loop, clock, config, std::move(inlet), std::move(blocked), optional_ports));
  auto listeners = source->bind_all(config, {}, share_ports);
  if (!listeners.ok()) return Error{listeners.error()};
  auto tls = load_tls(config);
  if (!tls.ok()) return Error{tls.error()};
  source->apply(config, std::move(*listeners), std::move(*tls));
  source->server_watch_ = std::make_unique<FdWatch>(loop, source->server_.streams().poll_fd(),
                                                    [raw = source.get()] { raw->serve(); });
  return source;
}

Status RiemannSource::reconfigure(const RiemannConfig& config) {
  if (config == config_ && !config.has_tls()) return {};
  auto tls = load_tls(config);  // the files may be new where their names are not
  if (!tls.ok()) return Error{tls.error()};
  auto listeners = bind_all(config, listeners_, true);
  if (!listeners.ok()) return Error{listeners.error()};
  for (const auto& listener : listeners_)
    if (std::find(listeners->begin(), listeners->end(), listener) == listeners->end())
      log::info("riemann", "no longer listening on {}", listener->bound());
  apply(config, std::move(*listeners), std::move(*tls));
  return {};
}

void RiemannSource::apply(const RiemannConfig& config, Listeners listeners,
                          std::shared_ptr<const TlsContext> tls) {
  config_ = config;
  intake_.keep(find_keep(config.keep).value_or(Keep::automatic));
  ServerLimits limits;
  limits.max_frame = static_cast<size_t>(config.max_frame);
  limits.streams.max_connections = static_cast<size_t>(config.max_connections);
  limits.streams.idle_timeout_ms = config.idle_timeout_ms;
  limits.streams.handshake_timeout_ms = config.handshake_timeout_ms;
  if (tls)
    limits.streams.max_held_bytes *= 2;  // a thousand clients that come back at once are 44 MiB of handshakes
  limits.streams.max_held_bytes = std::max(limits.streams.max_held_bytes, 2 * limits.max_frame);
  Listeners stream_listeners;
  std::vector<Datagrams> watches;
  for (const auto& listener : listeners) {
    if (listener->is_stream()) {
      stream_listeners.push_back(listener);
      continue;
    }
    if (!datagrams_) datagrams_ = std::make_unique<DatagramReader>();
    auto same = std::find_if(datagram_watches_.begin(), datagram_watches_.end(),
                             [&](const Datagrams& d) { return d.listener == listener; });
    if (same != datagram_watches_.end()) {
      watches.push_back(std::move(*same));
      same->listener.reset();
    } else {
      auto watch = std::make_unique<FdWatch>(loop_, listener->fd(),
                                             [this, raw = listener.get()] { read_datagrams(*raw, kReads); });
      watches.push_back({listener, std::move(watch)});
    }
  }
  for (Datagrams& gone : datagram_watches_) {
    if (!gone.listener) continue;
    gone.watch.reset();
    read_datagrams(*gone.listener, kLastReads);
    retired_drops_ += gone.listener->kernel_drops();
  }
  datagram_watches_ = std::move(watches);
  if (datagram_watches_.empty()) datagrams_.reset();
  server_.configure(stream_listeners, limits, std::move(tls));
  listeners_ = std::move(listeners);
  set_timer();
}

void RiemannSource::share_ports(bool share) {
  for (const auto& listener : listeners_) listener->set_shared(share);
}

void RiemannSource::serve() {
  if (server_.streams().waiting()) server_.streams().resume();
  server_.streams().service(kBudget);
  set_timer();
}

void RiemannSource::set_timer() {
  int64_t deadline_ns = server_.streams().next_deadline_ns();
  if (server_.streams().waiting()) {
    timer_.start(kRetryMs);
  } else if (deadline_ns >= 0) {
    timer_.start(std::max<int64_t>(0, deadline_ns - clock_.mono_ns()) / 1'000'000 + 1);
  } else {
    timer_.stop();
  }
}

void RiemannSource::read_datagrams(const Listener& listener, int most) {
  for (int i = 0; i < most; i++) {
    size_t count = datagrams_->receive(listener);
    bool room = !blocked_();
    for (size_t at = 0; at < count; at++) {
      if (datagrams_->truncated(at)) {
        intake_.refuse("too_long", datagrams_->peer(at));
      } else {
        intake_.datagram(datagrams_->payload(at), datagrams_->peer(at), room);
      }
    }
    intake_.commit({});  // nobody can be told
    if (count < DatagramReader::kDatagrams) return;
  }
}

void RiemannSource::stop() {
  server_watch_.reset();
  timer_.stop();
  server_.streams().stop();
  for (Datagrams& last : datagram_watches_) {
    last.watch.reset();
    read_datagrams(*last.listener, kLastReads);
    retired_drops_ += last.listener->kernel_drops();
  }
  datagram_watches_.clear();
  datagrams_.reset();
  listeners_.clear();
}

void RiemannSource::report(SelfReport& report) const {
  auto add = [&](const SelfMetric& metric, uint64_t value) {
    report.add(metric, {{"source", "riemann"}}, Number::integer(static_cast<int64_t>(value)));
  };
  intake_.report(report);
  uint64_t drops = retired_drops_;
  for (const auto& listener : listeners_) drops += listener->kernel_drops();
  add(self::kSocketDrops, drops);
  add(self::kSourceConnections, server_.streams().connections());
}

std::vector<std::string> RiemannSource::addresses() const {
  std::vector<std::string> urls;
  for (const auto& listener : listeners_) urls.push_back(listener->bound());
  return urls;
}

}  // namespace runnel::riemann
