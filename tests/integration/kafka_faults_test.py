"""What happens to a real Kafka broker while samples come in: killed and started again, stopped, its topic deleted, its limits
lowered. Nothing is lost, and a record that came twice is recognised by its number."""
import collections
import json
import re
import threading
import time

from support.agent import RUNNEL
from support.kafka import KafkaTest
from support.run import main
from support.servers import free_port, wait_for


class Stream:
    """Counters with names of their own, 20 every 50 ms, until it is left."""

    def __init__(self, agent):
        self.statsd = agent.statsd()
        self.sent = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._over.wait(0.05):
            self.statsd.send(*(f"test.{number}:1|c" for number in range(self.sent, self.sent + 20)))
            self.sent += 20

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join(10)
        self.statsd.close()


class Faults(KafkaTest):
    def stream_agent(self, topic, more=""):
        """Without compression: what is on its way fills buffers sooner."""
        self.broker.create_topic(topic, 3)
        return self.agent(topic, f'compression = "none"\n{more}')

    def finish(self, agent, sent):
        """Stops the agent once all is delivered; nothing may be missing from the accounts."""
        self.wait_delivered(agent, sent, 60)
        self.assertEqual(agent.stop(), 0, agent.log())
        self.assertEqual(agent.residual("main"), 0)
        self.assertEqual(self.dropped(agent), 0)

    def check(self, topic, sent):
        """Everything is there; returns how many records came twice."""
        messages = self.broker.consume(topic)
        times = collections.Counter(m["headers"]["runnel-record"] for m in messages)
        self.assertEqual({json.loads(m["value"])["key"] for m in messages}, {f"test.{number}" for number in range(sent)})
        self.assertEqual(len(times), sent)  # a series is one record: whatever is more has the number of the first
        return len(messages) - sent

    def test_killed_and_started_again_five_times(self):
        agent = self.stream_agent("killed")
        slowest = 0
        with Stream(agent) as stream:
            self.wait_delivered(agent, 1)
            for _ in range(5):
                self.broker.kill()
                time.sleep(0.5)
                before = self.delivered(agent)
                self.broker.start()
                started = time.monotonic()
                self.wait_delivered(agent, before + 101, 30)
                slowest = max(slowest, time.monotonic() - started)
        self.finish(agent, stream.sent)
        twice = self.check("killed", stream.sent)
        print(f"{stream.sent} records, {twice} twice; delivering again at most {slowest:.1f} s after the broker was back")
        in_flight = 5 * 20 * 40  # what a write holds: what comes in while the broker is away, here at most 2 s a time
        self.assertLessEqual(twice, in_flight)

    def test_stopped_for_a_while(self):
        agent = self.stream_agent("stopped")
        with Stream(agent) as stream:
            self.wait_delivered(agent, 1)
            self.broker.suspend()
            self.addCleanup(self.broker.resume)
            time.sleep(30)
            before = self.delivered(agent)
            self.broker.resume()
            resumed = time.monotonic()
            self.wait_delivered(agent, before + 1, 30)
            self.assertLess(time.monotonic() - resumed, 10)
        self.finish(agent, stream.sent)
        self.assertEqual(self.check("stopped", stream.sent), 0)

    def test_longer_away_than_the_library_tries(self):
        agent = self.stream_agent("timeout", 'timeout = "2s"')
        with Stream(agent) as stream:
            self.wait_delivered(agent, 1)
            self.broker.suspend()
            self.addCleanup(self.broker.resume)
            agent.wait_log(r"WARNING main: not delivered, trying again .*(Local: |Failed|timed out|Timed out)", 30)
            self.broker.resume()
        self.finish(agent, stream.sent)
        self.check("timeout", stream.sent)

    def test_topic_missing_and_deleted(self):
        agent = self.agent("missing")
        with agent.statsd() as statsd:
            statsd.send("test.0:1|c")
            agent.wait_log(r"WARNING main: held, an operator must act.*topic missing: .*nknown topic", 30)
            self.broker.create_topic("missing")
            agent.reload()
            self.wait_delivered(agent, 1)
            self.assertEqual(self.check("missing", 1), 0)
            self.broker.delete_topic("missing")
            statsd.send("test.1:1|c")
            wait_for(lambda: agent.log().count("held, an operator must act") == 2, lambda: agent.log(), 30)
            self.broker.create_topic("missing")
            agent.reload()
            self.finish(agent, 2)
        self.assertEqual(self.keys("missing"), ["test.1"])

    def test_message_limit_lowered(self):
        agent = self.stream_agent("limited")
        with agent.statsd() as statsd:
            statsd.send("test.0:1|c")
            self.wait_delivered(agent, 1)
            self.broker.alter_topic("limited", max_message_bytes=3000)
            for first in range(1, 401, 20):
                statsd.send(*(f"test.{number}:1|c" for number in range(first, first + 20)))
            self.finish(agent, 401)
        self.assertIn("too large for the other side", agent.log())
        self.assertEqual(self.check("limited", 401), 0)

    def test_memory_stays_flat_while_there_is_no_broker(self):
        with open(RUNNEL, "rb") as file:
            if re.search(rb"__[at]san_init", file.read()):
                self.skipTest("a sanitizer keeps freed memory")
        config = '[journal]\nmax_bytes = "1MiB"\n'
        agent = self.agent("none", config, address=f"127.0.0.1:{free_port()}", agent='interval = "1s"\nshutdown_timeout = "2s"')

        def resident_kib():
            with open(f"/proc/{agent.process.pid}/status", encoding="ascii") as file:
                return int(next(line for line in file if line.startswith("VmRSS")).split()[1])

        with Stream(agent):
            time.sleep(4)
            before = resident_kib()
            time.sleep(6)
            after = resident_kib()
        print(f"resident: {before} KiB, 6 s later {after} KiB")
        self.assertLess(after - before, 4096)
        started = time.monotonic()
        agent.process.terminate()
        self.assertEqual(agent.process.wait(30), 0)
        self.assertLess(time.monotonic() - started, 12)


if __name__ == "__main__":
    main()
