"""A service manager, as the agent sees it: $NOTIFY_SOCKET (sd_notify(3)) and sockets that it has bound (sd_listen_fds(3))."""
import os
import socket
import threading
import time

from support.agent import RUNNEL, Agent


class Manager:
    """The socket of $NOTIFY_SOCKET; what came is in `states`, with the times at which it came."""

    def __init__(self, folder):
        self.path = os.path.join(folder.path, "notify.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.states = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except OSError:
                return
            self.states.append((time.monotonic(), text))

    def times(self, state):
        return [at for at, text in self.states if text == state]


def passing(folder, config, sockets, names="", **options):
    """An agent that is handed `sockets` as descriptors 3, 4, …; $LISTEN_PID has to be its own number, so a shell sets it."""
    launcher = folder.write("launch.sh", f"""#!/bin/sh
export LISTEN_PID=$$ LISTEN_FDS={len(sockets)} LISTEN_FDNAMES={names}
exec {RUNNEL} "$@"
""")
    os.chmod(launcher, 0o755)

    def arrange():  # by way of numbers that none of them has
        far = [os.dup2(s.fileno(), 200 + i) for i, s in enumerate(sockets)]
        for i, fd in enumerate(far):
            os.dup2(fd, 3 + i, inheritable=True)
    return Agent(folder, config, program=launcher, pass_fds=range(3, 3 + len(sockets)), preexec_fn=arrange, **options)


def statsd_socket(buffer=8 << 20):
    """A UDP socket on a free port, as runnel.socket binds it. As root its buffer is really of that size; the kernel doubles it
    for its own overhead (socket(7))."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, 33, buffer)  # SO_RCVBUFFORCE, which Python has no name for
    except PermissionError:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    bound.bind(("127.0.0.1", 0))
    return bound
