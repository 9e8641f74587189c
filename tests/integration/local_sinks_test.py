"""The sinks file and stdout inside the real agent: a full disk, logrotate, a reader of stdout that does not read."""
import collections
import gzip
import json
import os
import resource
import subprocess
import time
import unittest

from support.agent import Agent
from support.run import main
from support.servers import Folder, wait_for

CONFIG = """
[source.statsd]
listen = ["udp://127.0.0.1:0"]

[output.main]
sink   = "{sink}"
batch  = {{ max_age = "100ms" }}
filter = 'key ~ ^test'
{more}
"""


class Local(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)

    def delivered(self, agent):
        return agent.metric("runnel.output.delivered", output="main")

    def send(self, agent, first, count):
        with agent.statsd() as statsd:
            for number in range(first, first + count):
                statsd.send(f"test.{number}:1|c")

    def finish(self, agent):
        self.assertEqual(agent.stop(), 0, agent.log())
        self.assertEqual(agent.residual("main"), 0)

    def keys(self, text):
        return collections.Counter(json.loads(line)["key"] for line in text.splitlines())

    def test_file_on_a_full_disk(self):
        path = os.path.join(self.folder.path, "out.json")
        filler = json.dumps({"key": "filler", "pad": "x" * 1000}) + "\n"
        with open(path, "w", encoding="utf-8") as file:
            file.write(filler * 300)
        size = os.path.getsize(path)
        with Agent(self.folder, CONFIG.format(sink="file", more=f'encoding = "json"\npath = "{path}"')) as agent:
            # The disk is full 100 bytes further on, in the middle of a record. The metrics file stays below it.
            before = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))
            self.send(agent, 0, 50)
            agent.wait_log(r"(WARNING|ERROR) main: .*File too large")
            self.assertEqual(os.path.getsize(path), size)
            self.assertEqual(self.delivered(agent), 0)
            resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, before)
            wait_for(lambda: self.delivered(agent) >= 50, lambda: agent.log(), 30)
            self.finish(agent)
            self.assertEqual(agent.metric("runnel.output.dropped", output="main"), 0)
            self.assertGreaterEqual(agent.metric("runnel.output.retries", output="main"), 1)
        with open(path, encoding="utf-8") as file:
            found = self.keys(file.read())
        self.assertEqual(found, {"filler": 300, **{f"test.{number}": 1 for number in range(50)}})

    def test_file_with_logrotate_and_with_its_own_rotation(self):
        path = os.path.join(self.folder.path, "out.json.gz")
        more = f'compression = "gzip"\npath = "{path}"\nrotate_size = "1KiB"\nkeep = 100'
        with Agent(self.folder, CONFIG.format(sink="file", more=more)) as agent:
            for first in range(0, 60, 20):
                self.send(agent, first, 20)
                wait_for(lambda: self.delivered(agent) >= first + 20, lambda: agent.log())
                if first == 20:
                    os.rename(path, path + ".moved")
                    agent.reload()
            self.finish(agent)
        names = [name for name in os.listdir(self.folder.path) if name.startswith("out.json.gz")]
        self.assertIn("out.json.gz.moved", names)
        found = collections.Counter()
        for name in names:
            with gzip.open(os.path.join(self.folder.path, name), "rt", encoding="utf-8") as file:
                found += self.keys(file.read())
        self.assertEqual(found, {f"test.{number}": 1 for number in range(60)})

    def test_stdout_that_nobody_reads_does_not_hold_up_the_end(self):
        reader, writer = os.pipe()
        config = CONFIG.format(sink="stdout", more="")
        agent = Agent(self.folder, config, agent='interval = "1s"\nshutdown_timeout = "1s"', stdout=writer)
        os.close(writer)
        self.addCleanup(os.close, reader)
        self.addCleanup(agent.kill)
        self.send(agent, 0, 3000)  # more than a pipe holds
        wait_for(lambda: agent.metric("runnel.output.in_flight", output="main") > 0, lambda: agent.log())
        begin = time.monotonic()
        self.finish(agent)
        self.assertLess(time.monotonic() - begin, 15)

    def test_stdout_whose_reader_goes(self):
        head = subprocess.Popen(["head", "-n", "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        agent = Agent(self.folder, CONFIG.format(sink="stdout", more=""), stdout=head.stdin,
                      agent='interval = "1s"\nshutdown_timeout = "1s"')
        head.stdin.close()
        self.addCleanup(agent.kill)
        self.send(agent, 0, 10)
        self.assertEqual(head.stdout.read().count("\n"), 3)
        head.stdout.close()
        head.wait(20)
        self.send(agent, 10, 10)
        agent.wait_log(r"main: .*its reader has gone")
        self.assertIsNone(agent.process.poll())
        self.finish(agent)


if __name__ == "__main__":
    main()
