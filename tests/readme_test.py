"""The configuration that the README shows passes `runnel check`, and its commands are there."""
import os
import re
import subprocess
import tempfile
import unittest

from support.run import main

RUNNEL, SOURCE = os.environ["RUNNEL"], os.environ["RUNNEL_SOURCE"]


def read(name):
    with open(os.path.join(SOURCE, name), encoding="utf-8") as file:
        return file.read()


def runnel(*arguments):
    return subprocess.run([RUNNEL, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)


class Readme(unittest.TestCase):
    def setUp(self):
        self.text = read("README.md")

    def check(self, text):
        """The exit status and messages of `runnel check` for a text whose hooks are the repository's."""
        text = re.sub(r'^dir = "[^"]*"', 'dir = "%s"' % os.path.join(SOURCE, "scripts.d"), text, flags=re.M)
        with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            done = runnel("check", "--config", file.name)
        return done.returncode, done.stdout + done.stderr

    def test_configuration(self):
        blocks = re.findall(r"^```toml\n(.*?)^```", self.text, re.S | re.M)
        self.assertEqual(len(blocks), 1)
        status, messages = self.check(blocks[0])
        self.assertEqual(status, 0, messages)
        status, messages = self.check(blocks[0].replace("encoding", "encodng"))
        self.assertEqual(status, 2, messages)
        self.assertIn("encoding", messages)

    def test_commands(self):
        named = set(re.findall(r"`runnel ([a-z]+)", self.text.split("## Status")[0]))
        self.assertIn("check", named)
        for name in sorted(named):
            with self.subTest(command=name):
                self.assertEqual(runnel("help", name).returncode, 0)
        self.assertNotEqual(runnel("help", "nosuch").returncode, 0)

    def test_dev_commands(self):
        known = set(re.findall(r"^  ([a-z]+) ", subprocess.run([os.path.join(SOURCE, "dev"), "help"], timeout=60, text=True,
                                                                capture_output=True, check=True).stdout, re.M))
        for page in ("README.md", "CONTRIBUTING.md"):
            named = set(re.findall(r"\./dev ([a-z]+)", read(page)))
            self.assertTrue(named)
            self.assertLessEqual(named, known, page)


if __name__ == "__main__":
    main()
