#include "source/statsd/repeater.h"

#include <fmt/format.h>

#include <numeric>

#include "net/listener.h"
#include "support/catch.h"
#include "support/sockets.h"

using namespace runnel;
using namespace runnel::statsd;

namespace {

std::shared_ptr<Listener> open_target(const std::string& url) {
  auto listener = Listener::open(url, {});
  INFO((listener.ok() ? "" : listener.error()));
  REQUIRE(listener.ok());
  return *listener;
}

std::shared_ptr<Repeater::Counts> counts_for(const std::string& url) {
  auto counts = std::make_shared<Repeater::Counts>();
  counts->url = url;
  return counts;
}

std::unique_ptr<Repeater> open_repeater(const std::vector<std::shared_ptr<Repeater::Counts>>& targets) {
  auto repeater = Repeater::open(targets);
  INFO((repeater.ok() ? "" : repeater.error()));
  REQUIRE(repeater.ok());
  return std::move(*repeater);
}

// What waits at the target; `wanted` datagrams at least, or those that came within some seconds.
std::vector<std::string> received(const Listener& target, size_t wanted) {
  std::vector<std::string> datagrams;
  char bytes[65536];
  for (;;) {
    if (!readable(target.fd(), datagrams.size() < wanted ? 5000 : 0)) return datagrams;
    ssize_t n = ::recv(target.fd(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (n >= 0) datagrams.emplace_back(bytes, static_cast<size_t>(n));
  }
}

void send_one(Repeater& repeater, std::string_view datagram) {
  repeater.add(datagram);
  repeater.send();
}

}  // namespace

TEST_CASE("packets go on as they came, to each target") {
  TestFolder folder;
  std::vector<std::shared_ptr<Listener>> targets{open_target("udp://127.0.0.1:0"),
                                                 open_target("udp://[::1]:0"),
                                                 open_target("unixgram://" + folder.path + "/t.sock")};
  std::vector<std::shared_ptr<Repeater::Counts>> counts;
  for (const auto& target : targets) counts.push_back(counts_for(target->bound()));
  auto repeater = open_repeater(counts);
  std::vector<std::string> packets{"a:1|c", "a:1|c\nb:2|g\n", std::string("\0\xff\n\n", 4),
                                   std::string(8000, 'x')};
  for (const std::string& packet : packets) repeater->add(packet);
  repeater->add("");
  repeater->send();
  repeater->send();  // nothing was added
  for (size_t i = 0; i < targets.size(); i++) {
    INFO(counts[i]->url);
    CHECK(received(*targets[i], packets.size()) == packets);
    CHECK(counts[i]->sent == packets.size());
    CHECK(counts[i]->dropped == 0);
  }
}

TEST_CASE("a target that goes away and comes back") {
  TestFolder folder;
  for (std::string url : {std::string("udp://127.0.0.1:0"), "unixgram://" + folder.path + "/t.sock"}) {
    auto target = open_target(url);
    auto counts = counts_for(target->bound());
    auto repeater = open_repeater({counts});
    INFO(counts->url);
    send_one(*repeater, "1");
    CHECK(received(*target, 1) == std::vector<std::string>{"1"});
    target.reset();
    for (int i = 0; i < 10; i++) send_one(*repeater, "lost");
    target = open_target(counts->url);
    for (int i = 0; i < 3; i++) send_one(*repeater, "2");
    CHECK(received(*target, 3) == std::vector<std::string>(3, "2"));
    // Over UDP the kernel takes what nobody reads, and tells of it at the next one.
    CHECK(counts->sent + counts->dropped == 14);
    CHECK(counts->sent >= 4);
    if (url.starts_with("unix")) CHECK(counts->dropped == 10);
  }
}

TEST_CASE("a unix target may come later") {
  TestFolder folder;
  auto counts = counts_for("unixgram://" + folder.path + "/t.sock");
  auto repeater = open_repeater({counts});
  send_one(*repeater, "lost");
  auto target = open_target(counts->url);
  send_one(*repeater, "found");
  CHECK(received(*target, 1) == std::vector<std::string>{"found"});
  CHECK(counts->sent == 1);
  CHECK(counts->dropped == 1);
}

TEST_CASE("a target that does not read costs its own packets only") {
  TestFolder folder;
  auto slow = open_target("unixgram://" + folder.path + "/slow.sock"),
       quick = open_target("udp://127.0.0.1:0");
  auto slow_counts = counts_for(slow->bound()), quick_counts = counts_for(quick->bound());
  auto repeater = open_repeater({slow_counts, quick_counts});
  std::vector<std::string> packets;
  for (int i = 0; i < 1000; i++) packets.push_back(fmt::format("a:{}|c", i));
  for (const std::string& packet : packets) repeater->add(packet);
  repeater->send();
  CHECK(received(*quick, packets.size()) == packets);
  CHECK(quick_counts->sent == packets.size());
  CHECK(slow_counts->sent + slow_counts->dropped == packets.size());
  auto first = received(*slow, 0);
  CHECK(first.size() == slow_counts->sent);
  CHECK(std::equal(first.begin(), first.end(), packets.begin()));
  // It reads again.
  send_one(*repeater, "more");
  CHECK(received(*slow, 1) == std::vector<std::string>{"more"});
}

TEST_CASE("a datagram that is too large for its target is dropped alone") {
  auto target = open_target("udp://127.0.0.1:0");
  auto counts = counts_for(target->bound());
  auto repeater = open_repeater({counts});
  std::string large(65'508, 'x');  // a byte more than UDP can carry
  for (std::string_view packet : {std::string_view("a"), std::string_view(large), std::string_view("b")})
    repeater->add(packet);
  repeater->send();
  CHECK(received(*target, 2) == std::vector<std::string>{"a", "b"});
  CHECK(counts->sent == 2);
  CHECK(counts->dropped == 1);
}

TEST_CASE("what a stream brought is cut at line ends") {
  constexpr size_t kPacket = Repeater::kPacket;
  std::string row(99, 'r');
  row += '\n';
  auto rows = [&](size_t n) {
    std::string text;
    for (size_t i = 0; i < n; i++) text += row;
    return text;
  };
  struct {
    const char* what;
    std::string lines;
    std::vector<size_t> packets;
  } table[] = {
      {"nothing", "", {}},
      {"a line", "a:1|c\n", {6}},
      {"a packet, exactly", std::string(kPacket - 1, 'x') + "\n", {kPacket}},
      {"a packet without a line end", std::string(kPacket, 'x'), {kPacket}},
      {"fourteen lines", rows(14), {1400}},
      {"fifteen lines", rows(15), {1400, 100}},
      {"no last line end", rows(14) + std::string(40, 'y'), {1400, 40}},
      {"a line longer than a packet", std::string(3000, 'x') + "\n", {3001}},
      {"the same without its end", std::string(3000, 'x'), {3000}},
      {"a long line among short ones", rows(2) + std::string(3000, 'x') + "\n" + rows(1), {200, 3001, 100}},
      {"a line end right behind a packet", std::string(kPacket, 'x') + "\n" + rows(1), {kPacket + 1, 100}},
      {"only line ends", std::string(2000, '\n'), {kPacket, 2000 - kPacket}},
  };
  auto target = open_target("udp://127.0.0.1:0");
  for (const auto& entry : table) {
    INFO(entry.what);
    auto counts = counts_for(target->bound());
    auto repeater = open_repeater({counts});
    repeater->add_lines(entry.lines);
    repeater->send();
    std::vector<std::string> packets = received(*target, entry.packets.size());
    std::vector<size_t> sizes;
    for (const std::string& packet : packets) sizes.push_back(packet.size());
    CHECK(sizes == entry.packets);
    CHECK(std::accumulate(packets.begin(), packets.end(), std::string()) == entry.lines);
    CHECK(counts->sent == entry.packets.size());
  }
}

TEST_CASE("addresses that cannot be a target say why") {
  for (const char* url : {"nonsense", "udp://", "http://127.0.0.1:1"}) {
    auto repeater = Repeater::open({counts_for(url)});
    INFO(url);
    CHECK_FALSE(repeater.ok());
  }
}
