# A Debian with systemd as process 1, in namespaces and control groups of its own: what a chroot cannot show. For
# packaging/package. It sees nothing of this machine's processes and has no network but its loopback; /sys and what of
# /proc/sys is the whole machine's is read-only, and the capabilities to set the clock and to load modules are taken away.
# shellcheck shell=bash disable=SC2154 # root, archives and so on are packaging/package's

machine_pid=    # process 1 of it, as seen from here
machine_holder= # the process with whose end everything in it ends
machine_groups= # the control groups it stands in, one a line

# Where the hierarchies of control groups are that systemd wants, a line each: TYPE OPTION FOLDER. Debian 13's systemd knows
# only version 2; where this machine has its controllers in version 1, it runs without limits.
hierarchies() {
  awk -v only2="$1" '
    $3 == "cgroup2" && !(two++) { print "cgroup2", "-", $2 }
    $3 == "cgroup" && !only2 && match($4, /(^|,)(cpu|cpuacct|memory|devices|pids|name=systemd)(,|$)/) {
      count = split($4, words, ","); option = ""
      for (i = 1; i <= count; i++)
        if (words[i] ~ /^(cpu|cpuacct|memory|devices|pids|name=systemd)$/) option = option (option == "" ? "" : ",") words[i]
      if (!(option in seen)) print "cgroup", option, $2
      seen[option] = 1
    }' /proc/mounts
}

# Why it cannot be had here; nothing where it can.
no_machine() {
  local why
  [ -n "$(hierarchies "")" ] || { echo "no control groups are mounted here" && return; }
  why=$(unshare --net --mount --pid --ipc --uts --cgroup --fork --propagation private sh -c \
    'mount -t proc proc /proc && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /mnt && ip link set lo up' 2>&1) ||
    echo "namespaces and mounts are refused here: ${why:-no reason given}"
}

# boot_machine ROOT LOG [only2]: returns when systemd has started everything. Ended by halt_machine.
boot_machine() {
  local chroot=$1 console=$2 only2=${3:-} type option folder group own until=$((SECONDS + 60)) state list=()
  machine_groups=
  while read -r type option folder; do
    own=
    # version 1: below the group that this process is in, whose limits stay in force; version 2: at the top, as a group that
    # has processes may not have children with limits
    [ "$type" = cgroup2 ] || own=$(sed -n "s/^[0-9]*:$option://p" /proc/self/cgroup)
    group=${folder%/}${own%/}/runnel-package-$$
    mkdir "$group" || fail "$group: not made"
    # what is measured in it is the agent, not who else computes here
    [ ! -e "$group/cpu.shares" ] || echo 16384 >"$group/cpu.shares"
    [ ! -e "$group/cpu.weight" ] || echo 1000 >"$group/cpu.weight"
    machine_groups+="$group"$'\n'
    list+=("$type" "$option")
  done < <(hierarchies "$only2")
  # shellcheck disable=SC2016 # expanded inside
  setsid bash -c '
    while read -r group; do [ -z "$group" ] || echo $$ >"$group/cgroup.procs" || exit 1; done <<<"$1"
    shift
    exec unshare --net --mount --pid --ipc --uts --cgroup --fork --kill-child --propagation private bash -ec "$@"
  ' hold "$machine_groups" '
    chroot=$1
    shift
    mount --bind "$chroot" "$chroot"
    mount -t proc proc "$chroot/proc"
    for path in sys irq bus sysrq-trigger; do
      [ ! -e "$chroot/proc/$path" ] || { mount --bind "$chroot/proc/$path" "$chroot/proc/$path" && mount -o remount,bind,ro "$chroot/proc/$path"; }
    done
    mount -t sysfs -o ro sysfs "$chroot/sys"
    [ "$1 ${3:-}" = "cgroup2 " ] || mount -t tmpfs -o mode=755 tmpfs "$chroot/sys/fs/cgroup"
    while [ $# -gt 0 ]; do
      case $1 in
        cgroup2)
          at=$chroot/sys/fs/cgroup
          mountpoint -q "$at" && at+=/unified && mkdir "$at"
          mount -t cgroup2 cgroup2 "$at" ;;
        cgroup)
          at=$chroot/sys/fs/cgroup/${2#name=}
          mkdir "$at"
          case $2 in name=*) mount -t cgroup -o "none,$2" cgroup "$at" ;; *) mount -t cgroup -o "$2" cgroup "$at" ;; esac
          # cpu,cpuacct is looked for by each name
          case $2 in *,*) for name in ${2//,/ }; do ln -s "$2" "${at%/*}/$name"; done ;; esac ;;
      esac
      shift 2
    done
    mount -t tmpfs -o mode=755 tmpfs "$chroot/dev"
    for device in null zero full random urandom tty; do
      touch "$chroot/dev/$device" && mount --bind "/dev/$device" "$chroot/dev/$device"
    done
    mkdir "$chroot/dev/pts" "$chroot/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$chroot/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$chroot/dev/pts" && ln -s pts/ptmx "$chroot/dev/ptmx"
    for link in fd:/proc/self/fd stdin:/proc/self/fd/0 stdout:/proc/self/fd/1 stderr:/proc/self/fd/2; do
      ln -s "${link#*:}" "$chroot/dev/${link%%:*}"
    done
    mount -t tmpfs -o mode=755 tmpfs "$chroot/run"
    mount -t tmpfs -o mode=1777 tmpfs "$chroot/tmp"
    ip link set lo up
    mkdir -p "$chroot/.machine"
    cd "$chroot"
    pivot_root . .machine
    umount -l /.machine
    mount --make-rshared / # as systemd would itself, were this no container: credentials are mounted by a child of it
    exec setpriv --bounding-set -sys_time,-sys_module,-syslog,-audit_control,-audit_read \
      --inh-caps -sys_time,-sys_module,-syslog,-audit_control,-audit_read \
      env -i container=runnel-package PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
      /lib/systemd/systemd --unit=multi-user.target --show-status=no --log-target=journal-or-kmsg
  ' boot "$chroot" "${list[@]}" </dev/null >"$console" 2>&1 &
  machine_holder=$!
  until machine_pid=$(pgrep -P "$machine_holder" | head -n 1) && [ -n "$machine_pid" ] &&
    state=$(in_machine systemctl is-system-running 2>/dev/null || true) && [[ $state == running || $state == degraded ]]; do
    if ! kill -0 "$machine_holder" 2>/dev/null || [ $SECONDS -ge $until ]; then
      cat "$console" >&2
      halt_machine
      fail "systemd does not start (${state:-it has ended})"
    fi
    sleep 0.3
  done
  [ "$state" = running ] || in_machine systemctl --no-pager --failed >&2
}

# in_machine COMMAND...: as its root.
in_machine() {
  nsenter --target "$machine_pid" --all env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@" </dev/null
}

halt_machine() {
  local group
  [ -z "$machine_holder" ] || { kill -KILL "$machine_holder" 2>/dev/null && wait "$machine_holder" 2>/dev/null; } || true
  machine_holder=
  for _ in 1 2 3 4 5 6 7 8 9 10; do # until the kernel has ended them all
    machine_groups=$(while read -r group; do
      [ -z "$group" ] || ! [ -d "$group" ] || { find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || printf '%s\n' "$group"; }
    done <<<"$machine_groups")
    [ -n "$machine_groups" ] || return 0
    sleep 0.3
  done
  printf 'package: control groups stay behind: %s\n' "$machine_groups" >&2
}
