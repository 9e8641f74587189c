"""What a StatsD line costs in instructions and a series in memory: works of statsd_bench.py that need no quiet machine."""
import os
import statistics
import subprocess
import threading
import time

import statsd_rig as rig

INTERVAL_LINES = 6_021_120  # of statsd_lines_bench
SERIES = 100_000
INTERVAL = 4  # seconds


def instructions(mix):
    """Of the real receiver over 600,000 lines, from recvmmsg to the cell; of parsing and aggregating alone over an
    interval of 6 million lines; of the bare parser over a pass."""
    with rig.UnderCallgrind("runnel::statsd::Receiver::read_datagrams(int)") as receiver:
        sent, _, _ = rig.measure(receiver, "-n", 20_000, "-r", 1000, "-m", 30, "-c", 1000, "-x", mix)
        receiver.check(sent)
        whole = receiver.instructions() / sent.lines
    program = os.path.join(rig.BUILD, "tests", "bench", "statsd_lines_bench")
    lines = rig.collected([program, "--callgrind", mix], "runnel::statsd::Aggregator::add_lines*")
    result = {"per_metric": round(whole, 1), "parse_and_aggregate": round(lines / INTERVAL_LINES, 1),
              "parse_floor": round(parse_floor(mix), 1), "target": 300}
    result["met"] = result["per_metric"] <= 300
    return result


def parse_floor(mix):
    text = subprocess.run([rig.yardstick("statsd_blast"), "-D", "1000", "-m", "30", "-c", "1000", "-x", mix],
                          capture_output=True, check=True, timeout=30).stdout
    few, many = (rig.collected([rig.yardstick("parse_floor"), passes], data=text) for passes in ("5", "10"))
    return (many - few) / 5 / text.count(b"|")


def memory():
    """Bytes that a series adds to the process: of an idle counter after three flushes, the first of which it was in; of a
    timer while 10 values an interval come (the median, and the most, which holds what a flush has under way), and idle."""
    return {**counters(), **timers(), "target": "140, 400"}


def begin(receiver):
    """What the process has once all its parts have run; what was sent for that."""
    sent = rig.blast(receiver, "-n", 1, "-m", 1, "-N", "warm")
    time.sleep(2 * INTERVAL + 0.2)
    return rig.memory(receiver.pid), sent


def a_series(receiver, base):
    return [(now - before) / SERIES for now, before in zip(rig.memory(receiver.pid), base)]


def agent():
    return rig.Runnel(interval=f"{INTERVAL}s", more=f"max_series = {SERIES + 10}", cores=rig.CORES)


def counters():
    with agent() as receiver:
        base, warm = begin(receiver)
        # 8,000 datagrams are every series twice.
        sent = rig.blast(receiver, "-c", SERIES, "-m", 25, "-n", 8000, "-r", 4000)
        time.sleep(3 * INTERVAL + 0.5)
        resident, anonymous = a_series(receiver, base)
        receiver.check(rig.Sent(warm, sent))
    return {"counter_bytes": round(resident, 1), "counter_anonymous_bytes": round(anonymous, 1),
            "counters_met": round(resident) <= 140}


def timers():
    with agent() as receiver:
        base, warm = begin(receiver)
        sent, held = [], []
        # 10 values a series and interval, for five of them.
        thread = threading.Thread(target=lambda: sent.append(rig.blast(
            receiver, "-c", SERIES, "-m", 25, "-d", 5 * INTERVAL, "-r", SERIES * 10 / 25 / INTERVAL, "-x", "0,0,100,0")))
        thread.start()
        begun = time.monotonic()
        while thread.is_alive():
            time.sleep(0.1)
            if time.monotonic() - begun > 2 * INTERVAL:
                held.append(a_series(receiver, base)[0])
        thread.join()
        time.sleep(3 * INTERVAL + 0.5)
        idle, _ = a_series(receiver, base)
        receiver.check(rig.Sent(warm, *sent))
    median = statistics.median(held)
    return {"timer_bytes": round(median, 1), "timer_most_bytes": round(max(held), 1), "timer_idle_bytes": round(idle, 1),
            "timers_met": median <= 400}
