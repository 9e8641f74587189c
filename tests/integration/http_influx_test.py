"""StatsD in; `influx` and gzip over HTTP out to a real VictoriaMetrics and a real InfluxDB; the values read back."""
import time
import unittest

from support.agent import Agent
from support.run import main
from support.servers import Folder, InfluxDb, NginxTls, VictoriaMetrics, make_certificates, wait_for

CONFIG = """
[source.statsd]
listen = ["udp://127.0.0.1:0"]

[output.main]
sink        = "http"
encoding    = "influx"
compression = "gzip"
batch       = {{ max_age = "100ms" }}
url         = "{url}"
{more}
"""

# Sent, and what has to be there afterwards: measurement, field, further tags, value.
GAUGES = [(f"temperature.room{n}", "value", {"floor": str(n % 3), "name": "a b,c=d"}, n * 0.125 - 3) for n in range(50)]
TIMES = [12.5, 20.0, 30.0, 45.25]
TIMER = {"count": 4, "sum": sum(TIMES), "min": 12.5, "max": 45.25, "mean": sum(TIMES) / 4, "p50": 20, "p99": 45.25}


def send(agent):
    """50 gauges, a counter of 30 in three lines, a timer of four values."""
    with agent.statsd() as statsd:
        for name, _, tags, value in GAUGES:
            # A gauge that begins with a sign is a change: 0 first.
            text = "|#" + ",".join(f"{key}:{text}" for key, text in tags.items() if "," not in text)
            statsd.send(f"{name}:0|g{text}", f"{name}:{value:+}|g{text}")
        statsd.send("requests:10|c", "requests:15|c|#site:lon", "requests:5|c|@0.5")
        for value in TIMES:
            statsd.send(f"latency:{value}|ms")
    wait_for(lambda: agent.metric("runnel.source.accepted", source="statsd") >= 2 * len(GAUGES) + 3 + len(TIMES),
             lambda: f"not all lines were taken:\n{agent.log()}")


class ReadBack(unittest.TestCase):
    def setUp(self):
        self.folder = self.enterContext(Folder()) if hasattr(self, "enterContext") else Folder()
        if not hasattr(self, "enterContext"):
            self.addCleanup(self.folder.close)

    def run_agent(self, url, more="", victoria=None):
        self.started = time.time()
        with Agent(self.folder, CONFIG.format(url=url, more=more)) as agent:
            send(agent)
            status = agent.stop()
            self.assertEqual(status, 0, agent.log())
            self.assertEqual(agent.residual("main"), 0)
            self.assertEqual(agent.metric("runnel.output.dropped", output="main"), 0)
            self.assertEqual(agent.metric("runnel.output.queued", output="main"), 0)
            self.assertGreaterEqual(agent.metric("runnel.output.delivered", output="main"), len(GAUGES) + 3)
            self.assertNotIn("ERROR", agent.log())
        return agent

    def check_times(self, stamps_ms):
        for stamp in stamps_ms:
            self.assertGreaterEqual(stamp, (self.started - 2) * 1000)
            self.assertLessEqual(stamp, (time.time() + 2) * 1000)

    def check_victoria(self, victoria):
        def series(match):
            return victoria.export(match)

        wait_for(lambda: series('{__name__="requests_value"}'), "VictoriaMetrics shows nothing", 30)
        for name, field, tags, value in GAUGES:
            found = series(f'{{__name__="{name}_{field}"}}')
            self.assertEqual(len(found), 1, (name, found))
            metric = found[0]["metric"]
            self.assertEqual(metric["host"], "test-host")
            self.assertEqual(metric["floor"], tags["floor"])
            self.assertEqual(found[0]["values"][-1], value)
            self.check_times(found[0]["timestamps"])
        # A counter is what happened in each interval: the sum over all of them is what was sent.
        plain = series('{__name__="requests_value",site=""}')
        self.assertEqual([sum(one["values"]) for one in plain], [10 + 5 / 0.5])
        tagged = series('{__name__="requests_value",site="lon"}')
        self.assertEqual([sum(one["values"]) for one in tagged], [15])
        self.assertEqual(sum(sum(one["values"]) for one in series('{__name__="latency_count"}')), TIMER["count"])
        self.assertEqual(sum(sum(one["values"]) for one in series('{__name__="latency_sum"}')), TIMER["sum"])
        for field, value in TIMER.items():
            found = series(f'{{__name__="latency_{field}"}}')
            self.assertEqual(len(found), 1, (field, found))
            if len(found[0]["values"]) == 1:  # all four came in one interval
                self.assertEqual(found[0]["values"][0], value, field)
        # The agent's own metrics have come the same way.
        self.assertTrue(series('{__name__="runnel.info_value"}') or series('{__name__=~"runnel.+"}'))

    def test_victoria_metrics(self):
        victoria = VictoriaMetrics(self.folder)
        self.run_agent(victoria.url + "/write")
        self.check_victoria(victoria)

    def test_victoria_metrics_behind_nginx_with_tls_and_client_certificate(self):
        victoria = VictoriaMetrics(self.folder)
        path = make_certificates(self.folder)
        nginx = NginxTls(self.folder, int(victoria.url.rsplit(":", 1)[1]))
        self.run_agent(nginx.url("mutual", "/write"), f"""
tls_ca   = "{path}/ca.pem"
tls_cert = "{path}/client.pem"
tls_key  = "{path}/client.key"
""")
        self.check_victoria(victoria)

    def test_influxdb(self):
        influx = InfluxDb(self.folder)
        self.run_agent(influx.write_url())
        for name, field, tags, value in GAUGES:
            found = influx.query(f'SELECT * FROM "{name}" ORDER BY time DESC LIMIT 1')
            self.assertEqual(len(found), 1, name)
            row = dict(zip(found[0]["columns"], found[0]["values"][0]))
            self.assertEqual(row[field], value)
            self.assertEqual(row["host"], "test-host")
            self.assertEqual(row["floor"], tags["floor"])
            self.check_times([row["time"]])
        found = influx.query('SELECT SUM(value) FROM "requests" GROUP BY site')
        sums = {one["tags"]["site"]: one["values"][0][1] for one in found}
        self.assertEqual(sums, {"": 20, "lon": 15})
        found = influx.query('SELECT SUM("count"), SUM("sum"), MIN("min"), MAX("max") FROM "latency"')
        self.assertEqual(found[0]["values"][0][1:], [4, sum(TIMES), 12.5, 45.25])


if __name__ == "__main__":
    main()
