"""Each sink's sample.toml is a good configuration, and what `runnel config` makes of it is one again."""
import glob
import os
import re
import subprocess
import unittest

from support.agent import RUNNEL
from support.run import main
from support.servers import Folder

SAMPLES = sorted(glob.glob(os.path.join(os.environ["RUNNEL_SOURCE"], "plugins/*/sample.toml")))


class Samples(unittest.TestCase):
    def run_cli(self, *arguments):
        done = subprocess.run([RUNNEL, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, done.stderr

    def test_all(self):
        self.assertGreaterEqual(len(SAMPLES), 4)
        for path in SAMPLES:
            with self.subTest(path), Folder() as folder, open(path, encoding="utf-8") as file:
                text = file.read()
                if "unixgram.so" in text:
                    continue  # example_sink_test.py builds and loads it
                # Secrets and certificates have to be there.
                for name in set(re.findall(r'"/etc/runnel/([^"]+)"', text)):
                    folder.write(name, "not a real one\n", 0o600)
                text = text.replace("/etc/runnel/", folder.path + "/")
                status, out, err = self.run_cli("check", "--config", folder.write("sample.toml", text))
                self.assertEqual(status, 0, out + err)
                status, printed, err = self.run_cli("config", "--config", folder.write("sample.toml", text))
                self.assertEqual(status, 0, err)
                if "X-Scope-OrgID" in text:
                    self.assertNotIn("team-a", printed)  # a header may be a key to an API
                status, out, err = self.run_cli("check", "--config", folder.write("printed.toml", printed))
                self.assertEqual(status, 0, printed + out + err)


if __name__ == "__main__":
    main()
