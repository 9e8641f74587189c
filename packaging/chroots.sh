# Chroots of Debian releases, for packaging/package. mmdebstrap makes the archives, from where this machine's own apt gets
# its packages. Everything that runs inside has a mount and a process namespace of its own, so nothing stays mounted and no
# process stays behind.
# shellcheck shell=bash disable=SC2154 # root, archives and so on are packaging/package's

# Where this machine's apt finds Debian; empty: mmdebstrap's own choice.
mirror() {
  [ -z "${RUNNEL_MIRROR:-}" ] || { printf '%s' "$RUNNEL_MIRROR" && return; }
  { sed -n 's/^URIs: *\([^ ]*\).*/\1/p' /etc/apt/sources.list.d/debian.sources
    sed -n 's/^deb \(\[.*\] \)\?\([^ ]*\/debian\/\?\) .*/\2/p' /etc/apt/sources.list; } 2>/dev/null | head -n 1 || true
}

# make_archive SUITE FILE PACKAGE...
make_archive() {
  local suite=$1 file=$2 from include
  shift 2
  say "$suite: making ${file##*/}"
  mkdir -p "$archives"
  include=$(IFS=, && printf '%s' "$*")
  from=$(mirror)
  apt-config dump 'Acquire::http' 'Acquire::https' >"$archives/apt.conf" 2>/dev/null || true
  mmdebstrap --quiet --variant=minbase --aptopt="$archives/apt.conf" ${include:+--include="$include"} "$suite" \
    "${file%.tar}.new.tar" ${from:+"$from"} 2>"$file.log" || {
    tail -n 20 "$file.log" >&2
    fail "$suite: no chroot; the log is $file.log"
  }
  mv "${file%.tar}.new.tar" "$file"
}

# A week old at most: packages in the archive get updates too.
fresh() { [ -e "$1" ] && [ -z "$(find "$1" -mtime +7)" ]; }

unpack() {
  local file=$1 chroot=$2
  remove_chroot "$chroot"
  mkdir -p "$chroot"
  tar -C "$chroot" --exclude='./dev/*' -xf "$file"
  cp /etc/resolv.conf "$chroot/etc/resolv.conf" 2>/dev/null || true
}

remove_chroot() { rm -rf --one-file-system "$1"; }

# A Debian with nothing in it but what every Debian has. minimal_chroot SUITE FOLDER
minimal_chroot() {
  local file=$archives/$1-minimal.tar
  fresh "$file" || make_archive "$1" "$file"
  unpack "$file" "$2"
}

# One with what the packages need to be built and checked; made anew when that changes. build_chroot SUITE FOLDER
build_chroot() {
  local needs file
  needs=$(sed -n '/^Build-Depends:/,/^[^ ]/{s/^ \([a-z0-9.+-]*\)[^,]*,\?$/\1/p}' "$root/packaging/debian/control" |
    sed 's/^debhelper-compat$/debhelper/' | sort)
  # shellcheck disable=SC2206 # words
  needs=(build-essential ccache fakeroot lintian $needs)
  file=$archives/$1-build-$(printf '%s\n' "${needs[@]}" | sha256sum | cut -c 1-12).tar
  fresh "$file" || make_archive "$1" "$file" "${needs[@]}"
  unpack "$file" "$2"
}

# inside CHROOT COMMAND...: as root, with /proc, /sys and a few devices.
inside() { inside_with "" "$@"; }

# The same without a network but its own loopback, so that ports are free and nothing is fetched.
inside_alone() { inside_with --net "$@"; }

inside_with() {
  local net=$1 chroot=$2
  shift 2
  # shellcheck disable=SC2016 # expanded inside
  unshare ${net:+"$net"} --mount --pid --ipc --uts --fork --kill-child --propagation private bash -c '
    chroot=$1
    shift
    mount --rbind "$chroot" "$chroot"
    mount -t proc proc "$chroot/proc"
    mount --rbind /sys "$chroot/sys" && mount --make-rslave "$chroot/sys"
    mount -t tmpfs -o mode=755 tmpfs "$chroot/dev"
    for device in null zero full random urandom tty; do
      touch "$chroot/dev/$device" && mount --bind "/dev/$device" "$chroot/dev/$device"
    done
    mkdir "$chroot/dev/pts" "$chroot/dev/shm" && mount -t tmpfs tmpfs "$chroot/dev/shm"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$chroot/dev/pts" && ln -s pts/ptmx "$chroot/dev/ptmx"
    ln -s /proc/self/fd "$chroot/dev/fd"
    [ ! -d "$chroot/ccache" ] || mount --bind "'"${compilations:-$chroot/ccache}"'" "$chroot/ccache"
    [ -z "'"$net"'" ] || ip link set lo up
    exec chroot "$chroot" /usr/bin/env -i HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
      PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} "$@"
  ' inside "$chroot" "$@" </dev/null
}
