#!/usr/bin/env python3
"""What the way out costs: 3,000 StatsD lines/s in, 1,000 series every second out over HTTP to a local server.

Prints one JSON line for each encoding and compression: CPU of the whole agent in ms a second of wall time (target 3 for
json + zstd and influx + gzip), bytes on the wire a value, and as a yardstick in the same run the CPU that the same lines
cost a process that only receives and discards them. Exit status 1 where a target is missed.

    way_out_bench.py [SECONDS]          RUNNEL names the agent; default: the build tree that `./dev build` makes
"""
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from support.http_server import Server  # noqa: E402

RUNNEL = os.environ.get("RUNNEL", os.path.join(ROOT, "build", "release", "bin", "runnel"))
SERIES, LINES = 1000, 3000
TICKS = os.sysconf("SC_CLK_TCK")
SINK = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
buffer = bytearray(65536)
while True:
    s.recv_into(buffer)
"""


def cpu_ms(pid):
    """User and system time of a process, from the scheduler's own nanoseconds (/proc/PID/schedstat of each thread)."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e6


def send(ports, seconds):
    """LINES lines a second in datagrams of 10, one hundredth of them each 10 ms, to every port."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
    pool = []
    for first in range(0, SERIES, 10):
        pool.append("\n".join(f"api.requests.{i}:1|c|#method:get,status:200,route:r{i % 50}" for i in range(first, first + 10)).encode())
    start = time.monotonic()
    for step in range(int(seconds * 100)):
        for n in range(LINES // 1000):
            for s, port in zip(sockets, ports):
                s.sendto(pool[(step * (LINES // 1000) + n) % len(pool)], ("127.0.0.1", port))
        time.sleep(max(0.0, start + (step + 1) / 100 - time.monotonic()))


def run(encoding, compression, seconds, folder):
    server = Server()
    config = os.path.join(folder, "bench.toml")
    with open(config, "w", encoding="utf-8") as file:
        file.write(f"""
[agent]
host = "web-1"
interval = "1s"
state_dir = "{folder}/state"
self_metrics = false
metrics_file = "{folder}/metrics.prom"
[source.statsd]
listen = ["udp://127.0.0.1:0"]
[output.main]
sink = "http"
encoding = "{encoding}"
compression = "{compression}"
url = "{server.url}/write"
batch = {{ max_age = "100ms" }}
""")
    agent = subprocess.Popen([RUNNEL, "run", "--config", config], stderr=subprocess.PIPE, text=True)
    sink = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    port = None
    for line in agent.stderr:
        if "listening on udp://127.0.0.1:" in line:
            port = int(line.split("udp://127.0.0.1:")[1].split()[0])
        if "ready" in line:
            break
    drain = threading.Thread(target=agent.stderr.read, daemon=True)
    drain.start()
    ports = [port, int(sink.stdout.readline())]
    send(ports, 2)
    before, sink_before = cpu_ms(agent.pid), cpu_ms(sink.pid)
    start = time.monotonic()
    send(ports, seconds)
    wall = time.monotonic() - start
    cost, sink_cost = cpu_ms(agent.pid) - before, cpu_ms(sink.pid) - sink_before
    agent.terminate()
    agent.wait(30)
    with server.lock:
        requests = list(server.requests)
    wire = sum(len(r.body) for r in requests)
    with open(os.path.join(folder, "metrics.prom"), encoding="utf-8") as file:
        values = sum(int(line.split()[1]) for line in file if line.startswith("runnel_output_delivered"))
    sink.kill()
    sink.wait()
    server.close()
    return {"encoding": encoding, "compression": compression, "seconds": round(wall, 1), "requests": len(requests),
            "agent_ms_per_s": round(cost / wall, 2), "discarding_python_ms_per_s": round(sink_cost / wall, 2),
            "bytes_per_value": round(wire / max(values, 1), 2)}


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    missed = False
    with tempfile.TemporaryDirectory(prefix="runnel-bench-") as folder:
        for encoding, compression in [("json", "zstd"), ("influx", "gzip"), ("json", "gzip"), ("json", "none"), ("influx", "zstd"),
                                      ("influx", "none")]:
            result = run(encoding, compression, seconds, folder)
            target = (encoding, compression) in [("json", "zstd"), ("influx", "gzip")]
            if target:
                result["target_ms_per_s"] = 3
                missed |= result["agent_ms_per_s"] > 3
            print(json.dumps({"bench": "way_out", **result}), flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
