#!/usr/bin/env python3
"""What the Kafka sink costs, beside librdkafka producing the same bytes without an agent (kafka_floor), on a real broker and
in one run. Prints lines of JSON; exit status 1 where a target is missed, 0 with a sentence where there is no broker.

  samples a CPU second   10,000 counters a second, json, lz4. Of the output: its thread (which encodes) and librdkafka's;
                         of the whole agent: with StatsD, aggregation and everything else. Targets: the output with a
                         message a record at least half of the yardstick, with batch messages three times the former
  bytes a sample         on the wire, 1,000 series every 10 s, zstd: librdkafka's own count, requests included
  as FFWD worked         a JSON object a datagram in, a message of FFWD's schema out: CPU of the whole agent a metric, what
                         was lost, resident memory (nothing aggregates on this way)
  memory                 what the loaded, connected and idle sink adds to a resident agent: at most 8 MB

    kafka_bench.py [SECONDS]
"""
import json
import os
import socket
import statistics as stat
import subprocess
import sys
import threading
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
BUILD = os.environ.setdefault("RUNNEL_BUILD", os.path.join(ROOT, "build", "release"))
os.environ.setdefault("RUNNEL", os.path.join(BUILD, "bin", "runnel"))
os.environ.setdefault("RUNNEL_SOURCE", ROOT)
from support.agent import Agent  # noqa: E402
from support.kafka import KafkaBroker  # noqa: E402
from support.servers import Folder, wait_for  # noqa: E402

FLOOR = os.path.join(BUILD, "tests", "bench", "yardsticks", "kafka_floor")
PARTITIONS = 4

CONFIG = """
[source.statsd]
listen = ["udp://127.0.0.1:0"]
[output.main]
sink        = "kafka"
brokers     = ["{broker}"]
topic       = "{topic}"
message     = "{message}"
compression = "{codec}"
statistics  = "{statistics}"
batch       = {{ max_age = "100ms", max_events = 20000, max_bytes = "8MiB" }}
"""


def cpu_seconds(pid):
    """(output's threads, all threads), from the scheduler's nanoseconds."""
    output = everything = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                seconds = int(file.read().split()[0]) / 1e9
            with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
                name = file.read()
        except OSError:
            continue  # it has ended
        everything += seconds
        if name.startswith(("out-main", "rdk:")):
            output += seconds
    return output, everything


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1])


def datagrams(series):
    lines = [f"api.requests.{i}:1|c|#method:get,status:200,route:r{i % 50}" for i in range(series)]
    return ["\n".join(lines[first:first + 20]).encode() for first in range(0, series, 20)]


class Load:
    """Every series once a second, spread over it, until it is left."""

    def __init__(self, agent, series):
        self._statsd, self._pool, self._over = agent.statsd(), datagrams(series), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        start, step = time.monotonic(), 0
        share = max(1, len(self._pool) // 100)
        while not self._over.is_set():
            for n in range(share):
                self._statsd.socket.send(self._pool[(step * share + n) % len(self._pool)])
            step += 1
            time.sleep(max(0.0, start + step * share / len(self._pool) - time.monotonic()))

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(10)
        self._statsd.close()


def run_agent(folder, broker, message, codec, series, seconds, statistics="10s", interval="1s"):
    topic = f"{message}-{codec}-{series}"
    broker.create_topic(topic, PARTITIONS)
    with Agent(folder, CONFIG.format(broker=broker.address, topic=topic, message=message, codec=codec, statistics=statistics), name=topic,
               agent=f'interval = "{interval}"\nself_metrics = false') as agent:
        with Load(agent, series):
            read = lambda name: agent.metric(f"runnel.{name}", output="main")
            wait_for(lambda: read("output.delivered") >= 2 * series, lambda: agent.log(), 60)
            values = lambda: (time.monotonic(), *cpu_seconds(agent.process.pid), read("output.delivered"), read("kafka.bytes"))
            before = values()
            time.sleep(seconds)
            after = values()
        assert agent.stop() == 0 and agent.residual("main") == 0, agent.log()
    _, output, everything, delivered, wire = (b - a for a, b in zip(before, after))
    return topic, {"samples": int(delivered), "samples_a_cpu_second_output": round(delivered / output),
                   "samples_a_cpu_second_agent": round(delivered / everything), **({"bytes_a_sample": round(wire / delivered, 1)} if statistics == "1s" else {})}


FFWD = """
[source.ffwd]
listen = ["udp+json://127.0.0.1:0"]
[output.main]
sink     = "kafka"
brokers  = ["{broker}"]
topic    = "{topic}"
encoding = "ffwd"
"""


def run_ffwd(folder, broker, rate, seconds):
    """`rate` metrics a second over UDP, in the form of FFWD's Python client."""
    topic = "as-ffwd"
    broker.create_topic(topic, PARTITIONS)
    with Agent(folder, FFWD.format(broker=broker.address, topic=topic), name=topic, agent='interval = "1s"\nself_metrics = false') as agent:
        address = agent.wait_log(r"listening on udp\+json://127\.0\.0\.1:(\d+)")
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.connect(("127.0.0.1", int(address.group(1))))
        before = cpu_seconds(agent.process.pid)[1]
        start, sent = time.monotonic(), 0
        while sent < rate * seconds:
            for _ in range(rate // 100):
                sender.send(json.dumps({"type": "metric", "key": "api", "time": 1763769600000, "host": "web-1", "value": sent,
                                        "attributes": {"what": "requests", "route": f"r{sent % 50}", "site": "lon"}}).encode())
                sent += 1
            time.sleep(max(0.0, start + sent / rate - time.monotonic()))
        sender.close()
        delivered = lambda: agent.metric("runnel.output.delivered", output="main")
        wait_for(lambda: delivered() >= sent - agent.metric("runnel.socket.drops", source="ffwd"), lambda: agent.log(), 30)
        result = {"metrics": sent, "lost": int(sent - delivered()),
                  "cpu_us_a_metric": round((cpu_seconds(agent.process.pid)[1] - before) / sent * 1e6, 2),
                  "resident_mb": round(resident_kib(agent.process.pid) / 1024, 1)}
        assert agent.stop() == 0, agent.log()
    return result


def run_floor(folder, broker, topic, codec):
    """The messages of `topic` anew, without an agent."""
    messages = broker.kcat(topic)[:10_000]
    headers = lambda m: dict(zip(m["headers"][::2], m["headers"][1::2]))
    path = folder.write("messages", "".join(
        f"{m['key']}\t{headers(m)['runnel-id']}\t{headers(m)['runnel-record']}\t{m['payload']}\n" for m in messages))
    broker.create_topic(topic + "-floor", PARTITIONS)
    def rate(*more):
        done = subprocess.run([FLOOR, broker.address, topic + "-floor", codec, path, "10", *more], capture_output=True, text=True,
                              timeout=120)
        assert done.returncode == 0, done.stderr
        count, cpu, _ = map(float, done.stdout.split())
        return count / cpu

    return tuple(round(stat.median(rate(*more) for _ in range(3))) for more in ((), ("without-headers",)))


def memory(folder, broker):
    broker.create_topic("idle", PARTITIONS)
    resident = {}
    for name, sink in [("without", 'sink = "file"\npath = "idle.json"'),
                       ("with", f'sink = "kafka"\nbrokers = ["{broker.address}"]\ntopic = "idle"')]:
        with Agent(folder, f'[source.statsd]\nlisten = ["udp://127.0.0.1:0"]\n[output.main]\n{sink}\n', name=f"idle-{name}",
                   agent='interval = "1s"\nself_metrics = false') as agent:
            with agent.statsd() as statsd:
                statsd.send("one:1|c")
            wait_for(lambda: agent.metric("runnel.output.delivered", output="main") >= 1, lambda: agent.log())
            time.sleep(12)  # one round of statistics
            resident[name] = resident_kib(agent.process.pid)
    return resident


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    missed = []
    say = lambda **values: print(json.dumps({"bench": "kafka", **values}), flush=True)
    with Folder() as folder:
        try:
            broker = KafkaBroker(folder)
        except unittest.SkipTest as reason:
            print(reason)
            return 0
        topic, record = run_agent(folder, broker, "record", "lz4", 10_000, seconds)
        floor, bare = run_floor(folder, broker, topic, "lz4")
        _, batch = run_agent(folder, broker, "batch", "lz4", 10_000, seconds)
        ratio = record["samples_a_cpu_second_output"] / floor
        gain = batch["samples_a_cpu_second_output"] / record["samples_a_cpu_second_output"]
        say(message="record", codec="lz4", floor_messages_a_cpu_second=floor,
            floor_without_headers=bare, ratio_to_floor=round(ratio, 2), target=0.5, **record)
        say(message="batch", codec="lz4", ratio_to_record=round(gain, 2), target=3, **batch)
        missed += [name for name, bad in (("record", ratio < 0.5), ("batch", gain < 3)) if bad]
        for message in ("record", "batch"):
            # The metrics are written once an interval: what is read is whole rounds.
            say(message=message, codec="zstd", series=1000, interval_s=10,
                **run_agent(folder, broker, message, "zstd", 1000, 3 * max(10, seconds), "1s", "10s")[1])
        say(way="as FFWD", rate=5000, **run_ffwd(folder, broker, 5000, seconds))
        resident = memory(folder, broker)
        added = resident["with"] - resident["without"]
        say(resident_kib=resident, added_kib=added, target_kib=8192)
        missed += ["memory"] if added > 8192 else []
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
