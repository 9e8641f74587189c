#!/usr/bin/env python3
"""What the agent costs while nothing happens: time from exec to `ready`, resident memory and what it is made of,
wake-ups a second. All default sources and stdout, on a free port instead of 8125.

Targets: ready within 20 ms, 8 MB resident, 5 wake-ups a second. The yardstick for the start is `true`, started the same
way. Exit status 1 where a target is missed.

    idle_bench.py [SECONDS]          RUNNEL names the agent; default: the build tree that `./dev build` makes
"""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RUNNEL = os.environ.get("RUNNEL", os.path.join(ROOT, "build", "release", "bin", "runnel"))
CONFIG = """
[agent]
state_dir = "{folder}/state"
[source.statsd]
listen = ["udp://127.0.0.1:0"]
[source.scripts]
dir = "{folder}/scripts.d"
[source.host]
[output.stdout]
sink = "stdout"
batch = {{ max_age = "100ms" }}
"""


def start(config):
    begin = time.monotonic()
    agent = subprocess.Popen([RUNNEL, "run", "--config", config], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    for line in agent.stderr:
        if b"agent: ready" in line:
            return agent, (time.monotonic() - begin) * 1000
    raise SystemExit("the agent did not become ready")


def stop(agent):
    agent.terminate()
    agent.stderr.read()
    agent.wait(30)


def memory(pid):
    """Resident bytes by what they belong to (proc(5), smaps)."""
    parts = {}
    name = ""
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
                fields = line.split(maxsplit=5)
                name = os.path.basename(fields[5].strip()) if len(fields) > 5 else "anonymous"
            elif line.startswith("Rss:"):
                parts[name] = parts.get(name, 0) + int(line.split()[1]) * 1024
    return dict(sorted(((k, v) for k, v in parts.items() if v), key=lambda kv: -kv[1]))


def switches(pid):
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
    return total


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory(prefix="runnel-bench-") as folder:
        config = os.path.join(folder, "idle.toml")
        os.mkdir(os.path.join(folder, "scripts.d"), 0o755)
        with open(config, "w", encoding="utf-8") as file:
            file.write(CONFIG.format(folder=folder))
        ready, floor = [], []
        for _ in range(11):
            begin = time.monotonic()
            subprocess.run(["true"], check=True)
            floor.append((time.monotonic() - begin) * 1000)
            agent, took = start(config)
            ready.append(took)
            stop(agent)
        agent, _ = start(config)
        time.sleep(3)
        before = switches(agent.pid)
        time.sleep(seconds)
        wakeups = (switches(agent.pid) - before) / seconds
        parts = memory(agent.pid)
        stop(agent)
    resident = sum(parts.values())
    result = {"bench": "idle", "ready_ms": round(statistics.median(ready), 1), "spawn_true_ms": round(statistics.median(floor), 1),
              "resident_mb": round(resident / 1e6, 2), "wakeups_per_s": round(wakeups, 2),
              "resident_kb_by_part": {k: v // 1024 for k, v in parts.items()}}
    print(json.dumps(result))
    return 1 if result["ready_ms"] > 20 or result["resident_mb"] > 8 or wakeups > 5 else 0


if __name__ == "__main__":
    sys.exit(main())
