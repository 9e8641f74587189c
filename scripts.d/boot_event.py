#!/usr/bin/env python3
# runnel: interval=5m timeout=10s format=json
"""JSON: one object a line, as in the agent's own `json` encoding. Metrics may carry unit and kind, and a hook may
report events. This one reports when the host was booted, and how far its clock is ahead of UTC."""
import json
import os
import time


def main():
    with open("/proc/stat", encoding="ascii") as stat:
        booted = next(int(line.split()[1]) for line in stat if line.startswith("btime "))
    print(json.dumps({"key": "example.boot.time", "value": booted, "unit": "s"}))
    print(json.dumps({"key": "example.clock.utc_offset", "value": time.localtime().tm_gmtoff, "unit": "s"}))
    # An event only once after each boot, within the first ten minutes: no state has to be kept for that.
    if time.time() - booted < 600:
        print(json.dumps({
            "type": "event",
            "key": "boot",
            "time": booted * 1000,
            "state": "ok",
            "description": "the host was booted",
            "attributes": {"kernel": os.uname().release},
        }))


main()
