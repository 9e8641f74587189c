#include "source/statsd/statsd_source.h"

#include <fmt/format.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/address.h"
#include "base/log.h"
#include "base/text.h"

namespace runnel::statsd {
namespace {

constexpr size_t kDatagrams = 64;         // a recvmmsg(2) call takes
constexpr size_t kDatagramBytes = 65536;  // the largest UDP payload is 65507 bytes
constexpr int kRoundsBeforeLook =
    16;  // recvmmsg calls on a busy socket before the others and commands are looked at
constexpr int kRoundsAtEnd =
    4096;  // the same for a socket that is being closed: a flood must not keep it open
constexpr size_t kFlushSlice = 4096;  // cells a slice: about 0.3 ms, well within a socket buffer's patience

// Gathering. On a real host datagrams arrive singly, and a wake-up costs more (3–6 µs) than taking in a dozen of them. So
// while traffic flows the receiver sleeps on after a short batch and lets the socket fill, from 1 ms up to 20 ms, towards
// kGatherGoal datagrams a wake-up; never longer than a sudden 200,000 datagrams/s of 1 KiB (with the kernel's overhead)
// would need to fill the receive buffer. Commands still wake it at once, and an idle one sleeps without a timer.
constexpr int64_t kGatherMinNs = 1'000'000, kGatherMaxNs = 20'000'000;
constexpr size_t kGatherGoal = 32;
constexpr int kEmptyGathers =
    3;  // in a row before it counts as idle: senders with a beat of their own leave gaps
constexpr int64_t kBurstBytesPerMs = 200 * 1024;

// The kernel's count of datagrams it had no room for, since the socket was opened (SO_MEMINFO, socket(7),
// linux/sock_diag.h). One call an interval; SO_RXQ_OVFL would cost a control message each datagram.
uint64_t kernel_drops(int fd) {
  uint32_t info[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof info;
  if (::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &size) != 0 ||
      size < (SK_MEMINFO_DROPS + 1) * sizeof info[0])
    return 0;
  return info[SK_MEMINFO_DROPS];
}

// Two UDP sockets may have one address where both say SO_REUSEADDR (socket(7)). It is on only while a reload moves
// listeners: always on, another process could take our packets unnoticed.
void set_shared(int fd, bool shared) {
  int value = shared ? 1 : 0;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &value, sizeof value);
}

AggregatorOptions aggregator_options(const StatsdConfig& config) {
  return {config.percentiles, static_cast<size_t>(config.max_series), config.name};
}

}  // namespace

// Virtual memory for whole datagrams; only pages that were written to are resident, and StatsD datagrams fill one.
struct StatsdSource::Buffers {
  char* bytes;
  mmsghdr messages[kDatagrams]{};
  iovec vectors[kDatagrams]{};
  sockaddr_storage peers[kDatagrams];

  Buffers() {
    void* memory = ::mmap(nullptr, kDatagrams * kDatagramBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    bytes = static_cast<char*>(memory);
    for (size_t i = 0; i < kDatagrams; i++) {
      vectors[i] = {bytes + i * kDatagramBytes, kDatagramBytes};
      messages[i].msg_hdr.msg_iov = &vectors[i];
      messages[i].msg_hdr.msg_iovlen = 1;
      messages[i].msg_hdr.msg_name = &peers[i];
    }
  }
  ~Buffers() { ::munmap(bytes, kDatagrams * kDatagramBytes); }
  Buffers(const Buffers&) = delete;
};

Result<std::shared_ptr<StatsdSource::Socket>> StatsdSource::bind_one(const std::string& url,
                                                                     int64_t receive_buffer, bool share) {
  auto address = parse_listen_address(url);
  if (!address.ok()) return Error{address.error()};
  if (address->scheme != ListenAddress::Scheme::udp)
    return Error{fmt::format("{}: this build receives StatsD over udp:// only", url)};
  auto where = to_socket_address(*address);
  if (!where.ok()) return Error{where.error()};
  auto socket = std::make_shared<Socket>();
  socket->wanted = url;
  socket->fd.reset(::socket(where->family(), SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket->fd.valid()) return Error{fmt::format("{}: {}", url, errno_text(errno))};
  int fd = socket->fd.get(), yes = 1;
  if (where->family() == AF_INET6) ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &yes, sizeof yes);
  // Past net.core.rmem_max where we may (CAP_NET_ADMIN), else as far as it goes (socket(7)).
  int wanted = static_cast<int>(std::min<int64_t>(receive_buffer, INT32_MAX / 2)), got = 0;
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof wanted) != 0)
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof wanted);
  socklen_t size = sizeof got;
  ::getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &got, &size);
  if (share) set_shared(fd, true);
  if (::bind(fd, where->get(), where->size) != 0) return Error{fmt::format("{}: {}", url, errno_text(errno))};
  set_shared(fd, false);
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  if (::getsockname(fd, bound.get(), &bound.size) != 0)
    return Error{fmt::format("{}: {}", url, errno_text(errno))};
  auto listen = from_socket_address(ListenAddress::Scheme::udp, bound);
  if (!listen.ok()) return Error{listen.error()};
  socket->bound = to_string(*listen);
  socket->buffer_bytes = got;
  // The kernel doubles what is asked for, to account for its own overhead (socket(7)).
  log::info("statsd", "listening on {} receive_buffer={}", socket->bound, format_size(got / 2));
  return socket;
}

Result<StatsdSource::Sockets> StatsdSource::bind_all(const StatsdConfig& config, const Sockets& kept,
                                                     bool share) const {
  Sockets sockets;
  for (const std::string& url : config.listen) {
    auto same = std::find_if(kept.begin(), kept.end(), [&](const auto& s) { return s->wanted == url; });
    if (same != kept.end()) {
      sockets.push_back(*same);
      continue;
    }
    auto socket = bind_one(url, config.receive_buffer, share);
    if (socket.ok()) {
      sockets.push_back(*socket);
    } else if (optional_ports_) {
      log::warning("statsd", "not listening: {} (a default: goes on without it)", socket.error());
    } else {
      return Error{fmt::format("{}: error: {} (stop what listens there, or change listen)",
                               to_string(config.position), socket.error())};
    }
  }
  return sockets;
}

StatsdSource::StatsdSource(Loop& loop, const Clock& clock, const StatsdConfig& config, Inlet inlet,
                           bool optional_ports)
    : clock_(clock),
      config_(config),
      inlet_(std::move(inlet)),
      optional_ports_(optional_ports),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      wakeup_(loop, [this] { deliver(); }),
      buffers_(std::make_unique<Buffers>()),
      aggregator_(aggregator_options(config)),
      bad_limit_(clock) {}

Result<std::unique_ptr<StatsdSource>> StatsdSource::open(Loop& loop, const Clock& clock,
                                                         const StatsdConfig& config, Inlet inlet,
                                                         bool optional_ports, bool share_ports) {
  std::unique_ptr<StatsdSource> source(
      new StatsdSource(loop, clock, config, std::move(inlet), optional_ports));
  auto sockets = source->bind_all(config, {}, share_ports);
  if (!sockets.ok()) return Error{sockets.error()};
  source->sockets_ = std::move(*sockets);
  source->sockets_changed_ = true;
  // Signals are the loop's business.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  source->thread_ = std::thread([raw = source.get()] { raw->run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return source;
}

StatsdSource::~StatsdSource() {
  if (thread_.joinable()) stop({clock_.wall_ms(), 1, 0});
}

Status StatsdSource::reconfigure(const StatsdConfig& config) {
  Sockets before;
  {
    std::lock_guard lock(mutex_);
    before = sockets_;
  }
  auto sockets = bind_all(config, before, true);
  if (!sockets.ok()) return Error{sockets.error()};
  for (const auto& socket : before)
    if (std::find(sockets->begin(), sockets->end(), socket) == sockets->end()) {
      retired_drops_ += kernel_drops(socket->fd.get());
      log::info("statsd", "no longer listening on {}", socket->bound);
    }
  std::lock_guard lock(mutex_);
  config_ = config;
  sockets_ = std::move(*sockets);
  sockets_changed_ = true;
  eventfd_write(wake_fd_.get(), 1);
  return {};
}

void StatsdSource::share_ports(bool share) {
  std::lock_guard lock(mutex_);
  for (const auto& socket : sockets_) set_shared(socket->fd.get(), share);
}

void StatsdSource::flush(const Tick& tick) {
  std::lock_guard lock(mutex_);
  // Asked twice before the receiver came round: one longer interval.
  Tick wanted = tick;
  if (flush_wanted_) wanted.interval_ms += flush_wanted_->interval_ms;
  flush_wanted_ = wanted;
  eventfd_write(wake_fd_.get(), 1);
}

void StatsdSource::stop(const Tick& last) {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    eventfd_write(wake_fd_.get(), 1);
  }
  thread_.join();
  deliver();
  Batch batch(config_.name);
  aggregator_.flush(batch, last.time_ms, last.interval_ms);
  if (!batch.empty()) inlet_(std::move(batch));
  std::lock_guard lock(mutex_);
  for (const auto& socket : sockets_) retired_drops_ += kernel_drops(socket->fd.get());
  sockets_.clear();
}

void StatsdSource::deliver() {
  std::vector<Batch> batches;
  {
    std::lock_guard lock(mutex_);
    batches.swap(outbox_);
  }
  for (Batch& batch : batches) inlet_(std::move(batch));
}

void StatsdSource::report(SelfReport& report) const {
  counts_.report(report, config_.name);
  std::lock_guard lock(mutex_);
  uint64_t drops = retired_drops_;
  for (const auto& socket : sockets_) drops += kernel_drops(socket->fd.get());
  report.add(self::kSocketDrops, {{"source", config_.name}}, Number::integer(static_cast<int64_t>(drops)));
  report.add(self::kSourceSeries, {{"source", config_.name}},
             Number::integer(static_cast<int64_t>(series_.load())));
}

std::vector<std::string> StatsdSource::addresses() const {
  std::lock_guard lock(mutex_);
  std::vector<std::string> urls;
  for (const auto& socket : sockets_) urls.push_back(socket->bound);
  return urls;
}

void StatsdSource::run() {
  pthread_setname_np(pthread_self(), "receiver");
  Sockets sockets;
  std::vector<pollfd> polls;
  std::optional<Tick> flushing;
  Batch batch(config_.name);
  int64_t gather_ns = kGatherMinNs, gather_limit_ns = kGatherMinNs;
  bool gathering = false;
  int empty_gathers = 0;
  for (;;) {
    // While gathering only commands wake us; the sockets are read when the time is over, whether or not they have data.
    timespec wait{0, gathering && !flushing ? gather_ns : 0};
    bool forever = !gathering && !flushing && !polls.empty();
    ::ppoll(polls.data(), gathering ? std::min<size_t>(polls.size(), 1) : polls.size(),
            forever ? nullptr : &wait, nullptr);
    bool stopping = false;
    if (polls.empty() || polls[0].revents != 0) {
      eventfd_t ignored;
      eventfd_read(wake_fd_.get(), &ignored);
      std::lock_guard lock(mutex_);
      stopping = stopping_;
      if (sockets_changed_) {
        sockets_changed_ = false;
        // What a closing listener holds was sent in good faith.
        for (const auto& socket : sockets) receive_some(*socket, kRoundsAtEnd);
        aggregator_.set_options(aggregator_options(config_));
        sockets = sockets_;
        polls.assign(1, {wake_fd_.get(), POLLIN, 0});
        gather_limit_ns = kGatherMaxNs;
        for (const auto& socket : sockets) {
          polls.push_back({socket->fd.get(), POLLIN, 0});
          gather_limit_ns = std::min(gather_limit_ns, 1'000'000 * socket->buffer_bytes / kBurstBytesPerMs);
        }
        gather_limit_ns = std::max(gather_limit_ns, kGatherMinNs);
      }
      if (flush_wanted_ && !flushing) flushing = std::exchange(flush_wanted_, std::nullopt);
    }
    size_t most = 0;
    for (const auto& socket : sockets)
      most = std::max(most, receive_some(*socket, stopping ? kRoundsAtEnd : kRoundsBeforeLook));
    empty_gathers = most > 0 ? 0 : empty_gathers + 1;
    gathering = most < kDatagrams && (most > 0 || (gathering && empty_gathers <= kEmptyGathers));
    if (!gathering && most == 0) gather_ns = kGatherMinNs;
    if (most > 2 * kGatherGoal) gather_ns = std::max(gather_ns / 2, kGatherMinNs);
    if (most > 0 && most < kGatherGoal) gather_ns = std::min(gather_ns * 2, gather_limit_ns);

    if (stopping) {
      // An interval that was being flushed ends as it began; stop() emits what came after it.
      if (flushing) aggregator_.flush(batch, flushing->time_ms, flushing->interval_ms);
    } else if (flushing &&
               !aggregator_.flush_some(batch, flushing->time_ms, flushing->interval_ms, kFlushSlice)) {
      continue;
    }
    series_.store(aggregator_.series(), std::memory_order_relaxed);
    if (flushing) {
      flushing.reset();
      std::lock_guard lock(mutex_);
      if (flush_wanted_) eventfd_write(wake_fd_.get(), 1);
      if (!batch.empty()) {
        outbox_.push_back(std::exchange(batch, Batch(config_.name)));
        if (!stopping) wakeup_.send();
      }
    }
    if (stopping) return;
  }
}

// Until the socket is empty or `rounds` full batches have come; returns how many datagrams.
size_t StatsdSource::receive_some(Socket& socket, int rounds) {
  size_t total = 0;
  for (int round = 0; round < rounds; round++) {
    size_t n = receive(socket);
    total += n;
    if (n < kDatagrams) break;
  }
  return total;
}

size_t StatsdSource::receive(Socket& socket) {
  for (auto& message : buffers_->messages) message.msg_hdr.msg_namelen = sizeof(sockaddr_storage);
  int n = ::recvmmsg(socket.fd.get(), buffers_->messages, kDatagrams, MSG_DONTWAIT, nullptr);
  if (n <= 0) return 0;  // EAGAIN; ECONNREFUSED and the like concern packets that we never sent
  for (size_t i = 0; i < static_cast<size_t>(n); i++)
    take({static_cast<char*>(buffers_->vectors[i].iov_base), buffers_->messages[i].msg_len},
         &buffers_->messages[i].msg_hdr);
  return static_cast<size_t>(n);
}

void StatsdSource::take(std::string_view datagram, const void* peer) {
  uint64_t received = 0, accepted = 0;
  while (!datagram.empty()) {
    size_t end = datagram.find('\n');
    std::string_view line = datagram.substr(0, end);
    datagram.remove_prefix(end == std::string_view::npos ? datagram.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    received++;
    Aggregator::Judgement judgement = aggregator_.add(line);
    switch (judgement.verdict) {
      case Aggregator::Verdict::accepted:
        accepted++;
        break;
      case Aggregator::Verdict::bad:
        counts_.bad.add(judgement.reason);
        tell_bad(judgement.reason, line, peer);
        break;
      case Aggregator::Verdict::dropped:
        counts_.dropped.add(judgement.reason);
        tell_bad(judgement.reason, line, peer);
        break;
    }
  }
  counts_.received.fetch_add(received, std::memory_order_relaxed);
  counts_.accepted.fetch_add(accepted, std::memory_order_relaxed);
}

void StatsdSource::tell_bad(std::string_view reason, std::string_view line, const void* peer) {
  auto held = bad_limit_.allow(reason);
  if (!held) return;
  const auto* header = static_cast<const msghdr*>(peer);
  SocketAddress address;
  address.size = std::min<socklen_t>(header->msg_namelen, sizeof address.storage);
  std::copy_n(static_cast<const char*>(header->msg_name), address.size,
              reinterpret_cast<char*>(&address.storage));
  auto from = from_socket_address(ListenAddress::Scheme::udp, address);
  log::warning(config_.name, "line not taken reason={} from={} line=\"{}\"{}", reason,
               from.ok() ? to_string(*from) : "unknown", excerpt(line),
               *held > 0 ? fmt::format(" like_it={}", *held) : "");
}

}  // namespace runnel::statsd
