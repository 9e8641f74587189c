"""HTTP answers end to end: what the agent makes of each, with nothing lost, nothing sent twice under another id, and
balances that hold."""
import json
import time
import unittest

from support.agent import Agent
from support.http_server import Server
from support.run import main
from support.servers import Folder, free_port, wait_for

CONFIG = """
[source.statsd]
listen = ["udp://127.0.0.1:0"]

[output.main]
sink        = "http"
compression = "gzip"
batch       = {{ max_age = "100ms" }}
filter      = 'key ~ ^test'
url         = "{url}"
{more}
"""


def samples(requests):
    """The samples in bodies of requests, by key."""
    return [json.loads(line) for request in requests for line in request.text().splitlines()]


class Answers(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        self.server = Server()
        self.addCleanup(self.server.close)

    def start(self, path, more="", **options):
        agent = Agent(self.folder, CONFIG.format(url=self.server.url + path, more=more), **options)
        self.addCleanup(agent.kill)
        return agent

    def requests(self):
        with self.server.lock:
            return list(self.server.requests)

    def delivered(self, agent):
        return agent.metric("runnel.output.delivered", output="main")

    def send_gauges(self, agent, count, first=0):
        with agent.statsd() as statsd:
            for number in range(first, first + count):
                statsd.send(f"test.{number}:{number}|g")

    def finish(self, agent, status=0):
        self.assertEqual(agent.stop(), status, agent.log())
        self.assertEqual(agent.residual("main"), 0, agent.metrics())

    def test_retried_until_accepted_with_the_same_id_and_bytes(self):
        agent = self.start("/do/503~1/429~1/close/half/reset/200")
        self.send_gauges(agent, 20)
        wait_for(lambda: len(self.requests()) >= 6, lambda: f"{len(self.requests())} requests\n{agent.log()}", 60)
        first = self.requests()[:6]
        self.assertEqual(len({request.headers["Idempotency-Key"] for request in first}), 1)
        self.assertEqual(len({request.body for request in first}), 1)
        self.assertEqual(first[0].headers["Content-Encoding"], "gzip")
        self.assertRegex(first[0].headers["User-Agent"], r"^runnel/\d")
        wait_for(lambda: self.delivered(agent) >= 20, lambda: agent.log())
        self.finish(agent)
        # libcurl itself sends again where a kept connection ends without a byte, so `close` may not show.
        self.assertGreaterEqual(agent.metric("runnel.output.retries", output="main"), 4)
        self.assertEqual(agent.metric("runnel.output.dropped", output="main"), 0)
        values = {sample["key"]: sample["value"] for sample in samples(first[5:])}
        self.assertEqual(values, {f"test.{number}": number for number in range(20)})
        # Ids of different payloads differ.
        rest = self.requests()[5:]
        self.assertEqual(len({request.headers["Idempotency-Key"] for request in rest}), len(rest))

    def test_held_until_the_password_is_right(self):
        secret = self.folder.write("token", "wrong\n", 0o600)
        agent = self.start("/do/auth:Bearer%20right", f'token_file = "{secret}"')
        self.send_gauges(agent, 5)
        agent.wait_log(r"(WARNING|ERROR) main: .*HTTP 401")
        count = len(self.requests())
        self.folder.write("token", "right\n", 0o600)
        agent.reload()  # a hold ends with it
        wait_for(lambda: self.delivered(agent) >= 5, lambda: agent.log())
        self.assertGreater(len(self.requests()), count)
        self.finish(agent)
        self.assertEqual(agent.metric("runnel.output.dropped", output="main"), 0)
        for secret in ("right", "wrong"):
            self.assertNotIn(f"Bearer {secret}", agent.log())

    def test_poison_is_found_and_the_rest_is_delivered(self):
        poison = "test.37"
        server = self.server

        class Poisoned(server.RequestHandlerClass):
            def answer(self, step):
                keys = {json.loads(line)["key"] for line in server.requests[-1].text().splitlines()}
                self.send(400 if poison in keys else 200, b"no such thing")
        server.RequestHandlerClass = Poisoned
        agent = self.start("/")
        self.send_gauges(agent, 100)
        wait_for(lambda: self.delivered(agent) + agent.metric("runnel.output.quarantined", output="main") >= 100,
                 lambda: agent.log(), 60)
        agent.wait_log(r"no such thing")
        self.finish(agent)
        self.assertGreaterEqual(agent.metric("runnel.output.quarantined", output="main"), 1)
        good = {sample["key"] for request in self.requests() for sample in samples([request])
                if poison not in request.text()}
        self.assertEqual(good, {f"test.{number}" for number in range(100)} - {poison})

    def test_too_large_is_split(self):
        server = self.server

        class Small(server.RequestHandlerClass):
            def answer(self, step):
                lines = server.requests[-1].text().count("\n")
                self.send(413 if lines > 10 else 200, b"at most ten")
        server.RequestHandlerClass = Small
        agent = self.start("/")
        self.send_gauges(agent, 60)
        wait_for(lambda: self.delivered(agent) >= 60, lambda: agent.log(), 60)
        self.finish(agent)
        self.assertEqual(agent.metric("runnel.output.dropped", output="main"), 0)
        taken = [request for request in self.requests() if request.text().count("\n") <= 10]
        self.assertEqual({sample["key"] for sample in samples(taken)}, {f"test.{number}" for number in range(60)})
        ids = [request.headers["Idempotency-Key"] for request in self.requests()]
        bodies = {}
        for request in self.requests():
            bodies.setdefault(request.headers["Idempotency-Key"], set()).add(request.text())
        self.assertTrue(all(len(texts) == 1 for texts in bodies.values()), ids)

    def test_nobody_there_then_somebody(self):
        port = free_port()
        agent = Agent(self.folder, CONFIG.format(url=f"http://127.0.0.1:{port}/", more=""))
        self.addCleanup(agent.kill)
        self.send_gauges(agent, 10)
        agent.wait_log(r"main: .*connect")
        late = Server(port=port)
        self.addCleanup(late.close)
        wait_for(lambda: self.delivered(agent) >= 10, lambda: agent.log(), 60)
        self.finish(agent)
        self.assertEqual(agent.metric("runnel.output.dropped", output="main"), 0)

    def test_a_blocked_write_does_not_hold_up_the_end(self):
        agent = self.start("/do/silent", agent='interval = "1s"\nshutdown_timeout = "1s"')
        self.send_gauges(agent, 10)
        wait_for(self.requests, lambda: agent.log())
        begin = time.monotonic()
        self.finish(agent)
        self.assertLess(time.monotonic() - begin, 10)
        self.assertEqual(self.delivered(agent), 0)

    def test_one_dead_output_delays_no_other(self):
        second = Server()
        self.addCleanup(second.close)
        agent = self.start("/do/silent", f"""
[output.other]
sink   = "http"
batch  = {{ max_age = "100ms" }}
filter = 'key ~ ^test'
url    = "{second.url}/"
""", agent='interval = "1s"\nshutdown_timeout = "1s"')
        self.send_gauges(agent, 10)
        wait_for(lambda: agent.metric("runnel.output.delivered", output="other") >= 10, lambda: agent.log())
        self.assertEqual(self.delivered(agent), 0)
        self.finish(agent)
        self.assertEqual(agent.residual("other"), 0)


if __name__ == "__main__":
    main()
