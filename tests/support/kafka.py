"""A real Apache Kafka broker for tests (jars of ./dev setup in .cache/kafka), and two independent consumers: kcat and
kafkajs. Everything on free ports of loopback; the broker keeps its port and data when it is killed and started again.
KafkaTest is what the tests with a broker have in common."""
import itertools
import json
import os
import signal
import subprocess
import unittest

from support.agent import Agent
from support.servers import Folder, free_port, need, wait_for

SOURCE = os.environ.get("RUNNEL_SOURCE", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
LIBS = os.path.join(SOURCE, ".cache", "kafka", "libs")
NODE_MODULES = os.path.join(SOURCE, ".cache", "node", "node_modules")
CLIENT = os.path.join(SOURCE, "tests", "support", "kafka_client.js")
# Small and quick to start; the tests' machine has two cores.
JAVA = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]


def need_kafka():
    """The java command; SkipTest where something that a Kafka test needs is not there."""
    java = need("java", "default-jre-headless")
    need("kcat", "kcat")
    need("node", "nodejs")
    if not os.path.isdir(LIBS):
        raise unittest.SkipTest("there is no Kafka broker in .cache/kafka: ./dev setup installs it")
    if not os.path.isdir(os.path.join(NODE_MODULES, "kafkajs")):
        raise unittest.SkipTest("kafkajs is not in .cache/node: ./dev setup installs it")
    return java


class KafkaBroker:
    """One node, broker and controller. `listeners` are further ones: {"TLS": "SSL", "LOGIN": "SASL_PLAINTEXT"}; their
    ports are in `ports`. `users`: {name: password} for SCRAM. `properties` are further lines of its configuration."""

    def __init__(self, folder, listeners=None, users=None, properties=""):
        self.java = need_kafka()
        self.folder = folder
        protocols = {"PLAIN": "PLAINTEXT", **(listeners or {})}
        self.ports = {name: free_port() for name in (*protocols, "CONTROLLER")}
        urls = {name: f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()}
        mapping = ",".join(f"{name}:{protocol}" for name, protocol in {**protocols, "CONTROLLER": "PLAINTEXT"}.items())
        self.config = folder.write("kafka.properties", f"""
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self.ports["CONTROLLER"]}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listeners={",".join(urls.values())}
advertised.listeners={",".join(urls[name] for name in protocols)}
listener.security.protocol.map={mapping}
log.dirs={folder.path}/kafka-data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
log.cleaner.enable=false
num.network.threads=2
num.io.threads=2
{properties}
""")
        scram = []
        for user, password in (users or {}).items():
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):
                scram += ["--add-scram", f"{mechanism}=[name={user},password={password}]"]
        self._run("kafka.tools.StorageTool", "format", "-t", "bGl2ZS10ZXN0LWJyb2tlcg", "-c", self.config, *scram)
        self.process = None
        self.start()

    def _command(self, *arguments):
        return [self.java, *JAVA, "-cp", f"{LIBS}/*", *arguments]

    def _run(self, *arguments, data=None):
        done = subprocess.run(self._command(*arguments), input=data, capture_output=True, timeout=120, cwd=self.folder.path)
        assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()

    @property
    def address(self):
        return f"127.0.0.1:{self.ports['PLAIN']}"

    def start(self):
        self.process = self.folder.start(self._command("kafka.Kafka", self.config), "kafka")
        self.process.wait_ready(self.answers, 90)

    def answers(self):
        done = subprocess.run(["kcat", "-b", self.address, "-L", "-m", "2", "-J"], capture_output=True, timeout=30)
        return done.returncode == 0 and b'"brokers":[{' in done.stdout

    def kill(self):
        self.process.stop(signal.SIGKILL)

    def suspend(self):
        self.process.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.process.send_signal(signal.SIGCONT)

    def client(self, operation, arguments, **options):
        """kafkajs: the parsed lines that it prints."""
        done = subprocess.run(["node", CLIENT, json.dumps({"brokers": [self.address], **options}), operation, json.dumps(arguments)],
                              capture_output=True, timeout=60, env={**os.environ, "NODE_PATH": NODE_MODULES})
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.decode().splitlines()]

    def create_topic(self, topic, partitions=1, **config):
        self.client("create", {"topic": topic, "partitions": partitions, "config": {name.replace("_", "."): value for name, value in config.items()}})

    def delete_topic(self, topic):
        self.client("delete", {"topic": topic})

    def alter_topic(self, topic, **config):
        self.client("alter", {"topic": topic, "config": {name.replace("_", "."): value for name, value in config.items()}})

    def allow(self, user, topic, *operations):
        """READ, WRITE, DESCRIBE of StandardAuthorizer's rules."""
        self.client("allow", {"user": user, "topic": topic, "operations": operations})

    def consume(self, topic, **options):
        """Everything in the topic by kafkajs: [{"partition", "offset", "key", "value", "headers"}, …]."""
        return self.client("consume", {"topic": topic}, **options)

    def kcat(self, topic, *arguments):
        """The same by kcat, as its -J has it: {"partition", "offset", "key", "payload", "headers"}."""
        done = subprocess.run(["kcat", "-b", self.address, "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-J", *arguments],
                              capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()
        return [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]

    def produce_with_java(self, topic, keys):
        """A message a key by Java's own producer, whose partitioner places it."""
        text = "".join(f"{key}\tx\n" for key in keys)
        self._run("kafka.tools.ConsoleProducer", "--bootstrap-server", self.address, "--topic", topic,
                  "--property", "parse.key=true", data=text.encode())
        wait_for(lambda: len(self.kcat(topic)) >= len(keys), f"Java's messages are not in {topic}")


class KafkaTest(unittest.TestCase):
    """One broker for the tests of a class. Their agents take StatsD and send what is named test… to the broker."""
    _numbers = itertools.count()

    @classmethod
    def setUpClass(cls):
        cls.folder = Folder()
        cls.addClassCleanup(cls.folder.close)
        cls.broker = cls.make_broker()

    @classmethod
    def make_broker(cls):
        return KafkaBroker(cls.folder)

    def agent(self, topic, more="", address=None, filter="key ~ ^test", **options):
        """An agent of a name of its own, so that nothing old is read. `more` are lines of its output, and tables."""
        agent = Agent(self.folder, f"""
[source.statsd]
listen = ["udp://127.0.0.1:0"]

[output.main]
sink    = "kafka"
brokers = ["{address or self.broker.address}"]
topic   = "{topic}"
batch   = {{ max_age = "100ms" }}
filter  = '{filter}'
{more}
""", name=f"agent-{next(self._numbers)}", **options)
        self.addCleanup(agent.kill)
        return agent

    def delivered(self, agent):
        return agent.metric("runnel.output.delivered", output="main")

    def dropped(self, agent, **labels):
        return agent.metric("runnel.output.dropped", output="main", **labels)

    def wait_delivered(self, agent, count, seconds=20):
        wait_for(lambda: self.delivered(agent) >= count, lambda: f"{self.delivered(agent)} of {count}:\n{agent.log()}", seconds)

    def keys(self, topic):
        """Of the records in the topic, sorted."""
        return sorted(json.loads(line)["key"] for m in self.broker.consume(topic) for line in m["value"].splitlines())
