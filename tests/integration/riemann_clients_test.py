"""Real Riemann clients as senders: Debian's riemann-c-client and collectd, npm's riemann, PyPI's riemann-client and bernhard
(tests/package.json, tests/requirements.txt, installed by ./dev). What arrives is compared with what they were asked to
send."""
import importlib
import json
import os
import socket
import subprocess
import time
import unittest

from support.agent import Agent
from support.http_server import Server
from support.run import main
from support.servers import Folder, free_port, need, wait_for

CONFIG = """
[source.riemann]
listen = ["tcp://127.0.0.1:{port}", "udp://127.0.0.1:{port}"]

[output.main]
sink   = "http"
batch  = {{ max_age = "100ms" }}
filter = 'not key ~ ^runnel'
url    = "{url}"
"""
AT = 1700000000


class Senders(unittest.TestCase):
    def start(self):
        """An agent that listens on one port over TCP and UDP, as clients expect it."""
        self.folder = Folder()
        self.addCleanup(self.folder.close)
        self.server = Server()
        self.addCleanup(self.server.close)
        for attempt in range(5):
            self.port = free_port()
            try:
                self.agent = Agent(self.folder, CONFIG.format(port=self.port, url=self.server.url),
                                   agent='interval = "500ms"', name=f"agent{attempt}")
                break
            except AssertionError as error:  # somebody else took it meanwhile
                if "in use" not in str(error) or attempt == 4:
                    raise
        self.addCleanup(self.agent.kill)

    def run_client(self, *command, **options):
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=90, **options)

    def count(self, what):
        return int(self.agent.metric(f"runnel.source.{what}", source="riemann"))

    def received(self, events, bad=0):
        """What arrived as {(type, key): record without type, key and resource}, after `events` were accepted."""
        wait_for(lambda: self.count("accepted") >= events, lambda: f"{self.agent.metrics()}\n{self.agent.log()}")
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        self.assertEqual(self.agent.residual("main"), 0)
        self.assertEqual((self.count("accepted"), self.count("bad")), (events, bad), self.agent.log())
        return self.arrived()

    def arrived(self):
        found = {}
        for request in self.server.requests:
            for line in request.text().splitlines():
                record = json.loads(line)
                name = record.pop("type"), record.pop("key")
                self.assertNotIn(name, found)
                found[name] = {key: value for key, value in record.items() if key != "resource"}
        return found

    def assertNow(self, record):
        self.assertLess(abs(record.pop("time") / 1000 - time.time()), 120)


class CClient(Senders):
    def send(self, how, *options):
        return self.run_client(need("riemann-client", "riemann-c-client"), "send", how, *options, "127.0.0.1",
                               str(self.port))

    def check(self, how):
        self.start()
        for options in (["-S", "disk", "-s", "ok", "-D", "fine", "-h", "web-1", "-d", "3.5", "-t", "prod", "-t", "lon",
                         "-a", "type=df", "-a", "plugin=disk", "-L", "30"],
                        ["-S", "int", "-h", "web-1", "-i", "-7"], ["-S", "float", "-h", "web-1", "-f", "1.5"],
                        ["-S", "only state", "-h", "web-2", "-s", "critical"]):
            done = self.send(how, *options)
            self.assertEqual((done.returncode, done.stdout), (0, ""), options)
        found = self.received(4)
        times = [record.pop("time") for record in found.values()]
        self.assertLess(max(times) / 1000 - time.time(), 120)
        client = {"x-client": "riemann-c-client"}  # it says so itself
        self.maxDiff = None
        self.assertEqual(found, {
            ("metric", "disk"): {"kind": "gauge", "host": "web-1", "ttl": 30, "value": 3.5,
                                 "tags": {"lon": "", "plugin": "disk", "prod": "", "type": "df", **client}},
            ("event", "disk"): {"host": "web-1", "state": "ok", "description": "fine", "ttl": 30,
                                "tags": ["prod", "lon"], "attributes": {"plugin": "disk", "type": "df", **client}, "value": 3.5},
            ("metric", "int"): {"kind": "gauge", "host": "web-1", "value": -7, "tags": client},
            ("metric", "float"): {"kind": "gauge", "host": "web-1", "value": 1.5, "tags": client},
            ("event", "only state"): {"host": "web-2", "state": "critical", "attributes": client}})

    def test_tcp(self):
        self.check("-T")

    def test_udp(self):
        self.check("-U")

    def test_a_query_and_a_refused_event_fail_with_the_reason(self):
        self.start()
        done = self.run_client(need("riemann-client", "riemann-c-client"), "query", "true", "127.0.0.1", str(self.port))
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("no index", done.stdout)
        done = self.send("-T", "-S", "x", "-d", "nan")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("bad_metric", done.stdout)
        self.assertEqual(self.received(0, bad=2), {})


class Collectd(Senders):
    SECONDS = 10

    def check(self, protocol):
        program = need("collectd", "collectd-core")
        self.start()
        path = f"{self.folder.path}/collectd.sock"
        config = self.folder.write("collectd.conf", f"""
Hostname "col-1"
FQDNLookup false
BaseDir "{self.folder.path}"
PIDFile "{self.folder.path}/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
Interval 1
LoadPlugin load
LoadPlugin memory
LoadPlugin uptime
LoadPlugin unixsock
LoadPlugin write_riemann
<Plugin unixsock>
  SocketFile "{path}"
</Plugin>
<Plugin write_riemann>
  <Node "runnel">
    Host "127.0.0.1"
    Port "{self.port}"
    Protocol {protocol}
    Batch {"true" if protocol == "TCP" else "false"}
    BatchFlushTimeout 1
    StoreRates false
    TTLFactor 2.0
  </Node>
  Tag "prod"
  Attribute "site" "lon"
</Plugin>
""")
        daemon = self.folder.start([program, "-f", "-C", config], "collectd")
        daemon.wait_ready(lambda: os.path.exists(path))
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(20)
            control.connect(path)
            for number in range(20):
                control.sendall(f'PUTVAL "web-9/app-one/gauge-v{number}" interval=10 {AT}:{number}.5\n'.encode())
                self.assertTrue(control.recv(1000).startswith(b"0 "), "PUTVAL")
        time.sleep(self.SECONDS)
        daemon.stop()
        wait_for(lambda: self.count("accepted") > 0, self.agent.log)
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        # Debian 12's collectd 5.12 with riemann-c-client 1.10 puts bytes of its memory into some events: stray tags,
        # which may be no UTF-8, and no service or host. They are refused or taken as they are; most are whole.
        broken = sum(self.agent.metric("runnel.source.bad", source="riemann", reason=reason)
                     for reason in ("no_service", "bad_utf8"))
        self.assertEqual(self.count("bad"), broken, self.agent.log())
        known, own = {}, {}
        for request in self.server.requests:
            for line in request.text().splitlines():
                record = json.loads(line)
                record.pop("resource", None)
                if record["type"] == "metric" and record["host"] in ("web-9", "col-1") and "ttl" in record:
                    (known if record["host"] == "web-9" else own).setdefault(record["key"], []).append(record)
        whole = 0
        for number in range(20):
            for record in known.get(f"app-one/gauge-v{number}", []):
                tags = record["tags"]
                record["tags"] = {key: value for key, value in tags.items() if value or key == "prod"}
                wanted = {"type": "metric", "key": f"app-one/gauge-v{number}", "kind": "gauge", "time": AT * 1000,
                          "host": "web-9", "ttl": 20, "value": number + 0.5,
                          "tags": {"ds_index": "0", "ds_name": "value", "ds_type": "gauge", "plugin": "app",
                                   "plugin_instance": "one", "prod": "", "site": "lon", "type": "gauge",
                                   "type_instance": f"v{number}"}}
                whole += record == wanted
        self.assertGreaterEqual(whole, 12, known)
        self.assertGreaterEqual(whole + broken, 20, known)
        # What it measured itself: about a value a second of each.
        for key in ("load/load/shortterm", "memory/memory-used", "uptime/uptime"):
            self.assertGreaterEqual(len(own.get(key, [])), self.SECONDS // 3, sorted(own))
            for record in own[key]:
                self.assertNow(record)

    def test_tcp(self):
        self.check("TCP")

    def test_udp(self):
        self.check("UDP")


class Npm(Senders):
    def test_tcp_udp_and_states(self):
        node = need("node", "nodejs")
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "riemann_client.js")
        self.start()
        full = {"service": "full", "host": "web-1", "time": AT, "metric": 2.5, "state": "ok", "description": "größe",
                "ttl": 10, "tags": ["prod"], "attributes": [{"key": "site", "value": "lon"}]}
        events = [["tcp", full], ["udp", {**full, "service": "datagram"}],
                  ["state", {"service": "old", "host": "web-1", "time": AT, "state": "critical", "tags": ["t"]}],
                  *[["tcp", {"service": f"n{n}", "host": "h", "time": AT, "metric": n}] for n in range(50)]]
        done = self.run_client(node, script, str(self.port), json.dumps(events))
        if done.returncode == 77:
            self.skipTest(f"npm's riemann: {done.stdout.strip()} (./dev setup installs it)")
        self.assertEqual((done.returncode, done.stdout), (0, ""))
        found = self.received(53)
        for key in ("full", "datagram"):
            self.assertEqual(found.pop(("metric", key)), {
                "kind": "gauge", "time": AT * 1000, "host": "web-1", "ttl": 10, "value": 2.5,
                "tags": {"prod": "", "site": "lon"}})
            self.assertEqual(found.pop(("event", key)), {
                "time": AT * 1000, "host": "web-1", "state": "ok", "description": "größe", "ttl": 10,
                "tags": ["prod"], "attributes": {"site": "lon"}, "value": 2.5})
        self.assertEqual(found.pop(("event", "old")),
                         {"time": AT * 1000, "host": "web-1", "state": "critical", "tags": ["t"]})
        self.assertEqual(found, {("metric", f"n{n}"): {"kind": "gauge", "time": AT * 1000, "host": "h", "value": n}
                                 for n in range(50)})


class PyPI(Senders):
    FULL = {("metric", "full"): {"kind": "gauge", "time": AT * 1000, "host": "web-1", "ttl": 10, "value": 2.5,
                                 "tags": {"prod": "", "site": "lon"}},
            ("event", "full"): {"time": AT * 1000, "host": "web-1", "state": "ok", "description": "größe", "ttl": 10,
                                "tags": ["prod"], "attributes": {"site": "lon"}, "value": 2.5},
            ("metric", "int"): {"kind": "gauge", "time": AT * 1000, "host": "web-1", "value": 7},
            ("event", "state"): {"time": AT * 1000, "host": "web-1", "state": "critical"}}

    def need_module(self, name):
        try:
            return importlib.import_module(name)
        except ImportError as error:
            self.skipTest(f"{error} (./dev setup installs it)")

    def fields(self, metric):
        return [{"service": "full", "host": "web-1", "time": AT, "state": "ok", "description": "größe", "ttl": 10.0,
                 "tags": ["prod"], "attributes": {"site": "lon"}, metric[0]: 2.5},
                {"service": "int", "host": "web-1", "time": AT, metric[1]: 7},
                {"service": "state", "host": "web-1", "time": AT, "state": "critical"}]

    def test_riemann_client(self):
        library = self.need_module("riemann_client.client")
        transport = self.need_module("riemann_client.transport")
        for kind in (transport.TCPTransport, transport.UDPTransport):
            with self.subTest(kind.__name__):
                self.start()
                with library.QueuedClient(kind("127.0.0.1", self.port)) as client:
                    for fields in self.fields(("metric_d", "metric_sint64")):
                        client.event(**fields)
                    client.flush()
                    for number in range(100):
                        client.event(service=f"q{number}", host="h", time=AT, metric_f=number)
                    client.flush()
                    if kind is transport.TCPTransport:
                        with self.assertRaisesRegex(Exception, "no index"):
                            client.query("true")
                found = self.received(103, bad=1 if kind is transport.TCPTransport else 0)
                self.assertEqual(found, {**self.FULL, **{
                    ("metric", f"q{n}"): {"kind": "gauge", "time": AT * 1000, "host": "h", "value": n}
                    for n in range(100)}})

    def test_bernhard(self):
        library = self.need_module("bernhard")
        for kind in (library.TCPTransport, library.UDPTransport):
            with self.subTest(kind.__name__):
                self.start()
                client = library.Client("127.0.0.1", self.port, transport=kind)
                for fields in self.fields(("metric_d", "metric_sint64")):
                    client.send(fields)
                client.send(*({"service": f"q{n}", "host": "h", "time": AT, "metric": n} for n in range(100)))
                client.disconnect()
                found = self.received(103)
                self.assertEqual(found, {**self.FULL, **{
                    ("metric", f"q{n}"): {"kind": "gauge", "time": AT * 1000, "host": "h", "value": n}
                    for n in range(100)}})


if __name__ == "__main__":
    main()
