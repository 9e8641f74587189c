#!/bin/sh
# StatsD lines, added up over one run of the hook: a set has as its value the number of distinct members.
# How many processes there are, and of how many users.
set -eu

# A process may end while it is read; the third field of Uid: is the effective user.
cat /proc/[0-9]*/status 2>/dev/null | awk '
  /^Uid:/ { processes++; print "example.processes.users:" $3 "|s" }
  END { print "example.processes.count:" processes "|g" }'
