"""TLS and SASL to a real Kafka broker: what is trusted is delivered to, what is not is held and named, nothing falls back to
plain text, what the brokers' access rules refuse is held or routed around, and a password that was changed is read again."""
import os
import subprocess

from support.kafka import KafkaBroker, KafkaTest
from support.run import main
from support.servers import make_certificates, wait_for

PASSWORD = "alice-secret-1"


class Security(KafkaTest):
    @classmethod
    def make_broker(cls):
        make_certificates(cls.folder)
        path = cls.folder.path
        for name in ("server", "expired", "wrong-name"):
            with open(f"{path}/{name}.key", encoding="ascii") as key, open(f"{path}/{name}.pem", encoding="ascii") as certificate:
                cls.folder.write(f"{name}-store.pem", key.read() + certificate.read())
        listeners = {"TLS": "SSL", "MUTUAL": "SSL", "EXPIRED": "SSL", "OTHER": "SSL", "LOGIN": "SASL_PLAINTEXT", "BOTH": "SASL_SSL"}
        modules = "org.apache.kafka.common.security"
        logins = "".join(f"""
listener.name.{name}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_alice="{PASSWORD}" user_bob="{PASSWORD}";
listener.name.{name}.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.{name}.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;""" for name in ("login", "both"))
        cls.password = cls.folder.write("password", PASSWORD + "\n", 0o600)
        return KafkaBroker(cls.folder, listeners, {"alice": PASSWORD, "bob": PASSWORD}, f"""
ssl.keystore.type=PEM
ssl.keystore.location={path}/server-store.pem
ssl.truststore.type=PEM
ssl.truststore.location={path}/ca.pem
listener.name.mutual.ssl.client.auth=required
listener.name.expired.ssl.keystore.location={path}/expired-store.pem
listener.name.other.ssl.keystore.location={path}/wrong-name-store.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:CN=client;User:alice
{logins}
""")

    def sasl(self, mechanism, user="alice", file=None):
        return f'sasl_mechanism = "{mechanism}"\nusername = "{user}"\npassword_file = "{file or self.password}"\n'

    def sender(self, listener, topic, more, lines=("test.value:1|c",)):
        agent = self.agent(topic, more, address=f"127.0.0.1:{self.broker.ports[listener]}",
                           agent='interval = "1s"\nshutdown_timeout = "1s"')
        with agent.statsd() as statsd:
            statsd.send(*lines)
        return agent

    def test_delivered(self):
        tls = f'tls = true\ntls_ca = "{self.folder.path}/ca.pem"\n'
        client = tls + f'tls_cert = "{self.folder.path}/client.pem"\ntls_key = "{self.folder.path}/client.key"\n'
        ways = [("TLS", tls), ("MUTUAL", client), ("LOGIN", self.sasl("PLAIN")), ("LOGIN", self.sasl("SCRAM-SHA-256")),
                ("LOGIN", self.sasl("SCRAM-SHA-512")), ("BOTH", tls + self.sasl("SCRAM-SHA-512"))]
        self.broker.create_topic("good")
        agents = [self.sender(listener, "good", more, [f"test.{number}:1|c"]) for number, (listener, more) in enumerate(ways)]
        for agent, (listener, more) in zip(agents, ways):
            with self.subTest(listener, more=more):
                self.wait_delivered(agent, 1)
                self.assertEqual(agent.stop(), 0)
                self.assertNotIn(PASSWORD, agent.log())
        self.assertEqual(self.keys("good"), [f"test.{number}" for number in range(len(ways))])

    def test_held(self):
        trust = "tls = true\ntls_ca = "
        wrong = self.folder.write("wrong", "not-it", 0o600)
        self.broker.create_topic("held")
        agents = []
        for listener, more, message in [
                ("TLS", f'{trust}"{self.folder.path}/other-ca.pem"', "certificate"),
                ("EXPIRED", f'{trust}"{self.folder.path}/ca.pem"', "certificate"),
                ("OTHER", f'{trust}"{self.folder.path}/ca.pem"', "certificate"),
                ("MUTUAL", f'{trust}"{self.folder.path}/ca.pem"', "certificate|alert|handshake"),
                ("LOGIN", self.sasl("SCRAM-SHA-512", file=wrong), "uthentication"),
                ("TLS", f'{trust}"{self.folder.path}/missing.pem"', "missing.pem")]:
            agents.append((self.sender(listener, "held", more), message))
        for agent, message in agents:
            with self.subTest(message, log=agent.log()):
                agent.wait_log(rf"WARNING main: held, an operator must act.*({message})", 30)
                self.assertNotIn("not-it", agent.log())
                agent.process.terminate()
        for agent, message in agents:
            with self.subTest(message, log=agent.log()):
                self.assertEqual(agent.stop(), 0)
                self.assertEqual(self.delivered(agent), 0)
                self.assertEqual(self.dropped(agent), 0)
        self.assertEqual(self.broker.kcat("held"), [])

    def test_a_listener_of_another_protocol_is_named(self):
        self.broker.create_topic("protocol")
        agents = [(self.sender(listener, "protocol", ""), message) for listener, message in (
            ("TLS", "incorrect security.protocol configuration .connecting to a SSL listener"), ("LOGIN", "might require SASL"))]
        for agent, message in agents:
            agent.wait_log(rf"WARNING main: waiting for the brokers: .*{message}", 30)
            self.assertEqual(agent.stop(), 0)

    def test_password_changed(self):
        self.broker.create_topic("changed")
        path = self.folder.write("changing", "old", 0o600)
        agent = self.sender("LOGIN", "changed", self.sasl("SCRAM-SHA-256", file=path))
        agent.wait_log(r"WARNING main: (waiting for the brokers|held).*uthentication", 30)
        os.chmod(self.folder.write("changing", PASSWORD, 0o600), 0o600)
        # Either at once, where the try is not over yet, or with the next one.
        agent.wait_log(r"main: (held, an operator must act|not delivered, trying again .*the password has changed)", 30)
        agent.reload()
        self.wait_delivered(agent, 1, 30)

    def test_refused_by_access_rules(self):
        for topic in ("acl", "acl-lon", "acl-secret", "acl-default"):
            self.broker.create_topic(topic)
        agent = self.sender("LOGIN", "acl", self.sasl("SCRAM-SHA-256", "bob"))
        agent.wait_log(r"WARNING main: held, an operator must act.*topic acl: Broker: Topic authorization failed", 30)
        # Who may write nowhere gets no producer id.
        self.broker.allow("bob", "acl", "DESCRIBE")
        wait_for(lambda: self.sees("bob", "acl"), "the rule does not become known")
        agent.reload()
        agent.wait_log(r"WARNING main: held, an operator must act.*Broker: Cluster authorization failed", 30)
        self.broker.allow("bob", "acl", "WRITE")
        wait_for(lambda: agent.reload() or self.delivered(agent) >= 1, lambda: agent.log(), 30, step=1)
        self.assertEqual(agent.stop(), 0)
        self.assertEqual(self.dropped(agent), 0)
        self.assertEqual(self.keys("acl"), ["test.value"])
        # Of a pattern: only the refused ones go elsewhere.
        for topic in ("acl-lon", "acl-default"):
            self.broker.allow("bob", topic, "DESCRIBE", "WRITE")
            wait_for(lambda: self.sees("bob", topic), "the rule does not become known")
        agent = self.sender("LOGIN", "acl-%{tag.site}", 'topic_default = "acl-default"\n' + self.sasl("SCRAM-SHA-256", "bob"),
                            ["test.a:1|c|#site:lon", "test.b:1|c|#site:secret", "test.c:1|c|#site:lon"])
        self.wait_delivered(agent, 3)
        agent.wait_log(r"WARNING main: records go to topic_default: topic acl-secret: Broker: Topic authorization failed")
        self.assertEqual(agent.stop(), 0)
        self.assertEqual(self.keys("acl-lon"), ["test.a", "test.c"])
        self.assertEqual(self.keys("acl-secret"), [])
        self.assertEqual(self.keys("acl-default"), ["test.b"])

    def sees(self, user, topic):
        done = subprocess.run(
            ["kcat", "-b", f"127.0.0.1:{self.broker.ports['LOGIN']}", "-X", "security.protocol=sasl_plaintext", "-X", "sasl.mechanisms=PLAIN",
             "-X", f"sasl.username={user}", "-X", f"sasl.password={PASSWORD}", "-L", "-J", "-t", topic], capture_output=True, timeout=30)
        return done.returncode == 0 and b'"partitions":[{' in done.stdout


if __name__ == "__main__":
    main()
