"""220 connections to the Riemann source at once, honest and hostile ones mixed, some of each over TLS, for a while: every
acknowledged event arrives, memory stays flat, nothing that is hostile hurts the others. RUNNEL_SOAK is the number of
seconds (8)."""
import json
import os
import random
import socket
import ssl
import threading
import time
import unittest

from support.agent import Agent
from support.http_server import Server
from support.riemann import MEASURED, OK, Connection, event, frame, msg
from support.run import main
from support.servers import Folder, make_certificates

CONFIG = """
[source.riemann]
listen       = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0"]
idle_timeout = "15s"
max_frame    = "64KiB"
tls_ca       = "{path}/ca.pem"
tls_cert     = "{path}/server.pem"
tls_key      = "{path}/server.key"

[output.main]
sink   = "http"
filter = 'key = honest'
url    = "{url}"
"""
SECONDS = float(os.environ.get("RUNNEL_SOAK", "8"))
HONEST, HOSTILE, A_THREAD = 100, 100, 10


class Soak(unittest.TestCase):
    def test_mixed(self):
        folder = Folder()
        self.addCleanup(folder.close)
        self.path = make_certificates(folder)
        arrived = set()

        def note(request):
            for line in request.text().splitlines():
                arrived.add(json.loads(line)["value"])

        server = Server(note)
        self.addCleanup(server.close)
        self.agent = Agent(folder, CONFIG.format(url=server.url, path=self.path), agent='interval = "500ms"',
                           environment=MEASURED)
        self.addCleanup(self.agent.kill)
        port = int(self.agent.wait_log(r"riemann: listening on tcp://127.0.0.1:(\d+)").group(1))
        self.address = ("127.0.0.1", port)
        port = int(self.agent.wait_log(r"riemann: listening on tls://127.0.0.1:(\d+)").group(1))
        self.tls_address = ("127.0.0.1", port)
        self.end = time.monotonic() + SECONDS
        self.acknowledged, self.problems, self.lock = set(), [], threading.Lock()
        threads = [threading.Thread(target=self.guard, args=(self.honest, n)) for n in range(HONEST // A_THREAD)]
        threads += [threading.Thread(target=self.guard, args=(self.hostile, n)) for n in range(HOSTILE // A_THREAD)]
        threads += [threading.Thread(target=self.guard, args=(self.honest, n, True)) for n in (100,)]
        threads += [threading.Thread(target=self.guard, args=(self.hostile, n, True)) for n in (100,)]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS / 3)
        warm = self.memory()
        for thread in threads:
            thread.join(SECONDS + 120)
            self.assertFalse(thread.is_alive(), "a client hangs")
        grown = self.memory() - warm
        self.assertEqual(self.problems, [])
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        self.assertEqual(self.agent.residual("main"), 0)
        total = lambda name: self.agent.metric(name, source="riemann")
        self.assertEqual(total("runnel.source.received"), total("runnel.source.accepted") +
                         total("runnel.source.bad") + total("runnel.dropped"))
        self.assertGreater(len(self.acknowledged), 0)
        self.assertEqual(self.acknowledged - arrived, set())
        self.assertLess(grown, 48 << 20)
        print(f"acknowledged {len(self.acknowledged)}, grown {grown >> 10} KiB", flush=True)

    def memory(self):
        with open(f"/proc/{self.agent.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def connect(self, tls):
        connection = Connection(self.tls_address if tls else self.address, 60)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(f"{self.path}/ca.pem")
            context.load_cert_chain(f"{self.path}/client.pem", f"{self.path}/client.key")
            connection.socket = context.wrap_socket(connection.socket, server_hostname="127.0.0.1")
        return connection

    def guard(self, work, *arguments):
        try:
            work(*arguments)
        except Exception as error:  # told by the test's own thread
            with self.lock:
                self.problems.append(repr(error))

    def honest(self, number, tls=False):
        """Ten connections, ten events a message, in turn; over TLS one of them is a new one each time."""
        connections = [self.connect(tls) for _ in range(A_THREAD)]
        value = number * 10_000_000
        while time.monotonic() < self.end:
            sent = []
            for c in connections:
                values = list(range(value, value + 10))
                value += 10
                c.send(msg(*(event(service="honest", sint=one) for one in values)))
                sent.append(values)
            for c, values in zip(connections, sent):
                if c.answer() != OK:
                    raise AssertionError("an honest message was not answered with ok")
                with self.lock:
                    self.acknowledged.update(values)
            time.sleep(0.01)
            if tls:
                connections.pop(0).close()
                connections.append(self.connect(tls))
        for c in connections:
            c.close()

    def hostile(self, number, tls=False):
        """Ten connections that send what nobody should, do not read, drip, vanish; opened again when they were closed. Over TLS
        every other one speaks it, the others send the same to the same port in the open."""
        chance = random.Random(number)
        good = msg(event(service="hostile", double=1))
        moves = [b"\0\0\0\0", b"\xff" * 4, frame(b"\xff" * 50), frame(good[:-1]), b"\0\0\xff\xff" + b"x" * 500,
                 frame(good) * 200, frame(b"\xff") * 500, b"\0", frame(msg(event(service="x", double=float("nan"))))]
        sockets = [None] * A_THREAD
        while time.monotonic() < self.end:
            for at in range(A_THREAD):
                try:
                    if sockets[at] is None:
                        sockets[at] = (self.connect(True).socket if tls and at % 2 else socket.create_connection(
                            self.tls_address if tls else self.address, 60))
                        sockets[at].setblocking(False)
                    sockets[at].send(chance.choice(moves))
                    if chance.random() < 0.1:
                        raise ConnectionError
                except BlockingIOError:
                    pass
                except OSError:
                    if sockets[at] is not None:
                        sockets[at].close()
                    sockets[at] = None
            time.sleep(0.02)
        for one in sockets:
            if one is not None:
                one.close()


if __name__ == "__main__":
    main()
