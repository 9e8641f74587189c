#!/bin/sh
# Prometheus text, as a hundred exporters print it: counters become totals, labels become tags.
# What the kernel counted of UDP: datagrams lost because a receive buffer was full are the ones to watch.
set -eu

awk '
  BEGIN {
    print "# HELP example_udp_datagrams_total Datagrams by outcome, since boot."
    print "# TYPE example_udp_datagrams_total counter"
  }
  # Two lines begin with "Udp:": the names, then the values.
  $1 == "Udp:" && !named { for (i = 2; i <= NF; i++) name[i] = $i; named = 1; next }
  $1 == "Udp:" {
    for (i = 2; i <= NF; i++)
      if (name[i] ~ /^(InDatagrams|OutDatagrams|InErrors|NoPorts|RcvbufErrors|SndbufErrors)$/)
        printf "example_udp_datagrams_total{outcome=\"%s\"} %s\n", name[i], $i
  }' /proc/net/snmp
