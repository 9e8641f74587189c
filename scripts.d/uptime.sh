#!/bin/sh
# The simplest hook: a line a value, `name value`, with `key=value` for each tag.
# How long the host has been up, how many run queues are busy, who is logged in.
set -eu

read -r up _ < /proc/uptime
echo "example.uptime.seconds $up"

read -r _ _ _ tasks _ < /proc/loadavg
echo "example.tasks.runnable ${tasks%/*}"
echo "example.tasks.total ${tasks#*/}"
