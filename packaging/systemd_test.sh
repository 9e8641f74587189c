#!/bin/bash
# Inside a Debian whose process 1 is systemd, as packaging/package starts it (machine.sh): what install_test.sh has a stand-in
# for. /packages holds the debs, /packages/old the same ones as an older version, and, where it is to be had,
# /packages/statsd_blast, which sends 100,000 datagrams a second and says their sum.
# shellcheck disable=SC2016 # what is quoted is for sh -c
set -euo pipefail
exec 2>&1
# shellcheck source=packaging/expect.sh
source "${BASH_SOURCE[0]%/*}/expect.sh"
drop_ins=/etc/systemd/system/runnel.service.d
examples=/usr/share/doc/runnel/examples/systemd
cursor=

told() {
  systemctl --no-pager --full --lines 0 status runnel.service runnel.socket || true
  journalctl -q --no-pager -n 400 | grep -vE ' runnel\[[0-9]*\]: [0-9:.]* (system|runnel|example)\.' | tail -n 60 # without samples
}
mark() { # what logged looks at begins here
  journalctl --sync
  cursor=$(journalctl -q -n 1 --show-cursor -o cat | sed -n 's/^-- cursor: //p')
}
journal() { journalctl -q --no-pager ${cursor:+--after-cursor="$cursor"} -u runnel.service -u runnel.socket "$@"; }
logged() { journal -o cat | grep -E -- "$1"; }
unit() { systemctl show -P "$1" "${2:-runnel.service}"; }
is() { [ "$(unit "$1")" = "$2" ]; } # is PROPERTY VALUE
active() { systemctl is-active --quiet runnel.service; }
both_active() { active && systemctl is-active --quiet runnel.socket; }
ready() { active && logged '(^| )agent: ready'; }
restart() {
  mark
  systemctl reset-failed # its limit of starts is not what is looked at
  expect "restarts${1:+ with $1}" systemctl restart runnel.service
  within 20 "and is ready" ready
}
drop_in() { # drop_in NAME: an example as it is shipped; or, with lines on stdin, one of the test's own
  mkdir -p $drop_ins
  if [ -e "$examples/$1.conf" ]; then cp "$examples/$1.conf" $drop_ins; else cat >"$drop_ins/$1.conf"; fi
  systemctl daemon-reload
}
no_drop_ins() {
  rm -rf $drop_ins
  systemctl daemon-reload
}
conf() { printf 'override = true\n%s\n' "$2" >"/etc/runnel/conf.d/$1.toml"; }
hook() {
  printf '#!/bin/sh\n# runnel: interval=1s\n%s\n' "$2" >/tmp/hook
  install -m 755 /tmp/hook "/etc/runnel/scripts.d/$1"
}
pid() { unit MainPID; }
quiet() { ! journal -p warning | grep .; } # nothing of that weight, as journald takes it

installed() {
  expect "the older version installs" apt /packages/old/runnel_*.deb
  within 20 "the service is ready" ready
  expect "service and socket run, and will after a boot" sh -c 'systemctl is-active runnel.service runnel.socket && systemctl is-enabled runnel.service runnel.socket'
  expect "systemctl status says so" sh -c 'systemctl --no-pager status runnel | grep "Active: active (running)"'
  expect "as the user runnel, without a capability" sh -c "grep -qx 'CapEff:.0*' /proc/$(pid)/status && [ \$(stat -c %U /proc/$(pid)) = runnel ]"
  expect "all three sockets are systemd's" sh -c "[ $(logged inherited=true | wc -l) = 3 ]"
  expect "with 8 MiB of buffer" logged 'udp://127.0.0.1:8125 inherited=true receive_buffer=(8|16)MiB'
  within 20 "samples are in the journal" logged system.memory.usage
  send 'systemd.test:3|c'
  within 25 "a StatsD line too" logged 'systemd.test  *3'
  expect "nothing is a warning" quiet
  printf 'exposure of the running unit: %s\n' "$(systemd-analyze security --no-pager runnel.service | sed -n 's/.*exposure level for runnel.service: //p')"
  for limit in CPUQuotaPerSecUSec MemoryHigh MemoryMax TasksMax; do printf '%s=%s ' "$limit" "$(unit $limit)"; done
  printf '\n'
}

reloads() {
  local before
  before=$(pid)
  conf output "$(sed '/^#/d' /etc/runnel/conf.d/file.toml.sample)"
  mark
  expect "reloads" systemctl reload runnel
  within 10 "and says so" logged 'agent: reloaded'
  echo 'wrong = 1' >>/etc/runnel/conf.d/output.toml
  mark
  expect "a reload of a bad configuration" systemctl reload runnel
  within 10 "is an error in the journal" sh -c 'journalctl -q -u runnel -p err -o cat | grep "not reloaded: the old configuration stays"'
  rm /etc/runnel/conf.d/output.toml
  expect "the process is the same one" is MainPID "$before"
  expect "and runs" active
}

restarts() {
  local before id
  before=$(pid)
  id=$(cat /var/lib/runnel/agent_id)
  restart
  expect "is another process" not is MainPID "$before"
  expect "and the same agent" grep -qx "$id" /var/lib/runnel/agent_id
  mark
  expect "the service stops" systemctl stop runnel.service
  expect "cleanly" is Result success
  sleep 0.5
  expect "and stays down while nothing comes" not active
  send 'systemd.wakes:1|c'
  within 20 "a packet starts it" ready
  within 30 "and is read" logged 'systemd.wakes  *1'
  expect "stops with its socket" systemctl stop runnel.socket runnel.service
  send 'systemd.lost:1|c' 2>/dev/null || true
  sleep 0.5
  expect "and no packet starts it" not active
  mark
  expect "starts" systemctl start runnel.service
  within 20 "with its socket" both_active
  mark
  kill -KILL "$(pid)"
  within 20 "is started again when it was killed" ready
}

watchdog() {
  drop_in watchdog <<<$'[Service]\nWatchdogSec=2s'
  restart "a short watchdog"
  sleep 5
  expect "it is fed" is NRestarts 0
  mark
  kill -STOP "$(pid)"
  within 30 "an agent that stands still is ended" logged 'Watchdog timeout'
  within 30 "and started again" ready
  no_drop_ins
}

memory() {
  local before
  restart
  before=$(pid)
  [ -d /sys/fs/cgroup/memory/system.slice/runnel.service ] || [ -e /sys/fs/cgroup/system.slice/runnel.service/memory.max ] || {
    echo "skipped: a hook that takes too much memory (there is no controller of memory for this systemd here)"
    return 0
  }
  mark
  hook glutton.sh 'exec python3 -c "b = bytearray(1 << 30); b[::4096] = bytes(1 << 18)"'
  within 60 "a hook that takes too much memory is killed" logged 'scripts/glutton.sh: .*(signal 9|killed|137)'
  rm /etc/runnel/scripts.d/glutton.sh
  expect "and the agent is not" is MainPID "$before"
  expect "and runs" active
}

bad_start() {
  restart
  conf wrong 'wrong = 1'
  mark
  expect "a start with a bad configuration fails" not systemctl restart runnel.service
  within 10 "with exit code 2" is ExecMainStatus 2
  sleep 3
  expect "is not repeated" is NRestarts 0
  expect "and the journal says what is wrong" logged 'wrong.toml:2:1: error'
  for _ in $(seq 60); do send 'systemd.knocks:1|c' 2>/dev/null || true && sleep 0.05; done
  within 30 "packets start it until systemd gives the socket up" sh -c '! systemctl is-active runnel.socket'
  rm /etc/runnel/conf.d/wrong.toml
  sleep 10 # its limit is five starts in ten seconds
  expect "mended, a restart" systemctl restart runnel.service
  within 20 "brings both back" both_active
}

port_taken() {
  systemctl stop runnel.socket runnel.service
  python3 -c 'import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("127.0.0.1", 8125)); time.sleep(600)' &
  sleep 0.5
  mark
  systemctl start runnel.service || true
  within 20 "where the port is taken the agent says so and what to do" logged 'udp://127.0.0.1:8125: Address already in use \(stop what listens there, or change listen\)'
  expect "and the socket unit has failed" systemctl is-failed runnel.socket
  kill %1
  wait %1 2>/dev/null || true
  expect "when it is free a restart" systemctl restart runnel.service
  within 20 "brings both back" both_active
}

examples() {
  local known=(devices log-folder low-ports more-cores root-hooks secrets strict)
  expect "each drop-in is tried here" sh -c "[ \"\$(ls $examples | sed -n 's/\.conf\$//p' | paste -sd' ')\" = '${known[*]}' ]"

  # A disk that is not there: who may open it is told that, who may not is refused before.
  install -d /dev/example
  mknod -m 660 /dev/example/disk b 8 240 && chgrp disk /dev/example/disk
  mknod -m 666 /dev/example/kmsg c 1 11
  hook dev.sh 'for i in disk kmsg; do head -c 1 /dev/example/$i 2>&1 >/dev/null | sed "s/.*: //; s/ /_/g; s/^/example.$i 1 said=/"; done'
  restart
  within 20 "without devices.conf hooks see no devices" logged 'example.disk.*No_such_file'
  drop_in devices
  restart devices.conf
  if grep -q ' sd$' /proc/devices; then
    within 20 "with it they may open disks" logged 'example.disk.*No_such_device'
  else
    echo "skipped: opening a disk (the kernel has no driver sd here)"
  fi
  within 20 "but nothing else" logged 'example.kmsg.*Operation_not_permitted'
  no_drop_ins
  rm /etc/runnel/scripts.d/dev.sh

  install -d -o runnel /srv/metrics
  conf output $'[output.srv]\nsink = "file"\npath = "/srv/metrics/out.json"'
  mark
  systemctl restart runnel.service || true
  within 20 "without log-folder.conf another folder is refused" logged '/srv/metrics.*Read-only file system'
  drop_in log-folder
  restart log-folder.conf
  within 30 "with it the file is written" test -s /srv/metrics/out.json
  no_drop_ins

  conf output $'[source.statsd]\nlisten = ["udp://127.0.0.1:8125", "udp://127.0.0.1:514"]'
  mark
  systemctl restart runnel.service || true
  within 20 "without low-ports.conf port 514 is refused" logged '127.0.0.1:514: Permission denied'
  drop_in low-ports
  restart low-ports.conf
  expect "with it the agent listens there" logged 'listening on udp://127.0.0.1:514'
  no_drop_ins

  conf output $'[source.statsd]\nreceivers = 2'
  drop_in more-cores
  restart more-cores.conf
  expect "grants two cores" is CPUQuotaPerSecUSec 2s
  expect "and more memory" is MemoryMax 1610612736
  no_drop_ins

  conf output $'[source.scripts]\nuser = "nobody"'
  hook who.sh 'echo example.who 1 "user=$(id -un)"'
  drop_in root-hooks
  restart root-hooks.conf
  expect "the agent is root" sh -c "[ \$(stat -c %U /proc/$(pid)) = root ]"
  within 20 "and a hook is whom the configuration says" logged 'example.who.*user="?nobody'
  conf output $'[source.scripts]\nuser = "root"'
  restart "hooks as root"
  within 20 "or root" logged 'example.who.*user="?root'
  expect "without a warning" quiet
  no_drop_ins
  rm /etc/runnel/scripts.d/who.sh

  install -d -m 700 /etc/runnel/secrets
  (umask 077 && echo secret >/etc/runnel/secrets/kafka.password)
  conf output $'[output.http]\nsink = "http"\nurl = "http://127.0.0.1:9/"\nusername = "me"\npassword_file = "${CREDENTIALS_DIRECTORY}/kafka.password"'
  mark
  systemctl restart runnel.service || true
  within 20 "without secrets.conf there is no credential" logged 'CREDENTIALS_DIRECTORY'
  drop_in secrets
  restart secrets.conf
  expect "as the manual says it is checked" env CREDENTIALS_DIRECTORY=/etc/runnel/secrets runnel check
  expect "the agent reads what only root may read" not logged 'kafka.password.*(denied|No such)'
  no_drop_ins
  rm -r /etc/runnel/secrets /etc/runnel/conf.d/output.toml

  cp /usr/share/doc/runnel/examples/scripts.d/uptime.sh /etc/runnel/scripts.d/
  drop_in strict
  restart strict.conf
  within 20 "a hook in shell works" logged example.uptime
  within 20 "so do the host's metrics" logged system.filesystem.usage
  expect "without a warning" quiet
  printf 'exposure with strict.conf: %s\n' "$(systemd-analyze security --no-pager runnel.service | sed -n 's/.*exposure level for runnel.service: //p')"
  no_drop_ins
  restart "no drop-in"
}

upgrades() {
  local before id
  before=$(pid)
  id=$(cat /var/lib/runnel/agent_id)
  socket=$(unit ActiveEnterTimestampMonotonic runnel.socket)
  printf '\n# edited\n' >>/etc/runnel/runnel.toml
  mark
  expect "upgrades" install_all
  within 20 "and is ready" ready
  expect "as another process" not is MainPID "$before"
  expect "and the same agent" grep -qx "$id" /var/lib/runnel/agent_id
  expect "with the edited configuration" grep -qx '# edited' /etc/runnel/runnel.toml
  expect "the socket is as it was" sh -c "[ $(unit ActiveEnterTimestampMonotonic runnel.socket) = $socket ]"
  expect "no unit has failed" sh -c '[ -z "$(systemctl --no-legend --failed)" ]'
}

drops() { awk '$2 ~ /:1FBD$/ { print $NF }' /proc/net/udp; } # of port 8125, whose socket is the same all the time

# under_load WHAT COMMAND...: in the middle of 100,000 datagrams a second; what comes out must be what was sent. Where the kernel
# dropped something while nothing was restarted, this machine had no time for the agent, and it is tried again.
under_load() {
  local what=$1 before start end outside
  shift
  [ -x /packages/statsd_blast ] || {
    echo "skipped: $what under load (there is no load generator: RUNNEL_YARDSTICKS)"
    return 0
  }
  conf load $'[agent]\ninterval = "1s"\n[output.load]\nsink = "file"\npath = "/var/log/runnel/load.json"'
  for _ in 1 2 3 4 5; do
    rm -f /var/log/runnel/load.json
    restart >/dev/null
    before=$(drops)
    nice -n -10 /packages/statsd_blast -t 127.0.0.1:8125 -r 100000 -d 9 -N load -c 200 >/tmp/sent &
    sleep 3
    start=$(drops)
    "$@" >/tmp/expect.out 2>&1 || { cat /tmp/expect.out && fail "$what under load"; }
    sleep 1
    end=$(drops)
    wait $!
    sleep 3 # two flushes
    systemctl stop runnel.service
    outside=$(($(drops) - end + start - before))
    python3 - >/tmp/sums <<'PYTHON'
import json
sent = json.load(open("/tmp/sent"))
arrived = 0
for line in open("/var/log/runnel/load.json"):
    record = json.loads(line)
    if record["key"].startswith("load.") and record["kind"] == "counter":
        arrived += record["value"]
wanted = sent["counter"]["sum"]
print(f"{sent['datagrams']} datagrams, {sent['dgram_rate']:.0f}/s, sum {wanted:.0f}, arrived {arrived:.0f}, missing {wanted - arrived:.0f}")
PYTHON
    printf '%s under load: %s; dropped by the kernel then: %s, before and after: %s\n' "$what" "$(cat /tmp/sums)" "$((end - start))" "$outside"
    [ "$outside" = 0 ] || continue
    expect "$what under load loses nothing" grep -q 'missing 0$' /tmp/sums
    rm /etc/runnel/conf.d/load.toml
    systemctl start runnel.service
    return 0
  done
  fail "$what under load: this machine has no time for 100,000 datagrams a second"
}

removed() {
  mark
  expect "is removed" dpkg -r runnel-kafka runnel-dev runnel
  expect "neither unit runs" sh -c '! systemctl is-active runnel.service && ! systemctl is-active runnel.socket'
  expect "and the service ended well" logged 'runnel.service: Deactivated successfully'
  expect "nothing is left of the units" sh -c '! systemctl cat runnel.service && ! systemctl cat runnel.socket'
  send 'systemd.lost:1|c' 2>/dev/null || true
  expect "no unit has failed" sh -c '[ -z "$(systemctl --no-legend --failed)" ]'
  expect "installs again" install_all
  within 20 "and both run" both_active
  expect "is purged at once" dpkg -P runnel-kafka runnel-dev runnel
  expect "no process of it is left" sh -c '! pgrep -x runnel'
  expect "no link of systemd's either" sh -c '! find /etc/systemd /var/lib/systemd/deb-systemd-helper-enabled -name "runnel*" | grep .'
}

for part in "$@"; do
  printf '%s:\n' "$part"
  case $part in
    restart_under_load) under_load "a restart" systemctl restart runnel.service ;;
    upgrade_under_load) under_load "an upgrade" install_all ;;
    *) "$part" ;;
  esac
done
