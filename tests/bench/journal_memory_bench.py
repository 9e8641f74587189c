#!/usr/bin/env python3
"""Resident memory of the agent with 100,000 series, an output whose other side is dead and a backlog of 1 GiB in the journal.

Beside it the same without the backlog, as a yardstick: the difference is what a backlog costs. Target: 64 MB in all, 32 MiB
more than without. Exit status 1 where one is missed.

    journal_memory_bench.py [BACKLOG_MIB]      RUNNEL names the agent, TMPDIR the disk; the backlog is made by journal_bench
"""
import json
import os
import subprocess
import sys
import tempfile
import socket
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUNNEL = os.environ.get("RUNNEL", os.path.join(ROOT, "build", "release", "bin", "runnel"))
FILL = os.path.join(ROOT, "build", "release", "tests", "bench", "journal_bench")
SERIES = 100_000
CONFIG = """
[agent]
state_dir = "{folder}/state"
interval = "5s"
[source.statsd]
listen = ["udp://127.0.0.1:0"]
[journal]
max_bytes = "4GiB"
min_free = "1MiB"
[output.dead]
sink = "http"
url = "http://127.0.0.1:{port}/"
"""


def status(pid, key):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(key)) * 1024


def send(port, seconds):
    """Every series once a round, in datagrams of 25 lines; at the end of each round a pause, so that none is dropped."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.connect(("127.0.0.1", port))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for first in range(0, SERIES, 25):
            udp.send("\n".join(f"bench.cnt.svc{i % 64:02}.requests.{i:07}:{i % 9 + 1}|c"
                               for i in range(first, first + 25)).encode())
            if first % 2500 == 0:
                time.sleep(0.01)


def run(folder, backlog_mib):
    state = os.path.join(folder, "state")
    os.makedirs(state)
    if backlog_mib:
        subprocess.run([FILL, "fill", os.path.join(state, "journal"), str(backlog_mib)], check=True, stdout=subprocess.DEVNULL)
    with socket.socket() as closed:  # nobody listens there
        closed.bind(("127.0.0.1", 0))
        config = os.path.join(folder, "memory.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(folder=folder, port=closed.getsockname()[1]))
        agent = subprocess.Popen([RUNNEL, "run", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        port = None
        for line in agent.stderr:
            if "listening on udp://127.0.0.1:" in line:
                port = int(line.split("udp://127.0.0.1:")[1].split()[0])
            if "ready" in line:
                break
        threading.Thread(target=agent.stderr.read, daemon=True).start()
        send(port, 20)
        resident, peak = status(agent.pid, "VmRSS:"), status(agent.pid, "VmHWM:")
        agent.kill()
        agent.wait(30)
    held = sum(os.path.getsize(os.path.join(state, "journal", name)) for name in os.listdir(os.path.join(state, "journal")))
    return resident, peak, held


def main():
    backlog = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory(prefix="runnel-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        without = run(os.path.join(folder, "without"), 0)
        full = run(os.path.join(folder, "full"), backlog)
    result = {"bench": "journal_memory", "series": SERIES, "backlog_mib": full[2] >> 20, "resident_mb": round(full[0] / 1e6, 1),
              "peak_mb": round(full[1] / 1e6, 1), "without_mb": round(without[0] / 1e6, 1), "without_peak_mb": round(without[1] / 1e6, 1)}
    result["ok"] = full[1] <= 64e6 and full[0] - without[0] <= 32 << 20
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
