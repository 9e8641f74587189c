"""What a service manager does with the agent: readiness, watchdog, and sockets that outlive it (sd_notify(3), sd_listen_fds(3))."""
import json
import os
import re
import signal
import socket
import threading
import time
import unittest

from support import riemann
from support.agent import Agent
from support.manager import Manager, passing, statsd_socket
from support.run import main
from support.servers import Folder, wait_for


class Service(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)

    def notified(self, config, environment, **options):
        manager = Manager(self.folder)
        self.addCleanup(manager.socket.close)
        agent = Agent(self.folder, config, environment={"NOTIFY_SOCKET": manager.path, **environment}, **options)
        self.addCleanup(agent.kill)
        return manager, agent

    STDOUT = '[output.stdout]\nsink = "stdout"\n'

    def test_the_watchdog_is_fed_by_the_loop_until_the_end(self):
        manager, agent = self.notified(self.STDOUT, {"WATCHDOG_USEC": "600000"})
        wait_for(lambda: len(manager.times("WATCHDOG=1")) >= 5, "no watchdog messages")
        self.assertEqual([text for _, text in manager.states][0], "READY=1")
        self.assertEqual(agent.stop(), 0)
        self.assertEqual(len(manager.times("STOPPING=1")), 1)

    def test_the_watchdog_is_not_fed_for_another_process_or_without_one(self):
        for environment in ({}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "3000", "WATCHDOG_PID": "1"}):
            with self.subTest(environment=environment):
                manager, agent = self.notified(self.STDOUT, environment)
                wait_for(lambda: manager.times("READY=1"), "not ready")
                agent.wait_log("ready")
                self.assertEqual(agent.stop(), 0)
                self.assertEqual(manager.times("WATCHDOG=1"), [])
                manager.socket.close()
                os.unlink(manager.path)

    def test_a_loop_that_stands_still_is_not_fed(self):
        manager, agent = self.notified(self.STDOUT, {"WATCHDOG_USEC": "300000"})
        wait_for(lambda: manager.times("WATCHDOG=1"), "no watchdog messages")
        agent.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(0.3)
            before = len(manager.times("WATCHDOG=1"))
            time.sleep(0.6)
            self.assertEqual(len(manager.times("WATCHDOG=1")), before)
        finally:
            agent.process.send_signal(signal.SIGCONT)
        wait_for(lambda: len(manager.times("WATCHDOG=1")) > before, "no watchdog messages after it went on")

    def sockets(self):
        """What runnel.socket binds, on free ports: StatsD's, and Riemann's of both kinds."""
        statsd = statsd_socket()
        stream = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for one in (stream, datagrams):
            one.bind(("127.0.0.1", 0))
        for one in (statsd, stream, datagrams):
            self.addCleanup(one.close)
        stream.listen(16)
        return statsd, stream, datagrams

    def config(self, statsd, stream, datagrams, receivers=1):
        return f"""
[source.statsd]
listen = ["udp://127.0.0.1:{statsd.getsockname()[1]}"]
receivers = {receivers}
[source.riemann]
listen = ["tcp://127.0.0.1:{stream.getsockname()[1]}", "udp://127.0.0.1:{datagrams.getsockname()[1]}"]
[output.file]
sink = "file"
path = "{self.folder.path}/out.json"
batch = {{ max_age = "50ms" }}
"""

    def total(self, key):
        try:
            with open(os.path.join(self.folder.path, "out.json"), encoding="utf-8") as file:
                return sum(record["value"] for record in map(json.loads, file) if record["key"] == key)
        except FileNotFoundError:
            return 0

    def test_restarts_and_reloads_lose_no_datagram(self):
        sockets = self.sockets()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(client.close)
        client.connect(sockets[0].getsockname())
        stop, sent = threading.Event(), [0]
        state = f"{self.folder.path}/state"  # what is read at the very end is for the next start

        def send():  # steadily, so that something comes at each moment of a restart; far less than the buffer holds
            while not stop.is_set():
                for _ in range(20):
                    client.send(b"restart.hits:1|c")
                    sent[0] += 1
                time.sleep(0.002)
        sender = threading.Thread(target=send)
        sender.start()
        try:
            for run in range(4):
                agent = passing(self.folder, self.config(*sockets), sockets, name=f"agent{run}", state=state,
                                agent='interval = "1s"\nself_metrics = false')
                self.addCleanup(agent.kill)
                self.assertEqual(len(re.findall("inherited=true", agent.log())), 3, agent.log())
                if run > 0:  # a large journal takes its time to open
                    self.assertLess(agent.log().index("statsd: listening"), agent.log().index(" journal: "))
                time.sleep(0.3)
                for receivers in (2, 1):  # other sockets, and back: the reload opens the listener again
                    with open(agent.config, encoding="utf-8") as file:
                        text = file.read()
                    with open(agent.config, "w", encoding="utf-8") as file:
                        file.write(re.sub(r"receivers = \d", f"receivers = {receivers}", text))
                    seen = len(re.findall("reloaded", agent.log()))
                    agent.reload()
                    wait_for(lambda: len(re.findall("reloaded", agent.log())) > seen, "not reloaded")
                    time.sleep(0.2)
                self.assertEqual(agent.stop(), 0)
        finally:
            stop.set()
            sender.join()
        with passing(self.folder, self.config(*sockets), sockets, name="last", state=state, agent='interval = "1s"') as agent:
            wait_for(lambda: self.total("restart.hits") >= sent[0], "datagrams are missing", 20)
            self.assertEqual(agent.stop(), 0)
        self.assertEqual(self.total("restart.hits"), sent[0])

    def test_a_stop_under_load_delivers_what_was_read(self):
        # Without a manager that keeps the sockets nobody may come who reads the journal.
        config = f'[source.statsd]\nlisten = ["tcp://127.0.0.1:0"]\n[output.file]\nsink = "file"\npath = "{self.folder.path}/out.json"\n'
        with Agent(self.folder, config, agent='interval = "1s"') as agent:
            port = int(agent.wait_log(r"listening on tcp://127.0.0.1:(\d+)").group(1))
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                stop = threading.Event()

                def send():
                    try:
                        while not stop.wait(0.001):
                            client.sendall(b"stopped.hits:1|c\n" * 5)
                    except OSError:
                        pass  # the agent has ended
                sender = threading.Thread(target=send)
                sender.start()
                try:
                    wait_for(lambda: self.total("stopped.hits") > 0, "nothing arrives")
                    self.assertEqual(agent.stop(), 0)
                finally:
                    stop.set()
                    sender.join()
            self.assertEqual(self.total("stopped.hits"), agent.metric("runnel.source.accepted", source="statsd"))
            self.assertEqual(agent.residual("file"), 0)
            self.assertNotIn("not delivered before the end", agent.log())

    def test_connections_wait_for_the_next_agent(self):
        sockets = self.sockets()
        with passing(self.folder, self.config(*sockets), sockets, name="first") as agent:
            self.assertEqual(agent.stop(), 0)
        waiting = riemann.Connection(sockets[1].getsockname())
        self.addCleanup(waiting.socket.close)
        waiting.send(riemann.msg(riemann.event("waited", sint=1)))
        with passing(self.folder, self.config(*sockets), sockets, name="second"):
            self.assertEqual(waiting.answer(), riemann.OK)

    def test_a_socket_that_no_source_reads_is_told(self):
        sockets = self.sockets()
        config = re.sub(r"\[source.riemann\]\n.*\n", "", self.config(*sockets))
        with passing(self.folder, config, sockets, names="a:b:c") as agent:
            told = re.findall(r"nobody reads the socket (\S+) of (\S+)", agent.log())
            port, udp = (s.getsockname()[1] for s in sockets[1:])
            unread = [(f"tcp://127.0.0.1:{port}", "b"), (f"udp://127.0.0.1:{udp}", "c")]
            self.assertEqual(told, unread)
            statsd = sockets[0].getsockname()[1]
            with open(agent.config, encoding="utf-8") as file:
                text = file.read()
            with open(agent.config, "w", encoding="utf-8") as file:
                file.write(text.replace(f":{statsd}", ":0"))
            agent.reload()
            agent.wait_log(rf"nobody reads the socket udp://127.0.0.1:{statsd} of a")
            self.assertEqual(agent.stop(), 0)


if __name__ == "__main__":
    main()
