"""Real StatsD clients from PyPI (tests/requirements.txt, installed by ./dev) as senders; what arrives is compared with
what they were asked to send."""
import json
import unittest

from support.agent import Agent
from support.http_server import Server
from support.run import main
from support.servers import Folder, wait_for

CONFIG = """
[source.statsd]
listen = ["udp://127.0.0.1:0"]

[output.main]
sink   = "http"
batch  = {{ max_age = "100ms" }}
filter = 'key ~ ^app or type = "event"'
url    = "{url}"
"""


class Clients(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        self.server = Server()
        self.addCleanup(self.server.close)
        self.agent = Agent(self.folder, CONFIG.format(url=self.server.url))
        self.addCleanup(self.agent.kill)
        with self.agent.statsd() as sender:
            self.port = sender.port

    def received(self, lines):
        """Everything, merged by key and tags, after `lines` lines have come in and the agent has ended."""
        wait_for(lambda: self.agent.metric("runnel.source.accepted", source="statsd") >= lines, lambda: self.agent.log())
        self.assertEqual(self.agent.metric("runnel.source.bad", source="statsd"), 0, self.agent.log())
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        self.assertEqual(self.agent.residual("main"), 0)
        merged = {}
        for request in self.server.requests:
            for line in request.text().splitlines():
                record = json.loads(line)
                if record["type"] != "metric":
                    continue
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

    def test_statsd(self):
        try:
            import statsd
        except ImportError:
            self.skipTest("PyPI's statsd is not installed (./dev setup installs it)")
        client = statsd.StatsClient("127.0.0.1", self.port, prefix="app")
        for _ in range(100):
            client.incr("requests")
        client.decr("requests", 10)
        client.gauge("depth", 42)
        client.gauge("depth", -2, delta=True)
        for ms in (10, 20, 30.5):
            client.timing("latency", ms)
        with client.pipeline() as pipe:
            for number in range(20):
                pipe.gauge(f"many.{number}", number * 1.5)
        for user in ("ann", "bob", "ann"):
            client.set("users", user)
        client.close()
        found = self.received(100 + 1 + 2 + 3 + 20 + 3)
        self.assertEqual(found["app.requests", ()], ("counter", 90))
        self.assertEqual(found["app.depth", ()], ("gauge", 40))
        kind, value = found["app.latency", ()]
        self.assertEqual((kind, value["count"], value["sum"], value["min"], value["max"]), ("distribution", 3, 60.5, 10, 30.5))
        for number in range(20):
            self.assertEqual(found[f"app.many.{number}", ()], ("gauge", number * 1.5))
        self.assertEqual(found["app.users", ()][0], "set")
        self.assertIn(found["app.users", ()][1], (1, 2))  # 2, unless an interval ended in between

    def test_datadog(self):
        try:
            from datadog.dogstatsd.base import DogStatsd
        except ImportError:
            self.skipTest("PyPI's datadog is not installed (./dev setup installs it)")
        client = DogStatsd(host="127.0.0.1", port=self.port, namespace="app", constant_tags=["site:lon"],
                           disable_telemetry=True, disable_buffering=True)
        for _ in range(50):
            client.increment("requests", tags=["code:200"])
        client.increment("requests", 3, tags=["code:500"])
        client.gauge("depth", 7.25)
        for value in (1, 2, 3, 4):
            client.histogram("size", value)
            client.distribution("spread", value, tags=["prod"])
        client.timing("latency", 12)
        client.close_socket()
        found = self.received(50 + 1 + 1 + 8 + 1)
        self.assertEqual(found["app.requests", (("code", "200"), ("site", "lon"))], ("counter", 50))
        self.assertEqual(found["app.requests", (("code", "500"), ("site", "lon"))], ("counter", 3))
        self.assertEqual(found["app.depth", (("site", "lon"),)], ("gauge", 7.25))
        for name, tags in (("app.size", (("site", "lon"),)), ("app.spread", (("prod", ""), ("site", "lon")))):
            kind, value = found[name, tags]
            self.assertEqual((kind, value["count"], value["sum"], value["min"], value["max"]), ("distribution", 4, 10, 1, 4))
        self.assertEqual(found["app.latency", (("site", "lon"),)][1]["count"], 1)


if __name__ == "__main__":
    main()
