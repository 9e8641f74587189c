"""The Riemann source of the real agent: what is made of each message, answers, back-pressure, hostile input, reload.
Messages are written by hand (support/riemann.py); riemann_clients_test.py has the real clients."""
import json
import os
import resource
import socket
import time
import unittest
import urllib.parse

from support.agent import Agent
from support.http_server import Server
from support.riemann import MEASURED, OK, Connection, event, field, frame, msg, text
from support.run import main
from support.servers import Folder, wait_for

CONFIG = """
[source.riemann]
listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]
{source}

[output.main]
sink   = "http"
batch  = {{ max_age = "50ms" }}
filter = 'not key ~ ^runnel'
url    = "{url}"
"""
NAN = float("nan")


class Riemann(unittest.TestCase):
    def start(self, source="", more="", agent='interval = "500ms"'):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        self.refusing, self.taken = False, []
        self.server = Server(lambda request: "503" if self.refusing else self.taken.append(request))
        self.addCleanup(self.server.close)
        self.agent = Agent(self.folder, CONFIG.format(source=source, url=self.server.url) + more, agent=agent,
                           environment=MEASURED)
        self.addCleanup(self.agent.kill)
        self.tcp, self.udp = (self.address(scheme) for scheme in ("tcp", "udp"))

    def address(self, scheme, index=-1):
        self.agent.wait_log(rf"riemann: listening on {scheme}://")
        urls = [line.split()[-1] for line in self.agent.log().splitlines()
                if f"riemann: listening on {scheme}://" in line]
        url = urllib.parse.urlsplit(urls[index])
        return url.hostname, url.port

    def connect(self):
        connection = Connection(self.tcp)
        self.addCleanup(connection.close)
        return connection

    def datagram(self, *messages):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for message in messages:
                sender.sendto(message, self.udp)

    def counts(self):
        total = lambda name: self.agent.metric(name, source="riemann")
        return {name: int(total(f"runnel.source.{name}" if name != "dropped" else "runnel.dropped"))
                for name in ("received", "accepted", "bad", "dropped")}

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.agent.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def wait_received(self, events):
        wait_for(lambda: self.counts()["received"] >= events, lambda: f"{self.counts()}\n{self.agent.log()}")

    def records(self):
        """Everything that arrived, once the agent has ended."""
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        self.assertEqual(self.agent.residual("main"), 0)
        counts = self.counts()
        self.assertEqual(counts["received"], counts["accepted"] + counts["bad"] + counts["dropped"], counts)
        return [{name: value for name, value in json.loads(line).items() if name != "resource"}
                for request in self.taken for line in request.text().splitlines()]


class Mapping(Riemann):
    def test_what_becomes_of_each_field(self):
        self.start(source='tags = { site = "lon", plugin = "ours" }')
        at = {"time": 1700000000}
        both = dict(service="cpu", host="web-1", state="ok", description="fine", tags=["prod", "ds_type:gauge"],
                    attributes={"plugin": "cpu", "type": "load"}, ttl=20, double=3.5, **at)
        events = [
            event(**both),
            event(service="int", sint=-7, double=1.0, float32=2.0, **at),       # the metrics' order
            event(service="dbl", double=0.1, float32=2.0, **at),
            event(service="flt", float32=1.5, time=1, micros=1700000000123456),  # micros win
            event(service="state only", state="critical", **at),
            event(service="bare", **at),
            event(service="big", sint=2**63 - 1, **at),
            event(service="tag beats", tags=["a", "a"], attributes={"a": "x"}, sint=1, **at),
        ]
        old = event(service="old", state="warning", raw=field(6, 0, b"\x01"), tags=["t"], ttl=5, **at)
        with self.connect() as c:
            c.send(msg(*events, states=[old]))
            self.assertEqual(c.answer(), OK)
            now = time.time() * 1000
            c.send(msg(event(service="now", double=1)))
            self.assertEqual(c.answer(), OK)
        found = self.records()
        for record in found:
            if record["key"] == "now":
                self.assertLess(abs(record["time"] - now), 60_000)
                record["time"] = 0
        t = 1700000000000
        site = {"plugin": "ours", "site": "lon"}
        metric = lambda key, value, tags=site, host="test-host", when=t, **more: {
            "type": "metric", "key": key, "kind": "gauge", "time": when, "host": host, "tags": tags, **more,
            "value": value}
        note = lambda key, attributes=site, host="test-host", **more: {
            "type": "event", "key": key, "time": t, "host": host, **more, "attributes": attributes}
        wanted = [
            metric("cpu", 3.5, {"ds_type:gauge": "", "plugin": "cpu", "prod": "", "site": "lon", "type": "load"},
                   "web-1", ttl=20),
            note("cpu", {"plugin": "cpu", "site": "lon", "type": "load"}, "web-1", state="ok", description="fine",
                 ttl=20, tags=["prod", "ds_type:gauge"], value=3.5),
            metric("int", -7), metric("dbl", 0.1), metric("flt", 1.5, when=t + 123),
            note("state only", state="critical"), note("bare"), metric("big", 2**63 - 1),
            metric("tag beats", 1, {"a": "x", **site}),
            note("old", state="warning", ttl=5, tags=["t"]), metric("now", 1, when=0),
        ]
        order = lambda record: (record["key"], record["type"])
        self.assertEqual(sorted(found, key=order), sorted(wanted, key=order))

    def test_keep(self):
        events = [event(service="m", double=1), event(service="s", state="ok"),
                  event(service="b", double=2, state="ok")]
        for keep, wanted, dropped in (
                ("auto", ["event b", "event s", "metric b", "metric m"], 0),
                ("events", ["event b", "event m", "event s"], 0),
                ("metrics", ["metric b", "metric m"], 1)):
            with self.subTest(keep):
                self.start(source=f'keep = "{keep}"')
                with self.connect() as c:
                    c.send(msg(*events))
                    self.assertEqual(c.answer(), OK)
                found = sorted(f"{record['type']} {record['key']}" for record in self.records())
                self.assertEqual(found, wanted)
                self.assertEqual(self.counts(), {"received": 3, "accepted": 3 - dropped, "bad": 0, "dropped": dropped})


class Answers(Riemann):
    def test_in_order_under_pipelining(self):
        self.start()
        with self.connect() as c:
            for number in range(3000):
                good = number % 3 != 0
                c.send(msg(event(service=f"s{number}", double=number if good else NAN)))
            for number in range(3000):
                answer = c.answer()
                self.assertEqual(answer == OK, number % 3 != 0, number)
            c.send(msg(event(service="after", double=1), query="true"))
            self.assertEqual(c.error(), "no index")
        found = self.records()
        self.assertEqual(len(found), 2001)
        self.assertEqual(self.counts(), {"received": 3002, "accepted": 2001, "bad": 1001, "dropped": 0})

    def test_one_byte_at_a_time_and_a_half_closed_connection(self):
        self.start()
        with self.connect() as c:
            c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in frame(msg(event(service="slow", double=1))):
                c.socket.send(bytes([byte]))
            c.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(c.answer(), OK)
            self.assertEqual(c.answer(), b"")
        self.assertEqual([record["key"] for record in self.records()], ["slow"])

    def test_udp(self):
        self.start()
        self.datagram(msg(event(service="u1", double=1), event(service="u2", state="ok")), b"\xff\xff",
                      msg(event(service="u3", double=NAN), event(service="u4", double=4)),
                      msg(*(event(service=f"big{n}", double=n) for n in range(800))))  # beyond 16,384 bytes
        self.wait_received(2 + 1 + 2 + 800)
        found = self.records()
        self.assertEqual(len(found), 803)
        self.assertEqual(self.counts(), {"received": 805, "accepted": 803, "bad": 2, "dropped": 0})

    def test_what_is_refused(self):
        """A row: what is sent, the answer's words ("" is ok, None: closed without one), records that arrive, bad."""
        good = event(service="good", double=1)
        rows = [
            (msg(good, event(service="x", double=NAN), good), "1 of 3 events refused: bad_metric", 2, 1),
            (msg(good, event(service="x", float32=float("-inf"))), "1 of 2 events refused: bad_metric", 1, 1),
            (msg(good, event(service=b"\xff\xfe", double=1)), "1 of 2 events refused: bad_utf8", 1, 1),
            (msg(event(service="x", double=1, tags=[b"\xc3"])), "1 of 1 events refused: bad_utf8", 0, 1),
            (msg(event(service="x", double=1, ttl=-1)), "1 of 1 events refused: bad_ttl", 0, 1),
            (msg(event(service="x", double=1, ttl=NAN)), "1 of 1 events refused: bad_ttl", 0, 1),
            (msg(event(service="x", double=1, time=2**62)), "1 of 1 events refused: bad_time", 0, 1),
            (msg(event(service="x" * 4097, double=1)), "1 of 1 events refused: too_long", 0, 1),
            (msg(event(double=1), event(service="", state="ok")), "2 of 2 events refused: no_service", 0, 2),
            (msg(event(service="x", sint=1, attributes={"": "v"})), "1 of 1 events refused: empty_key", 0, 1),
            (msg(event(service="x", sint=1, tags=map(str, range(1001)))), "1 of 1 events refused: too_many_tags", 0, 1),
            (msg(good)[:-1], "bad_message", 0, 1),                                          # cut off
            (msg(good) + b"\x32\x7f", "bad_message", 0, 1),                                 # a length beyond the end
            (b"GET / HTTP/1.1\r\n\r\n", "bad_message", 0, 1),
            (msg(good, event(raw=field(10, 0, b"\x80" * 10 + b"\x01"))), "bad_message", 0, 1),  # 11 bytes
            (msg(event(raw=field(3, 0, b"\x01"))), "wrong_type", 0, 1),                     # service as a number
            (msg(event(raw=field(14, 2, b"\x00"))), "wrong_type", 0, 1),
            (field(6, 0, b"\x01"), "wrong_type", 0, 1),
            (field(6, 3, b""), "bad_message", 0, 1),                                        # a group
            (msg(event(service="x", sint=1, raw=text(9, text(2, "v")))), "missing_key", 0, 1),
            (msg(event(service="x", sint=1, raw=field(13, 0, b"\xff" * 9 + b"\x01"))), "", 1, 0),   # 10 bytes
            (msg(event(service="x", sint=1, raw=field(99, 2, b"\x01x"))), "", 1, 0),        # an unknown field
            (field(2, 0, b"\x01"), "", 0, 0),                                               # an answer: nothing to do
        ]
        self.start()
        records = bad = 0
        with self.connect() as c, self.connect() as honest:
            for sent, words, taken, refused in rows:
                with self.subTest(words, sent=sent[:40]):
                    c.send(sent)
                    self.assertEqual(c.error() if words else c.answer(), words or OK)
                    honest.send(msg(good))
                    self.assertEqual(honest.answer(), OK)
                    records, bad = records + taken + 1, bad + refused
        self.assertEqual(len(self.records()), records)
        self.assertEqual(self.counts()["bad"], bad)

    def test_lengths_that_close(self):
        self.start(source='max_frame = "2KiB"')
        rows = [(b"\0\0\0\0", "empty_frame"), (b"\x80\0\0\0", "frame_too_large"), (b"\xff" * 4, "frame_too_large"),
                (b"\0\0\x08\x01", "frame_too_large"), (b"GET / HTTP/1.1\r\n\r\n", "frame_too_large")]
        memory = self.memory()
        for _ in range(50):
            for start, _ in rows:
                with self.connect() as c:
                    c.send(msg(event(service="before", double=1)))
                    c.socket.sendall(start)
                    self.assertEqual(c.answer(), OK)  # what came before is answered
                    self.assertEqual(c.answer(), b"")
        self.assertLess(self.memory() - memory, 64 << 20)  # of lengths up to 4 GiB; a sanitizer keeps what was freed for a while
        with self.connect() as c:
            c.send(msg(event(service="after" + "x" * 1990, double=1)))
            self.assertEqual(c.answer(), OK)
        self.records()
        for reason, count in (("empty_frame", 50), ("frame_too_large", 200)):
            self.assertEqual(self.agent.metric("runnel.source.closed", source="riemann", reason=reason), count)


class Pressure(Riemann):
    def test_a_full_log_stalls_streams_and_drops_datagrams(self):
        self.start(more='[journal]\nmax_bytes = "256KiB"\nwhen_full = "block"\ndurability = "memory"\n')
        self.refusing = True
        with self.connect() as c:
            c.socket.setblocking(False)
            block = b"".join(frame(msg(event(service=f"s{n}", double=n, description="d" * 200))) for n in range(100))
            sent = 0
            left = block

            def push():
                nonlocal sent, left
                try:
                    while True:
                        done = c.socket.send(left)
                        sent, left = sent + done, left[done:] or block
                except BlockingIOError:
                    return

            def stalled():
                before = sent
                push()
                return sent == before and "sources wait" in self.agent.log()
            wait_for(stalled, "the agent reads on", 60, step=0.3)
            self.datagram(msg(event(service="lost", double=1)))
            wait_for(lambda: self.counts()["dropped"] == 1, lambda: str(self.counts()), 30)
            # What the kernel holds is not accepted; what was accepted is little more than the log may hold.
            self.assertLess(self.counts()["accepted"] * 250, 3 << 20)
            self.refusing = False
            c.socket.setblocking(True)
            c.socket.sendall(left if left is not block else b"")
            total = (sent + (len(left) if left is not block else 0)) // len(block) * 100
            for _ in range(total):
                self.assertEqual(c.answer(), OK)
        found = self.records()
        self.assertEqual(sum(record["type"] == "metric" for record in found), total)

    def test_a_thousand_connections_that_never_read(self):
        """They fill their answers' room and are read no further; where all of it together is too much, some are closed, and
        the others when they are idle. Who reads is served meanwhile."""
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(limits[1], 4096), limits[1]))
        # Under a sanitizer, where a refusal takes ten times as long, a hundred say as much.
        sanitized = any(name in os.environ.get("RUNNEL_BUILD", "") for name in ("asan", "tsan"))
        count = min(100 if sanitized else 1000, min(limits[1], 4096) - 100)
        self.start(source='idle_timeout = "8s"\nmax_connections = 1100')
        bad = frame(b"\xff") * 800  # long answers for few bytes
        deaf = []
        with self.connect() as honest:
            before, peak, worst = self.memory(), 0, 0
            for _ in range(count):
                one = socket.socket()
                self.addCleanup(one.close)
                # So that the kernel holds little on either side: its send buffer begins with some segments.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
                one.connect(self.tcp)
                one.setblocking(False)
                deaf.append(one)
            for turn in range(12):
                for one in deaf:
                    try:
                        one.send(bad)
                    except (BlockingIOError, ConnectionError):
                        pass
                asked = time.monotonic()
                honest.send(msg(event(service="h", double=turn)))
                self.assertEqual(honest.answer(), OK, self.agent.log())
                worst = max(worst, time.monotonic() - asked)
                peak = max(peak, self.memory() - before)
            print(f"deaf {count}, peak {peak >> 20} MiB, an honest answer within {worst * 1000:.0f} ms", flush=True)
            self.assertLess(peak, 100 << 20)  # max_held_bytes is 32 MiB; what was freed need not be given back at once
            wait_for(lambda: self.agent.metric("runnel.source.closed", source="riemann") >= count,
                     lambda: str(self.agent.metrics()), 60)
        self.records()

    @unittest.skipIf("asan" in os.environ.get("RUNNEL_BUILD", ""), "a sanitizer pads every allocation")
    def test_connections_that_have_nothing_to_say_are_cheap(self):
        self.start()

        def ask(c):
            c.send(msg(event(service="x", double=1)))
            self.assertEqual(c.answer(), OK)
        for _ in range(50):
            with self.connect() as c:
                ask(c)
        before = self.memory()
        count = min(900, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 100)
        for _ in range(count):
            ask(self.connect())
        self.assertLess((self.memory() - before) / count, 4096)

    def test_one_byte_now_and_then_is_idle(self):
        self.start(source='idle_timeout = "3s"')
        with self.connect() as slow, self.connect() as honest:
            slow.socket.sendall(b"\0\0\1")
            end = time.monotonic() + 20
            closed = False
            while not closed and time.monotonic() < end:
                honest.send(msg(event(service="h", double=1)))
                self.assertEqual(honest.answer(), OK)
                time.sleep(0.2)
                try:
                    slow.socket.send(b"x")
                    slow.socket.setblocking(False)
                    closed = slow.socket.recv(1) == b""
                except BlockingIOError:
                    pass
                except ConnectionError:
                    closed = True
            self.assertTrue(closed)
        self.records()
        self.assertEqual(self.agent.metric("runnel.source.closed", source="riemann", reason="idle"), 1)

    def test_too_many_connections(self):
        self.start(source="max_connections = 2")
        first, second = self.connect(), self.connect()
        for c in (first, second):
            c.send(msg(event(service="x", double=1)))
            self.assertEqual(c.answer(), OK)
        with self.connect() as third:
            self.assertEqual(third.answer(), b"")
        first.close()
        wait_for(self.served, "no room for another connection")

    def served(self):
        with Connection(self.tcp) as c:
            try:
                c.send(msg(event(service="x", double=1)))
                return c.answer() == OK
            except ConnectionError:
                return False


class Reload(Riemann):
    def test_connections_and_listeners_stay(self):
        self.start()
        with self.connect() as c:
            c.send(msg(event(service="a", double=1, state="ok")))
            self.assertEqual(c.answer(), OK)
            self.rewrite('listen = ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"]\nkeep = "metrics"\n')
            c.send(msg(event(service="b", double=1, state="ok")))
            self.assertEqual(c.answer(), OK)
            self.assertEqual(self.agent.log().count("riemann: listening on"), 2)

            # A bad new file changes nothing.
            self.rewrite('listen = ["tls://127.0.0.1:0"]\n', "not reloaded")
            self.assertIn("tls_cert is missing", self.agent.log())
            # A port that is taken neither.
            with socket.socket() as other:
                other.bind(("127.0.0.1", 0))
                other.listen()
                self.rewrite(f'listen = ["tcp://127.0.0.1:{other.getsockname()[1]}"]\n', "not reloaded")
            c.send(msg(event(service="c", double=1)))
            self.assertEqual(c.answer(), OK)

            # Moved: who is connected stays, new ones go to the new port.
            self.rewrite('listen = ["tcp://127.0.0.1:0"]\nmax_frame = "1KiB"\n'.replace(":0", f":{self.tcp[1]}"))
            c.send(msg(event(service="d", double=1)))
            self.assertEqual(c.answer(), OK)
            with self.connect() as later:
                later.send(msg(event(service="e", double=1)))
                self.assertEqual(later.answer(), OK)

            self.rewrite("enabled = false\n")
            self.assertEqual(c.answer(), b"")
        with self.assertRaises(ConnectionError):
            self.connect()
        self.rewrite('listen = ["tcp://127.0.0.1:0"]\n')
        self.tcp = self.address("tcp")
        with self.connect() as c:
            c.send(msg(event(service="f", double=1)))
            self.assertEqual(c.answer(), OK)
        found = self.records()
        self.assertEqual(sorted(record["key"] for record in found if record["type"] == "metric"), list("abcdef"))
        self.assertEqual([record["key"] for record in found if record["type"] == "event"], ["a"])

    def rewrite(self, source, outcome="reloaded"):
        before = self.agent.log().count(f"{outcome}")
        with open(self.agent.config, encoding="utf-8") as file:
            config = file.read()
        start = config.index("[source.riemann]")
        end = config.index("[output.main]")
        with open(self.agent.config, "w", encoding="utf-8") as file:
            file.write(f"{config[:start]}[source.riemann]\n{source}\n{config[end:]}")
        self.agent.reload()
        wait_for(lambda: self.agent.log().count(f"{outcome}") > before, self.agent.log)


if __name__ == "__main__":
    main()
