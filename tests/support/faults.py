"""What the tests of tests/faults share: a back end that keeps what it takes and can be gone, Riemann senders that know
what was acknowledged, an agent between the two that may end and start at any time, and the oracle.

An event is an integer, its metric. The oracle (Rig.settle): what was acknowledged has arrived, nothing has arrived that
was not sent, what came twice came in the same payload under the same Idempotency-Key, every account has residual 0, and
a fresh event arrives after all of it.
"""
import collections
import itertools
import json
import os
import threading
import time

from support.agent import Agent
from support.http_server import Server
from support.riemann import OK, Connection, event, msg
from support.servers import Folder, free_port, wait_for

# Rounds of the tests that repeat something at random instants; `./dev faults` asks for many more.
ROUNDS = int(os.environ.get("RUNNEL_FAULT_ROUNDS", "0"))


def rounds(short):
    return ROUNDS or short


def message(numbers, padding=0):
    """A Riemann message of these events. `padding`: bytes that do not compress, so that a small journal fills."""
    def more():  # values of at most 200 bytes
        return {"attributes": {f"p{i}": os.urandom(min(100, (padding - i) // 2)).hex() for i in range(0, padding, 200)}}
    return msg(*(event(service="ev", sint=number, **(more() if padding else {})) for number in numbers))


class BackEnd:
    """`answer(request, events)` names the step of support.http_server for a request; None is 204. Payloads that were
    answered with 204, and those whose answer was lost on the way (half, reset), are in `taken`."""

    def __init__(self, answer=None):
        self.answer = answer
        self.taken = []      # (Idempotency-Key, text, events)
        self.requests = []   # the same of every request
        self.delay = 0
        self._lock = threading.Lock()
        self._counts = collections.Counter()
        self._server = Server(self._on_request)
        self.port, self.url = self._server.port, self._server.url

    def _on_request(self, request):
        text = request.text()
        events = []
        for line in text.splitlines():
            record = json.loads(line)
            if record["key"] == "ev":
                events.append(record["value"])
            else:
                events.append(record["key"])
        entry = (request.headers.get("Idempotency-Key"), text, events)
        if self.delay:
            time.sleep(self.delay)
        with self._lock:
            if self._server is None:
                return "close"
            self.requests.append(entry)
            step = self.answer(request, events) if self.answer else None
            if step in (None, "204", "half", "reset"):
                self.taken.append(entry)
                self._counts.update(events)
        return step

    def leave(self):
        """Nobody listens any more, and connections that are kept end."""
        with self._lock:
            server, self._server = self._server, None
        if server:
            server.close()

    def come_back(self):
        server = Server(self._on_request, self.port)
        with self._lock:
            self._server = server

    def counts(self):
        """How often each event was taken."""
        with self._lock:
            return dict(self._counts)

    def payloads(self):
        with self._lock:
            return list(self.taken)

    def all_requests(self):
        with self._lock:
            return list(self.requests)

    close = leave


class Sender(threading.Thread):
    """A Riemann client that sends frames of `per_frame` events, has up to `window` unanswered, and connects again where
    the agent has gone. What it was told: acked and refused; of the rest of `sent` it knows nothing."""

    def __init__(self, numbers, address, per_frame=5, window=8, pause=0.0, limit=None, padding=0):
        super().__init__(daemon=True)
        self.numbers, self.address = numbers, address
        self.per_frame, self.window, self.pause, self.limit = per_frame, window, pause, limit
        self.padding = padding
        self.sent, self.acked, self.refused = set(), set(), set()
        self.ending = threading.Event()
        self.start()

    def run(self):
        while not self.ending.is_set():
            try:
                with Connection(self.address, 30) as connection:
                    self._talk(connection)
            except (OSError, AssertionError):
                time.sleep(0.02)  # killed, or not there yet
            if self.limit is not None and len(self.sent) >= self.limit:
                return

    def _talk(self, connection):
        waiting = collections.deque()
        while True:
            over = self.ending.is_set() or (self.limit is not None and len(self.sent) >= self.limit)
            if not over and len(waiting) < self.window:
                events = [next(self.numbers) for _ in range(self.per_frame)]
                self.sent.update(events)
                connection.send(message(events, self.padding))
                waiting.append(events)
                if self.pause:
                    time.sleep(self.pause)
            elif waiting:
                answer = connection.answer()
                if not answer:
                    return
                (self.acked if answer == OK else self.refused).update(waiting.popleft())
            else:
                return

    def stop(self, seconds=40):
        self.ending.set()
        self.join(seconds)
        assert not self.is_alive(), "a sender gets no answer"


class Rig:
    """A back end for each of `outputs` ({name: further lines}) and a configuration; start() starts an agent."""

    def __init__(self, case, outputs=None, journal="", agent="", statsd=False, state=None, folder=None, sources=""):
        self.case = case
        self.folder = folder or Folder()
        if folder is None:
            case.addCleanup(self.folder.close)
        self.outputs = outputs or {"main": ""}
        self.back = {name: BackEnd() for name in self.outputs}
        for back in self.back.values():
            case.addCleanup(back.close)
        self.numbers = itertools.count(1)
        self.senders = []
        self.sent, self.acked = set(), set()  # by send()
        self.agent = None
        self.agents = 0
        self.address = ("127.0.0.1", free_port())
        self.journal, self.statsd, self.state, self.sources = journal, statsd, state, sources
        self.more = f'interval = "1s"\nself_metrics = false\n{agent}'

    @property
    def main(self):
        return self.back["main"]

    def config(self):
        text = f'[source.riemann]\nlisten = ["tcp://127.0.0.1:{self.address[1]}"]\n'
        if self.statsd:
            text += '[source.statsd]\nlisten = ["udp://127.0.0.1:0"]\n'
        text += f"{self.sources}[journal]\n{self.journal}\n"
        for name, more in self.outputs.items():
            text += f"""[output.{name}]
sink        = "http"
compression = "none"
{more if "batch" in more else 'batch = { max_events = 100, max_age = "20ms" }' + chr(10) + more}
url         = "{self.back[name].url}/"
"""
        return text

    def start(self, **options):
        self.agent = Agent(self.folder, self.config(), agent=self.more, state=self.state, **options)
        self.case.addCleanup(self.agent.kill)
        self.agents += 1
        return self.agent

    def send(self, count, per_frame=1, expect=True, padding=0):
        """One frame after the other, each answered before the next; the numbers. `expect`: what the answers are."""
        numbers = []
        with Connection(self.address, 30) as connection:
            for _ in range(0, count, per_frame):
                frame = [next(self.numbers) for _ in range(per_frame)]
                self.sent.update(frame)
                numbers += frame
                connection.send(message(frame, padding))
                answer = connection.answer()
                if answer == OK:
                    self.acked.update(frame)
                if expect is not None:
                    self.case.assertEqual(answer == OK, expect, answer)
        return numbers

    def load(self, count=1, **options):
        self.senders += [Sender(self.numbers, self.address, **options) for _ in range(count)]

    def stop_load(self):
        for sender in self.senders:
            sender.stop()

    def all_sent(self):
        return set().union(self.sent, *(sender.sent for sender in self.senders))

    def all_acked(self):
        return set().union(self.acked, *(sender.acked for sender in self.senders))

    def journal_folder(self):
        return os.path.join(self.state or os.path.join(self.folder.path, "agent.state"), "journal")

    def files(self, ending=".seg"):
        try:
            return sorted(name for name in os.listdir(self.journal_folder()) if name.endswith(ending))
        except OSError:
            return []

    def account(self):
        return " ".join(f"{name[7:]}{dict(labels)}={value:g}" for (name, labels), value in self.agent.metrics().items()
                        if name.startswith(("runnel_output_", "runnel_journal_")))

    def balance(self):
        for name in self.outputs:
            self.case.assertEqual(self.agent.residual(name), 0, (name, self.agent.metrics()))

    def dropped(self, output="main", **labels):
        return int(self.agent.metric("runnel.output.dropped", output=output, **labels))

    def wait_arrived(self, wanted, output="main", seconds=60):
        def missing():
            return set(wanted) - self.back[output].counts().keys()
        wait_for(lambda: not missing(),
                 lambda: f"{output}: {len(missing())} of {len(wanted)} are missing, among them "
                         f"{sorted(missing())[:10]}\n{self.account()}\n{self.agent.log()[-4000:]}", seconds)

    def fresh(self, outputs=None):
        """A fresh event is acknowledged and arrives."""
        numbers = self.send(1)
        for name in outputs or self.outputs:
            self.wait_arrived(numbers, name)

    def settle(self, lost=(), lost_at=(), twice=0, stop=True):
        """The oracle. `lost`: what may, and must, be missing at the outputs `lost_at` (all of them where there are
        none); `twice`: how many may have arrived more than once at an output, None: any number."""
        self.fresh()
        for name in self.outputs:
            here = set(lost) if not lost_at or name in lost_at else set()
            self.wait_arrived(self.all_acked() - here, name)
        if stop:
            self.case.assertEqual(self.agent.stop(), 0, self.agent.log()[-3000:])
            self.balance()
        for name, back in self.back.items():
            here = set(lost) if not lost_at or name in lost_at else set()
            counts = back.counts()
            came = {number for number in counts if isinstance(number, int)}
            self.case.assertLessEqual(came, self.all_sent(), name)
            self.case.assertFalse(came & here, name)
            again = sum(count - 1 for number, count in counts.items() if isinstance(number, int))
            if twice is not None:
                self.case.assertLessEqual(again, twice, f"{name}: arrived more than once")
            self.same_keys(name)

    def same_keys(self, output="main"):
        """A key stands for one body, and what came twice came under one key."""
        bodies, keys = {}, {}
        for key, text, events in self.back[output].payloads():
            self.case.assertEqual(bodies.setdefault(key, text), text, f"{output}: two bodies under {key}")
            for number in events:
                if isinstance(number, int):
                    self.case.assertEqual(keys.setdefault(number, key), key, f"{output}: event {number} under two keys")
