#!/bin/sh
# runnel: interval=30s format=simple
# A header in the first 20 lines sets the interval, the timeout and the format of this hook alone.
# How full the kernel's tables of open files and inodes are.
set -eu

# awk and not `read`: files of /proc/sys must be read in one piece, and a shell reads byte by byte.
# Without a limit the kernel says 2^63-1, which would only flatten a graph.
awk '{
  print "example.kernel.files", $1, "state=open"
  if ($3 < 2^62) print "example.kernel.files", $3, "state=limit"
}' /proc/sys/fs/file-nr

awk '{
  print "example.kernel.inodes", $1 - $2, "state=used"
  print "example.kernel.inodes", $2, "state=free"
}' /proc/sys/fs/inode-state
