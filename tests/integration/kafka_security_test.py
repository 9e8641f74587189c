"""TLS and SASL to a real Kafka broker: what is trusted is delivered to, what is not is held and named, nothing falls back to
plain text, and a password that was changed is read again."""
import json
import os
import unittest

from support.agent import Agent
from support.kafka import KafkaBroker
from support.run import main
from support.servers import Folder, make_certificates, wait_for

CONFIG = """
[source.statsd]
listen = ["udp://127.0.0.1:0"]

[output.main]
sink    = "kafka"
brokers = ["127.0.0.1:{port}"]
topic   = "{topic}"
batch   = {{ max_age = "100ms" }}
filter  = 'key ~ ^test'
{more}
"""

PASSWORD = "alice-secret-1"


class Security(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder()
        cls.addClassCleanup(cls.folder.close)
        make_certificates(cls.folder)
        path = cls.folder.path
        for name in ("server", "expired", "wrong-name"):
            with open(f"{path}/{name}.key", encoding="ascii") as key, open(f"{path}/{name}.pem", encoding="ascii") as certificate:
                cls.folder.write(f"{name}-store.pem", key.read() + certificate.read())
        listeners = {"TLS": "SSL", "MUTUAL": "SSL", "EXPIRED": "SSL", "OTHER": "SSL", "LOGIN": "SASL_PLAINTEXT", "BOTH": "SASL_SSL"}
        modules = "org.apache.kafka.common.security"
        logins = "".join(f"""
listener.name.{name}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_alice="{PASSWORD}";
listener.name.{name}.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.{name}.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;""" for name in ("login", "both"))
        cls.broker = KafkaBroker(cls.folder, listeners, {"alice": PASSWORD}, f"""
ssl.keystore.type=PEM
ssl.keystore.location={path}/server-store.pem
ssl.truststore.type=PEM
ssl.truststore.location={path}/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.expired.ssl.keystore.location={path}/expired-store.pem
listener.name.other.ssl.keystore.location={path}/wrong-name-store.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
{logins}
""")
        cls.password = cls.folder.write("password", PASSWORD + "\n", 0o600)

    def agent(self, listener, topic, more):
        agent = Agent(self.folder, CONFIG.format(port=self.broker.ports[listener], topic=topic, more=more), name=topic,
                      agent='interval = "1s"\nshutdown_timeout = "1s"')
        self.addCleanup(agent.kill)
        with agent.statsd() as statsd:
            statsd.send("test.value:1|c")
        return agent

    def test_delivered(self):
        tls = f'tls = true\ntls_ca = "{self.folder.path}/ca.pem"\n'
        client = tls + f'tls_cert = "{self.folder.path}/client.pem"\ntls_key = "{self.folder.path}/client.key"\n'
        sasl = f'username = "alice"\npassword_file = "{self.password}"\nsasl_mechanism = '
        for number, (listener, more) in enumerate([
                ("TLS", tls), ("MUTUAL", client), ("LOGIN", sasl + '"PLAIN"'), ("LOGIN", sasl + '"SCRAM-SHA-256"'),
                ("LOGIN", sasl + '"SCRAM-SHA-512"'), ("BOTH", tls + sasl + '"SCRAM-SHA-512"')]):
            with self.subTest(listener, more=more):
                topic = f"good-{number}"
                self.broker.create_topic(topic)
                agent = self.agent(listener, topic, more)
                wait_for(lambda: agent.metric("runnel.output.delivered", output="main") >= 1, lambda: agent.log())
                self.assertEqual(agent.stop(), 0)
                self.assertNotIn(PASSWORD, agent.log())
                self.assertEqual([json.loads(m["payload"])["key"] for m in self.broker.kcat(topic)], ["test.value"])

    def test_held(self):
        trust = "tls = true\ntls_ca = "
        sasl = f'username = "alice"\npassword_file = "{self.folder.write("wrong", "not-it", 0o600)}"\nsasl_mechanism = "SCRAM-SHA-512"'
        self.broker.create_topic("held")
        agents = []
        for number, (listener, more, message) in enumerate([
                ("TLS", f'{trust}"{self.folder.path}/other-ca.pem"', "certificate"),
                ("EXPIRED", f'{trust}"{self.folder.path}/ca.pem"', "certificate"),
                ("OTHER", f'{trust}"{self.folder.path}/ca.pem"', "certificate"),
                ("MUTUAL", f'{trust}"{self.folder.path}/ca.pem"', "certificate|alert|handshake"),
                ("LOGIN", sasl, "uthentication"),
                ("TLS", f'{trust}"{self.folder.path}/missing.pem"', "missing.pem")]):
            agents.append((self.agent(listener, "held", more + f"\n# {number}"), message))
        for agent, message in agents:
            with self.subTest(message, log=agent.log()):
                agent.wait_log(rf"WARNING main: held, an operator must act.*({message})", 30)
                self.assertNotIn("not-it", agent.log())
                self.assertEqual(agent.stop(), 0)
                self.assertEqual(agent.metric("runnel.output.delivered", output="main"), 0)
                self.assertEqual(agent.metric("runnel.output.dropped", output="main"), 0)
        self.assertEqual(self.broker.kcat("held"), [])

    def test_password_changed(self):
        self.broker.create_topic("changed")
        path = self.folder.write("changing", "old", 0o600)
        agent = self.agent("LOGIN", "changed", f'username = "alice"\npassword_file = "{path}"\nsasl_mechanism = "SCRAM-SHA-256"')
        agent.wait_log(r"WARNING main: (waiting for the brokers|held).*uthentication", 30)
        os.chmod(self.folder.write("changing", PASSWORD, 0o600), 0o600)
        # Either at once, where the try is not over yet, or with the next one.
        agent.wait_log(r"main: (held, an operator must act|not delivered, trying again .*the password has changed)", 30)
        agent.reload()
        wait_for(lambda: agent.metric("runnel.output.delivered", output="main") >= 1, lambda: agent.log(), 30)


if __name__ == "__main__":
    main()
