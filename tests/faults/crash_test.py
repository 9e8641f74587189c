"""The agent ends, by kill -9 at any instant or by SIGTERM, and starts again: nothing that was acknowledged is lost, and
what comes twice comes in the same payload under the same key. RUNNEL_FAULT_ROUNDS: how often (./dev faults)."""
import os
import random
import time
import unittest

from support.faults import Rig, rounds
from support.run import main
from support.servers import wait_for

SHORT = 'shutdown_timeout = "200ms"'


class Killed(unittest.TestCase):
    def test_under_load_at_random_instants(self):
        """Fault 2. A healthy output, one that is slow, and one that fails and loses answers half of the time."""
        seed = int(os.environ.get("RUNNEL_FAULT_SEED", time.time_ns() % 1_000_000))
        print(f"RUNNEL_FAULT_SEED={seed}", flush=True)
        chance = random.Random(seed)
        rig = Rig(self, {"main": "", "slow": "", "flaky": ""})
        rig.back["slow"].delay = 0.03
        rig.back["flaky"].answer = lambda *_: chance.choice((None, None, None, "503~1", "close", "half", "reset"))
        rig.start()
        rig.load(3, pause=0.001)
        kills = rounds(10)
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, 0.8))
            if rig.agent.metrics():
                rig.balance()
            rig.agent.kill()
            rig.start()
        time.sleep(0.3)
        rig.stop_load()
        self.assertGreater(len(rig.all_acked()), 100 * kills)
        rig.back["slow"].delay = 0
        rig.back["flaky"].answer = None
        rig.agent.reload()  # ends what is left of a back-off
        rig.settle(twice=None)
        # At most the payload that was in flight, each time.
        for name in ("main", "slow"):
            twice = sum(count - 1 for count in rig.back[name].counts().values())
            self.assertLessEqual(twice, 100 * kills, name)
            print(f"{name}: sent={len(rig.all_sent())} acknowledged={len(rig.all_acked())} twice={twice}", flush=True)

    def test_in_flight_comes_again_with_the_same_key_and_body(self):
        for step in ("silent", "stuck"):
            with self.subTest(step):
                rig = Rig(self, {"main": 'batch = { max_events = 100, max_age = "300ms" }'})
                rig.main.answer = lambda *_, step=step: step
                rig.start()
                rig.send(60)  # one or two payloads
                wait_for(rig.main.all_requests, lambda: rig.agent.log())
                rig.send(300)  # what would make the payload larger, were it made anew
                rig.agent.kill()
                before = rig.main.all_requests()
                rig.main.answer = None
                rig.start()
                rig.settle()
                self.assertEqual(len(before), 1)
                key, text, events = rig.main.all_requests()[1]
                self.assertEqual((key, text), before[0][:2])
                self.assertGreater(len(events), 0)

    def test_killed_again_and_again_with_one_payload_in_flight(self):
        rig = Rig(self)
        rig.main.answer = lambda *_: "silent"
        rig.start()
        rig.send(50)
        wait_for(rig.main.all_requests, lambda: rig.agent.log())
        for seen in range(1, 5):
            rig.agent.kill()
            rig.start()
            wait_for(lambda: len(rig.main.all_requests()) > seen, lambda: rig.agent.log())
            rig.send(10)
        rig.agent.kill()
        self.assertEqual(len({request[:2] for request in rig.main.all_requests()}), 1)
        rig.main.answer = None
        rig.start()
        rig.settle()

    def test_killed_while_a_backlog_is_read_from_the_journal(self):
        rig = Rig(self)
        rig.main.leave()
        rig.start()
        rig.send(20_000, per_frame=50)
        kills = 5
        for index in range(kills):
            rig.agent.kill()
            if index == 0:
                rig.main.come_back()
                rig.main.delay = 0.01
            rig.start()
            time.sleep(0.3)
        rig.main.delay = 0
        rig.settle(twice=100 * kills)


    def test_healthy_outputs_are_done_before_a_dead_one_has_started(self):
        """What they have passed is still there for one that stands further down in the configuration."""
        term = "not key ~ ^(" + "|".join(f"some[a-z]*{index}" for index in range(40)) + ")$"
        slow = "filter = '" + " and ".join([term] * 20) + "'"  # takes a while to compile
        names = {"main": "", **{f"healthy{index}": slow for index in range(8)}, "dead": ""}
        rig = Rig(self, names, journal='max_bytes = "256KiB"\nmin_free = "0%"', agent=SHORT)
        for back in rig.back.values():
            back.leave()
        rig.start()
        rig.send(400, padding=400)
        rig.agent.kill()
        self.assertGreater(len(rig.files()), 2)
        for name in names:
            if name != "dead":
                rig.back[name].come_back()
        rig.start()
        rig.wait_arrived(rig.acked)
        rig.agent.kill()
        rig.back["dead"].come_back()
        rig.start()
        rig.settle(twice=None)


class Restarted(unittest.TestCase):
    def test_stopped_while_the_output_is_away(self):
        """Fault 25. StatsD's last interval is kept, too."""
        rig = Rig(self, {"main": "", "other": ""}, agent=SHORT, statsd=True)
        rig.main.leave()
        rig.start()
        first = rig.send(500, per_frame=5)
        with rig.agent.statsd() as statsd:
            for number in range(20):
                statsd.send(f"st.{number}:{number}|g")
        wait_for(lambda: rig.agent.metric("runnel.source.received", source="statsd") >= 20, lambda: rig.agent.log())
        rig.wait_arrived(first, "other")
        self.assertEqual(rig.agent.stop(), 0)
        rig.balance()
        self.assertGreaterEqual(rig.agent.metric("runnel.output.queued", output="main"), 500)
        self.assertRegex(rig.agent.log(), r"main: records=\d+ were not delivered .* stay in the journal")
        rig.start()  # still away
        rig.send(100)
        self.assertEqual(rig.agent.stop(), 0)
        rig.balance()
        rig.main.come_back()
        rig.start()
        rig.settle()
        for output in ("main", "other"):
            names = {name for name in rig.back[output].counts() if isinstance(name, str)}
            self.assertEqual(names, {f"st.{number}" for number in range(20)}, output)

    def test_stopped_and_started_under_load(self):
        rig = Rig(self, agent=SHORT)
        rig.main.delay = 0.02
        rig.start()
        rig.load(2, pause=0.001)
        for _ in range(rounds(5)):
            time.sleep(0.4)
            self.assertEqual(rig.agent.stop(), 0, rig.agent.log())
            rig.balance()
            rig.start()
        rig.stop_load()
        rig.main.delay = 0
        rig.settle(twice=None)

    def test_reloads_under_load_with_good_and_bad_files(self):
        """Fault 25: a storm of SIGHUP; a bad file changes nothing."""
        rig = Rig(self, {"main": "", "other": ""})
        rig.start()
        rig.load(2, pause=0.001)
        with open(rig.agent.config, encoding="utf-8") as file:
            good = file.read()
        for index in range(rounds(60)):
            rig.folder.write("agent.toml", good + ("nonsense = {" if index % 3 else f"# {index}\n"))
            rig.agent.reload()
            time.sleep(0.02)
        rig.folder.write("agent.toml", good)
        rig.agent.reload()
        rig.stop_load()
        self.assertIsNone(rig.agent.process.poll())
        self.assertEqual(rig.all_sent(), rig.all_acked())
        rig.settle(twice=None)

    def test_an_output_that_is_taken_away_and_comes_again_by_reload(self):
        rig = Rig(self, {"main": "", "other": ""}, agent='shutdown_timeout = "2s"')
        rig.start()
        rig.send(100)
        with open(rig.agent.config, encoding="utf-8") as file:
            both = file.read()
        rig.folder.write("agent.toml", both[:both.index("[output.other]")])
        rig.agent.reload()
        rig.agent.wait_log(r"delivering what is queued")
        between = rig.send(100)
        rig.wait_arrived(between)
        rig.folder.write("agent.toml", both)
        rig.agent.reload()
        wait_for(lambda: rig.agent.log().count("reloaded") >= 2 or rig.agent.log().count("reload") >= 2, lambda: rig.agent.log())
        rig.fresh()
        rig.agent.kill()
        rig.start()
        missing = set(between) - rig.back["other"].counts().keys()
        rig.settle(lost=missing, lost_at=("other",), twice=100)


if __name__ == "__main__":
    main()
