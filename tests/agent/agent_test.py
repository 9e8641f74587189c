"""The whole path on one host: lines in, records out, and books that balance after a run with failures."""
import json
import os
import signal
import socket
import subprocess
import time
import unittest

from support.agent import RUNNEL, Agent
from support.http_server import Server
from support.run import main
from support.servers import Folder, free_port, wait_for

HOOK = """#!/bin/sh
echo 'queue.depth 42 queue=mail'
echo 'this is no value at all'
echo 'queue.age nan'
"""


def records(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class Path(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)

    def start(self, config, **options):
        agent = Agent(self.folder, config, **options)
        self.addCleanup(agent.kill)
        return agent

    def hooks(self, **files):
        os.makedirs(os.path.join(self.folder.path, "hooks"), mode=0o755, exist_ok=True)
        for name, text in files.items():
            self.folder.write(f"hooks/{name}", text, 0o755)
        return os.path.join(self.folder.path, "hooks")

    def assert_balances(self, agent, outputs, sources):
        for output in outputs:
            self.assertEqual(agent.residual(output), 0, agent.metrics())
        for source in sources:
            value = lambda name: agent.metric(name, source=source)
            received = value("runnel.source.received")
            self.assertGreater(received, 0, source)
            self.assertEqual(received, value("runnel.source.accepted") + value("runnel.source.bad") + value("runnel.dropped"),
                             (source, agent.metrics()))

    def test_books_balance_after_a_run_with_failures(self):
        # The back end refuses at first, breaks connections, then cannot stand one key.
        state = {"requests": 0}

        def answer(request):
            state["requests"] += 1
            if state["requests"] <= 2:
                return "503"
            if state["requests"] == 3:
                return "reset"
            if '"poison"' in request.text():
                return "400"
            return "200"

        server = Server(answer)
        self.addCleanup(server.close)
        hooks = self.hooks(queue=HOOK)
        path = os.path.join(self.folder.path, "out.json")
        agent = self.start(f"""
[source.statsd]
listen = ["udp://127.0.0.1:0", "udp://127.0.0.1:0"]
max_series = 60
[source.scripts]
dir = "{hooks}"
interval = "1s"
[source.host]
collectors = ["load", "memory"]
[output.web]
sink = "http"
url = "{server.url}/"
batch = {{ max_age = "100ms" }}
[output.file]
sink = "file"
path = "{path}"
filter = "not key ~ system."
batch = {{ max_age = "100ms" }}
[output.dead]
sink = "http"
url = "http://127.0.0.1:{free_port()}/"
[journal]
max_bytes = "64KiB"
""", agent='interval = "1s"\nshutdown_timeout = "3s"\ntags = { site = "lon" }')
        first, second = agent.statsd(0), agent.statsd(1)
        first.send("poison:1|c")  # before the others use up max_series
        for i in range(100):
            first.send(f"c{i % 40}:1|c", "total:1|c", f"t:{i}|ms")
            second.send("total:1|c", "bad line", "x:1e400|g", f"g{i}:1|g")
        wait_for(lambda: agent.metric("runnel.output.quarantined", output="web") >= 1, agent.log, 30)
        wait_for(lambda: agent.metric("runnel.output.dropped", output="dead", reason="log_full") >= 1, agent.log, 30)
        self.assertEqual(agent.stop(), 0)
        self.assert_balances(agent, ["web", "file", "dead"], ["statsd", "scripts", "host"])
        self.assertEqual(agent.metric("runnel.source.bad", source="statsd"), 200)
        self.assertGreater(agent.metric("runnel.dropped", source="statsd", reason="max_series"), 0)
        self.assertGreater(agent.metric("runnel.output.filtered", output="file"), 0)
        self.assertGreater(agent.metric("runnel.output.queued", output="dead"), 0)
        self.assertGreaterEqual(agent.metric("runnel.output.retries", output="web"), 3)
        with open(path, encoding="utf-8") as file:
            out = records(file.read())
        self.assertEqual(sum(r["value"] for r in out if r["key"] == "total"), 200)  # both listeners, one series
        self.assertEqual(len(out), agent.metric("runnel.output.delivered", output="file"))
        depth = next(r for r in out if r["key"] == "queue.depth")
        self.assertEqual((depth["value"], depth["tags"], depth["resource"]),
                         (42, {"queue": "mail", "site": "lon"}, {"script": "queue"}))
        self.assertRegex(agent.log(), r"scripts/queue.*this is no value at all")
        self.assertRegex(agent.log(), r"dead: records=\d+ were not delivered before the end")

    def test_several_listeners_make_one_sample_a_series_and_interval(self):
        agent = self.start("""
[source.statsd]
listen = ["udp://127.0.0.1:0", "udp://[::1]:0"]
[output.out]
sink = "stdout"
encoding = "json"
filter = "key = both"
""")
        with agent.statsd(0) as four, socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
            port = int(agent.wait_log(r"listening on udp://\[::1\]:(\d+)")[1])
            for _ in range(50):
                four.send("both:1|c|#a:1,b:2")
                six.sendto(b"both:2|c|#b:2,a:1", ("::1", port))
            wait_for(lambda: sum(r["value"] for r in records(agent.output())) == 150, agent.output)
        samples = records(agent.output())
        self.assertEqual(len({r["time"] for r in samples}), len(samples))
        self.assertEqual(agent.stop(), 0)

    def test_a_hook_that_is_dropped_in_runs_within_two_seconds_and_one_that_goes_stops(self):
        hooks = self.hooks()
        agent = self.start(f"""
[source.scripts]
dir = "{hooks}"
interval = "1s"
[output.out]
sink = "stdout"
encoding = "json"
filter = "key = fresh"
batch = {{ max_age = "50ms" }}
""")
        self.hooks(fresh="#!/bin/sh\necho fresh 1\n")
        wait_for(lambda: records(agent.output()), agent.log, 2.5)
        os.unlink(os.path.join(hooks, "fresh"))
        time.sleep(2)
        count = len(records(agent.output()))
        time.sleep(2.5)
        self.assertEqual(len(records(agent.output())), count)
        self.assertEqual(agent.stop(), 0)

    def test_a_writable_hook_is_refused_with_the_chmod_that_mends_it(self):
        hooks = self.hooks(loose="#!/bin/sh\necho loose 1\n")
        os.chmod(os.path.join(hooks, "loose"), 0o777)
        agent = self.start(f"""
[source.scripts]
dir = "{hooks}"
[output.out]
sink = "stdout"
encoding = "json"
""")
        agent.wait_log(r"chmod \S+ \S*hooks/loose")
        self.assertEqual(agent.stop(), 0)
        self.assertNotIn('"loose"', agent.output())

    def test_a_full_disk_under_the_file_sink_is_survived(self):
        # /dev/full says ENOSPC to every write (full(4)); a regular file takes its place when "space returns".
        link = os.path.join(self.folder.path, "out")
        os.symlink("/dev/full", link)
        agent = self.start(f"""
[source.statsd]
listen = ["udp://127.0.0.1:0"]
[output.file]
sink = "file"
path = "{link}"
batch = {{ max_age = "50ms" }}
filter = "key = kept"
""")
        with agent.statsd() as statsd:
            statsd.send("kept:7|c")
            wait_for(lambda: agent.metric("runnel.output.retries", output="file") >= 1, agent.log)
        os.unlink(link)
        agent.reload()
        wait_for(lambda: os.path.exists(link) and os.path.getsize(link) > 0, agent.log)
        self.assertEqual(agent.stop(), 0)
        with open(link, encoding="utf-8") as file:
            self.assertEqual(sum(r["value"] for r in records(file.read())), 7)
        self.assertEqual(agent.residual("file"), 0)

    def test_an_idle_agent_sleeps(self):
        agent = self.start("""
[source.statsd]
listen = ["udp://127.0.0.1:0"]
[source.host]
[output.out]
sink = "stdout"
""", agent='interval = "10s"')
        time.sleep(1)

        def switches():
            total = 0
            for task in os.listdir(f"/proc/{agent.process.pid}/task"):
                with open(f"/proc/{agent.process.pid}/task/{task}/status", encoding="ascii") as file:
                    total += next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
            return total

        before = switches()
        time.sleep(10)
        # The promise is 5 wake-ups a second; threads that wait for each other cost a switch more than a wake-up.
        self.assertLessEqual(switches() - before, 50)
        self.assertEqual(agent.stop(), 0)

    def test_a_second_signal_ends_at_once(self):
        agent = self.start(f"""
[source.statsd]
listen = ["udp://127.0.0.1:0"]
[output.dead]
sink = "http"
url = "http://127.0.0.1:{free_port()}/"
""", agent='shutdown_timeout = "60s"')
        with agent.statsd() as statsd:
            statsd.send("a:1|c")
        agent.process.send_signal(signal.SIGTERM)
        agent.wait_log("stopping")
        start = time.monotonic()
        agent.process.send_signal(signal.SIGTERM)
        self.assertEqual(agent.process.wait(10), 0)
        self.assertLess(time.monotonic() - start, 5)

    def test_what_a_hook_has_said_when_the_stop_comes_is_delivered(self):
        hooks = self.hooks(slow="#!/bin/sh\necho said 1\nexec sleep 30\n")
        agent = self.start(f'''
[source.scripts]
dir = "{hooks}"
timeout = "60s"
interval = "60s"
[output.out]
sink = "stdout"
encoding = "json"
filter = "key = said"
''')
        time.sleep(1)
        self.assertEqual(agent.stop(), 0)
        self.assertEqual([r["value"] for r in records(agent.output())], [1], agent.log())

    def test_a_stderr_that_nobody_reads_stops_nothing(self):
        path = os.path.join(self.folder.path, "out.json")
        config = self.folder.write("deaf.toml", f'''
[agent]
interval = "1s"
state_dir = "{self.folder.path}/state"
[source.statsd]
listen = ["udp://127.0.0.1:{(port := free_port())}"]
[output.file]
sink = "file"
path = "{path}"
batch = {{ max_age = "50ms" }}
filter = "key = heard"
''')
        read, write = os.pipe()
        process = subprocess.Popen([RUNNEL, "run", "--config", config], stdin=subprocess.DEVNULL, stderr=write)
        self.addCleanup(process.kill)
        os.close(write)
        self.addCleanup(os.close, read)
        os.set_blocking(read, True)
        text = b""
        while b"ready" not in text:
            text += os.read(read, 4096)
        for _ in range(2000):  # each a line of log, until the pipe is full
            process.send_signal(signal.SIGHUP)
            time.sleep(0.0005)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"heard:1|c", ("127.0.0.1", port))
        wait_for(lambda: os.path.exists(path) and "heard" in open(path, encoding="utf-8").read(), "nothing delivered")
        process.terminate()
        self.assertEqual(process.wait(15), 0)

    def test_closed_standard_descriptors_are_not_taken_for_others(self):
        config = self.folder.write("closed.toml", f'[agent]\nstate_dir = "{self.folder.path}/state"\n'
                                   '[source.statsd]\nlisten = ["udp://127.0.0.1:0"]\n[output.out]\nsink = "stdout"\n')
        for closed in ("<&-", ">&-", "2>&-", "<&- >&- 2>&-"):
            process = subprocess.Popen(["/bin/sh", "-c", f'exec "{RUNNEL}" run --config "{config}" {closed}'],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self.addCleanup(process.kill)
            time.sleep(0.5)
            process.terminate()
            self.assertEqual(process.wait(15), 0, closed)

    def test_the_last_partial_interval_is_delivered(self):
        agent = self.start("""
[source.statsd]
listen = ["udp://127.0.0.1:0"]
[output.out]
sink = "stdout"
encoding = "json"
filter = "key = last"
""", agent='interval = "1h"')
        with agent.statsd() as statsd:
            statsd.send("last:3|c")
        before = time.time() * 1000
        self.assertEqual(agent.stop(), 0)
        (sample,) = records(agent.output())
        self.assertEqual(sample["value"], 3)
        self.assertLess(abs(sample["time"] - before), 5000)
        self.assertLess(sample["interval"], 60_000)


if __name__ == "__main__":
    main()
