"""plugins/example, built outside the tree against the installed header alone, inside the real agent."""
import json
import os
import shutil
import socket
import subprocess
import unittest

from support.agent import RUNNEL, Agent
from support.run import main
from support.servers import Folder, need, wait_for

SOURCE, BUILD = os.environ["RUNNEL_SOURCE"], os.environ["RUNNEL_BUILD"]


class Example(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        prefix = f"{self.folder.path}/prefix"
        subprocess.run([need("cmake", "cmake"), "--install", BUILD, "--prefix", prefix, "--component", "sdk"], check=True,
                       timeout=60, stdout=subprocess.DEVNULL)
        shutil.copy(f"{SOURCE}/plugins/example/unixgram_sink.c", self.folder.path)
        self.plugin = f"{self.folder.path}/unixgram.so"
        self.build(f"-I{prefix}/include")

    def build(self, *flags):
        subprocess.run([need("gcc", "gcc"), "-std=c11", "-O1", "-fPIC", "-shared", "-fvisibility=hidden", "-Wall", "-Werror", *flags,
                        "-o", self.plugin, f"{self.folder.path}/unixgram_sink.c"], check=True, timeout=60)

    def run_cli(self, *arguments):
        done = subprocess.run([RUNNEL, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout + done.stderr

    def config(self, more=""):
        return f"""
[source.statsd]
listen = ["udp://127.0.0.1:0"]

[output.local]
sink   = "{self.plugin}"
socket = "{self.folder.path}/consumer.sock"
batch  = {{ max_age = "100ms" }}
filter = 'key ~ ^test'
{more}
"""

    def test_runs(self):
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(f"{self.folder.path}/consumer.sock")
        receiver.settimeout(20)
        with Agent(self.folder, self.config()) as agent:
            with agent.statsd() as statsd:
                statsd.send(*[f"test.{number}:{number}|g" for number in range(10)])
            seen = [json.loads(receiver.recv(1 << 16)) for _ in range(10)]
            self.assertEqual({one["key"]: one["value"] for one in seen}, {f"test.{number}": number for number in range(10)})
            self.assertEqual(agent.stop(), 0, agent.log())
            self.assertEqual(agent.residual("local"), 0)

    def test_waits_for_its_consumer(self):
        with Agent(self.folder, self.config()) as agent:
            with agent.statsd() as statsd:
                statsd.send("test.value:1|g")
            agent.wait_log(r"local: .*No such file or directory")
            receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self.addCleanup(receiver.close)
            receiver.bind(f"{self.folder.path}/consumer.sock")
            receiver.settimeout(60)
            self.assertEqual(json.loads(receiver.recv(1 << 16))["key"], "test.value")
            self.assertEqual(agent.stop(), 0, agent.log())
            self.assertEqual(agent.residual("local"), 0)

    def test_one_record_too_large_is_put_aside_alone(self):
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(f"{self.folder.path}/consumer.sock")
        receiver.settimeout(20)
        with Agent(self.folder, self.config('max_size = "300B"')) as agent:
            with agent.statsd() as statsd:
                statsd.send("test.a:1|g", "test." + "x" * 300 + ":1|g", "test.b:2|g")
            self.assertEqual({json.loads(receiver.recv(1 << 16))["key"] for _ in range(2)}, {"test.a", "test.b"})
            wait_for(lambda: agent.metric("runnel.output.quarantined", output="local") >= 1, lambda: agent.log())
            self.assertEqual(agent.stop(), 0, agent.log())
            self.assertEqual(agent.residual("local"), 0)

    def test_listed_and_checked(self):
        status, text = self.run_cli("list", "sink", self.plugin)
        self.assertEqual(status, 0, text)
        for option in ("socket", "records", "max_size", "send_timeout", "skip_names", "line_end"):
            self.assertIn(option, text)
        config = self.folder.write("check.toml", f"""[output.local]
sink     = "{self.plugin}"
socket   = "relative"
max_size = "1B"
line_ent = true
records  = "some"
""")
        status, text = self.run_cli("check", "--config", config)
        self.assertEqual(status, 2, text)
        for line, part in ((3, "must be an absolute path"), (4, "max_size"), (5, "line_end"), (6, "metrics")):
            self.assertRegex(text, rf"(?m)^{config}:{line}:\d+: error: .*{part}")

    def test_another_version_is_refused_with_both_numbers(self):
        path = f"{self.folder.path}/unixgram_sink.c"
        with open(path, encoding="utf-8") as file:
            text = file.read()
        self.folder.write("unixgram_sink.c", text.replace(".abi_version = RUNNEL_SINK_ABI", ".abi_version = 7777"))
        self.build(f"-I{self.folder.path}/prefix/include")
        status, text = self.run_cli("check", "--config", self.folder.write("check.toml", self.config()))
        self.assertEqual(status, 2, text)
        self.assertIn("7777", text)
        self.assertRegex(text, r"\b1\b")
        self.assertIn("unixgram", text)


if __name__ == "__main__":
    main()
