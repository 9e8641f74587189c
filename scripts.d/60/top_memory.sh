#!/bin/sh
# In a folder named after its interval: this hook runs once a minute (60, 60s and 1m are the same).
# InfluxDB line protocol; each field becomes a sample, here `example_top_memory.bytes` and `example_top_memory.count`.
# The five programs that hold most resident memory, all processes of a name added up.
set -eu

# Fields of /proc/PID/status; a process may end while it is read.
cat /proc/[0-9]*/status 2>/dev/null | awk '
  /^Name:/ { name = $2; count[name]++ }
  /^VmRSS:/ { bytes[name] += $2 * 1024 }
  END {
    for (i = 0; i < 5; i++) {
      best = ""
      for (name in bytes)
        if (best == "" || bytes[name] > bytes[best]) best = name
      if (best == "") break
      key = best
      gsub(/[,= ]/, "\\\\&", key)
      printf "example_top_memory,program=%s bytes=%di,count=%di\n", key, bytes[best], count[best]
      delete bytes[best]
    }
  }'
