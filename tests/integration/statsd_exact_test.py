"""Exactly what several senders send comes out: every transport, one receiver and two, every type, over many intervals.

The senders do not go faster than the agent reads (UDP has nothing else that would keep it from losing), so that nothing
depends on the machine; a lost or doubled line, or two samples a series and interval, fail the test.
"""
import collections
import json
import os
import socket
import struct
import threading
import time
import unittest

from support.agent import Agent
from support.run import main
from support.servers import Folder, wait_for

SENDERS, ROUNDS = 4, 400
CONFIG = """
[source.statsd]
listen = ["{listen}"]
receivers = {receivers}

[output.main]
sink  = "file"
path  = "{folder}/out.json"
batch = {{ max_age = "50ms" }}
"""
LISTEN = {
    "udp": "udp://127.0.0.1:0",
    "udp6": "udp://[::1]:0",
    "tcp": "tcp://127.0.0.1:0",
    "unixgram": "unixgram://{folder}/statsd.sock",
    "unix": "unix://{folder}/statsd.sock",
}
BIG = 1 << 52  # 1,600 of them stay below 2^63; a double would lose the ones added to them


def lines(sender, n):
    """What a sender says in round n, as (line, {(type, key, tags): share of the total})."""
    tag = f"n:{n % 7}"
    return [
        (f"one:1|c|#{tag},prod", {("counter", "one", tag): 1}),
        (f"one:2|c|#prod,{tag}", {("counter", "one", tag): 2}),  # the same series, spelled otherwise
        ("big:%d|c" % (BIG + n), {("counter", "big", ""): BIG + n}),
        (f"down:-{n}|c", {("counter", "down", ""): -n}),
        ("tenth:1|c|@0.1", {("counter", "tenth", ""): 10}),
        ("half:0.25:0.5|c", {("counter", "half", ""): 0.75}),
        (f"meter.{n % 50}:3|m", {("counter", f"meter.{n % 50}", ""): 3}),
        (f"took:{n}.25:2|ms", {("distribution", "took", ""): n + 2.25, ("values", "took", ""): 2}),
        (f"took:{n}.5|ms|@0.5", {("distribution", "took", ""): 2 * n + 1, ("values", "took", ""): 2}),
        (f"size.{n % 11}:{n}|h|#{tag}", {("distribution", f"size.{n % 11}", tag): n, ("values", f"size.{n % 11}", tag): 1}),
        (f"spread:{sender}|d", {("distribution", "spread", ""): sender, ("values", "spread", ""): 1}),
        (f"members:{sender}-{n}|s", {("set", "members", ""): 1}),  # each once, so that intervals add up
        (f"level.{sender}:{n}|g", {}),  # operations of one sender keep their order
        (f"level.{sender}:+7|g", {}),
        (f"level.{sender}:-2|g", {}),
        ("common:+1|g", {}),
    ]


class Traffic:
    """All that is sent, and what has to come out."""

    def __init__(self):
        self.wanted, self.lines = collections.defaultdict(int), 0
        self.payloads = []
        for sender in range(SENDERS):
            payloads = []
            for n in range(ROUNDS):
                said = lines(sender, n)
                self.lines += len(said)
                for _, shares in said:
                    for series, share in shares.items():
                        self.wanted[series] += share
                text = [line for line, _ in said]
                # Full datagrams, single lines, with an empty line and a carriage return among them.
                payloads += ["\n".join(text[:9]), text[9], "\r\n".join(text[10:]) + "\n\n"]
            self.payloads.append(payloads)
        self.gauges = {f"level.{sender}": ROUNDS - 1 + 7 - 2 for sender in range(SENDERS)}
        self.gauges["common"] = SENDERS * ROUNDS


def waiting(port):
    """Bytes in the receive buffers of a UDP port, as the kernel counts them (proc(5), /proc/net/udp)."""
    total = 0
    for name in filter(os.path.exists, ("/proc/net/udp", "/proc/net/udp6")):
        with open(name, encoding="ascii") as file:
            rows = [line.split() for line in file.readlines()[1:]]
        total += sum(int(row[4].split(":")[1], 16) for row in rows if int(row[1].rsplit(":", 1)[1], 16) == port)
    return total


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


class Senders(unittest.TestCase):
    def connect(self, transport, where):
        if transport.startswith("udp") or transport == "tcp":
            host, port = where.rsplit(":", 1)
            family = socket.AF_INET6 if transport == "udp6" else socket.AF_INET
            kind, address = (socket.SOCK_STREAM if transport == "tcp" else socket.SOCK_DGRAM), (host.strip("[]"), int(port))
        else:
            family, address = socket.AF_UNIX, where
            kind = socket.SOCK_STREAM if transport == "unix" else socket.SOCK_DGRAM
        connection = socket.socket(family, kind)
        self.addCleanup(connection.close)
        connection.settimeout(30)
        connection.connect(address)
        return connection

    def send(self, transport, where, payloads):
        connection = self.connect(transport, where)
        if transport == "tcp":
            # Cut anywhere, not where lines end.
            data = b"".join(payload.encode().rstrip(b"\n") + b"\n" for payload in payloads)
            for at in range(0, len(data), 997):
                connection.sendall(data[at:at + 997])
        elif transport == "unix":
            data = b"".join(struct.pack("<I", len(payload)) + payload.encode() for payload in payloads)
            for at in range(0, len(data), 997):
                connection.sendall(data[at:at + 997])
        else:
            for n, payload in enumerate(payloads):
                if transport.startswith("udp") and n % 8 == 0:
                    wait_for(lambda: waiting(int(where.rsplit(":", 1)[1])) < 32768, "the agent does not read", 60, 0.001)
                connection.send(payload.encode())
        connection.close()

    def run_one(self, transport, receivers):
        if transport == "udp6" and not has_ipv6():
            self.skipTest("this machine has no ::1")
        traffic = Traffic()
        folder = Folder()
        self.addCleanup(folder.close)
        listen = LISTEN[transport].format(folder=folder.path)
        agent = Agent(folder, CONFIG.format(listen=listen, receivers=receivers, folder=folder.path),
                      agent='interval = "200ms"\nself_metrics = false')
        self.addCleanup(agent.kill)
        where = agent.wait_log(r"statsd: listening on \w+://(\S+)").group(1)
        failures = []

        def sender(payloads):
            try:
                self.send(transport, where, payloads)
            except (OSError, AssertionError) as error:
                failures.append(error)

        threads = [threading.Thread(target=sender, args=(payloads,)) for payloads in traffic.payloads]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        self.assertEqual(failures, [], agent.log())
        accepted = lambda: agent.metric("runnel.source.accepted", source="statsd")
        wait_for(lambda: accepted() >= traffic.lines,
                 lambda: f"{accepted():.0f} of {traffic.lines} lines accepted\n{agent.metrics()}\n{agent.log()}", 30)
        time.sleep(0.5)  # gauges come out once more with all operations in them
        self.assertEqual(agent.stop(), 0, agent.log())
        self.assertEqual(accepted(), traffic.lines)
        for name in ("runnel.source.bad", "runnel.dropped", "runnel.socket.drops"):
            self.assertEqual(agent.metric(name), 0, name)
        self.assertEqual(agent.residual("main"), 0)
        self.check(traffic, os.path.join(folder.path, "out.json"))

    def check(self, traffic, path):
        found, gauges, seen = collections.defaultdict(int), {}, collections.Counter()
        with open(path, encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                kind, key, value = record["kind"], record["key"], record["value"]
                tag = "".join(f"{k}:{v}" for k, v in record.get("tags", {}).items() if k == "n")
                if kind == "gauge":
                    gauges[key] = value
                    continue
                seen[kind, key, tag, record["time"]] += 1
                if kind == "distribution":
                    found["values", key, tag] += value["count"]
                    value = value["sum"]
                found[kind, key, tag] += value
        self.assertEqual([series for series, times in seen.items() if times > 1], [], "more than one sample an interval")
        self.assertEqual(dict(found), dict(traffic.wanted))
        self.assertEqual(gauges, traffic.gauges)


def add(transport, receivers):
    setattr(Senders, f"test_{transport}_{receivers}", lambda self: self.run_one(transport, receivers))


for each in LISTEN:
    for count in (1, 2):
        add(each, count)

if __name__ == "__main__":
    main()
