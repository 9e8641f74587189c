#!/usr/bin/env python3
"""What a restart under load costs: 100,000 datagrams/s on a socket that outlives the agent (runnel.socket, 8 MiB), while the
agent is stopped and started again.

Prints one JSON line: datagrams sent and counted (all of them must be), the longest time from the last read of one process
to the first of the next (by how much waited in the kernel at most), how long stop and start take. Exit status 1 where
datagrams were lost or the kernel's buffer was more than half full.

    restart_bench.py [RESTARTS] [DATAGRAMS_A_SECOND]     RUNNEL names the agent; default: the build tree of `./dev build`
"""
import json
import os
import subprocess
import sys
import threading
import time

import statsd_rig as rig
from support.manager import passing, statsd_socket
from support.servers import Folder

CONFIG = """
[source.statsd]
listen = ["udp://127.0.0.1:{port}"]
[output.main]
sink = "file"
path = "{path}"
filter = 'key ~ ^bench'
fsync = "never"
"""


class Watch:
    """The most that waited in the socket, in bytes with the kernel's overhead, looked at every ms."""

    def __init__(self, port):
        self.port, self.most, self.drops, self.stop = port, 0, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stop.wait(0.001):
            for waiting, drops in rig.udp_sockets(self.port):
                self.most, self.drops = max(self.most, waiting), drops

    def end(self):
        self.stop.set()
        self.thread.join()


def main():
    restarts = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    rate = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
    rig.realtime = os.geteuid() == 0  # the time that is measured is the agent's, not that of the machine's other processes
    folder, socket = Folder(), statsd_socket()
    port, buffer = socket.getsockname()[1], socket.getsockopt(1, 8)  # SOL_SOCKET, SO_RCVBUF
    config = CONFIG.format(port=port, path=f"{folder.path}/out.json")

    def agent(number):
        with rig.pinned(rig.CORES):
            return passing(folder, config, [socket], name=f"agent{number}", state=f"{folder.path}/state",
                           agent='interval = "10s"\nshutdown_timeout = "1s"\nself_metrics = false')
    seconds = 2 + restarts * 1.5
    starts, stops = [], []
    try:
        running = agent(0)
        with rig.pinned(rig.GENERATOR):
            blast = subprocess.Popen([rig.yardstick("statsd_blast"), "-t", f"127.0.0.1:{port}", "-r", str(rate), "-d", str(seconds),
                                      "-c", "1000", "-x", "70,10,20,0"], stdout=subprocess.PIPE, text=True)
        watch = Watch(port)
        for number in range(1, restarts + 1):
            time.sleep(0.8)
            begin = time.monotonic()
            if running.stop() != 0:
                raise SystemExit(running.log())
            ended = time.monotonic()
            running = agent(number)
            stops.append(ended - begin)
            starts.append(time.monotonic() - ended)
        sent = json.loads(blast.communicate(timeout=seconds + 60)[0])
        watch.end()
        if running.stop() != 0:
            raise SystemExit(running.log())
        with agent("last") as last:  # delivers what was left to the journal
            last.stop()
        totals = rig.Totals(f"{folder.path}/out.json")
        counted = totals.counters, totals.timer_values
    finally:
        folder.close()
    wanted = sent["counter"]["sum"], sent["timer"]["lines"]
    full = watch.most / buffer
    result = {"restarts": restarts, "datagrams": sent["datagrams"], "datagrams_a_second": round(sent["datagrams"] / seconds),
              "lost_counts": wanted[0] - counted[0], "lost_timings": wanted[1] - counted[1], "kernel_drops": watch.drops,
              "buffer_most_full": round(full, 3), "stop_s": [round(s, 3) for s in stops], "start_s": [round(s, 3) for s in starts]}
    print(json.dumps(result))
    return 1 if result["lost_counts"] or result["lost_timings"] or watch.drops or full > 0.5 else 0


if __name__ == "__main__":
    sys.exit(main())
