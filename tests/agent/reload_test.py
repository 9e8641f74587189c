"""SIGHUP: what changed is changed, what did not is not disturbed, and a bad file changes nothing."""
import json
import os
import socket
import unittest

from support.agent import Agent
from support.http_server import Server
from support.run import main
from support.servers import Folder, free_port, wait_for


def sockets(pid):
    """Inode numbers of the process's sockets: a listener that was closed and opened again has another."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


class Reload(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        self.out = os.path.join(self.folder.path, "out.json")

    def config(self, listen, more="", filter_=""):
        return f"""
[source.statsd]
listen = {json.dumps(listen)}
[output.file]
sink = "file"
path = "{self.out}"
filter = "{filter_}"
batch = {{ max_age = "50ms" }}
{more}
"""

    def start(self, config, **options):
        self.agent = Agent(self.folder, config, **options)
        self.addCleanup(self.agent.kill)
        with open(self.agent.config, encoding="utf-8") as file:
            self.head = file.read().replace(config, "")
        return self.agent

    def rewrite(self, config):
        with open(self.agent.config, "w", encoding="utf-8") as file:
            file.write(self.head + config)
        self.agent.reload()

    def written(self, key):
        try:
            with open(self.out, encoding="utf-8") as file:
                return [r for r in map(json.loads, file) if r["key"] == key]
        except FileNotFoundError:
            return []

    def test_a_listener_that_stays_is_not_disturbed(self):
        ports = [free_port(), free_port(), free_port()]
        urls = [f"udp://127.0.0.1:{port}" for port in ports]
        agent = self.start(self.config(urls[:2]))
        before = sockets(agent.process.pid)
        with agent.statsd(0) as statsd:
            statsd.send("across:1|c")
            self.rewrite(self.config([urls[0], urls[2]]))
            agent.wait_log("agent: reloaded")
            agent.wait_log(f"no longer listening on {urls[1]}")
            statsd.send("across:2|c")
            wait_for(lambda: len(before & sockets(agent.process.pid)) == len(before) - 1, agent.log)  # one closed
            after = sockets(agent.process.pid)
            self.assertEqual(len(after), len(before))
            wait_for(lambda: sum(r["value"] for r in self.written("across")) == 3, agent.log)
        self.assertEqual(agent.stop(), 0)

    def test_a_bad_file_leaves_the_old_configuration_running(self):
        agent = self.start(self.config(["udp://127.0.0.1:0"]))
        self.rewrite(self.config(["udp://127.0.0.1:0"], more="[output.x]\nsink = \"nope\"\n[journal]\nmax_byte = \"1MiB\"\n"))
        agent.wait_log("not reloaded: the old configuration stays")
        self.assertRegex(agent.log(), r'agent\.toml:\d+:\d+: error: .*no sink "nope"')
        self.assertRegex(agent.log(), r"agent\.toml:\d+:\d+: error: .*max_byte.*max_bytes")
        with agent.statsd() as statsd:
            statsd.send("still:1|c")
            wait_for(lambda: self.written("still"), agent.log)
        self.assertEqual(agent.stop(), 0)

    def test_a_port_that_is_taken_undoes_the_whole_reload(self):
        taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", 0))
        url = f"udp://127.0.0.1:{taken.getsockname()[1]}"
        agent = self.start(self.config(["udp://127.0.0.1:0"]))
        self.rewrite(self.config(["udp://127.0.0.1:0", url], filter_="key = other"))
        agent.wait_log(f"{url}: Address already in use")
        agent.wait_log("not reloaded")
        with agent.statsd() as statsd:
            statsd.send("kept:1|c")
            wait_for(lambda: self.written("kept"), agent.log)
        self.assertEqual(agent.stop(), 0)

    def test_listeners_move_between_addresses_and_sources(self):
        first, second = free_port(), free_port()
        two = lambda a, b, host="127.0.0.1", name="one": f'''
[[source.statsd]]
name = "{name}"
listen = ["udp://{host}:{a}"]
[[source.statsd]]
name = "two"
listen = ["udp://127.0.0.1:{b}"]
[output.file]
sink = "file"
path = "{self.out}"
batch = {{ max_age = "50ms" }}
'''
        agent = self.start(two(first, second))
        steps = [two(second, first), two(second, first, host="0.0.0.0"), two(second, first, host="0.0.0.0", name="other")]
        for i, config in enumerate(steps):
            self.rewrite(config)
            wait_for(lambda: agent.log().count("agent: reloaded") == i + 1, agent.log)
            for port in (first, second):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.sendto(f"moved{i}:1|c".encode(), ("127.0.0.1", port))
            wait_for(lambda: sum(r["value"] for r in self.written(f"moved{i}")) == 2, agent.log)
        # What was shared for the move is not shared now.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
            thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.assertRaises(OSError, thief.bind, ("127.0.0.1", first))
        self.assertEqual(agent.stop(), 0)

    def precious_arrives(self, between):
        """A record that could not be delivered arrives once, after `between` and a reload that mends the output."""
        server = Server()
        self.addCleanup(server.close)
        web = lambda url: f'[output.web]\nsink = "http"\nurl = "{url}"\nfilter = "key = precious"\nbatch = {{ max_age = "50ms" }}\n'
        agent = self.start(self.config(["udp://127.0.0.1:0"], more=web(f"http://127.0.0.1:{free_port()}/")))
        with agent.statsd() as statsd:
            statsd.send("precious:5|c")
        wait_for(lambda: agent.metric("runnel.output.retries", output="web") >= 1, agent.log)
        between(agent)
        self.rewrite(self.config(["udp://127.0.0.1:0"], more=web(server.url + "/")))
        agent.wait_log("web: output started")

        def arrived():
            with server.lock:
                return [json.loads(line) for request in server.requests for line in request.text().splitlines()]
        wait_for(arrived, agent.log)
        self.assertEqual([r["value"] for r in arrived()], [5])
        self.assertIn("agent: reloaded", agent.log())
        self.assertEqual(agent.stop(), 0)
        self.assertEqual(agent.residual("web"), 0)

    def test_an_output_that_changes_keeps_what_it_had_not_delivered(self):
        self.precious_arrives(lambda agent: None)

    def test_an_output_that_comes_back_finds_what_it_had_not_delivered(self):
        def removed(agent):
            self.rewrite(self.config(["udp://127.0.0.1:0"]))
            agent.wait_log("web: removed from the configuration")
        self.precious_arrives(removed)

    def test_an_output_that_is_removed_delivers_what_it_had(self):
        second = os.path.join(self.folder.path, "second.json")
        extra = f'[output.second]\nsink = "file"\npath = "{second}"\nbatch = {{ max_age = "1h" }}\n'
        agent = self.start(self.config(["udp://127.0.0.1:0"], more=extra))
        with agent.statsd() as statsd:
            statsd.send("queued:5|c")
            wait_for(lambda: self.written("queued"), agent.log)
        self.rewrite(self.config(["udp://127.0.0.1:0"]))
        agent.wait_log("second: removed from the configuration")
        wait_for(lambda: os.path.exists(second) and '"queued"' in open(second, encoding="utf-8").read(), agent.log)
        # Once more with it: an output of that name begins anew.
        self.rewrite(self.config(["udp://127.0.0.1:0"], more=extra))
        agent.wait_log("second: output started")
        self.assertEqual(agent.stop(), 0)
        self.assertEqual(agent.residual("second"), 0)

    def test_a_storm_of_signals_harms_nothing(self):
        agent = self.start(self.config(["udp://127.0.0.1:0"]))
        inodes = sockets(agent.process.pid)
        for _ in range(200):
            agent.reload()
        with agent.statsd() as statsd:
            statsd.send("after:1|c")
            wait_for(lambda: self.written("after"), agent.log)
        self.assertEqual(sockets(agent.process.pid), inodes)
        self.assertEqual(agent.stop(), 0)


if __name__ == "__main__":
    main()
