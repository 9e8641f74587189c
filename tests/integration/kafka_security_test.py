"""TLS and SASL to a real Kafka broker: what is trusted is delivered to, what is not is held and named, nothing falls back to
plain text, and a password that was changed is read again."""
import os

from support.kafka import KafkaBroker, KafkaTest
from support.run import main
from support.servers import make_certificates

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
listener.name.{name}.plain.sasl.jaas.config={modules}.plain.PlainLoginModule required user_alice="{PASSWORD}";
listener.name.{name}.scram-sha-256.sasl.jaas.config={modules}.scram.ScramLoginModule required;
listener.name.{name}.scram-sha-512.sasl.jaas.config={modules}.scram.ScramLoginModule required;""" for name in ("login", "both"))
        cls.password = cls.folder.write("password", PASSWORD + "\n", 0o600)
        return KafkaBroker(cls.folder, listeners, {"alice": PASSWORD}, f"""
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
        for number, (listener, more) in enumerate([
                ("TLS", tls), ("MUTUAL", client), ("LOGIN", self.sasl("PLAIN")), ("LOGIN", self.sasl("SCRAM-SHA-256")),
                ("LOGIN", self.sasl("SCRAM-SHA-512")), ("BOTH", tls + self.sasl("SCRAM-SHA-512"))]):
            with self.subTest(listener, more=more):
                topic = f"good-{number}"
                self.broker.create_topic(topic)
                agent = self.sender(listener, topic, more)
                self.wait_delivered(agent, 1)
                self.assertEqual(agent.stop(), 0)
                self.assertNotIn(PASSWORD, agent.log())
                self.assertEqual(self.keys(topic), ["test.value"])

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
                self.assertEqual(agent.stop(), 0)
                self.assertEqual(self.delivered(agent), 0)
                self.assertEqual(self.dropped(agent), 0)
        self.assertEqual(self.broker.kcat("held"), [])

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


if __name__ == "__main__":
    main()
