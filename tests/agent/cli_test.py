"""The command line as INTERFACE describes it: what is printed where, and exit codes."""
import json
import os
import shutil
import socket
import subprocess
import unittest

from support.agent import RUNNEL
from support.run import main
from support.servers import Folder, free_port


def runnel(*arguments, timeout=60, **environment):
    done = subprocess.run([RUNNEL, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                          env={**os.environ, **environment}, check=False)
    return done.returncode, done.stdout, done.stderr


class Cli(unittest.TestCase):
    def setUp(self):
        self.folder = Folder()
        self.addCleanup(self.folder.close)

    def write(self, text):
        return self.folder.write("test.toml", f'[agent]\nstate_dir = "{self.folder.path}/state"\n' + text)

    def test_version_and_help(self):
        code, out, _ = runnel("--version")
        self.assertEqual(code, 0)
        self.assertRegex(out, r"^runnel \d+\.\d+\.\d+\n$")
        for arguments in (("help",), ("--help",), ("help", "run"), ("run", "--help"), ("check", "--help"), ("list", "-h")):
            code, out, err = runnel(*arguments)
            self.assertEqual((code, err), (0, ""), arguments)
            self.assertIn("Usage: runnel", out)

    def test_usage_errors_are_one_line_and_exit_64(self):
        for arguments, what in [((), "a command is missing"), (("rum",), 'did you mean "run"'), (("run", "--onec"), "--onec"),
                                (("run", "extra"), "extra"), (("check", "--once"), "--once"), (("run", "--config"), "wants a file"),
                                (("list", "nothing"), "nothing"), (("list", "sink"), "wants a name"), (("help", "no"), "no"),
                                (("list", "sinks", "x"), "x")]:
            code, out, err = runnel(*arguments)
            self.assertEqual((code, out), (64, ""), arguments)
            self.assertEqual(err.count("\n"), 1)
            self.assertIn(what, err)

    def test_check_prints_all_errors_with_positions(self):
        path = self.write("""interval = "10"
[source.statsd]
listen = ["udp://127.0.0.1:99999"]
percentile = [50]
[output.main]
sink = "http"
[output.second]
sink = "file"
path = 5
filter = "key ="
""")
        code, out, _ = runnel("check", "--config", path)
        self.assertEqual(code, 2)
        lines = out.splitlines()
        self.assertGreaterEqual(len(lines), 6, out)
        for line in lines:
            self.assertRegex(line, r"^\S*test\.toml:\d+:\d+: error: .+")
        for what in ("interval", "99999", "percentiles", "url", "path", "filter"):
            self.assertIn(what, out)
        self.assertEqual(runnel("run", "--config", path)[0], 2)

    def test_config_prints_a_valid_file(self):
        path = self.write('[source.host]\n[output.main]\nsink = "http"\nurl = "http://127.0.0.1:1/"\n')
        code, out, err = runnel("config", "--config", path)
        self.assertEqual((code, err), (0, ""))
        again = self.folder.write("printed.toml", out)
        self.assertEqual(runnel("check", "--config", again)[0], 0, out)
        self.assertEqual(runnel("config", "--config", again)[1], out)

    def test_list(self):
        for what, names in [("sources", ["statsd", "scripts", "host"]), ("encodings", ["json", "influx", "pretty"]),
                            ("sinks", ["stdout", "file", "http"]),
                            ("collectors", ["cpu", "memory", "filesystem", "disk", "network", "pressure", "tcp", "paging", "load",
                                            "processes"])]:
            code, out, _ = runnel("list", what)
            self.assertEqual(code, 0)
            for name in names:
                self.assertIn(f"  {name} ", out)
        code, out, _ = runnel("list", "sink", "http")
        self.assertEqual(code, 0)
        for option in ("url", "timeout", "password_file", "required"):
            self.assertIn(option, out)
        code, out, err = runnel("list", "sink", "htpp")
        self.assertEqual(code, 1)
        self.assertIn('did you mean "http"', err)

    def test_once_delivers_a_round(self):
        hooks = os.path.join(self.folder.path, "hooks")
        os.mkdir(hooks, 0o755)
        self.folder.write("hooks/one", "#!/bin/sh\necho one 1\n", 0o755)
        path = self.write(f"""
[source.scripts]
dir = "{hooks}"
[source.host]
collectors = ["load"]
[output.out]
sink = "stdout"
encoding = "json"
""")
        code, out, err = runnel("run", "--once", "--config", path)
        self.assertEqual(code, 0, err)
        keys = {json.loads(line)["key"] for line in out.splitlines()}
        self.assertIn("one", keys)
        self.assertTrue(any(key.startswith("system.cpu.load_average") for key in keys), keys)

    def test_once_says_when_it_was_not_delivered(self):
        path = self.write(f"""shutdown_timeout = "500ms"
[source.host]
collectors = ["load"]
[output.out]
sink = "http"
url = "http://127.0.0.1:{free_port()}/"
""")
        code, _, err = runnel("run", "--once", "--config", path)
        self.assertEqual(code, 1)
        self.assertIn("were not delivered", err)

    def test_a_port_that_is_taken(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"udp://127.0.0.1:{taken.getsockname()[1]}"
            path = self.write(f'[source.statsd]\nlisten = ["{url}"]\n[output.out]\nsink = "stdout"\n')
            code, _, err = runnel("run", "--config", path)
            self.assertEqual(code, 2)
            self.assertIn(f"{url}: Address already in use", err)

    def test_plugins_that_are_refused(self):
        fake = self.folder.write("fake.so", "this is no shared object", 0o755)
        source = self.folder.write("old.c", """
struct { unsigned abi, size, option, capabilities; const char *name; } old = {7, 20, 8, 0, "old"};
const void *runnel_sink_descriptor(void) { return &old; }
""")
        old = os.path.join(self.folder.path, "old.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", old, source], check=True, timeout=60)
        short = os.path.join(self.folder.path, "short.so")
        with open(old, "rb") as whole, open(short, "wb") as part:
            part.write(whole.read()[:2000])
        sticky = os.path.join(self.folder.path, "sticky.so")
        shutil.copy(old, sticky)
        os.chmod(sticky, 0o1777)
        for plugin, what in [(fake, "fake.so"), (short, "cut short"), (sticky, f"chmod go-w {sticky}"), (old, "speaks ABI version 7, this agent speaks 1"), ("/nonexistent.so", "nonexistent")]:
            path = self.write(f'[output.out]\nsink = "{plugin}"\n')
            code, out, _ = runnel("check", "--config", path)
            self.assertEqual(code, 2, plugin)
            self.assertIn(what, out)
            self.assertRegex(out, r"test\.toml:\d+:\d+: error: ")


if __name__ == "__main__":
    main()
