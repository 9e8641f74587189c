"""FFWD's own clients (jars of tests/ffwd/pom.xml in .cache/ffwd, PyPI's ffwd; ./dev setup installs both) and what they sent."""
import json
import os
import subprocess
import unittest

from support.servers import need

SOURCE = os.environ.get("RUNNEL_SOURCE", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
LIBS = os.path.join(SOURCE, ".cache", "ffwd", "libs")


def java_client(mode, port):
    """Runs tests/ffwd/Sender.java; the records it says it sent."""
    need("javac", "default-jdk-headless")  # java starts a source file only where there is a compiler
    if not os.path.isdir(LIBS):
        raise unittest.SkipTest("FFWD's Java clients are not in .cache/ffwd: ./dev setup installs them")
    done = subprocess.run(["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{LIBS}/*",
                           os.path.join(SOURCE, "tests", "ffwd", "Sender.java"), mode, str(port)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def python_client(port):
    """PyPI's client. Its last release is of Python 2's time and sends text: only that is helped."""
    try:
        import ffwd
        from ffwd.client import UDPTransport
    except ImportError as error:
        raise unittest.SkipTest(f"{error} (./dev setup installs it)") from None

    class Transport(UDPTransport):
        def send_json(self, message):
            self._s.sendto(json.dumps(message).encode(), self._t)

    return ffwd.FFWD(port=port, transport=Transport)
