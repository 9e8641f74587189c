#!/bin/bash
# Inside a chroot, as packaging/package starts it: /packages holds the debs, /packages/old the same ones as an older version.
# A chroot has no systemd as process 1, so `systemctl` is a stand-in here that starts and stops what the unit says, as the
# unit's user and without privileges; it writes down what the maintainer scripts asked for.
#   install_test.sh SCENARIO
# shellcheck disable=SC2016,SC2012 # what is quoted is for sh -c; ls of two names that we know
set -euo pipefail
exec 2>&1
calls=/tmp/systemctl.calls
log=/tmp/agent.log
# shellcheck source=packaging/expect.sh
source "${BASH_SOURCE[0]%/*}/expect.sh"

told() {
  [ ! -e "$log" ] || tail -n 30 "$log"
  [ ! -e "$calls" ] || cat "$calls"
}

manager() {
  mkdir -p /run/systemd/system
  # What systemd brings cannot work here, and images for containers have a policy that nothing is started.
  rm -f /usr/bin/systemctl /usr/sbin/policy-rc.d
  cat >/usr/bin/systemctl <<'END'
#!/bin/bash
# The last word is the unit; options and daemon-reload are nothing to do.
words=()
for word in "$@"; do [[ $word == -* ]] || words+=("$word"); done
printf '%s\n' "${words[*]}" >>/tmp/systemctl.calls
stop() {
  [ -e /tmp/agent.pid ] || return 0
  kill "$(cat /tmp/agent.pid)" 2>/dev/null && while kill -0 "$(cat /tmp/agent.pid)" 2>/dev/null; do sleep 0.05; done
  rm -f /tmp/agent.pid
}
start() {
  [ ! -e /tmp/agent.pid ] || return 0
  unit=$(ls /usr/lib/systemd/system/runnel.service /lib/systemd/system/runnel.service 2>/dev/null | head -n 1)
  user=$(sed -n 's/^User=//p' "$unit")
  for folder in /var/lib/runnel /var/log/runnel /run/runnel; do
    [ -d $folder ] || install -d -m 755 -o "$user" -g "$(id -gn "$user")" $folder
  done
  # shellcheck disable=SC2046 # words
  setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
    $(sed -n 's/^ExecStart=//p' "$unit") </dev/null >/tmp/agent.out 2>>/tmp/agent.log &
  echo $! >/tmp/agent.pid
}
case "${words[0]:-} ${words[*]: -1}" in
  "is-enabled "*) echo enabled ;;
  "is-active runnel.service") [ -e /tmp/agent.pid ] && kill -0 "$(cat /tmp/agent.pid)" 2>/dev/null; exit ;;
  "is-active runnel.socket") [ -e /tmp/socket ]; exit ;;
  "start runnel.socket") touch /tmp/socket ;;
  "stop runnel.socket") rm -f /tmp/socket ;;
  "start runnel.service" | "try-restart runnel.service") start ;;
  "restart runnel.service") stop; start ;;
  "stop runnel.service") stop ;;
esac
exit 0
END
  chmod 755 /usr/bin/systemctl
  : >"$calls"
}

agent_runs() { [ -e /tmp/agent.pid ] && kill -0 "$(cat /tmp/agent.pid)" 2>/dev/null; }
ready() { grep -q ' agent: ready' "$log"; }
started() { grep -c ' agent: ready' "$log" | grep -qx "$1"; }
asked() { grep -qx "$*" "$calls"; }
says() { grep -q -- "$1" /tmp/agent.out; }
taken_by() { # what else may hold the port: PROTOCOL PORT
  perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Proto => $ARGV[0], LocalAddr => "127.0.0.1", LocalPort => $ARGV[1],
    ($ARGV[0] eq "tcp" ? (Listen => 1) : ())) or die $!; sleep 600' "$1" "$2" &
  sleep 0.5
}

fresh() {
  manager
  expect "installs" install_all
  within 20 "is started by the installation" agent_runs
  within 20 "is ready" ready
  expect "was asked to start the service, then the socket" sh -c "grep -n 'start runnel' $calls | cut -d: -f2 | paste -sd, | grep -x 'start runnel.service,start runnel.socket'"
  expect "the user exists, has no shell and no password" sh -c "getent passwd runnel | grep -q nologin && ! grep -q '^runnel:\\$' /etc/shadow"
  expect "runs as that user" sh -c '[ "$(stat -c %U "/proc/$(cat /tmp/agent.pid)")" = runnel ]'
  expect "the shipped configuration passes check" runnel check
  expect "no warning and no error in the log" not grep -E ' (WARNING|ERROR) ' "$log"
  within 20 "the first round of the host is there" says 'system.memory.usage'
  send 'install.test:3|c'
  within 25 "a StatsD line comes out" says 'install.test  *3'
  within 25 "its own metrics are in /run/runnel/metrics.prom" grep -q runnel_info /run/runnel/metrics.prom
  install -m 755 /usr/share/doc/runnel/examples/scripts.d/uptime.sh /etc/runnel/scripts.d/
  within 25 "an example of a hook works when it is copied" says 'example.uptime.seconds'
  cp /etc/runnel/conf.d/file.toml.sample /etc/runnel/conf.d/file.toml
  expect "a sample of a sink passes check" runnel check
  kill -HUP "$(cat /tmp/agent.pid)"
  within 20 "and is taken up by a reload" grep -q 'reloaded' "$log"
  send 'install.file:1|c'
  within 40 "the file sink writes" test -s /var/log/runnel/metrics.json.zst
  rm /etc/runnel/conf.d/file.toml
  expect "the Kafka sink is found" runnel list sink kafka
  printf 'what is installed, in KiB: %s\n' "$(dpkg-query -W -f '${Package} ${Installed-Size}  ' runnel runnel-kafka runnel-dev)"
  expect "runnel is 3 MB at most" sh -c '[ "$(dpkg-query -W -f "\${Installed-Size}" runnel)" -le 3072 ]'
  printf 'libraries of the shipped configuration: %s\n' "$(awk '$6 ~ /\.so/ { sub(".*/", "", $6); print $6 }' "/proc/$(cat /tmp/agent.pid)/maps" | sort -u | paste -sd' ')"
  printf 'resident: %s\n' "$(sed -n 's/^VmRSS:[[:space:]]*//p' "/proc/$(cat /tmp/agent.pid)/status")"
  expect "neither curl nor Kafka nor TLS nor an HTTP server is among them" not grep -qE 'libcurl|librdkafka|libssl|libmicrohttpd' "/proc/$(cat /tmp/agent.pid)/maps"
}

twice() {
  fresh >/tmp/fresh.out || { cat /tmp/fresh.out && exit 1; }
  : >"$calls"
  local before
  before=$(cat /tmp/agent.pid)
  expect "installs a second time" install_all
  expect "which restarts the service" asked restart runnel.service
  expect "and leaves the socket alone" not grep -E '(restart|stop|try-restart) runnel.socket' "$calls"
  within 20 "is another process" sh -c "[ \"\$(cat /tmp/agent.pid)\" != $before ]"
  within 20 "and ready" started 2
  expect "the hook is still there" test -x /etc/runnel/scripts.d/uptime.sh
}

upgrade() {
  manager
  expect "installs the older version" apt /packages/old/runnel_*.deb
  within 20 "is ready" ready
  printf '[output.kafka]\nsink = "kafka"\n' >/etc/runnel/conf.d/other.toml
  expect "a sink of another package is told with the package's name" sh -c 'runnel check 2>&1 | grep "install the package runnel-kafka"'
  library=$(ldconfig -p | sed -n 's/.*libcurl\.so\.4 .*=> //p' | head -n 1)
  mv "$library" "$library.away"
  printf '[output.http]\nsink = "http"\nurl = "http://127.0.0.1:9/"\n' >/etc/runnel/conf.d/other.toml
  expect "a library that is missing is told" sh -c 'runnel check 2>&1 | grep "libcurl.so.4: .*(install the package of that library)"'
  mv "$library.away" "$library"
  rm /etc/runnel/conf.d/other.toml
  printf '\n[agent.tags]\nedited = "yes"\n' >>/etc/runnel/runnel.toml
  printf '# edited\n' >>/etc/runnel/conf.d/http.toml.sample
  sum=$(sha256sum /etc/runnel/runnel.toml)
  id=$(cat /var/lib/runnel/agent_id)
  : >"$calls"
  expect "upgrades" install_all
  expect "restarts the service" asked restart runnel.service
  expect "and leaves the socket alone" not grep -E '(restart|stop) runnel.socket' "$calls"
  within 20 "is ready again" started 2
  expect "the edited configuration is as it was" sh -c "echo '$sum' | sha256sum -c"
  expect "the new one lies beside it" test -e /etc/runnel/runnel.toml.dpkg-dist
  expect "a configuration that nobody edited is the new one" not grep -q 'older version' /etc/runnel/conf.d/file.toml.sample
  expect "it is the same agent" sh -c "[ \"\$(cat /var/lib/runnel/agent_id)\" = $id ]"
  expect "dpkg has nothing to complain about" sh -c '[ -z "$(dpkg --audit)" ]'
}

remove() {
  fresh >/tmp/fresh.out || { cat /tmp/fresh.out && exit 1; }
  echo mine >/var/lib/runnel/mine
  echo mine >/var/lib/runnel/journal/mine
  echo mine >/etc/runnel/conf.d/mine.toml
  : >"$calls"
  expect "is removed" dpkg -r runnel-kafka runnel-dev runnel
  expect "is stopped, the socket first" sh -c "grep -n 'stop runnel' $calls | cut -d: -f2 | paste -sd, | grep -x 'stop runnel.socket,stop runnel.service'"
  expect "does not run" not agent_runs
  expect "configuration and state stay" test -e /etc/runnel/runnel.toml -a -e /var/lib/runnel/agent_id
  expect "is purged" dpkg -P runnel-kafka runnel-dev runnel
  expect "its state and its configuration are gone" not ls -d /var/lib/runnel/agent_id /etc/runnel/runnel.toml /run/runnel/metrics.prom
  expect "what others put there stays" test -e /var/lib/runnel/mine -a -e /var/lib/runnel/journal/mine -a -e /etc/runnel/conf.d/mine.toml -a -e /etc/runnel/scripts.d/uptime.sh
  expect "so does what an output wrote" test -e /var/log/runnel/metrics.json.zst
  expect "and the user" getent passwd runnel
  rm -r /var/lib/runnel /etc/runnel /var/log/runnel
  rm -f "$log"
  expect "installs after a purge" install_all
  within 20 "is ready" ready
  expect "is purged at once" dpkg -P runnel-kafka runnel-dev runnel
  expect "nothing of it is left" not ls -d /var/lib/runnel /etc/runnel /run/runnel /var/log/runnel /usr/lib/runnel /usr/share/doc/runnel
  mkdir -p /srv/shared/journal
  touch /srv/shared/agent_id /srv/shared/journal/00000000000000000001.seg
  ln -s /srv/shared /var/lib/runnel
  expect "is purged where the state is a link" sh -c 'dpkg -i /packages/runnel_*.deb && dpkg -P runnel'
  expect "what it leads to stays" test -L /var/lib/runnel -a -e /srv/shared/agent_id -a -e /srv/shared/journal/00000000000000000001.seg
  rm -r /var/lib/runnel /srv/shared
}

port_taken() {
  manager
  taken_by udp 8125
  expect "installs where the port is taken" install_all
  within 20 "the agent says so and what to do" grep -qE 'udp://127.0.0.1:8125: Address already in use \(stop what listens there, or change listen\)' "$log"
  within 20 "and ends" not agent_runs
  expect "dpkg is content" sh -c '[ -z "$(dpkg --audit)" ]'
  kill %1
  rm -f /tmp/agent.pid
  systemctl start runnel.service
  within 20 "starts when the port is free" ready
}

user_exists() {
  useradd --create-home --uid 1234 --shell /bin/bash runnel
  echo mine >/home/runnel/file
  manager
  expect "installs where there is a user of that name" install_all
  within 20 "is ready" ready
  expect "the user is as it was" sh -c "getent passwd runnel | grep -qx 'runnel:x:1234:1234::/home/runnel:/bin/bash'"
  expect "is purged" dpkg -P runnel-kafka runnel-dev runnel
  expect "the user and what it owns are as they were" sh -c "getent passwd runnel | grep -q ':1234:' && grep -q mine /home/runnel/file"
}

var_full() {
  # All of /var in a small file system, a copy of what was there, filled up.
  cp -a /var /tmp/var
  mount -t tmpfs -o size=400m tmpfs /var
  cp -a /tmp/var/. /var
  head -c 400M /dev/zero >/var/fill 2>/dev/null || true
  manager
  expect "an installation into a full /var is refused" not install_all
  cp /tmp/expect.out /tmp/refusal
  expect "for that reason" grep -i 'no space left' /tmp/refusal
  head -c 40M /dev/zero >/var/spare || rm /var/fill
  rm -f /var/fill /var/spare
  expect "works when there is room" sh -c 'dpkg --configure -a; dpkg -i /packages/runnel_*.deb </dev/null'
  within 20 "is ready" ready
  systemctl stop runnel.service
  rm -f "$log" /var/lib/runnel/agent_id
  mount -t tmpfs -o size=4k,mode=755,uid="$(id -u runnel)" tmpfs /var/lib/runnel
  head -c 1M /dev/zero >/var/lib/runnel/fill 2>/dev/null || true
  systemctl start runnel.service
  within 20 "starts with a full state folder" ready
  expect "and says what it cannot keep" grep -qE 'WARNING .*No space left' "$log"
  sleep 1
  expect "and goes on" agent_runs
}

# With systemd's own programs: what they say of the units, and a socket that they pass.
service() {
  analyze=$(command -v systemd-analyze)
  activate=$(command -v systemd-socket-activate)
  manager
  expect "installs" install_all
  unit=$(ls /usr/lib/systemd/system/runnel.service /lib/systemd/system/runnel.service 2>/dev/null | head -n 1)
  "$analyze" verify --man=no "$unit" "${unit%.service}.socket" >/tmp/verify 2>&1 || true
  expect "systemd-analyze verify has nothing to say of the units" not grep -i runnel /tmp/verify
  score=$("$analyze" security --offline=true --no-pager "$unit" | sed -n 's/.*exposure level for runnel.service: \([0-9.]*\).*/\1/p')
  printf 'systemd-analyze security: %s\n' "$score"
  expect "which is 2.0 at most" awk -v score="$score" 'BEGIN { exit !(score != "" && score <= 2.0) }'
  systemctl stop runnel.service

  # The sandbox as far as it can be had here: everything read-only but the unit's own folders, /dev with nothing in it but the
  # usual, no privileges; and afterwards whether a call was made that the unit's filter would have refused.
  rm -f "$log"
  cp -a /usr/share/doc/runnel/examples/scripts.d/. /etc/runnel/scripts.d/
  cp /etc/runnel/runnel.toml /root/shipped.toml
  sed -i 's/^collectors = .*/collectors = ["all"]/' /etc/runnel/runnel.toml
  sed -i 's|^listen = \["udp://127.0.0.1:8125"\]|listen = ["udp://127.0.0.1:8125", "tcp://127.0.0.1:8125", "unixgram:///run/runnel/datagrams.sock", "unix:///run/runnel/stream.sock"]\ngroup = "runnel"|' /etc/runnel/runnel.toml
  for folder in /var/lib/runnel /var/log/runnel /run/runnel; do
    install -d -m 755 -o runnel -g runnel $folder
    mount --bind $folder $folder
  done
  mount -t tmpfs tmpfs /tmp
  mkdir -m 777 /tmp/trace
  mount -o remount,bind,ro /
  mount -o bind,remount,ro /proc/sys 2>/dev/null || { mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys; }
  setpriv --reuid runnel --regid runnel --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all \
    strace -ff -qq -o /tmp/trace/t -e signal=none runnel run >/tmp/agent.out 2>"$log" </dev/null &
  within 60 "is ready in the sandbox" ready
  send 'sandbox.test:1|c'
  within 60 "StatsD, hooks in each language and the host's metrics come out" sh -c "grep -q sandbox.test /tmp/agent.out && grep -q example.uptime /tmp/agent.out && grep -q example_top_memory /tmp/agent.out && grep -q system.filesystem.usage /tmp/agent.out && grep -q system.network.io /tmp/agent.out"
  kill "$(pgrep -x runnel | head -n 1)"
  wait || true
  expect "no warning and no error in the log" not grep -E ' (WARNING|ERROR) ' "$log"
  allowed() { # the names of a set, those it includes too
    "$analyze" syscall-filter --no-pager "$1" | sed -n 's/^ *\([@a-z_0-9-]\{1,\}\)$/\1/p' | while read -r name; do
      case $name in "$1") ;; @*) allowed "$name" ;; *) echo "$name" ;; esac
    done
  }
  { allowed @system-service; } | sort -u >/tmp/in
  { allowed @privileged; allowed @obsolete; } | sort -u >/tmp/out
  { comm -23 /tmp/in /tmp/out; allowed @chown; allowed @default; } | sort -u >/tmp/allowed
  cat /tmp/trace/t.* | sed -n 's/^\([a-z_0-9]*\)(.*/\1/p' | sort -u >/tmp/used
  printf 'calls: %s made, %s allowed\n' "$(wc -l </tmp/used)" "$(wc -l </tmp/allowed)"
  comm -23 /tmp/used /tmp/allowed >/tmp/refused
  expect "no call that the unit's filter refuses" not grep . /tmp/refused
  sed -n 's/.*\bsocket(\([A-Z_0-9]*\),.*/\1/p' /tmp/trace/t.* | sort -u >/tmp/families
  expect "no socket of a family that it refuses" not grep -vxE 'AF_(UNIX|LOCAL|INET|INET6|NETLINK)' /tmp/families
  [ -n "$activate" ] || return 0
  mount -o remount,bind,rw /
  rm -f "$log"
  cp /root/shipped.toml /etc/runnel/runnel.toml
  sed -i '/^\[source.riemann\]/,/^listen/d' /etc/runnel/runnel.toml
  "$activate" --datagram --listen 127.0.0.1:8125 runnel run >/tmp/agent.out 2>"$log" </dev/null &
  sleep 1
  send 'activated:1|c' # what wakes it
  within 20 "systemd's own socket is taken" grep -q 'listening on udp://127.0.0.1:8125 inherited=true' "$log"
  within 30 "and what waited in it is read" says activated
}

"$1"
