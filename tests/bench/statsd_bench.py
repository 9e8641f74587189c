#!/usr/bin/env python3
"""StatsD at line rate: the agent against the least that receiving, parsing and counting can cost (statsd_floor), in turn,
the receiver on one core and the generator (statsd_blast) on another, 1000 series, 70 % counters, 10 % gauges, 20 % timers.

    W1              100,000 datagrams/s of one metric: CPU, at most 1.15 of the yardstick
    W1s, W1s-10k    the same arriving singly, and 10,000/s: at most 1.15 and 1.3
    W2              20,000 datagrams/s of 30 metrics: at most 1.3
    W3              W1 with three tags a line: no target
    saturation      packed datagrams: the most metrics/s that one receiver takes without a loss: 12 million, or as many as
                    the generator can send
    instructions    what callgrind counts from recvmmsg to the cell, datagrams of 30: at most 300 a metric
    memory          bytes a series at 100,000 series: idle counters at most 140, timers with 10 values an interval 400
    udp-1, udp-2, unixgram-1, unixgram-2
                    W2 over that transport with as many receivers: what is sent comes out

In every work counts and sums that come out are compared with what the generator says it has sent, and nothing may be
dropped. Prints a line of JSON a work and a table; exit status 1 where a target is missed or a sum is wrong.

    statsd_bench.py [--seconds N] [--rounds N] [--mix C,G,T,S] [--realtime] [WORK...]

RUNNEL names the agent, RUNNEL_SHARED_BENCH the folder of the yardsticks; default: what `./dev bench` builds.
"""
import argparse
import dataclasses
import json
import statistics
import sys

import statsd_cost as cost
import statsd_rig as rig


@dataclasses.dataclass
class Work:
    name: str
    rate: int            # datagrams/s
    metrics: int         # a datagram
    generator: tuple = ()
    floor: tuple = ()    # statsd_floor gathers or not
    target: float = 0    # CPU of the agent ÷ CPU of the yardstick; 0: none

    def arguments(self, seconds, mix):
        return ["-r", self.rate, "-d", seconds, "-m", self.metrics, "-c", 1000, "-x", mix, *self.generator]


WORKS = [
    Work("W1", 100_000, 1, (), ("-w", "1000", "-m", "48"), 1.15),
    Work("W1s", 100_000, 1, ("-b", 1), ("-w", "1000", "-m", "16"), 1.15),
    Work("W1s-10k", 10_000, 1, ("-b", 1), ("-w", "1000", "-m", "16"), 1.3),
    Work("W2", 20_000, 30, (), (), 1.3),
    Work("W3", 100_000, 1, ("-T", 3), ("-w", "1000", "-m", "48")),
]
PACKED = ("-p", 1432, "-G", 64, "-b", 256, "-c", 1000)
LOSSLESS_TARGET = 12e6  # metrics/s


def compare(work, options):
    """The yardstick and the agent in turn; the medians."""
    costs = {"floor": [], "agent": []}
    others, problems, rate = [], [], []
    for _ in range(options.rounds):
        for name, start in [("floor", lambda: rig.Floor(work.floor)), ("agent", rig.Runnel)]:
            with start() as receiver:
                sent, cpu, busy = rig.measure(receiver, *work.arguments(options.seconds, options.mix))
                drops = receiver.drops()
                costs[name].append(cpu * 1e9 / sent.lines)
                others.append(busy)
                rate.append(sent.datagrams / sent.seconds)
                if drops:
                    problems.append(f"{name}: {drops} datagrams dropped")
                try:
                    receiver.check(sent)
                except rig.Mismatch as error:
                    problems.append(f"{name}: {error}")
    floor, agent = (statistics.median(costs[name]) for name in ("floor", "agent"))
    result = {"work": work.name, "floor_ns_per_metric": round(floor, 1), "agent_ns_per_metric": round(agent, 1),
              "ratio": round(agent / floor, 3),
              "ratios": [round(a / f, 3) for a, f in zip(costs["agent"], costs["floor"])],
              "datagrams_per_s": round(min(rate)), "others_busy_cores": round(statistics.median(others), 2)}
    if work.target:
        result["target"], result["met"] = work.target, agent / floor <= work.target
    return result, problems


def attempt(start, rate, options):
    """(metrics/s, datagrams dropped, datagrams/s, CPU share of the receiver, what is wrong) at a rate; 0: unlimited."""
    with start() as receiver:
        sent, cpu, _ = rig.measure(receiver, *PACKED, "-r", rate, "-d", options.seconds / 2, "-x", options.mix)
        drops, wrong = receiver.drops(), []
        if not drops:
            try:
                receiver.check(sent)
            except rig.Mismatch as error:
                wrong.append(str(error))
        return {"metrics": sent.lines / sent.seconds, "drops": drops, "datagrams": sent.datagrams / sent.seconds,
                "cpu": cpu / sent.seconds, "wrong": wrong}


def lossless(start, options):
    """The highest rate without a loss: the generator's own limit, or what halving the distance finds, to 2 %. Of two tries
    at a rate one may lose: it is what the receiver can do that counts, not what else the machine did."""
    unlimited = attempt(start, 0, options)
    limit = unlimited["metrics"]
    if not unlimited["drops"]:
        return unlimited, limit, "generator"
    low, high, best = 0.0, unlimited["datagrams"], None
    rate = high * 0.9
    while high - low > 0.02 * high:
        found = attempt(start, round(rate), options)
        if found["drops"]:
            found = attempt(start, round(rate), options)
        if found["drops"]:
            high = rate
        else:
            low, best = rate, found
            if found["datagrams"] < 0.97 * rate:  # the generator cannot go as fast while it paces
                return best, limit, "generator"
        rate = (low + high) / 2 if low else rate * 0.75
        if rate < 1000:
            break
    return best, limit, "receiver"


def saturate(options):
    found, floors, problems, limits = [], [], [], []
    for _ in range(options.rounds):
        best, _, _ = lossless(lambda: rig.Floor(("-b", "64")), options)
        floors.append(best["metrics"] if best else 0)
        best, limit, by = lossless(rig.Runnel, options)
        if best:
            problems += best["wrong"]
        found.append((best["metrics"] if best else 0, by, best["cpu"] if best else 0))
        limits.append(limit)
    rate, by, cpu = sorted(found)[len(found) // 2]
    result = {"work": "saturation", "lossless_metrics_per_s": round(rate), "limited_by": by, "receiver_cores": round(cpu, 2),
              "all": [round(f[0]) for f in found], "generator_metrics_per_s": round(statistics.median(limits)),
              "floor_lossless_metrics_per_s": round(statistics.median(floors)), "target": LOSSLESS_TARGET,
              "met": rate >= LOSSLESS_TARGET or by == "generator"}
    return result, problems


def exact(name, options):
    """W2, or as fast as a unix socket takes it (it stops its senders: nothing is lost)."""
    transport, receivers = name.split("-")
    listen = {"udp": "udp://127.0.0.1:0", "unixgram": "unixgram://{folder}/statsd.sock"}[transport]
    rate = 20_000 if transport == "udp" else 0
    with rig.Runnel(listen, int(receivers), interval="1s", cores=rig.CORES) as receiver:
        sent, cpu, _ = rig.measure(receiver, "-r", rate, "-d", min(options.seconds, 3), "-m", 30, "-c", 1000, "-x", options.mix)
        problems = []
        try:
            receiver.check(sent)
        except rig.Mismatch as error:
            problems.append(str(error))
    return {"work": name, "lines": sent.lines, "metrics_per_s": round(sent.lines / sent.seconds),
            "agent_ns_per_metric": round(cpu * 1e9 / sent.lines, 1), "exact": not problems, "met": not problems}, problems


def measure_cost(name, options):
    """Instructions or memory: statsd_cost."""
    try:
        found = cost.instructions(options.mix) if name == "instructions" else cost.memory()
    except rig.Mismatch as error:
        return {"work": name}, [str(error)]
    if name == "memory":
        found["met"] = found["counters_met"] and found["timers_met"]
    return {"work": name, **found}, []


COSTS = ["instructions", "memory"]
EXACT = ["udp-1", "udp-2", "unixgram-1", "unixgram-2"]


def table(results):
    print(f"{'work':<12} {'floor':>10} {'agent':>10} {'ratio':>7} {'target':>7}", file=sys.stderr)
    said = {True: "met", False: "MISSED", None: ""}
    for r in results:
        verdict = said[r.get("met")]
        if "ratio" in r:
            print(f"{r['work']:<12} {r['floor_ns_per_metric']:>7} ns {r['agent_ns_per_metric']:>7} ns {r['ratio']:>7} "
                  f"{r.get('target', '-'):>7} {verdict}", file=sys.stderr)
        elif "lossless_metrics_per_s" in r:
            print(f"{r['work']:<12} {r['floor_lossless_metrics_per_s'] / 1e6:>7.1f} M  {r['lossless_metrics_per_s'] / 1e6:>6.1f} M  "
                  f"{'':>7} {'12 M':>7} {verdict} (limited by the {r['limited_by']})", file=sys.stderr)
        elif "per_metric" in r:
            print(f"{r['work']:<12} {r['parse_floor']:>10} {r['per_metric']:>10} {'':>7} {'300':>7} {verdict}", file=sys.stderr)
        elif "counter_bytes" in r:
            print(f"{'counter':<12} {'':>10} {r['counter_bytes']:>8} B {'':>7} {'140':>7} {said[r['counters_met']]}\n"
                  f"{'timer':<12} {'':>10} {r['timer_bytes']:>8} B {'':>7} {'400':>7} {said[r['timers_met']]}", file=sys.stderr)
        elif "exact" in r:
            print(f"{r['work']:<12} {'':>10} {r['agent_ns_per_metric']:>7} ns {'':>7} {'exact':>7} {verdict}", file=sys.stderr)


def main():
    names = [work.name for work in WORKS] + ["saturation", *COSTS, *EXACT]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mix", default="70,10,20,0", help="percent of counters, gauges, timers, sets")
    parser.add_argument("--realtime", action="store_true", help="receivers and generator as SCHED_FIFO: on a busy machine, as root")
    parser.add_argument("works", nargs="*", metavar="WORK", help=", ".join(names))
    options = parser.parse_args()
    if unknown := set(options.works) - set(names):
        parser.error(f"no such work: {', '.join(sorted(unknown))}")
    if len(rig.CORES) < 2:
        raise SystemExit("receiver and generator need a core each")
    rig.realtime = options.realtime
    results, failed = [], False
    for name in options.works or names:
        work = next((work for work in WORKS if work.name == name), None)
        if work:
            result, problems = compare(work, options)
        elif name in COSTS:
            result, problems = measure_cost(name, options)
        else:
            result, problems = saturate(options) if name == "saturation" else exact(name, options)
        if problems:
            result["met"], result["problems"] = False, problems
        failed |= result.get("met") is False
        results.append(result)
        print(json.dumps({"bench": "statsd", **result}), flush=True)
    table(results)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
