# What install_test.sh and systemd_test.sh say and wait for. `told`, a function of theirs, prints what explains a failure.
# shellcheck shell=bash

fail() {
  printf 'FAILED: %s\n' "$*"
  told
  exit 1
}
ok() { printf 'ok: %s\n' "$*"; }
expect() { # expect WHAT COMMAND...
  local what=$1
  shift
  "$@" >/tmp/expect.out 2>&1 || { cat /tmp/expect.out && fail "$what"; }
  ok "$what"
}
within() { # within SECONDS WHAT COMMAND...: until it holds
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $until ] || fail "$what"
    sleep 0.2
  done
  ok "$what"
}
not() { ! "$@"; }

apt() { dpkg -i --force-confdef --force-confold "$@" </dev/null; }
install_all() { apt /packages/runnel_*.deb /packages/runnel-kafka_*.deb /packages/runnel-dev_*.deb; }
send() { printf '%s' "$1" >/dev/udp/127.0.0.1/8125; }
