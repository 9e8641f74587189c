"""FFWD's own clients as senders: the Python client, the Java clients over UDP and HTTP, and semantic-metrics' two reporters.
Every value they say they sent is compared with what arrives. One test goes all the way into a real Kafka broker in the
encoding of FFWD's consumers."""
import json
import time
import unittest
import urllib.parse

from support.agent import Agent
from support.ffwd_clients import java_client, python_client
from support.http_server import Server
from support.kafka import KafkaBroker
from support.run import main
from support.servers import Folder, wait_for

SOURCE = """
[source.ffwd]
listen = ["{scheme}://127.0.0.1:0"]
"""
OUTPUT = """
[output.main]
sink   = "http"
batch  = {{ max_age = "100ms" }}
filter = 'not key ~ ^runnel'
url    = "{url}"
"""


def as_sent(record):
    """A record of the json encoding as the sender's own words for it, comparable with wanted()."""
    tags = record.get("tags", {}) if record["type"] == "metric" else record.get("attributes", {})
    attributes = {key: value for key, value in tags.items() if value or key == "empty"}
    bare = [key for key, value in tags.items() if not value] if record["type"] == "metric" else record.get("tags", [])
    value = record.get("value")
    if record["type"] == "event":
        value = attributes.pop("distribution")
    return record["key"], value, record["time"], record["host"], sorted(attributes.items()), sorted(bare)


def wanted(sent):
    attributes = dict(sent.get("attributes") or {})
    host = sent.get("host") or attributes.pop("host", None) or "test-host"
    return (sent["key"], sent.get("value", sent.get("distribution")), sent.get("time"), host, sorted(attributes.items()),
            sorted(sent.get("tags") or []))


class Senders(unittest.TestCase):
    def start(self, scheme, output=None):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        if output is None:
            self.server = Server()
            self.addCleanup(self.server.close)
            output = OUTPUT.format(url=self.server.url)
        self.agent = Agent(self.folder, SOURCE.format(scheme=scheme) + output, agent='interval = "300ms"')
        self.addCleanup(self.agent.kill)
        url = self.agent.wait_log(r"ffwd: listening on (\S+)").group(1)
        self.port = urllib.parse.urlsplit(url).port

    def count(self, what, **labels):
        return int(self.agent.metric(f"runnel.source.{what}", source="ffwd", **labels))

    def end(self, points):
        wait_for(lambda: self.count("received") >= points, lambda: f"{self.count('received')} of {points}\n{self.agent.log()}")
        self.assertEqual(self.agent.stop(60), 0, self.agent.log())
        self.assertEqual(self.agent.residual("main"), 0)

    def records(self):
        return [json.loads(line) for request in self.server.requests for line in request.text().splitlines()]

    def check(self, sent, not_finite=0):
        """All that was sent has arrived with the same values; a time of 0 or none is when it came."""
        self.end(len(sent))
        self.assertEqual((self.count("accepted"), self.count("bad"), self.count("bad", reason="not_finite")),
                         (len(sent) - not_finite, not_finite, not_finite), self.agent.log())
        found = [as_sent(record) for record in self.records()]
        expected = [wanted(one) for one in sent if one.get("value") not in ("NaN", "Infinity", "-Infinity")]
        untimed = {one[0] for one in expected if not one[2]}
        now = time.time() * 1000
        for one in found:
            if one[0] in untimed:
                self.assertLess(abs(one[2] - now), 120_000)
        timeless = lambda all: sorted((one[:2] + (0,) + one[3:] if one[0] in untimed else one for one in all), key=repr)
        self.maxDiff = 4000
        self.assertEqual(timeless(found), timeless(expected))
        return found


class Python(Senders):
    def test_python_client(self):
        self.start("udp+json")
        client = python_client(self.port)
        client.metric("whole", site="lon", port=80, ratio=0.5, on=True).with_tags(what="größe").send(1.5)
        client.metric("int").send(-7)
        client.metric("nothing").send(float("nan"))
        client.event("deploy", by="ci").send()
        for number in range(200):
            client.metric("many", number=str(number)).send(number * 0.1)
            if number % 20 == 0:
                time.sleep(0.005)
        self.end(204)
        self.assertEqual((self.count("accepted"), self.count("bad", reason="not_finite")), (203, 1))
        found = {}
        for record in self.records():
            self.assertEqual(record["host"], "test-host")
            self.assertLess(abs(record["time"] / 1000 - time.time()), 120)
            found.setdefault(record["key"], []).append((record["type"], record.get("tags", record.get("attributes")), record.get("value")))
        self.assertEqual(sorted(found.pop("many"), key=lambda one: one[2]),
                         [("metric", {"number": str(number)}, number * 0.1) for number in range(200)])
        self.assertEqual(found, {
            "whole": [("metric", {"on": "true", "port": "80", "ratio": "0.5", "site": "lon", "what": "größe"}, 1.5)],
            "int": [("metric", None, -7)], "deploy": [("event", {"by": "ci"}, None)]})


class Java(Senders):
    def test_udp_client_version_0(self):
        self.start("udp+protobuf")
        sent = java_client("udp0", self.port)
        self.assertEqual(len(sent), 202)
        self.check(sent)
        record = next(record for record in self.records() if record["key"] == "whole")
        self.assertEqual(record["resource"], {"proc": "api"})

    def test_udp_client_version_1(self):
        self.start("udp+protobuf")
        sent = java_client("udp1", self.port)
        self.assertEqual(len(sent), 202)
        self.check(sent)

    def test_semantic_metrics_reporter(self):
        self.start("udp+protobuf")
        sent = java_client("reporter", self.port)
        kinds = {one["attributes"]["metric_type"] for one in sent}
        self.assertLessEqual({"counter", "meter", "timer", "histogram", "gauge"}, kinds)
        self.assertGreater(len(sent), 40)
        self.check(sent)


class JavaHttp(Senders):
    def check_resource(self, sent):
        """The resources of all records, beside what check() compares."""
        found = [(as_sent(record)[:3], sorted(record.get("resource", {}).items())) for record in self.records()]
        expected = [(wanted(one)[:3], sorted(one["resource"].items())) for one in sent]
        self.assertEqual(sorted(found, key=repr), sorted(expected, key=repr))

    def test_ping(self):
        self.start("http")
        self.assertEqual(java_client("http-ping", self.port), [True])

    def test_http_client_version_1(self):
        self.start("http")
        sent = java_client("http1", self.port)
        self.assertEqual(len(sent), 1001)
        self.check(sent)
        self.check_resource(sent)

    def test_http_client_version_2(self):
        self.start("http")
        sent = java_client("http2", self.port)
        self.assertEqual(len(sent), 2002)
        self.check(sent)

    def test_semantic_metrics_http_reporter(self):
        self.start("http")
        sent = java_client("http-reporter", self.port)
        kinds = {one["attributes"]["metric_type"] for one in sent}
        self.assertLessEqual({"counter", "meter", "timer", "histogram", "gauge"}, kinds)
        self.assertGreater(len(sent), 40)
        self.check(sent)
        self.check_resource(sent)


class Kafka(Senders):
    def test_from_the_java_client_into_a_broker_in_ffwds_encoding(self):
        folder = Folder()
        self.addCleanup(folder.close)
        broker = KafkaBroker(folder)
        broker.create_topic("metrics-lon")
        self.start("udp+protobuf", f"""
[output.main]
sink          = "kafka"
brokers       = ["{broker.address}"]
topic         = "metrics-%{{tag.site}}"
topic_default = "metrics-default"
encoding      = "ffwd"
key           = "host"
filter        = "not key ~ ^runnel"
batch         = {{ max_age = "100ms" }}
""")
        sent = java_client("reporter", self.port)
        self.end(len(sent))
        messages = [json.loads(message["payload"]) for message in broker.kcat("metrics-lon")]
        found, expected = [], []
        for message in messages:
            self.assertEqual((message["version"], message["resource"]), ("2.0.0", {}))
            self.assertEqual(message["attributes"].pop("host"), "test-host")
            value = message["value"]["doubleValue"]
            distribution = message["attributes"].pop("distribution", None)
            found.append((message["key"], distribution or value, sorted(message["attributes"].items())))
        for one in sent:
            expected.append((one["key"], one.get("distribution", one.get("value")), sorted(one["attributes"].items())))
        self.assertEqual(sorted(found, key=repr), sorted(expected, key=repr))


if __name__ == "__main__":
    main()
