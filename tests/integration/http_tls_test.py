"""The agent and TLS through a real nginx: a certificate that is not good holds the data and never sends it in the open."""
import unittest

from support.agent import Agent
from support.http_server import Server
from support.run import main
from support.servers import Folder, NginxTls, make_certificates, wait_for

CONFIG = """
[source.statsd]
listen = ["udp://127.0.0.1:0"]

[output.main]
sink   = "http"
batch  = {{ max_age = "100ms" }}
filter = 'key ~ ^test'
url    = "{url}"
tls_ca = "{ca}"
{more}
"""


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder()
        cls.addClassCleanup(cls.folder.close)
        cls.path = make_certificates(cls.folder)
        cls.server = Server()
        cls.addClassCleanup(cls.server.close)
        cls.nginx = NginxTls(cls.folder, cls.server.port)

    def count(self):
        with self.server.lock:
            return len(self.server.requests)

    def test_held(self):
        for name, ca, message in [("expired", "ca", "certificate has expired"),
                                  ("good", "other-ca", "certificate problem"),
                                  ("wrong_name", "ca", "127.0.0.1"),
                                  ("mutual", "ca", "No required SSL certificate was sent"),
                                  ("plain", "ca", "SSL routines")]:
            with self.subTest(name):
                before = self.count()
                url = self.nginx.url(name).replace("http://", "https://")
                with Agent(self.folder, CONFIG.format(url=url, ca=f"{self.path}/{ca}.pem", more=""),
                           agent='interval = "1s"\nshutdown_timeout = "1s"') as agent:
                    with agent.statsd() as statsd:
                        statsd.send("test.value:1|g")
                    agent.wait_log(rf"(WARNING|ERROR) main: .*{message}")
                    self.assertEqual(agent.stop(), 0)
                    self.assertEqual(agent.residual("main"), 0)
                    self.assertEqual(agent.metric("runnel.output.delivered", output="main"), 0)
                    self.assertEqual(agent.metric("runnel.output.dropped", output="main"), 0)
                self.assertEqual(self.count(), before)

    def test_delivered_with_a_client_certificate(self):
        more = f'tls_cert = "{self.path}/client.pem"\ntls_key = "{self.path}/client.key"\ntls_min_version = "1.3"'
        with Agent(self.folder, CONFIG.format(url=self.nginx.url("mutual"), ca=f"{self.path}/ca.pem", more=more)) as agent:
            with agent.statsd() as statsd:
                statsd.send("test.value:1|g")
            wait_for(lambda: agent.metric("runnel.output.delivered", output="main") >= 1, lambda: agent.log())
            self.assertEqual(agent.stop(), 0)
        with self.server.lock:
            request = self.server.requests[-1]
        self.assertEqual(request.headers["X-Tls"], "TLSv1.3")
        self.assertEqual(request.headers["X-Client"], "CN=client")


if __name__ == "__main__":
    main()
