"""What the StatsD benchmarks share: the yardsticks, the agent and the generator as processes pinned to a core each, their
CPU time, what the kernel dropped, and whether exactly what was sent came out.

The yardsticks are the programs in $RUNNEL_SHARED_BENCH (`./dev bench` builds them); everything stays on loopback and in
memory (/dev/shm where there is one), every wait is bounded.
"""
import contextlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("RUNNEL_BUILD", os.path.join(ROOT, "build", "release"))
os.environ.setdefault("RUNNEL", os.path.join(BUILD, "bin", "runnel"))
sys.path.insert(0, os.path.join(ROOT, "tests"))
import support.agent as agent_module  # noqa: E402
from support.agent import Agent  # noqa: E402
from support.servers import Folder, free_port, wait_for  # noqa: E402

YARDSTICKS = os.environ.get("RUNNEL_SHARED_BENCH", os.path.join(ROOT, "build", "yardsticks"))
BUFFER = 8 << 20  # receive buffer of both, bytes: what the agent asks for by default
CORES = sorted(os.sched_getaffinity(0))
RECEIVER, GENERATOR = CORES[:1], CORES[-1:]
realtime = False  # SCHED_FIFO for receivers and generator alike: other processes of the machine do not make them wait
if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK):
    tempfile.tempdir = "/dev/shm"


class Mismatch(Exception):
    """What came out is not what was sent."""


def yardstick(name):
    path = os.path.join(YARDSTICKS, name)
    if not os.access(path, os.X_OK):
        raise SystemExit(f"there is no {name} in {YARDSTICKS}: ./dev bench builds it from RUNNEL_YARDSTICKS")
    return path


@contextlib.contextmanager
def pinned(cores):
    """Children started within run on `cores` only, with all their threads."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    if realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        if realtime:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def cpu_s(pid):
    """CPU seconds of a process: nanoseconds of the scheduler, of every thread (/proc/PID/task/*/schedstat)."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1e9


def machine_busy_s():
    """CPU seconds that all processes of the machine have used so far, with what the hypervisor took (proc(5), stat)."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal = map(int, file.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def udp_sockets(port):
    """[(bytes that wait, drops)] of the UDP sockets bound to a port (/proc/net/udp)."""
    with open("/proc/net/udp", encoding="ascii") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    return [(int(row[4].split(":")[1], 16), int(row[-1])) for row in rows if int(row[1].split(":")[1], 16) == port]


class Floor:
    """statsd_floor on a free port, or on a unix datagram socket."""

    def __init__(self, arguments=()):
        self.port = free_port()
        with pinned(RECEIVER):
            self.process = subprocess.Popen(
                [yardstick("statsd_floor"), "-t", f"127.0.0.1:{self.port}", "-F", str(BUFFER), "-i", "60", *arguments],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.pid = self.process.pid
        self.target = ["-t", f"127.0.0.1:{self.port}"]
        wait_for(lambda: udp_sockets(self.port), "statsd_floor does not listen", 10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=10)

    def drops(self):
        return sum(drops for _, drops in udp_sockets(self.port))

    def waiting(self):
        return sum(waiting for waiting, _ in udp_sockets(self.port))

    def check(self, sent):
        """Ends it; Mismatch where it has not counted each datagram that was sent."""
        self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=10)
        try:
            got = json.loads(out)["datagrams"]
        except ValueError:
            raise SystemExit(f"statsd_floor printed {out!r} {err!r}") from None
        if got != sent.datagrams:
            raise Mismatch(f"statsd_floor got {got} of {sent.datagrams} datagrams")


CONFIG = """
[source.statsd]
listen = ["{listen}"]
receivers = {receivers}
receive_buffer = "8MiB"
{more}
[output.main]
sink = "file"
path = "{path}"
encoding = "json"
fsync = "never"
batch = {{ max_age = "100ms" }}
"""


class Runnel:
    """The agent with a StatsD source and a file output in memory, nothing else."""

    def __init__(self, listen="udp://127.0.0.1:0", receivers=1, interval="10s", more="", cores=None, durability=""):
        self.folder = Folder()
        self.path = os.path.join(self.folder.path, "out.json")
        listen = listen.format(folder=self.folder.path)
        config = CONFIG.format(listen=listen, receivers=receivers, path=self.path, more=more)
        if durability:
            config += f'[journal]\ndurability = "{durability}"\n'
        with pinned(cores or RECEIVER):
            self.agent = Agent(self.folder, config, f'interval = "{interval}"\nself_metrics = false\nlog_level = "info"')
        self.pid = self.agent.process.pid
        url = self.agent.wait_log(r"statsd: listening on (\S+)").group(1)
        self.port = int(url.rsplit(":", 1)[1]) if url.startswith("udp:") else None
        self.target = ["-t", url.removeprefix("udp://")] if self.port else ["-u", url.removeprefix("unixgram://")]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.agent.kill()
        self.folder.close()

    def drops(self):
        return sum(drops for _, drops in udp_sockets(self.port)) if self.port else 0

    def waiting(self):
        return sum(waiting for waiting, _ in udp_sockets(self.port)) if self.port else 0

    def check(self, sent):
        """Ends the agent, which flushes; Mismatch where counts and sums differ from what was sent."""
        status = self.agent.stop(60)
        if status != 0:
            raise Mismatch(f"the agent ended with {status}:\n{self.agent.log()[-2000:]}")
        wrong = sent.differences(Totals(self.path))
        for name, wanted in [("received", sent.lines), ("accepted", sent.lines), ("bad", 0)]:
            got = self.agent.metric(f"runnel.source.{name}", source="statsd")
            if got != wanted:
                wrong.append(f"{name} {got:.0f} of {wanted}")
        if drops := self.agent.metric("runnel.socket.drops"):
            wrong.append(f"runnel.socket.drops {drops:.0f}")
        if residual := self.agent.residual("main"):
            wrong.append(f"the output's balance leaves {residual:.0f}")
        if wrong:
            raise Mismatch("; ".join(wrong))


class Totals:
    """Sums over all samples of an output file: exact for counters, since Python's integers are."""

    def __init__(self, path):
        self.counters, self.timer_values, self.gauges, sums = 0, 0, {}, []
        with open(path, encoding="utf-8") as file:
            for line in file:
                record = json.loads(line)
                if record["kind"] == "counter":
                    self.counters += record["value"]
                elif record["kind"] == "distribution":
                    self.timer_values += record["value"]["count"]
                    sums.append(record["value"]["sum"])
                elif record["kind"] == "gauge":
                    self.gauges[record["key"], tuple(sorted(record.get("tags", {}).items()))] = record["value"]
        self.timer_sum = math.fsum(sums)


class Sent:
    """What statsd_blast says it has sent, of one run or several."""

    def __init__(self, *runs):
        self.runs = runs
        total = lambda *path: sum(_at(run, path) for run in runs)
        self.datagrams, self.lines, self.errors = total("datagrams"), total("metrics"), total("errors")
        self.seconds = total("secs")
        self.cpu_s = total("user_s") + total("sys_s")
        self.counters, self.timer_lines = total("counter", "sum"), total("timer", "lines")
        self.timer_sum, self.gauge_lines = total("timer", "sum"), total("gauge", "lines")

    def differences(self, got):
        """The agent's sum of a timer is a double: it is compared to a thousandth, which is what the values have, as long
        as a double can hold that."""
        wrong = []
        if got.counters != self.counters:
            wrong.append(f"counters sum to {got.counters}, not {self.counters:.0f}")
        if got.timer_values != self.timer_lines:
            wrong.append(f"{got.timer_values} values of timers, not {self.timer_lines}")
        if abs(got.timer_sum - self.timer_sum) > max(0.0005, 1e-13 * abs(self.timer_sum)):
            wrong.append(f"timers sum to {got.timer_sum:.4f}, not {self.timer_sum:.3f}")
        if self.gauge_lines and not got.gauges:
            wrong.append("no gauge came out")
        return wrong


def _at(value, path):
    for name in path:
        value = value[name]
    return value


def blast(receiver, *arguments, timeout=120):
    """Runs statsd_blast on its core until it has sent everything."""
    command = [yardstick("statsd_blast"), *receiver.target, *map(str, arguments)]
    with pinned(GENERATOR):
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stderr}")
    return json.loads(done.stdout)


def settle(receiver, seconds=10):
    """Waits until the receiver has taken what its socket holds, and has had the time to count it."""
    wait_for(lambda: receiver.waiting() == 0, "the receiver does not empty its socket", seconds)
    time.sleep(0.1)


def measure(receiver, *arguments):
    """Blasts at the receiver; (what was sent, CPU seconds it cost the receiver, cores that others kept busy)."""
    before, busy, start = cpu_s(receiver.pid), machine_busy_s(), time.monotonic()
    sent = Sent(blast(receiver, *arguments))
    settle(receiver)
    cost = cpu_s(receiver.pid) - before
    others = (machine_busy_s() - busy - cost - sent.cpu_s) / (time.monotonic() - start)
    return sent, cost, max(others, 0.0)


def collected(command, toggle=None, data=b"", timeout=300):
    """Instructions that callgrind counts in a command fed with `data`: all, or those within the function `toggle`."""
    valgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    if toggle:
        valgrind.append(f"--toggle-collect={toggle}")
    done = subprocess.run([*valgrind, *command], input=data, capture_output=True, timeout=timeout, check=False)
    found = re.search(rb"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or not found:
        raise SystemExit(f"{' '.join(command)} under callgrind: {done.stderr.decode()[-2000:]}")
    return int(found.group(1))


class UnderCallgrind(Runnel):
    """The agent, counted by callgrind within the function `toggle`; instructions() after check()."""

    def __init__(self, toggle):
        real = agent_module.RUNNEL
        with Folder() as folder:
            agent_module.RUNNEL = folder.write(
                "runnel", "#!/bin/sh\nexec valgrind --tool=callgrind --callgrind-out-file=/dev/null "
                f"--toggle-collect='{toggle}' '{real}' \"$@\"\n", 0o755)
            try:
                super().__init__()
            finally:
                agent_module.RUNNEL = real

    def instructions(self):
        return int(self.agent.wait_log(r"Collected : (\d+)").group(1))


def memory(pid):
    """(resident, anonymous) bytes of a process (proc(5), smaps_rollup)."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in file if line.endswith("kB\n")}
    return sizes["Rss"], sizes["Anonymous"]
