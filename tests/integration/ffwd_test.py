"""The FFWD source of the real agent: JSON, protobuf and carbon over UDP and TCP, hostile input beside good neighbours, limits,
reload, back-pressure. What is sent is written by hand here; ffwd_clients_test.py has the real clients."""
import json
import os
import random
import re
import socket
import struct
import subprocess
import tempfile
import time
import unittest
import urllib.parse

from support.agent import RUNNEL, Agent
from support.http_server import Server
from support.riemann import MEASURED
from support.run import main
from support.servers import Folder, wait_for

ALL = ["udp+json", "tcp+json", "udp+protobuf", "carbon+tcp", "carbon+udp"]
AT = 1700000000
CONFIG = """
[source.ffwd]
listen = {listen}
{source}

[output.main]
sink   = "http"
batch  = {{ max_age = "50ms" }}
filter = 'not key ~ ^runnel'
url    = "{url}"
"""


def varint(number):
    out = b""
    while number >= 128:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def text(number, value):
    value = value if isinstance(value, bytes) else value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def double(number, value):
    return varint(number << 3 | 1) + struct.pack("<d", value)


def frame(version, metric):
    message = text(1, metric)
    return struct.pack(">II", version, len(message) + 8) + message


def metric0(key, value):
    return frame(0, text(3, key) + double(4, value))


def metric1(key, value):
    return frame(1, text(3, key) + text(7, double(1, value)))


def line(key, value, **more):
    return json.dumps({"type": "metric", "key": key, "value": value, **more}).encode()


class Ffwd(unittest.TestCase):
    def start(self, listen=ALL, source="", more="", agent='interval = "300ms"', environment=None, files=None):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        for name, content in (files or {}).items():
            self.folder.write(name, content)
        self.refusing, self.taken = False, []
        self.server = Server(lambda request: "503" if self.refusing else self.taken.append(request))
        self.addCleanup(self.server.close)
        urls = json.dumps([f"{scheme}://127.0.0.1:0" for scheme in listen])
        self.agent = Agent(self.folder, CONFIG.format(listen=urls, source=source, url=self.server.url) + more,
                           agent=agent, environment=environment)
        self.addCleanup(self.agent.kill)

    def address(self, scheme):
        self.agent.wait_log(rf"ffwd: listening on {scheme.replace('+', '.')}://")
        url = [l.split()[-1] for l in self.agent.log().splitlines() if f"ffwd: listening on {scheme}://" in l][-1]
        return "127.0.0.1", urllib.parse.urlsplit(url).port

    def send(self, scheme, *datagrams):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in datagrams:
                sender.sendto(datagram, self.address(scheme))

    def connect(self, scheme):
        connection = socket.create_connection(self.address(scheme), timeout=20)
        self.addCleanup(connection.close)
        return connection

    def count(self, what, **labels):
        return int(self.agent.metric(f"runnel.{what}", source="ffwd", **labels))

    def wait_judged(self, number):
        judged = lambda: sum(self.count(what) for what in ("source.accepted", "source.bad", "dropped"))
        wait_for(lambda: judged() >= number, lambda: f"{judged()} of {number}\n{self.agent.metrics()}\n{self.agent.log()}")
        self.assertEqual((judged(), self.count("source.received")), (number, number))

    def received(self, number):
        """Keys → records, after `number` points were judged and the agent has ended."""
        self.wait_judged(number)
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        self.assertEqual(self.agent.residual("main"), 0)
        found = {}
        for request in self.taken:
            for record in map(json.loads, request.text().splitlines()):
                found.setdefault(record["key"], []).append(record)
        return found


class Formats(Ffwd):
    def test_every_transport(self):
        self.start(source='tags = { site = "lon", unit = "none" }', agent='interval = "300ms"\ntags = { role = "db" }')
        self.send("udp+json", line("json", 1.5, time=AT, host="web-1", tags=["t"], attributes={"unit": "ms"},
                                   resource={"pod": "p-1"}, proc="api"))
        self.send("udp+json", json.dumps({"type": "event", "key": "deploy", "time": AT * 1000 + 5, "state": "ok",
                                          "description": "v42", "ttl": 60, "tags": ["web"],
                                          "attributes": {"host": "web-2"}}).encode())
        with self.connect("tcp+json") as connection:
            connection.sendall(line("lines", 1) + b"\r\n\n" + line("lines", 2) + b"\n")
        self.send("udp+protobuf", metric0("proto", 1) + metric1("proto", 2.25))
        with self.connect("carbon+tcp") as connection:
            connection.sendall(f"a.b;host=web-3;unit=By 7 {AT}\n".encode())
        self.send("carbon+udp", f"c 1 {AT}\nc 2 {AT}\n".encode())
        found = self.received(9)
        for record in sum(found.values(), []):
            record.pop("resource", None) if record["key"] != "json" else None
        both = {"role": "db", "site": "lon"}
        self.assertEqual(found["json"], [
            {"type": "metric", "key": "json", "kind": "gauge", "time": AT * 1000, "host": "web-1",
             "tags": {**both, "t": "", "unit": "ms"}, "resource": {"pod": "p-1", "proc": "api"}, "value": 1.5}])
        self.assertEqual(found["deploy"], [
            {"type": "event", "key": "deploy", "time": AT * 1000 + 5, "host": "web-2", "state": "ok",
             "description": "v42", "ttl": 60, "tags": ["web"], "attributes": {**both, "unit": "none"}}])
        self.assertEqual([record["value"] for record in found["lines"]], [1, 2])
        self.assertEqual([record["value"] for record in found["proto"]], [1, 2.25])
        self.assertLess(abs(found["proto"][0]["time"] / 1000 - time.time()), 120)
        self.assertEqual(found["proto"][0]["host"], "test-host")
        self.assertEqual(found["a.b"], [
            {"type": "metric", "key": "a.b", "kind": "gauge", "time": AT * 1000, "host": "web-3",
             "tags": {**both, "unit": "By"}, "value": 7}])
        self.assertEqual([record["value"] for record in found["c"]], [1, 2])

    def test_tags_of_the_environment_and_of_a_file(self):
        folder = Folder()
        self.addCleanup(folder.close)
        path = folder.write("tags", "zone: a\n")
        self.start(["udp+json"], 'tags = { pod = "${TEST_POD}", zone_of_source = "${TEST_ZONE:-none}" }',
                   agent=f'interval = "300ms"\ntags_file = "{path}"\ntags = {{ site = "file" }}\ntags_env_prefix = "FFWD_TAG_"\n'
                         'resource_env_prefix = "FFWD_RESOURCE_"',
                   environment={"TEST_POD": "p-7", "FFWD_TAG_SITE": "lon", "FFWD_TAG_Pod": "of the agent", "FFWD_RESOURCE_ZONE": "a"})
        self.send("udp+json", line("before", 1), line("own", 1, attributes={"zone": "mine", "pod": "mine"}))
        self.wait_judged(2)
        with open(path, "w", encoding="utf-8") as file:
            file.write("zone: b\n")
        self.agent.wait_log(r"tags_file .*tags=1(?s:.*)", 20)
        wait_for(lambda: self.agent.log().count("tags_file") >= 2, self.agent.log)
        self.send("udp+json", line("after", 1))
        found = self.received(3)
        tags = {key: records[0]["tags"] for key, records in found.items()}
        fixed = {"pod": "p-7", "site": "lon", "zone_of_source": "none"}
        self.assertEqual({key: records[0]["resource"] for key, records in found.items()}, {key: {"zone": "a"} for key in found})
        self.assertEqual(tags, {"before": {**fixed, "zone": "a"}, "after": {**fixed, "zone": "b"},
                                "own": {**fixed, "zone": "mine", "pod": "mine"}})

    def test_a_series_that_comes_too_often_is_thinned_and_counted(self):
        self.start(["udp+json"], 'min_interval = "10s"')
        for second in range(0, 30):
            self.send("udp+json", line("often", second, time=AT + second))
        self.send("udp+json", line("seldom", 1, time=AT))
        found = self.received(31)
        self.assertEqual([record["value"] for record in found["often"]], [0, 10, 20])
        self.assertEqual(len(found["seldom"]), 1)
        self.assertEqual(self.count("dropped", reason="high_frequency"), 27)


class Hostile(Ffwd):
    BAD = {
        "udp+json": [(b"nonsense", "bad_json"), (b"[" * 10000 + b"]" * 10000, "too_deep"), (line("k", 1)[:-3], "bad_json"),
                     (line("k", 1, time=1e15), "bad_time"), (line("k", None), "no_value"), (line("k", float("nan")), "not_finite"),
                     (b'{"type":"metric","key":"k","value":1,"value":2}', "duplicate_key"),
                     (b'{"type":"metric","key":"\xff","value":1}', "bad_utf8"), (b"", "bad_json")],
        "udp+protobuf": [(b"\0\0\0\0\xff\xff\xff\xff" + b"x" * 1000, "bad_length"), (b"\0\0\0\2\0\0\0\x08", "bad_version"),
                         (metric0("k", 1)[:-1], "bad_length"), (metric0("k", float("inf")), "not_finite"),
                         (metric0("\0" * 5000, 1), "too_long"), (frame(1, text(3, "k")), "no_value"),
                         (frame(0, b"\x1a\x7f"), "bad_message"), (b"GET / HTTP/1.1\r\n\r\n", "bad_version")],
        "carbon+udp": [(b"a", "bad_fields"), (b"a nan 1", "not_finite"), (b"a 1 99999999999999999", "bad_time"),
                       (b"a;b 1", "bad_tags"), (b"\x80\x02]q\x00 1 1", "bad_utf8"), (b"a x 1", "bad_value")],
    }
    GOOD = {"udp+json": line("good", 1), "udp+protobuf": metric0("good", 1), "carbon+udp": b"good 1"}

    def test_bad_datagrams_cost_only_themselves(self):
        self.start()
        reasons, good = {}, 0
        for scheme, rows in self.BAD.items():
            for datagram, reason in rows:
                self.send(scheme, self.GOOD[scheme], datagram, self.GOOD[scheme])
                reasons[reason] = reasons.get(reason, 0) + 1
                good += 2
        self.wait_judged(good + sum(reasons.values()))
        self.assertEqual({reason: self.count("source.bad", reason=reason) for reason in reasons}, reasons)
        self.assertIn("not taken reason=bad_version from=udp://127.0.0.1:", self.agent.log())
        self.assertEqual(len(self.received(good + sum(reasons.values()))["good"]), good)

    def test_a_flood_of_noise(self):
        self.start()
        noise = random.Random(9)
        for scheme in self.BAD:
            for _ in range(300):
                self.send(scheme, noise.randbytes(noise.randrange(1, 1400)))
            self.send(scheme, self.GOOD[scheme])
        wait_for(lambda: self.count("source.accepted") >= 3, lambda: f"{self.agent.metrics()}")
        # One line a reason and 10 s, however much comes.
        self.assertLess(self.agent.log().count("not taken"), 40)

    def test_datagrams_that_are_many_points_are_taken_in_turns(self):
        """The largest datagrams with the shortest lines: half a million points are no one batch, and nobody waits for all of them."""
        self.start(["carbon+udp", "udp+json"], environment=MEASURED)
        before = wait_for(lambda: self.agent.metric("runnel.process.memory"), "no metrics")
        lines = 7200
        self.send("carbon+udp", *[b"runnel 1\n" * lines] * 60)  # filtered at the output
        self.send("udp+json", line("neighbour", 1))
        wait_for(lambda: any("neighbour" in request.text() for request in self.taken), self.agent.log, 10)
        wait_for(lambda: (self.count("source.accepted") - 1) % lines == 0 and self.count("source.accepted") > 20 * lines,
                 lambda: str(self.agent.metrics()))
        self.assertLess(self.agent.metric("runnel.process.memory") - before, 96 << 20)
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        self.assertEqual(self.count("source.bad"), 0)

    def test_lines_and_connections_are_limited(self):
        self.start(["tcp+json", "carbon+tcp"], 'max_connections = 2\nidle_timeout = "700ms"')
        slow, good = self.connect("tcp+json"), self.connect("tcp+json")
        refused = self.connect("tcp+json")
        self.assertEqual(refused.recv(1), b"")
        carbon = self.connect("carbon+tcp")  # a protocol of its own
        carbon.sendall(b"x" * 100_000 + b" 1\ncarbon 2\nhalf")
        carbon.shutdown(socket.SHUT_WR)
        end = time.monotonic() + 3
        closed = False
        while time.monotonic() < end and not closed:
            good.sendall(line("good", 1) + b"\n")
            slow.setblocking(False)
            try:
                slow.send(b"{")  # bytes alone are no sign of life
                closed = slow.recv(1) == b""
            except BlockingIOError:
                pass
            except OSError:
                closed = True
            time.sleep(0.1)
        self.assertTrue(closed)
        good.sendall(line("last", 1) + b"\n")
        wait_for(lambda: self.count("source.bad", reason="cut_off") == 2, self.agent.log)
        self.assertEqual(self.count("source.bad", reason="too_long"), 1)
        self.assertEqual(self.count("source.closed", reason="idle"), 1)
        self.assertEqual(self.count("source.closed", reason="too_many_connections"), 1)
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        keys = {json.loads(l)["key"] for request in self.taken for l in request.text().splitlines()}
        self.assertEqual(keys, {"good", "last", "carbon"})

    def test_a_line_without_an_end_takes_no_memory(self):
        self.start(["tcp+json"], environment=MEASURED)
        connection = self.connect("tcp+json")
        before = wait_for(lambda: self.agent.metric("runnel.process.memory"), "no metrics")
        block = b"x" * (1 << 20)
        for _ in range(128):
            connection.sendall(block)
        connection.sendall(b"\n" + line("after", 1) + b"\n")
        connection.close()
        found = self.received(2)
        self.assertEqual(len(found["after"]), 1)
        self.assertLess(self.agent.metric("runnel.process.memory") - before, 8 << 20)


class Life(Ffwd):
    def test_a_reload_moves_listeners_and_leaves_connections(self):
        self.start(["udp+json", "tcp+json"])
        connection = self.connect("tcp+json")
        connection.sendall(line("tcp", 1) + b"\n")
        self.wait_judged(1)
        udp, tcp = self.address("udp+json"), self.address("tcp+json")

        def reload(listen, ends=r"agent: reloaded"):
            with open(self.agent.config, encoding="utf-8") as file:
                old = file.read()
            new = "\n".join(f"listen = {json.dumps(listen)}" if l.startswith("listen = ") else l for l in old.split("\n"))
            with open(self.agent.config, "w", encoding="utf-8") as file:
                file.write(new)
            seen = self.agent.log().count(ends.split(": ")[1])
            self.agent.reload()
            wait_for(lambda: self.agent.log().count(ends.split(": ")[1]) > seen, self.agent.log)

        kept = f"udp+json://127.0.0.1:{udp[1]}"
        reload([kept, "carbon+udp://127.0.0.1:0"])
        connection.sendall(line("tcp", 2) + b"\n")  # its listener is gone, it is not
        with self.assertRaises(OSError):
            socket.create_connection(tcp, timeout=5)
        self.send("carbon+udp", b"carbon 1")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(line("udp", 1), udp)
        self.wait_judged(4)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            reload([kept, f"udp+protobuf://127.0.0.1:{taken.getsockname()[1]}"], "agent: not reloaded")
            self.assertIn("Address already in use", self.agent.log())
        self.send("carbon+udp", b"carbon 2")
        connection.sendall(line("tcp", 3) + b"\n")
        found = self.received(6)
        self.assertEqual([record["value"] for record in found["tcp"]], [1, 2, 3])
        self.assertEqual([record["value"] for record in found["carbon"]], [1, 2])

    def test_while_the_log_is_full_connections_wait_and_datagrams_are_counted(self):
        self.start(["udp+json", "tcp+json"], more='[journal]\nmax_bytes = "256KiB"\nwhen_full = "block"\ndurability = "memory"\n')
        self.refusing = True
        connection = self.connect("tcp+json")
        connection.settimeout(1)
        sent = 0
        block = b"".join(line(f"key-{n}", n, attributes={"filler": "x" * 900}) + b"\n" for n in range(100))
        rest = b""
        try:
            while sent < 500:
                rest = block
                while rest:
                    rest = rest[connection.send(rest):]
                sent += 1
        except socket.timeout:
            pass
        self.assertLess(sent, 500, "nothing held the sender up")
        self.send("udp+json", *[line("datagram", n) for n in range(20)])
        wait_for(lambda: self.count("dropped", reason="log_full") == 20, lambda: str(self.agent.metrics()))
        self.refusing = False
        connection.settimeout(30)
        connection.sendall(rest)
        sent += 1 if rest else 0
        found = self.received(sent * 100 + 20)
        self.assertEqual({key: len(records) for key, records in found.items()}, {f"key-{n}": sent for n in range(100)})

    def test_off_by_default(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        self.agent = Agent(self.folder, '[output.main]\nsink = "stdout"\n')
        self.addCleanup(self.agent.kill)
        self.assertNotIn("ffwd", self.agent.log())
        with open(f"/proc/{self.agent.process.pid}/maps", encoding="utf-8") as maps:
            self.assertNotIn("microhttpd", maps.read())


class Manual(unittest.TestCase):
    def test_the_configurations_of_the_manual_are_good(self):
        path = os.path.join(os.environ["RUNNEL_SOURCE"], "docs", "from-ffwd.md")
        with open(path, encoding="utf-8") as file:
            blocks = re.findall(r"^```toml\n(.*?)^```", file.read(), re.S | re.M)
        self.assertGreaterEqual(len(blocks), 2)
        for block in blocks:
            with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as file:
                file.write(block if "[output" in block else block + '[output.main]\nsink = "stdout"\n')
                file.flush()
                done = subprocess.run([RUNNEL, "check", "--config", file.name], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    main()
