"""The real agent ($RUNNEL) as a child of a test: started with a configuration, waited for, stopped, its metrics read."""
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse

from support.servers import wait_for

RUNNEL = os.environ.get("RUNNEL", "runnel")


class Agent:
    """Starts `runnel run` with `config` and an [agent] table whose files are in `folder` (support.servers.Folder).

    `agent` are further lines for [agent], `state` another state_dir, `wrapper` a command that execs the agent. The
    object is a context manager: leaving it stops the agent, by force where it must. Its log is in log(), its standard
    output in output() unless `stdout` is a descriptor of the test's. `program` is started in place of the agent, with its
    arguments; `popen` goes to Popen.
    """

    def __init__(self, folder, config, agent='interval = "1s"', arguments=(), environment=None, ready=30, name="agent",
                 host="test-host", stdout=None, state=None, wrapper=(), program=None, **popen):
        self.folder, self.name = folder, name
        self.metrics_file = os.path.join(folder.path, f"{name}.prom")
        self.stdout_file = os.path.join(folder.path, f"{name}.stdout")
        self.config = folder.write(f"{name}.toml", f"""[agent]
host = "{host}"
state_dir = "{state or f'{folder.path}/{name}.state'}"
control = "{folder.path}/{name}.sock"
metrics_file = "{self.metrics_file}"
{agent}

{config}
""")
        self._lines = []
        self._arrived = threading.Condition()
        self._ended = False
        with open(self.stdout_file, "wb") as out:
            self.process = subprocess.Popen(
                [*wrapper, program or RUNNEL, "run", "--config", self.config, *arguments], stdin=subprocess.DEVNULL,
                stdout=stdout or out, stderr=subprocess.PIPE, cwd=folder.path,
                env={**os.environ, **(environment or {})}, **popen)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if ready:
            try:
                self.wait_log(r" agent: ready", ready)
            except AssertionError:
                self.kill()
                raise

    def _read(self):
        for line in self.process.stderr:
            with self._arrived:
                self._lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self._arrived.notify_all()
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def log(self):
        with self._arrived:
            return "\n".join(self._lines)

    def output(self):
        with open(self.stdout_file, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait_log(self, pattern, seconds=20):
        """The match of the first line, of all so far and those to come, in which `pattern` is found."""
        end = time.monotonic() + seconds
        seen = 0
        with self._arrived:
            while True:
                for line in self._lines[seen:]:
                    if match := re.search(pattern, line):
                        return match
                seen = len(self._lines)
                left = end - time.monotonic()
                if self._ended or left <= 0:
                    tail = "\n".join(self._lines[-40:])
                    state = f"it has ended: {self.process.wait(10)}" if self._ended else f"its threads: {self.threads()}"
                    raise AssertionError(f"{pattern!r} is not in the agent's log ({state}):\n{tail}")
                self._arrived.wait(left)

    def threads(self):
        """What each thread does, for a message: name, state and, where one may look, what it waits for in the kernel (proc(5))."""
        told = []
        try:
            tasks = sorted(os.listdir(f"/proc/{self.process.pid}/task"), key=int)
        except OSError as error:
            return str(error)
        for task in tasks:
            words = []
            for name in ("comm", "wchan", "syscall"):
                try:
                    with open(f"/proc/{self.process.pid}/task/{task}/{name}", encoding="ascii") as file:
                        words.append(file.read().split(maxsplit=1)[0])
                except (OSError, IndexError):
                    words.append("?")
            told.append("/".join(words))
        return ", ".join(told)

    def statsd(self, index=0):
        """A StatsD sender to listener number `index`."""
        wait_for(lambda: len(re.findall(r"statsd: listening on udp://", self.log())) > index, "no StatsD listener")
        url = re.findall(r"statsd: listening on (udp://\S+)", self.log())[index]
        return Statsd(urllib.parse.urlsplit(url))

    def reload(self):
        self.process.send_signal(signal.SIGHUP)

    def stop(self, seconds=30):
        """SIGTERM; the exit status. AssertionError where it has not ended in time."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the agent does not end within {seconds} s of SIGTERM:\n{self.log()[-3000:]}") from None
        self._reader.join(10)
        return status

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self._reader.join(10)
        self.process.stderr.close()

    def metrics(self):
        """The metrics file as {(name, frozenset of label pairs): value}; empty before it is there."""
        try:
            with open(self.metrics_file, encoding="utf-8") as file:
                text = file.read()
        except FileNotFoundError:
            return {}
        found = {}
        for line in text.splitlines():
            if not line or line.startswith("#"):
                continue
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
            pairs = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels or "")
            found[name, frozenset(pairs)] = float(value)
        return found

    def metric(self, name, **labels):
        """The sum over all series of `name` (with dots) that have `labels`."""
        wanted = frozenset(labels.items())
        return sum(value for (found, pairs), value in self.metrics().items()
                   if found == name.replace(".", "_") and wanted <= pairs)

    def residual(self, output):
        """What the balance of an output leaves over; 0 unless records were lost without being counted."""
        found = self.metrics()  # read once: a file of a later moment would not fit
        value = lambda what: sum(v for (name, labels), v in found.items()
                                 if name == f"runnel_output_{what}" and ("output", output) in labels)
        return value("appended") - sum(map(value, ("delivered", "filtered", "dropped", "quarantined", "queued", "in_flight")))


class Statsd:
    def __init__(self, url):
        self.host, self.port = url.hostname, url.port
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.connect((self.host, self.port))

    def send(self, *lines):
        self.socket.send("\n".join(lines).encode())

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
