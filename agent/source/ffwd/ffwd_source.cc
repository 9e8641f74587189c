#include "source/ffwd/ffwd_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "base/log.h"

namespace runnel::ffwd {
namespace {

constexpr int kReads = 4;           // of up to 64 datagrams, a turn of the loop
constexpr int kLastReads = 65'536;  // the same at the end: more than a socket's buffer holds
// Bytes of datagrams a turn, as of lines: the largest with the shortest lines of carbon are 16,000 points each, some 15 ms.
constexpr size_t kBudget = 256 << 10;

}  // namespace

FfwdSource::FfwdSource(Loop& loop, const Clock& clock, const FfwdConfig& config, DecidedInlet inlet,
                       std::function<bool()> blocked)
    : loop_(loop),
      clock_(clock),
      config_(config),
      blocked_(std::move(blocked)),
      intake_(clock, std::move(inlet)) {}

FfwdSource::~FfwdSource() {
  stop();
}

LineHandlers FfwdSource::handlers(FfwdFormat format) {
  LineHandlers h;
  h.line = [this, format](std::string_view line, const Peer& peer) { intake_.line(format, line, peer); };
  h.refuse = [this](std::string_view reason, const Peer& peer) { intake_.refuse(reason, {}, peer); };
  h.closed = [this](std::string_view reason, const Peer& peer, std::string_view detail) {
    intake_.closed(reason, peer, detail);
  };
  h.commit = [this] { intake_.commit(); };
  h.full = [this] { return intake_.full(); };
  h.blocked = blocked_;
  return h;
}

Result<FfwdSource::Entries> FfwdSource::bind_all(const FfwdConfig& config, bool share) {
  Entries entries;
  ListenerOptions options;
  options.receive_buffer = config.receive_buffer;
  options.taking_over = share;
  auto failed = [&](const std::string& what) {
    return Error{fmt::format("{}: error: {}", to_string(config.position), what)};
  };
  for (const std::string& wanted : config.listen) {
    auto same = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& kept) {
      return kept.wanted == wanted && std::none_of(entries.begin(), entries.end(), [&](const Entry& taken) {
               return taken.listener == kept.listener;
             });
    });
    if (same != entries_.end()) {
      entries.push_back(*same);
      continue;
    }
    auto listen = parse_ffwd_listen(wanted);
    if (!listen.ok()) return failed(listen.error());
    if (listen->format == FfwdFormat::http && !http_) {
      auto http = HttpInput::make(loop_, intake_, blocked_, config);
      if (!http.ok()) return failed(http.error());
      http_ = std::move(*http);
    }
    auto listener = Listener::open(to_string(listen->address), options);
    if (!listener.ok()) return failed(listener.error() + " (stop what listens there, or change listen)");
    entries.push_back({wanted, *listen, std::move(*listener), nullptr});
    log::info("ffwd", "listening on {}", entries.back().url());
  }
  return entries;
}

Result<std::unique_ptr<FfwdSource>> FfwdSource::open(Loop& loop, const Clock& clock, const FfwdConfig& config,
                                                     DecidedInlet inlet, std::function<bool()> blocked,
                                                     bool share_ports) {
  std::unique_ptr<FfwdSource> source(
      new FfwdSource(loop, clock, config, std::move(inlet), std::move(blocked)));
  auto entries = source->bind_all(config, share_ports);
  if (!entries.ok()) return Error{entries.error()};
  source->apply(config, std::move(*entries));
  return source;
}

Status FfwdSource::reconfigure(const FfwdConfig& config) {
  auto entries = bind_all(config, true);
  if (!entries.ok()) return Error{entries.error()};
  apply(config, std::move(*entries));
  return {};
}

void FfwdSource::apply(const FfwdConfig& config, Entries entries) {
  config_ = config;
  intake_.min_interval(config.min_interval_ms);
  intake_.percentiles(config.percentiles);
  for (Entry& old : entries_) {
    bool stays = std::any_of(entries.begin(), entries.end(),
                             [&](const Entry& entry) { return entry.listener == old.listener; });
    if (stays) continue;
    log::info("ffwd", "no longer listening on {}", old.url());
    retire(old);
  }
  entries_ = std::move(entries);
  for (Entry& entry : entries_) {
    if (entry.listener->is_stream() || entry.watch) continue;
    if (!datagrams_) datagrams_ = std::make_unique<DatagramReader>();
    auto read = [this, format = entry.listen.format, raw = entry.listener.get()] {
      read_datagrams(format, *raw, kReads, kBudget);
    };
    entry.watch = std::make_shared<FdWatch>(loop_, entry.listener->fd(), read);
  }
  bool any_datagrams =
      std::any_of(entries_.begin(), entries_.end(), [](const Entry& e) { return !e.listener->is_stream(); });
  if (!any_datagrams) datagrams_.reset();
  StreamLimits limits;
  limits.max_connections = static_cast<size_t>(config.max_connections);
  limits.idle_timeout_ms = config.idle_timeout_ms;
  serve_lines(FfwdFormat::json, json_lines_, limits);
  serve_lines(FfwdFormat::carbon, carbon_lines_, limits);
  if (http_) http_->configure(listeners(FfwdFormat::http), config);
}

void FfwdSource::serve_lines(FfwdFormat format, std::unique_ptr<LineServer>& server,
                             const StreamLimits& limits) {
  std::vector<std::shared_ptr<Listener>> wanted = listeners(format);
  if (!server && wanted.empty()) return;
  if (!server) server = std::make_unique<LineServer>(loop_, clock_, handlers(format));
  server->configure(wanted, limits);
}

std::vector<std::shared_ptr<Listener>> FfwdSource::listeners(FfwdFormat format) const {
  std::vector<std::shared_ptr<Listener>> found;
  for (const Entry& entry : entries_)
    if (entry.listener->is_stream() && entry.listen.format == format) found.push_back(entry.listener);
  return found;
}

// A socket that is closed: what waits in it is still ours.
void FfwdSource::retire(Entry& entry) {
  if (entry.listener->is_stream()) return;  // its server accepts what waits there
  entry.watch.reset();
  entry.listener->turn_away();
  read_datagrams(entry.listen.format, *entry.listener, kLastReads, SIZE_MAX);
  retired_drops_ += entry.listener->kernel_drops();
}

void FfwdSource::share_ports(bool share) {
  for (const Entry& entry : entries_) entry.listener->set_shared(share);
}

void FfwdSource::read_datagrams(FfwdFormat format, const Listener& listener, int reads, size_t budget) {
  size_t bytes = 0;
  for (int i = 0; i < reads && bytes < budget; i++) {
    size_t count = datagrams_->receive(listener, at_once_), before = bytes;
    bool room = !blocked_();
    for (size_t at = 0; at < count; at++) {
      bytes += datagrams_->payload(at).size();
      if (datagrams_->truncated(at)) {
        intake_.refuse(bad::kTooLong, {}, datagrams_->peer(at));
      } else {
        intake_.datagram(format, datagrams_->payload(at), datagrams_->peer(at), room);
        if (intake_.full()) intake_.commit();  // 64 datagrams of carbon may be a million points
      }
    }
    intake_.commit();
    if (count < at_once_) return;
    at_once_ = std::clamp<size_t>(kBudget / ((bytes - before) / count + 1), 1, DatagramReader::kDatagrams);
  }
}

void FfwdSource::stop() {
  for (auto* server : {&json_lines_, &carbon_lines_}) {
    if (*server) (*server)->stop();
    server->reset();
  }
  http_.reset();
  for (Entry& entry : entries_) retire(entry);
  entries_.clear();
  datagrams_.reset();
  intake_.commit();
}

void FfwdSource::report(SelfReport& report) const {
  auto add = [&](const SelfMetric& metric, uint64_t value) {
    report.add(metric, {{"source", "ffwd"}}, Number::integer(static_cast<int64_t>(value)));
  };
  intake_.report(report);
  uint64_t drops = retired_drops_, connections = 0;
  for (const Entry& entry : entries_) drops += entry.listener->kernel_drops();
  for (const auto* server : {&json_lines_, &carbon_lines_})
    if (*server) connections += (*server)->connections();
  if (http_) connections += http_->connections();
  add(self::kSocketDrops, drops);
  add(self::kSourceConnections, connections);
}

std::vector<std::string> FfwdSource::addresses() const {
  std::vector<std::string> urls;
  for (const Entry& entry : entries_) urls.push_back(entry.url());
  return urls;
}

}  // namespace runnel::ffwd
