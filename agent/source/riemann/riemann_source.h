// The Riemann source: its listeners, the server for streams and the reading of datagrams. All of it runs on the loop's
// thread: an answer waits for the log, which is written there, and two changes of threads would cost more than the decoding
// of what they carry.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/config.h"
#include "loop/loop.h"
#include "metric/self_metrics.h"
#include "net/datagram_reader.h"
#include "net/listener.h"
#include "net/tls.h"
#include "source/riemann/intake.h"
#include "source/riemann/server.h"

namespace runnel::riemann {

class RiemannSource {
 public:
  // Binds all listeners. With `optional_ports` (built-in defaults) a listener that cannot be bound is a warning in the
  // log; otherwise the error names address and position. `blocked`: the log has no room for what could wait.
  static Result<std::unique_ptr<RiemannSource>> open(Loop& loop, const Clock& clock,
                                                     const RiemannConfig& config, AckInlet inlet,
                                                     std::function<bool()> blocked, bool optional_ports,
                                                     bool share_ports = false);
  ~RiemannSource();
  RiemannSource(const RiemannSource&) = delete;

  // A reload: listeners that stay are not touched, connections live on; new ones to tls:// get the certificates that are in
  // the files now. On error nothing has changed.
  Status reconfigure(const RiemannConfig& config);  // while share_ports(true)
  // While true, another socket of ours may be bound where one of this source is (StatsdSource::share_ports).
  void share_ports(bool share);
  // Takes what has already come, answers it, closes everything.
  void stop();
  void report(SelfReport& report) const;
  const RiemannConfig& config() const { return config_; }
  std::vector<std::string> addresses() const;  // as bound: ports are numbers

 private:
  using Listeners = std::vector<std::shared_ptr<Listener>>;

  RiemannSource(Loop& loop, const Clock& clock, const RiemannConfig& config, AckInlet inlet,
                std::function<bool()> blocked, bool optional_ports);
  ServerHandlers handlers();
  Result<Listeners> bind_all(const RiemannConfig& config, const Listeners& kept, bool share) const;
  static Result<std::shared_ptr<const TlsContext>> load_tls(const RiemannConfig& config);
  void apply(const RiemannConfig& config, Listeners listeners, std::shared_ptr<const TlsContext> tls);
  void serve();
  void read_datagrams(const Listener& listener, int most);
  void set_timer();

  Loop& loop_;
  const Clock& clock_;
  RiemannConfig config_;
  const std::function<bool()> blocked_;
  const bool optional_ports_;
  Intake intake_;
  Server server_;
  uint64_t retired_drops_ = 0;  // the kernel's drops at sockets that are closed
  Listeners listeners_;
  std::unique_ptr<DatagramReader> datagrams_;  // where there is a UDP listener
  struct Datagrams {
    std::shared_ptr<Listener> listener;
    std::unique_ptr<FdWatch> watch;
  };
  std::vector<Datagrams> datagram_watches_;
  std::unique_ptr<FdWatch> server_watch_;
  Timer timer_;
};

}  // namespace runnel::riemann
