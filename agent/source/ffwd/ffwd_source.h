// The source of what FFWD's clients and Graphite's send: its listeners, the reading of datagrams, a server of lines for each
// format over TCP. All of it runs on the loop's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/config.h"
#include "config/ffwd_listen.h"
#include "loop/loop.h"
#include "metric/self_metrics.h"
#include "net/datagram_reader.h"
#include "net/listener.h"
#include "source/ffwd/http_input.h"
#include "source/ffwd/intake.h"
#include "source/ffwd/line_server.h"

namespace runnel::ffwd {

class FfwdSource {
 public:
  // Binds all listeners; the error names address and position. `blocked`: the log has no room for what could wait.
  static Result<std::unique_ptr<FfwdSource>> open(Loop& loop, const Clock& clock, const FfwdConfig& config,
                                                  DecidedInlet inlet, std::function<bool()> blocked,
                                                  bool share_ports = false);
  ~FfwdSource();
  FfwdSource(const FfwdSource&) = delete;

  // A reload: listeners that stay are not touched, connections live on. On error nothing has changed.
  Status reconfigure(const FfwdConfig& config);  // while share_ports(true)
  // While true, another socket of ours may be bound where one of this source is (StatsdSource::share_ports).
  void share_ports(bool share);
  void stop();  // takes what has already come, closes everything
  void report(SelfReport& report) const;
  const FfwdConfig& config() const { return config_; }
  std::vector<std::string> addresses() const;  // as bound: ports are numbers

 private:
  struct Entry {
    std::string wanted;
    FfwdListen listen;
    std::shared_ptr<Listener> listener;
    std::shared_ptr<FdWatch> watch;  // of datagrams

    std::string url() const { return ffwd_url(listen, listener->bound()); }
  };
  using Entries = std::vector<Entry>;

  FfwdSource(Loop& loop, const Clock& clock, const FfwdConfig& config, DecidedInlet inlet,
             std::function<bool()> blocked);
  LineHandlers handlers(FfwdFormat format);
  Result<Entries> bind_all(const FfwdConfig& config, bool share);
  void apply(const FfwdConfig& config, Entries entries);
  void serve_lines(FfwdFormat format, std::unique_ptr<LineServer>& server, const StreamLimits& limits);
  void read_datagrams(FfwdFormat format, const Listener& listener, int reads, size_t budget);
  void retire(Entry& entry);
  std::vector<std::shared_ptr<Listener>> listeners(FfwdFormat format) const;  // over TCP

  Loop& loop_;
  const Clock& clock_;
  FfwdConfig config_;
  const std::function<bool()> blocked_;
  Intake intake_;
  uint64_t retired_drops_ = 0;  // the kernel's drops at sockets that are closed
  Entries entries_;
  std::unique_ptr<DatagramReader> datagrams_;              // where there is a UDP listener
  size_t at_once_ = 8;                                     // datagrams that are read in a call
  std::unique_ptr<LineServer> json_lines_, carbon_lines_;  // once there was a listener
  std::unique_ptr<HttpInput> http_;                        // once there was a listener
};

}  // namespace runnel::ffwd
