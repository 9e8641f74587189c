#include "net/listener.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "base/text.h"
#include "net/inherited.h"

namespace runnel {
namespace {

constexpr int kBacklog = 4096;  // connections that wait to be accepted; net.core.somaxconn cuts it

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);
}

// The folder of a socket's path, and the name under which the socket is made in it before it is moved over the path.
struct Place {
  UniqueFd folder;
  std::string name, temporary;
  std::string bindable;  // the temporary name as bind(2) takes it: at most 107 bytes

  ~Place() {
    if (folder.valid() && !temporary.empty()) ::unlinkat(folder.get(), temporary.c_str(), 0);
  }
};

// Who has the socket at `path` open: connect(2)'s error, 0 where it answers, and the name it was bound to.
int ask_socket(const SocketAddress& path, int type, std::string& name) {
  UniqueFd fd(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid() || ::connect(fd.get(), path.get(), path.size) != 0) return errno;
  SocketAddress peer;
  peer.size = sizeof peer.storage;
  if (::getpeername(fd.get(), peer.get(), &peer.size) != 0) return 0;
  auto read = from_socket_address(ListenAddress::Scheme::unix_stream, peer);
  if (read.ok()) name = read->path;
  return 0;
}

// Nothing there, a path that nobody listens on, or one of our own.
Status may_replace(const std::string& path, const SocketAddress& address, const Place& place,
                   bool taking_over) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    return Error{errno_text(errno)};
  }
  if (!S_ISSOCK(found.st_mode))
    return Error{"the path exists and is not a socket (remove it, or use another)"};
  // A datagram socket asks, whatever kind is there: a live stream socket says EPROTOTYPE and sees no connection.
  std::string bound;
  int error = ask_socket(address, SOCK_DGRAM, bound);
  if (error == ECONNREFUSED || error == ENOENT) return {};
  if (error != 0 && error != EPROTOTYPE)
    return Error{
        fmt::format("a socket is there and does not say whether it is in use: {}", errno_text(error))};
  // Ours was bound to a temporary name that has the process's number.
  if (taking_over && error == EPROTOTYPE) ask_socket(address, SOCK_STREAM, bound);
  if (taking_over && bound.ends_with("/" + place.temporary)) return {};
  return Error{"in use: a process has this socket open"};
}

Result<gid_t> find_group(const std::string& group) {
  if (auto number = parse_uint(group); number && *number < UINT32_MAX) return static_cast<gid_t>(*number);
  struct group entry {
  }, *found = nullptr;
  std::vector<char> buffer(16384);
  while (::getgrnam_r(group.c_str(), &entry, buffer.data(), buffer.size(), &found) == ERANGE &&
         buffer.size() < 1 << 24)
    buffer.resize(buffer.size() * 2);  // a group of very many members
  if (found == nullptr) return Error{fmt::format("there is no group \"{}\"", excerpt(group))};
  return entry.gr_gid;
}

Status find_place(const std::string& path, Place& place) {
  size_t slash = path.rfind('/');
  std::string folder = slash == 0 ? "/" : path.substr(0, slash);
  place.name = path.substr(slash + 1);
  if (place.name.empty() || place.name == "." || place.name == "..")
    return Error{"the path has no file name"};
  place.folder.reset(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place.folder.valid() && errno == ENOENT)
    return Error{fmt::format("the folder {} does not exist (create it first)", folder)};
  if (!place.folder.valid()) return Error{fmt::format("{}: {}", folder, errno_text(errno))};
  place.temporary = fmt::format(".{}.{}.tmp", place.name, ::getpid());
  if (place.temporary.size() > NAME_MAX) place.temporary = fmt::format(".runnel.{}.tmp", ::getpid());
  place.bindable = fmt::format("{}/{}", folder, place.temporary);
  // Where that is too long for sun_path: the same folder by its descriptor (proc(5)), and a short name.
  if (place.bindable.size() >= sizeof(sockaddr_un::sun_path)) {
    place.temporary = fmt::format(".runnel.{}.tmp", ::getpid());
    place.bindable = fmt::format("/proc/self/fd/{}/{}", place.folder.get(), place.temporary);
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<Listener>> Listener::open(const std::string& url, const ListenerOptions& options) {
  auto address = parse_listen_address(url);
  if (!address.ok()) return Error{address.error()};
  std::shared_ptr<Listener> listener(new Listener());
  listener->address_ = *address;
  listener->wanted_ = url;
  listener->reuse_port_ = options.reuse_port && address->scheme == ListenAddress::Scheme::udp;
  Status bound;
  if (!listener->inherit(options))
    bound = address->is_unix() ? listener->bind_unix(options) : listener->bind_ip(options);
  if (!bound.ok()) return Error{fmt::format("{}: {}", url, bound.error())};
  listener->bound_ = to_string(listener->address_);
  return listener;
}

// While our descriptor is open its inode cannot be given to another file, so it tells whether the path is still ours.
Listener::~Listener() {
  struct stat found {};
  if (inode_ != 0 && ::lstat(address_.path.c_str(), &found) == 0 && found.st_dev == device_ &&
      found.st_ino == inode_)
    ::unlink(address_.path.c_str());
}

// The path of a unix socket is the manager's too: inode_ stays 0 and nothing is unlinked.
bool Listener::inherit(const ListenerOptions& options) {
  bool shared = false;
  fd_ = take_inherited(address_, options.nth, shared);
  if (!fd_.valid()) return false;
  inherited_ = true;
  if (is_stream()) {
    if (!address_.is_unix()) set_option(fd_.get(), SOL_SOCKET, SO_KEEPALIVE, 1);
    return true;
  }
  learn_datagram_limits();
  counts_drops_ = !shared;
  drops_before_ = socket_drops();
  return true;
}

// What the kernel has granted; for unix sockets also SCM_CREDENTIALS with each datagram (unix(7)).
void Listener::learn_datagram_limits() {
  int got = 0;
  socklen_t size = sizeof got;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &got, &size) == 0) buffer_bytes_ = got;
  if (!address_.is_unix()) return;
  set_option(fd_.get(), SOL_SOCKET, SO_PASSCRED, 1);
  auto limit = read_file("/proc/sys/net/unix/max_dgram_qlen", 64);
  queue_datagrams_ = limit.ok() ? parse_int(trim(*limit)).value_or(10) : 10;
}

// Past net.core.rmem_max where we may (CAP_NET_ADMIN), else as far as it goes (socket(7)).
void Listener::want_buffer(int64_t bytes) {
  int fd = fd_.get(), wanted = static_cast<int>(std::clamp<int64_t>(bytes, 0, INT32_MAX / 2));
  if (::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof wanted) != 0)
    set_option(fd, SOL_SOCKET, SO_RCVBUF, wanted);
  learn_datagram_limits();
}

Status Listener::bind_ip(const ListenerOptions& options) {
  auto where = to_socket_address(address_);
  if (!where.ok()) return Error{where.error()};
  int type = is_stream() ? SOCK_STREAM : SOCK_DGRAM;
  fd_.reset(::socket(where->family(), type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd_.valid()) return Error{errno_text(errno)};
  int fd = fd_.get();
  if (where->family() == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (is_stream()) {
    // A restart finds connections of the old process in TIME_WAIT; two listeners at once it does not allow (tcp(7)).
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    // Connections inherit it: peers that vanished are noticed even where there is no idle time-out.
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  } else {
    want_buffer(options.receive_buffer);
    // Stays on: the kernel spreads datagrams only over sockets that have it. Processes of the same user could join, no
    // others (socket(7)).
    if (reuse_port_) set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
  }
  if (options.taking_over) set_shared(true);
  // With SO_REUSEADDR a second TCP socket may bind, but not listen.
  if (::bind(fd, where->get(), where->size) != 0 || (is_stream() && ::listen(fd, kBacklog) != 0))
    return Error{errno_text(errno)};
  if (options.taking_over) set_shared(false);
  SocketAddress bound;
  bound.size = sizeof bound.storage;
  if (::getsockname(fd, bound.get(), &bound.size) != 0) return Error{errno_text(errno)};
  auto address = from_socket_address(address_.scheme, bound);
  if (!address.ok()) return Error{address.error()};
  address_ = *address;
  return {};
}

// The socket is made under a temporary name without any permission, gets its group, then its mode, then its path: nobody
// can ever connect whom the options do not let, and a path that is replaced is there all the time. The process's umask
// is not touched: other threads make files.
Status Listener::bind_unix(const ListenerOptions& options) {
  const std::string& path = address_.path;
  auto where = to_socket_address(address_);
  if (!where.ok()) return Error{where.error()};
  gid_t group = static_cast<gid_t>(-1);
  if (!options.group.empty()) {
    auto found = find_group(options.group);
    if (!found.ok()) return Error{found.error()};
    group = *found;
  }
  Place place;
  if (Status found = find_place(path, place); !found.ok()) return found;
  if (Status free = may_replace(path, *where, place, options.taking_over); !free.ok()) return free;
  int type = is_stream() ? SOCK_STREAM : SOCK_DGRAM;
  fd_.reset(::socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd_.valid()) return Error{errno_text(errno)};
  if (!is_stream()) want_buffer(options.receive_buffer);

  // Linux makes the path with the mode of the socket's own inode, less the umask (unix_bind_bsd in net/unix/af_unix.c).
  ::fchmod(fd_.get(), 0);
  auto temporary = to_socket_address({address_.scheme, "", 0, place.bindable});
  if (!temporary.ok()) return Error{temporary.error()};
  int folder = place.folder.get();
  const char* name = place.temporary.c_str();
  ::unlinkat(folder, name, 0);  // of a process that died here and had our number
  if (::bind(fd_.get(), temporary->get(), temporary->size) != 0) return Error{errno_text(errno)};
  UniqueFd made(::openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (!made.valid() || ::fstat(made.get(), &status) != 0) return Error{errno_text(errno)};
  if (!S_ISSOCK(status.st_mode)) return Error{"another process writes to the folder and is in the way"};
  if (group != static_cast<gid_t>(-1) &&
      ::fchownat(made.get(), "", static_cast<uid_t>(-1), group, AT_EMPTY_PATH) != 0)
    return Error{fmt::format("cannot give it to the group {}: {} (the agent must be root or a member)",
                             options.group, errno_text(errno))};
  if (::fchmodat(folder, name, options.mode & 07777, AT_SYMLINK_NOFOLLOW) != 0)
    return Error{fmt::format("cannot set its mode: {}", errno_text(errno))};
  if (is_stream() && ::listen(fd_.get(), kBacklog) != 0) return Error{errno_text(errno)};
  if (::renameat(folder, name, folder, place.name.c_str()) != 0) return Error{errno_text(errno)};
  place.temporary.clear();
  device_ = status.st_dev;
  inode_ = status.st_ino;
  return {};
}

Listener::Accept Listener::accept(UniqueFd& connection, Peer& peer) const {
  peer = {};
  peer.scheme = scheme();
  do {
    peer.address.size = sizeof peer.address.storage;
    connection.reset(::accept4(fd(), peer.address.get(), &peer.address.size, SOCK_NONBLOCK | SOCK_CLOEXEC));
  } while (!connection.valid() && errno == EINTR);
  if (!connection.valid()) {
    int error = errno;
    if (error == ECONNABORTED || error == EPROTO) return Accept::gone;  // accept(2)
    bool exhausted = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
    return exhausted ? Accept::exhausted : Accept::nobody;
  }
  if (address_.is_unix()) {
    ucred credentials{};
    socklen_t size = sizeof credentials;
    peer.address.size = 0;
    if (::getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0) {
      peer.pid = credentials.pid;
      peer.uid = credentials.uid;
      peer.gid = credentials.gid;
    }
  } else {
    set_option(connection.get(), IPPROTO_TCP, TCP_NODELAY,
               1);  // an answer must not wait for an acknowledgement
  }
  return Accept::connection;
}

// UDP: two sockets may have one address where both say SO_REUSEADDR. TCP: two listeners may where both say SO_REUSEPORT
// and one user owns them (socket(7)). On only while a reload moves listeners: always on, another process could take what
// is sent to us unnoticed. One thing stays: once a TCP port has been taken over the kernel lets further sockets with
// SO_REUSEPORT of the same user bind it, whatever the option says now (fastreuseport of the port's bind bucket). A second
// agent does not set it, and is refused.
void Listener::set_shared(bool shared) {
  if (address_.is_unix() || inherited_) return;  // not ours to change; a reload takes the same socket again
  set_option(fd_.get(), SOL_SOCKET, is_stream() ? SO_REUSEPORT : SO_REUSEADDR, shared ? 1 : 0);
}

// A connected UDP socket is given what its peer sends and nothing else (udp(7)); nobody sends from our own address.
void Listener::turn_away() {
  SocketAddress own;
  own.size = sizeof own.storage;
  if (address_.scheme != ListenAddress::Scheme::udp || inherited_ ||
      ::getsockname(fd_.get(), own.get(), &own.size) != 0)
    return;
  if (::connect(fd_.get(), own.get(), own.size) != 0)
    errno = 0;  // then it is closed as it is: a race, no error
}

// SO_MEMINFO (socket(7), linux/sock_diag.h): the same counter that SO_RXQ_OVFL sends, but asked for once an interval
// instead of a control message with each datagram.
uint64_t Listener::kernel_drops() const {
  return counts_drops_ ? socket_drops() - drops_before_ : 0;
}

// SO_MEMINFO (socket(7), linux/sock_diag.h): the same counter that SO_RXQ_OVFL sends, but asked for once an interval
// instead of a control message with each datagram.
uint64_t Listener::socket_drops() const {
  if (is_stream()) return 0;
  uint32_t info[SK_MEMINFO_VARS] = {};
  socklen_t size = sizeof info;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_MEMINFO, info, &size) != 0 ||
      size < (SK_MEMINFO_DROPS + 1) * sizeof info[0])
    return 0;
  return info[SK_MEMINFO_DROPS];
}

}  // namespace runnel
