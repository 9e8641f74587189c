"""Real StatsD clients from PyPI and npm (tests/requirements.txt, tests/package.json, installed by ./dev) as senders;
what arrives is compared with what they were asked to send."""
import json
import os
import subprocess
import unittest
import urllib.parse

from support.agent import Agent
from support.http_server import Server
from support.run import main
from support.servers import Folder, need, wait_for

CONFIG = """
[source.statsd]
listen = ["{listen}"]

[output.main]
sink   = "http"
batch  = {{ max_age = "100ms" }}
filter = 'key ~ ^app'
url    = "{url}"
"""


class Senders(unittest.TestCase):
    def start(self, listen):
        """An agent that listens on the one URL; the URL as it was bound."""
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        self.server = Server()
        self.addCleanup(self.server.close)
        listen = listen.format(folder=self.folder.path)
        self.agent = Agent(self.folder, CONFIG.format(listen=listen, url=self.server.url))
        self.addCleanup(self.agent.kill)
        url = self.agent.wait_log(r"statsd: listening on (\S+)").group(1)
        return urllib.parse.urlsplit(url)

    def received(self, lines, bad=0):
        """Everything, merged by key and tags, after `lines` lines have come in and the agent has ended. What is no
        aggregate (events, samples of another time) stands in self.events and self.times."""
        accepted = lambda: self.agent.metric("runnel.source.accepted", source="statsd")
        refused = lambda: self.agent.metric("runnel.source.bad", source="statsd")
        wait_for(lambda: accepted() + refused() >= lines + bad,
                 lambda: f"{accepted()} accepted, {refused()} bad\n{self.agent.log()}")
        self.assertEqual((accepted(), refused()), (lines, bad), self.agent.log())
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        self.assertEqual(self.agent.residual("main"), 0)
        merged, self.events, self.times = {}, [], {}
        for request in self.server.requests:
            for line in request.text().splitlines():
                record = json.loads(line)
                if record["type"] != "metric":
                    self.events.append(record)
                    continue
                self.times.setdefault(record["key"], []).append(record["time"])
                key = record["key"], tuple(sorted(record.get("tags", {}).items()))
                kind, value = record["kind"], record["value"]
                if key in merged and kind == "counter":
                    value += merged[key][1]
                if key in merged and kind == "distribution":
                    before = merged[key][1]
                    value = {"count": before["count"] + value["count"], "sum": before["sum"] + value["sum"],
                             "min": min(before["min"], value["min"]), "max": max(before["max"], value["max"])}
                merged[key] = kind, value
        return merged

    def distribution(self, found, key, tags=()):
        kind, value = found[key, tags]
        self.assertEqual(kind, "distribution")
        return tuple(value[part] for part in ("count", "sum", "min", "max"))

    def event(self, key):
        """The one event `key` without what the agent stamps on it: {"host": …, "time": …, …}."""
        events = [event for event in self.events if event["key"] == key]
        self.assertEqual(len(events), 1, self.events)
        return {name: value for name, value in events[0].items() if name not in ("type", "key", "resource", "ttl")}


class Statsd(Senders):
    def setUp(self):
        try:
            import statsd
        except ImportError:
            self.skipTest("PyPI's statsd is not installed (./dev setup installs it)")
        self.library = statsd

    def send(self, client):
        for _ in range(100):
            client.incr("requests")
        client.decr("requests", 10)
        client.gauge("depth", 42)
        client.gauge("depth", -2, delta=True)
        client.gauge("below", -7)  # this client sends 0 first, so that the sign is no delta
        for ms in (10, 20, 30.5):
            client.timing("latency", ms)
        with client.pipeline() as pipe:
            for number in range(20):
                pipe.gauge(f"many.{number}", number * 1.5)
        for user in ("ann", "bob", "ann"):
            client.set("users", user)
        client.close()

    def check(self):
        found = self.received(100 + 1 + 2 + 2 + 3 + 20 + 3)
        self.assertEqual(found["app.requests", ()], ("counter", 90))
        self.assertEqual(found["app.depth", ()], ("gauge", 40))
        self.assertEqual(found["app.below", ()], ("gauge", -7))
        self.assertEqual(self.distribution(found, "app.latency"), (3, 60.5, 10, 30.5))
        for number in range(20):
            self.assertEqual(found[f"app.many.{number}", ()], ("gauge", number * 1.5))
        self.assertEqual(found["app.users", ()][0], "set")
        self.assertIn(found["app.users", ()][1], (1, 2))  # 2, unless an interval ended in between

    def test_udp(self):
        url = self.start("udp://127.0.0.1:0")
        self.send(self.library.StatsClient("127.0.0.1", url.port, prefix="app"))
        self.check()

    def test_tcp(self):
        url = self.start("tcp://127.0.0.1:0")
        self.send(self.library.TCPStatsClient("127.0.0.1", url.port, prefix="app", timeout=10))
        self.check()

    # UnixSocketStatsClient writes lines to a stream socket; ours has a length before each payload, as DogStatsD's.


class Datadog(Senders):
    def setUp(self):
        try:
            from datadog.dogstatsd.base import DogStatsd
        except ImportError:
            self.skipTest("PyPI's datadog is not installed (./dev setup installs it)")
        self.library = DogStatsd

    def client(self, **options):
        # With a time-out, since a unix socket takes ten datagrams (net.unix.max_dgram_qlen) and without one the client
        # drops what would wait.
        return self.library(namespace="app", constant_tags=["site:lon"], disable_telemetry=True, disable_buffering=True,
                            socket_timeout=10, **options)

    def send(self, client):
        for _ in range(50):
            client.increment("requests", tags=["code:200"])
        client.increment("requests", 3, tags=["code:500"])
        client.gauge("depth", 7.25)
        for value in (1, 2, 3, 4):
            client.histogram("size", value)
            client.distribution("spread", value, tags=["prod"])
        client.timing("latency", 12)
        client.event("app deploy", "line one\nline two, größe|x", alert_type="success", aggregation_key="k1",
                     source_type_name="ci", date_happened=1700000000, priority="low", tags=["env:prod", "web"],
                     hostname="web-1")
        client.event("app started", "", tags=["host:web-2"])
        client.service_check("app.up", client.CRITICAL, tags=["env:prod", "web"], timestamp=1700000001, hostname="db-1",
                             message="timed out\nexit m: 3")
        client.close_socket()

    def check(self):
        found = self.received(50 + 1 + 1 + 8 + 1 + 3)
        site = ("site", "lon")
        self.assertEqual(found["app.requests", (("code", "200"), site)], ("counter", 50))
        self.assertEqual(found["app.requests", (("code", "500"), site)], ("counter", 3))
        self.assertEqual(found["app.depth", (site,)], ("gauge", 7.25))
        self.assertEqual(self.distribution(found, "app.size", (site,)), (4, 10, 1, 4))
        self.assertEqual(self.distribution(found, "app.spread", (("prod", ""), site)), (4, 10, 1, 4))
        self.assertEqual(self.distribution(found, "app.latency", (site,))[0], 1)
        self.assertEqual(self.event("app deploy"), {
            "time": 1700000000000, "host": "web-1", "state": "success",
            "description": "line one\nline two, größe|x", "tags": ["web"],
            "attributes": {"aggregation_key": "k1", "env": "prod", "priority": "low", "site": "lon",
                           "source_type": "ci"}})
        started = self.event("app started")
        self.assertGreater(started.pop("time"), 1700000000000)  # the agent's clock
        self.assertEqual(started, {"host": "web-2", "attributes": {"site": "lon"}})
        self.assertEqual(self.event("app.up"), {
            "time": 1700000001000, "host": "db-1", "state": "critical", "description": "timed out\nexit m: 3",
            "tags": ["web"], "attributes": {"env": "prod", "site": "lon"}})

    def test_udp(self):
        url = self.start("udp://127.0.0.1:0")
        self.send(self.client(host="127.0.0.1", port=url.port))
        self.check()

    def test_unix_datagram(self):
        url = self.start("unixgram://{folder}/dsd.sock")
        self.send(self.client(socket_path=url.path))
        self.check()

    def test_unix_stream(self):
        url = self.start("unix://{folder}/dsd.sock")
        self.send(self.client(socket_path=f"unixstream://{url.path}"))
        self.check()


class HotShots(Senders):
    def client(self, calls, **options):
        node = need("node", "nodejs")
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "hot_shots_client.js")
        options = {"prefix": "app.", "globalTags": ["site:lon"], "datadog": False, **options}
        done = subprocess.run([node, script, json.dumps(options), json.dumps(calls)], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
        if done.returncode == 77:
            self.skipTest(f"npm's hot-shots: {done.stdout.strip()} (./dev setup installs what needs no compiler)")
        self.assertEqual(done.returncode, 0, done.stdout)

    CALLS = [
        *[["increment", "requests", 1, 1, ["code:200"]]] * 50,
        ["increment", "requests", 3, 1, ["code:500"]],
        ["decrement", "requests", 2, 1, ["code:500"]],
        ["increment", "zero", 0, 1, []],
        ["increment", ["one", "two"], 5, 1, {"env": "prod", "web": ""}],  # a line for each name
        *[["increment", "sampled", 1, 0.5, []]] * 40,                     # twenty of them are sent
        ["gauge", "depth", 42, 1, []],
        ["gaugeDelta", "depth", -2.5, 1, []],
        ["gaugeDelta", "depth", 4, 1, []],
        ["gauge", "sinking", 10, 1, []],
        ["gauge", "sinking", -3, 1, []],  # sent as it is: the sign makes it a delta here, as on Etsy's server
        *[["timing", "latency", ms, 1, []] for ms in (10, 20, 30.5)],
        *[["histogram", "size", value, 1, []] for value in (1, 2, 3, 4)],
        *[["distribution", "spread", value, 0.5, ["prod"]] for value in (1, 2, 3, 4)],  # the first and the third
        *[["set", "users", user, 1, []] for user in ("ann", "bob", "ann")],
        ["event", "deploy", "line one\nline two|x", {"alert_type": "error", "aggregation_key": "k1", "priority": "low",
                                                     "source_type_name": "ci", "date_happened": 1700000000,
                                                     "hostname": "web-1"}, ["env:prod", "web"]],
        ["check", "up", 1, {"date_happened": 1700000001, "hostname": "db-1", "message": "slow"}, ["env:prod", "web"]],
    ]
    LINES = 50 + 2 + 1 + 2 + 20 + 3 + 2 + 3 + 4 + 2 + 3 + 2

    def check(self, more=0, bad=0):
        found = self.received(self.LINES + more, bad)
        site = ("site", "lon")
        self.assertEqual(found["app.requests", (("code", "200"), site)], ("counter", 50))
        self.assertEqual(found["app.requests", (("code", "500"), site)], ("counter", 1))
        self.assertEqual(found["app.zero", (site,)], ("counter", 0))
        for name in ("app.one", "app.two"):
            self.assertEqual(found[name, (("env", "prod"), site, ("web", ""))], ("counter", 5))
        self.assertEqual(found["app.sampled", (site,)], ("counter", 40))
        self.assertEqual(found["app.depth", (site,)], ("gauge", 43.5))
        self.assertEqual(found["app.sinking", (site,)], ("gauge", 7))
        self.assertEqual(self.distribution(found, "app.latency", (site,)), (3, 60.5, 10, 30.5))
        self.assertEqual(self.distribution(found, "app.size", (site,)), (4, 10, 1, 4))
        self.assertEqual(self.distribution(found, "app.spread", (("prod", ""), site)), (4, 8, 1, 3))
        self.assertEqual(found["app.users", (site,)][0], "set")
        self.assertIn(found["app.users", (site,)][1], (1, 2))  # 2, unless an interval ended in between
        self.assertEqual(self.event("app.deploy"), {
            "time": 1700000000000, "host": "web-1", "state": "error", "description": "line one\nline two|x",
            "tags": ["web"], "attributes": {"aggregation_key": "k1", "env": "prod", "priority": "low", "site": "lon",
                                            "source_type": "ci"}})
        self.assertEqual(self.event("app.up"), {
            "time": 1700000001000, "host": "db-1", "state": "warning", "description": "slow", "tags": ["web"],
            "attributes": {"env": "prod", "site": "lon"}})
        return found

    def test_udp(self):
        url = self.start("udp://127.0.0.1:0")
        # In order, since there is one datagram a line and one socket.
        self.client(self.CALLS, host="127.0.0.1", port=url.port)
        self.check()

    def test_udp_buffered(self):
        url = self.start("udp://127.0.0.1:0")
        self.client(self.CALLS, host="127.0.0.1", port=url.port, maxBufferSize=1432)
        self.check()

    def test_tcp(self):
        url = self.start("tcp://127.0.0.1:0")
        self.client(self.CALLS, protocol="tcp", host="127.0.0.1", port=url.port)
        self.check()

    def test_unix_datagram(self):
        url = self.start("unixgram://{folder}/dsd.sock")
        self.client(self.CALLS, protocol="uds", path=url.path)
        self.check()

    def test_what_only_this_client_sends(self):
        url = self.start("udp://127.0.0.1:0")
        self.client([
            ["histogram", "array", [1, 2], 1, []],                   # app.array:1,2|h
            ["gauge", "back", 5, {"timestamp": 1700000000}],         # app.back:5|g|T1700000000
            ["event", "größe", "ü: ä", {"alert_type": "info"}, []],  # lengths in UTF-16 units
            ["increment", "a:b|c", 1, 1, ["k|:v,w"]],
        ], host="127.0.0.1", port=url.port, datadog=True, includeDatadogTelemetry=False, containerID="c1",
            cardinality="low")
        found = self.received(3, bad=1)
        site = ("site", "lon")
        self.assertEqual(found["app.a_b_c", (("k_", "v_w"), site)], ("counter", 1))
        self.assertEqual(found["app.back", (site,)], ("gauge", 5))
        self.assertEqual(self.times["app.back"], [1700000000000])
        event = self.event("app.größe")
        self.assertEqual((event["state"], event["description"]), ("info", "ü: ä"))
        self.assertIn("bad_value", self.agent.log())


if __name__ == "__main__":
    main()
