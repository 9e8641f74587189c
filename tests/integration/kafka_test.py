"""StatsD in, a real Kafka broker out: everything that was sent is there, once and equal, by kcat and by kafkajs."""
import collections
import json
import re
import subprocess

from support.agent import RUNNEL
from support.kafka import KafkaTest
from support.run import main
from support.servers import wait_for

# Nothing of it must ever make invalid JSON or a wrong key: quotes, controls, bytes that are not UTF-8.
HOSTILE = [b'test.quote"s:1|c|#tag:a"b', b"test.back\\slash:1|c", "test.ü€😀:1|c|#ü:ö".encode(), b"test.broken\xff:1|c|#k:\xc3(",
           b"test.control\x01:1|c"]


def counters(count, tags=""):
    return [f"test.{number}:{number + 1}|c{tags}" for number in range(count)]


class Kafka(KafkaTest):
    def send(self, topic, lines, more="", partitions=1, create=True, events=()):
        """The stopped agent, after it has taken `lines` and delivered all that it made of them. `events` come from a
        hook."""
        if create:
            self.broker.create_topic(topic, partitions)
        if events:
            text = "".join(json.dumps({"type": "event", **event}) + "\n" for event in events)
            self.folder.write("hooks/event", f"#!/bin/sh\ncat <<'END'\n{text}END\n", 0o755)
            more += f'\n[source.scripts]\ndir = "{self.folder.path}/hooks"\ninterval = "1h"\n'
        agent = self.agent(topic, more, filter='key ~ ^test or type = "event"')
        with agent.statsd() as statsd:
            for first in range(0, len(lines), 20):
                statsd.socket.send(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines[first:first + 20]))
            wait_for(lambda: agent.metric("runnel.source.received", source="statsd") >= len(lines), lambda: agent.log())
        if events:
            wait_for(lambda: agent.metric("runnel.script.duration", script="event") > 0, lambda: agent.log())
        self.assertEqual(agent.stop(), 0, agent.log())
        self.assertEqual(agent.residual("main"), 0)
        self.assertEqual(agent.metric("runnel.output.queued", output="main"), 0)
        return agent

    def values(self, messages, field="value"):
        """What the messages say, in any order, and that no record came twice."""
        numbers = collections.Counter((m["headers"]["runnel-id"].split("-")[5], m["headers"]["runnel-record"]) for m in messages)
        self.assertEqual([n for n in numbers.values() if n > 1], [])
        return sorted((json.loads(m[field])["key"], json.loads(m[field])["value"]) for m in messages)

    def test_codecs(self):
        lines = counters(300, "|#site:lon")
        wanted = sorted((f"test.{number}", number + 1) for number in range(300))
        for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
            with self.subTest(codec):
                topic = f"codec-{codec}"
                agent = self.send(topic, lines, f'compression = "{codec}"', partitions=3)
                self.assertEqual(self.dropped(agent), 0)
                self.assertNotIn("WARNING main", agent.log())
                messages = self.broker.consume(topic)
                self.assertEqual(self.values(messages), wanted)
                by_kcat = self.broker.kcat(topic)
                self.assertEqual(sorted((m["partition"], m["offset"], m["key"], m["payload"]) for m in by_kcat),
                                 sorted((m["partition"], m["offset"], m["key"], m["value"]) for m in messages))
                for message in messages:
                    self.assertEqual(message["key"], json.loads(message["value"])["key"] + ",site=lon")

    def test_every_kind_and_hostile_text(self):
        lines = ["test.count:2|c|#site:lon", "test.gauge:1.5|g|#site:lon", "test.time:10|ms", "test.time:30|ms", "test.set:a|s",
                 *HOSTILE]
        agent = self.send("kinds", lines, events=[{"key": "deploy", "tags": ["web"], "attributes": {"by": "ci"}}])
        bad = int(agent.metric("runnel.source.bad", source="statsd"))
        messages = self.broker.consume("kinds")
        found = {json.loads(m["value"])["key"]: m for m in messages}
        self.assertEqual(len(found), 5 + len(HOSTILE) - bad, agent.log())
        # What merges across hosts is keyed without the host, the rest with it.
        keys = {key: found[key]["key"] for key in ("test.count", "test.gauge", "test.time", "test.set", "deploy")}
        self.assertEqual(keys, {"test.count": "test.count,site=lon", "test.gauge": "test.gauge,host=test-host,site=lon",
                                "test.time": "test.time", "test.set": "test.set", "deploy": "deploy,by=ci,host=test-host"})
        self.assertEqual(json.loads(found["test.time"]["value"])["value"]["sum"], 40)
        self.assertEqual(json.loads(found["deploy"]["value"])["tags"], ["web"])

    def test_batch_messages(self):
        self.send("batches", counters(500), 'message = "batch"\nmax_message_bytes = "4KiB"', partitions=4)
        messages = self.broker.consume("batches")
        lines = [json.loads(line) for m in messages for line in m["value"].splitlines()]
        self.assertEqual(sorted((line["key"], line["value"]) for line in lines), sorted((f"test.{n}", n + 1) for n in range(500)))
        self.assertLess(len(messages), 60)
        for message in messages:
            self.assertTrue(message["value"].endswith("}\n"))
            self.assertLessEqual(len(message["value"]), 4096)
            self.assertRegex(message["headers"]["runnel-record"], r"^\d+-\d+$")
        # A series is in the partition that a message of its own would have gone to.
        self.send("singles", counters(500), partitions=4)
        place = {json.loads(m["value"])["key"]: m["partition"] for m in self.broker.consume("singles")}
        for message in messages:
            for line in message["value"].splitlines():
                self.assertEqual(place[json.loads(line)["key"]], message["partition"])

    def test_partitions_are_those_of_java(self):
        self.send("placed", counters(200, "|#site:lon,ü:ö") + ["test.g:1|g"], partitions=7)
        ours = {m["key"]: m["partition"] for m in self.broker.consume("placed")}
        self.assertEqual(len(ours), 201)
        self.broker.create_topic("placed-java", 7)
        self.broker.produce_with_java("placed-java", list(ours))
        self.assertEqual({m["key"]: m["partition"] for m in self.broker.consume("placed-java")}, ours)
        self.assertEqual(len(set(ours.values())), 7)

    def test_topics_of_tags(self):
        for topic in ("metrics-lon", "metrics-sto", "events-lon", "metrics-default", "events-default"):
            self.broker.create_topic(topic)
        lines = ["test.a:1|c|#site:lon", "test.b:1|c|#site:sto", "test.missing:1|c", "test.unknown:1|c|#site:mars",
                 "test.evil:1|c|#site:../../etc", "test.blocked:1|c|#site:forbidden"]
        events = [{"key": "dep", "attributes": {"site": "lon"}}, {"key": "dep2"}]
        more = 'topic_default = "%{type}s-default"\ntopic_allow = ["*-lon", "*-sto", "*-mars"]'
        agent = self.send("%{type}s-%{tag.site}", lines, more, create=False, events=events)
        self.assertEqual(self.dropped(agent), 0)
        self.assertEqual(self.keys("metrics-lon"), ["test.a"])
        self.assertEqual(self.keys("metrics-sto"), ["test.b"])
        self.assertEqual(self.keys("events-lon"), ["dep"])
        self.assertEqual(self.keys("metrics-default"), ["test.blocked", "test.evil", "test.missing", "test.unknown"])
        self.assertEqual(self.keys("events-default"), ["dep2"])
        self.assertGreaterEqual(agent.metric("runnel.kafka.rerouted", output="main"), 5)

    def test_a_refused_topic_without_default_costs_only_its_records(self):
        self.broker.create_topic("only-good")
        lines = ["test.good:1|c|#site:good", "test.bad:1|c|#site:bad", "test.none:1|c"]
        agent = self.send("only-%{tag.site}", lines, create=False)
        self.assertEqual(self.keys("only-good"), ["test.good"])
        self.assertEqual(agent.metric("runnel.output.quarantined", output="main"), 2)
        self.assertRegex(agent.log(), r"ERROR main: quarantined records=2 reason=rejected .*no topic for test\.")

    def test_a_compacted_topic_costs_only_what_has_no_key(self):
        lines = [f"test.{number}:1|c" + ("|#site:lon" if number % 2 else "") for number in range(200)]
        for message in ("record", "batch"):
            with self.subTest(message):
                self.broker.create_topic(f"compact-{message}", cleanup_policy="compact")
                agent = self.send(f"compact-{message}", lines, f'key = "tag:site"\nmessage = "{message}"', create=False)
                self.assertEqual(self.keys(f"compact-{message}"), sorted(f"test.{number}" for number in range(1, 200, 2)), agent.log())
                self.assertEqual(agent.metric("runnel.output.quarantined", output="main"), 100)

    def test_ffwd_schemas(self):
        wanted = {
            "1.0.0": '{"version":"1.0.0","key":"test.api","host":"test-host","time":T,"attributes":{"role":"db","site":"lon"},"tags":["prod"],"value":42.0}',
            "1.1.0": '{"version":"1.1.0","key":"test.api","time":T,"attributes":{"host":"test-host","role":"db","site":"lon"},"resource":{},"tags":["prod"],"value":42.0}',
            "2.0.0": '{"version":"2.0.0","key":"test.api","time":T,"attributes":{"host":"test-host","role":"db","site":"lon"},"resource":{},"tags":["prod"],"value":{"doubleValue":42.0}}',
        }
        for schema, golden in wanted.items():
            with self.subTest(schema):
                topic = f"ffwd-{schema}"
                lines = ["test.api:42|c|#site:lon,role:db,prod", "test.time:10|ms", "test.time:30|ms"]
                agent = self.send(topic, lines, f'encoding = "ffwd"\nschema = "{schema}"')
                messages = self.broker.consume(topic)
                api = [re.sub(r'"time":\d+', '"time":T', m["value"]) for m in messages if "test.api" in m["value"]]
                self.assertEqual(api, [golden])
                statistics = {}
                for message in messages:
                    value = json.loads(message["value"])
                    if value["key"] == "test.time":
                        statistics[value["attributes"]["stat"]] = value["value"] if schema < "2" else value["value"]["doubleValue"]
                        self.assertRegex(message["headers"]["runnel-record"], r"^\d+\.\d+$")
                self.assertEqual({name: statistics[name] for name in ("count", "sum", "min", "max", "p50")},
                                 {"count": 2, "sum": 40, "min": 10, "max": 30, "p50": 10})
                self.assertEqual(len({m["headers"]["runnel-record"] for m in messages}), len(messages))
                self.assertEqual(self.delivered(agent), 2)

    def test_bad_options_are_errors_with_their_position(self):
        path = self.folder.write("bad.toml", """[output.main]
sink = "kafka"
brokers = ["a:b", "good:9092"]
topic = "metrics-%{site}"
compression = "brotli"
[output.main.librdkafka]
"queue.buffering.max.kbytes" = "many"
"no.such" = 1
"sasl.password" = "secret"
""")
        done = subprocess.run([RUNNEL, "check", "--config", path], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        lines = (done.stdout + done.stderr).splitlines()
        self.assertEqual([line.split(" ")[0] for line in lines],
                         [f"{path}:{where}:" for where in ("3:12", "4:9", "5:15", "7:1", "8:1", "9:1")])
        self.assertNotIn("secret", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
