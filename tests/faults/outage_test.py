"""The back end is away, or refuses: what is kept, what is dropped and how it is counted, what goes to quarantine."""
import json
import os
import subprocess
import time
import unittest

from support.agent import RUNNEL
from support.faults import Rig, rounds
from support.run import main
from support.servers import wait_for

SMALL = 'max_bytes = "64KiB"\nmin_free = "0%"\n'
# Text that zstd cannot make small, so that a few thousand events fill the journal: see Rig.send.
PADDING = 400


class LongOutage(unittest.TestCase):
    """Fault 13."""

    def lag(self, rig, output="main"):
        return int(rig.agent.metric("runnel.output.queued", output=output))

    def test_drop_oldest_counts_exactly_and_harms_no_other(self):
        rig = Rig(self, {"main": "", "healthy": ""}, journal=SMALL)
        rig.main.leave()
        rig.start()
        sent = rig.send(3000 * min(rounds(1), 20), padding=PADDING)
        rig.wait_arrived(sent, "healthy")
        wait_for(lambda: rig.dropped(reason="log_full") > 500, lambda: rig.account())
        rig.balance()
        self.assertEqual(rig.dropped("healthy"), 0)
        self.assertLess(rig.agent.metric("runnel.journal.bytes"), 2 * 65536)
        rig.main.come_back()
        rig.agent.reload()
        rig.fresh()
        dropped = self.final_count(rig)
        missing = set(sent) - rig.main.counts().keys()
        self.assertEqual(len(missing), dropped)
        # Of the oldest, but for what was in the payload that was being sent.
        self.assertGreater(max(rig.main.counts()), max(missing))
        rig.settle(lost=missing, lost_at=("main",))
        self.assertEqual(set(rig.main.counts()) | missing, set(rig.back["healthy"].counts()))

    def final_count(self, rig):
        wait_for(lambda: self.lag(rig) == 0 and rig.agent.metric("runnel.output.in_flight", output="main") == 0,
                 lambda: rig.account())
        rig.balance()
        return rig.dropped(reason="log_full")

    def test_drop_newest_counts_exactly(self):
        rig = Rig(self, {"main": 'when_full = "drop_newest"', "healthy": ""}, journal=SMALL)
        rig.main.leave()
        rig.start()
        sent = rig.send(3000, padding=PADDING)
        rig.wait_arrived(sent, "healthy")
        wait_for(lambda: rig.dropped(reason="log_full") > 500, lambda: rig.account())
        rig.balance()
        rig.main.come_back()
        rig.agent.reload()
        dropped = self.final_count(rig)
        missing = set(sent) - rig.main.counts().keys()
        self.assertEqual(len(missing), dropped)
        # The oldest are there.
        self.assertEqual(sorted(rig.main.counts()), sent[:len(sent) - dropped])
        rig.settle(lost=missing, lost_at=("main",))

    def test_counts_are_exact_when_killed_and_started_in_the_outage(self):
        """The ends of what was skipped or passed over are kept: nothing comes twice or out of nowhere."""
        for when_full in ("drop_oldest", "drop_newest"):
            with self.subTest(when_full):
                rig = Rig(self, {"main": f'when_full = "{when_full}"', "healthy": ""}, journal=SMALL)
                rig.main.leave()
                rig.start()
                sent = rig.send(3000, padding=PADDING)
                rig.wait_arrived(sent, "healthy")
                time.sleep(1.5)  # cursors are saved within a second
                rig.agent.kill()
                rig.start()
                rig.balance()
                sent += rig.send(300, padding=PADDING)
                rig.main.come_back()
                rig.agent.reload()
                self.final_count(rig)
                missing = set(sent) - rig.main.counts().keys()
                self.assertLess(len(missing), len(sent))
                rig.settle(lost=missing, lost_at=("main",), twice=0)

    def test_block_stalls_the_senders_and_loses_nothing(self):
        rig = Rig(self, {"main": 'when_full = "block"'}, journal=SMALL)
        rig.main.leave()
        rig.start()
        rig.load(1, per_frame=5, padding=PADDING, limit=4000)
        def stalled():
            before = len(rig.senders[0].sent)
            time.sleep(1)
            return len(rig.senders[0].sent) == before
        wait_for(stalled, "the sender is not stalled", 30)
        self.assertLess(len(rig.all_sent()), 4000)
        self.assertEqual(rig.dropped(), 0)
        self.assertLess(rig.agent.metric("runnel.journal.bytes"), 2 * 65536)
        rig.main.come_back()
        rig.agent.reload()
        wait_for(lambda: len(rig.all_acked()) >= 4000, lambda: f"{len(rig.all_acked())} {rig.account()}", 60)
        rig.settle()
        self.assertEqual(rig.dropped(), 0)

    def test_a_blocked_agent_is_killed_and_goes_on(self):
        rig = Rig(self, {"main": 'when_full = "block"'}, journal=SMALL)
        rig.main.leave()
        rig.start()
        rig.load(1, per_frame=5, padding=PADDING, limit=4000)
        time.sleep(2)
        rig.agent.kill()
        rig.main.come_back()
        rig.start()
        wait_for(lambda: not rig.senders[0].is_alive(), lambda: rig.account(), 60)
        rig.settle()
        self.assertEqual(rig.dropped(), 0)


class Answers(unittest.TestCase):
    def test_each_failure_in_turn_loses_nothing_and_keeps_its_key(self):
        """Faults 16 and 18."""
        rig = Rig(self)
        steps = iter(["500", "503~1", "429~1", "close", "half", "reset", "408", "503~-30", "429~nonsense"])
        rig.main.answer = lambda *_: next(steps, None)
        rig.start()
        sent = rig.send(50)
        rig.wait_arrived(sent)
        wait_for(lambda: (rig.agent.reload(), next(steps, "end") == "end")[1], lambda: rig.account(), 60, 0.5)
        rig.settle(twice=200)
        self.assertEqual(rig.dropped(), 0)

    def test_a_slow_output_delays_no_other(self):
        rig = Rig(self, {"main": "", "slow": ""})
        rig.back["slow"].answer = lambda *_: "silent"
        rig.start()
        began = time.monotonic()
        for _ in range(20):
            rig.wait_arrived(rig.send(10), "main")
        self.assertLess(time.monotonic() - began, 20)
        rig.agent.kill()
        rig.back["slow"].answer = None
        rig.start()
        rig.settle(twice=100)


class Poison(unittest.TestCase):
    """Fault 17."""

    def quarantine(self, *words):
        done = subprocess.run([RUNNEL, "quarantine", *words, "--config", self.rig.agent.config], capture_output=True,
                              timeout=60, text=True)
        return done.returncode, done.stdout, done.stderr

    def poisoned(self, *poison, count=1000):
        self.rig = rig = Rig(self, {"main": 'batch = { max_events = 2000, max_age = "500ms" }', "other": ""})
        rig.main.answer = lambda request, events: "400" if set(poison) & set(events) else None
        rig.start()
        sent = rig.send(count, per_frame=20)
        self.assertEqual(sent, list(range(1, count + 1)))
        rig.wait_arrived(set(sent) - set(poison))
        wait_for(lambda: rig.agent.metric("runnel.output.quarantined", output="main") >= len(poison),
                 lambda: rig.account())
        return rig, sent

    def names(self):
        code, out, err = self.quarantine("list")
        self.assertEqual((code, err), (0, ""))
        return [line.split()[0] for line in out.splitlines() if "records=" in line]

    def test_one_in_a_thousand(self):
        rig, sent = self.poisoned(500)
        rejected = [request for request in rig.main.all_requests() if 500 in request[2]]
        self.assertLessEqual(len(rejected), 33)
        rig.wait_arrived(sent, "other")
        code, out, err = self.quarantine("list")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r'^main\.\S+  \S+Z  records=1 bytes=\d+ reason=rejected answer=".*body of 400')
        [name] = self.names()
        code, out, _ = self.quarantine("show", name)
        shown = json.loads(out)
        self.assertEqual((code, shown["record"]["value"], shown["output"]), (0, 500, "main"))
        # Refused again: it stays, the same.
        code, out, _ = self.quarantine("replay", name)
        self.assertEqual(code, 1, out)
        again = self.names()
        self.assertEqual(len(again), 1, out)
        self.assertEqual(json.loads(self.quarantine("show", again[0])[1])["record"], shown["record"])
        # Accepted: it is gone.
        rig.main.answer = None
        code, out, err = self.quarantine("replay", "all")
        self.assertEqual(code, 0, out + err)
        self.assertRegex(out, r"records=1 delivered=1 filtered=0 refused=0 left=0")
        self.assertEqual(self.names(), [])
        self.assertEqual(rig.main.counts()[500], 1)
        text = [text for _, text, events in rig.main.payloads() if 500 in events]
        self.assertEqual(json.loads(text[0]), shown["record"])
        rig.settle()
        self.assertEqual(rig.agent.metric("runnel.output.quarantined", output="main"), 1)
        self.assertEqual(rig.dropped(), 0)
        self.assertEqual(set(rig.main.counts()), set(rig.back["other"].counts()))

    def test_refused_again_in_part(self):
        rig, sent = self.poisoned(100, 900)
        rig.main.answer = lambda request, events: "400" if 900 in events else None
        self.quarantine("replay", "main")
        self.assertEqual(rig.main.counts().get(100), 1)
        left = [json.loads(self.quarantine("show", name)[1])["record"]["value"] for name in self.names()]
        self.assertEqual(left, [900])
        rig.settle(lost=[900], lost_at=("main",))

    def test_drop(self):
        rig, sent = self.poisoned(7)
        [name] = self.names()
        self.assertEqual(self.quarantine("drop", "nothing-of-it")[0], 1)
        self.assertEqual(self.names(), [name])
        self.assertEqual(self.quarantine("drop", name)[0], 0)
        self.assertEqual(self.names(), [])
        self.assertEqual(os.listdir(os.path.join(rig.folder.path, "agent.state", "quarantine")), [])
        rig.settle(lost=[7], lost_at=("main",))

    def test_killed_while_it_is_looked_for(self):
        self.rig = rig = Rig(self, {"main": 'batch = { max_events = 2000, max_age = "500ms" }'})
        rig.main.answer = lambda request, events: "400" if 333 in events else None
        rig.main.delay = 0.05
        rig.start()
        sent = rig.send(1000, per_frame=20)
        for _ in range(4):
            time.sleep(0.4)
            rig.agent.kill()
            rig.start()
        rig.main.delay = 0
        rig.wait_arrived(set(sent) - {333})
        wait_for(lambda: len(self.names()) == 1, lambda: rig.agent.log())
        self.assertEqual(json.loads(self.quarantine("show", "all")[1])["record"]["value"], 333)
        # A part that was in flight is sent again as it was; other parts may be cut in another way.
        rig.fresh()
        self.assertLessEqual(sum(count - 1 for count in rig.main.counts().values()), 4 * 1000)
        self.assertEqual(rig.agent.stop(), 0)
        rig.balance()

    def test_a_back_end_that_refuses_everything_holds_and_loses_nothing(self):
        self.rig = rig = Rig(self)
        rig.main.answer = lambda *_: "400"
        rig.start()
        rig.send(300, per_frame=20)
        rig.agent.wait_log(r"ERROR main: held: none of \d+ records is accepted")
        self.assertEqual(self.names(), [])
        rig.main.answer = None
        rig.agent.reload()
        rig.settle()
        self.assertEqual(rig.agent.metric("runnel.output.quarantined", output="main"), 0)


if __name__ == "__main__":
    main()
