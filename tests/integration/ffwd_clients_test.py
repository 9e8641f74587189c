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
    elif record["kind"] == "distribution":
        value = f"{value['count']} values"
    return record["key"], value, record["time"], record["host"], sorted(attributes.items()), sorted(bare)


def wanted(sent):
    attributes = dict(sent.get("attributes") or {})
    host = sent.get("host") or attributes.pop("host", None) or "test-host"
    value = f"{sent['count']} values" if "count" in sent else sent.get("value", sent.get("distribution"))
    return (sent["key"], value, sent.get("time"), host, sorted(attributes.items()),
            sorted(sent.get("tags") or []))


class Senders(unittest.TestCase):
    def start(self, scheme, output=None, source=""):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        if output is None:
            self.server = Server()
            self.addCleanup(self.server.close)
            output = OUTPUT.format(url=self.server.url)
        self.agent = Agent(self.folder, SOURCE.format(scheme=scheme) + source + output, agent='interval = "300ms"')
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


    def check_payload(self):
        """semantic-metrics' distribution of 1 to 100: the first report has it, the others are of nothing."""
        found = sorted((record["value"] for record in self.records()
                        if record["type"] == "metric" and record["kind"] == "distribution"), key=lambda value: -value["count"])
        self.assertTrue(found)
        self.assertEqual({"count": 100, "sum": 5050, "min": 1, "max": 100, "mean": 50.5, "stddev": found[0]["stddev"], "p50": 50,
                          "p90": 90, "p95": 95, "p99": 99}, found[0])
        self.assertTrue(all(value == {"count": 0, "sum": 0} for value in found[1:]), found)


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
        self.check_payload()

    def test_digests_of_all_kinds(self):
        """The forms of the t-digest library, from nothing to 100,000 values, against what is true of them."""
        self.start("udp+protobuf", source="percentiles = [1, 50, 90, 95, 99]")
        sent = {one["key"]: one for one in java_client("digests", self.port)}
        self.assertEqual(len(sent), 120)
        self.end(len(sent))
        found = {record["key"]: record for record in self.records()}
        self.assertEqual((found.keys(), self.count("bad")), (sent.keys(), 0), self.agent.log())
        self.assertEqual(([key for key, record in found.items() if record["type"] == "event"], self.count("opaque")), ([], 0))
        worst = {}
        for key, one in sent.items():
            with self.subTest(key):
                record, value = found[key], found[key]["value"]
                self.assertEqual((record["kind"], record["host"], record["tags"]), ("distribution", "web-1", {"what": key.split("_")[2]}))
                if one["count"] == 0:
                    self.assertEqual(value, {"count": 0, "sum": 0})
                    continue
                self.assertEqual([value["count"], value["min"], value["max"]], [one["count"], one["min"], one["max"]])
                # The small forms round means to floats, the tree's their differences, which add up.
                rounding = 1e-6 * max(abs(one["min"]), abs(one["max"])) if one["small"] else 1e-12 * abs(one["max"])
                self.assertAlmostEqual(value["mean"], one["sum"] / one["count"], delta=rounding + 1e-9 * abs(value["mean"]))
                self.assertLessEqual(value["stddev"], one["stddev"] * (1 + 1e-6) + rounding)
                for name, (low, exact, high) in one["percentiles"].items():
                    self.assertTrue(low - rounding <= value[name] <= high + rounding, (name, low, value[name], exact, high))
                    if "uniform_100" in key:  # the value is the share of the ranks below it
                        worst[name] = max(worst.get(name, 0), abs(value[name] - exact))
        print("uniform, compression 100: ranks off by at most " + ", ".join(f"{name} {off:.3%}" for name, off in worst.items()), flush=True)


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
        self.check_payload()


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
        found, expected, statistics = [], [], {}
        for message in messages:
            self.assertEqual((message["version"], message["resource"]), ("2.0.0", {}))
            self.assertEqual(message["attributes"].pop("host"), "test-host")
            value = message["value"]["doubleValue"]
            if message["attributes"].get("metric_type") == "distribution":
                statistic = message["attributes"].pop("stat")
                if (value, statistic) == (0, "sum"):
                    continue  # of nothing
                statistics.setdefault(statistic, []).append(value)
                if statistic != "count":
                    continue
                value = f"{value:.0f} values"
            found.append((message["key"], value, sorted(message["attributes"].items())))
        for one in sent:
            value = f"{one['count']} values" if "count" in one else one["value"]
            expected.append((one["key"], value, sorted(one["attributes"].items())))
        self.assertEqual(sorted(found, key=repr), sorted(expected, key=repr))
        statistics.pop("stddev")
        self.assertEqual(statistics, {"count": [100, 0], "sum": [5050], "min": [1], "max": [100], "mean": [50.5], "p50": [50], "p90": [90],
                                      "p95": [95], "p99": [99]})


if __name__ == "__main__":
    main()
