"""What is packaged beside the agent: the manual pages say all that the texts they are made of say, completions complete."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from support.agent import RUNNEL
from support.run import main

SOURCE = os.environ["RUNNEL_SOURCE"]


def read(*parts):
    with open(os.path.join(SOURCE, *parts), encoding="utf-8") as file:
        return file.read()


def run(*words, **options):
    return subprocess.run(words, check=True, capture_output=True, text=True, **options).stdout


class ManualPages(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        run("python3", os.path.join(SOURCE, "packaging/man/make.py"), SOURCE, RUNNEL, cls.folder.name)
        cls.pages = {}
        for name in os.listdir(cls.folder.name):
            with open(os.path.join(cls.folder.name, name), encoding="utf-8") as file:
                cls.pages[name.removesuffix(".scd")] = file.read()

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def has(self, page, text):
        self.assertIn(text, self.pages[page].replace("\\", ""), f"{page} lacks it")

    def test_there_are_four(self):
        self.assertEqual(sorted(self.pages), ["runnel-scripts.7", "runnel.1", "runnel.toml.5", "runnel_sink.3"])
        for name, page in self.pages.items():
            self.assertRegex(page, r"\A" + re.escape(re.sub(r"\.(\d)$", r"(\1)", name)) + "\n\n# NAME\n\n")
            self.assertNotIn("](", page)

    def test_each_command_with_its_options(self):
        commands = re.findall(r"^  ([a-z]+)", run(RUNNEL, "help"), re.MULTILINE)
        self.assertIn("run", commands)
        for command in commands:
            usage, summary, *rest = run(RUNNEL, "help", command).splitlines()
            self.has("runnel.1", f"*runnel* {usage.removeprefix('Usage: runnel ').strip()}")
            self.has("runnel.1", summary[1:])
            for option in re.findall(r"^ +(--\S+)", "\n".join(rest), re.MULTILINE):
                self.has("runnel.1", f"*{option}*: ")

    def test_each_key_of_the_configuration(self):
        keys = re.findall(r"^\| `([a-z_.]+)` \| ([a-z ]+) \|", read("docs/configuration.md"), re.MULTILINE)
        self.assertGreater(len(keys), 50)
        for key, kind in keys:
            self.has("runnel.toml.5", f"*{key}* ({kind}, ")

    def test_each_format_of_hooks_and_each_rule_of_sinks(self):
        for name in ("simple", "statsd", "influx", "prometheus", "json"):
            self.has("runnel-scripts.7", f"\n*{name}*\n")
        for name in ("Versions", "Memory", "Instances", "Threads", "Errors", "Units"):
            self.has("runnel_sink.3", f"\n*{name}*\n")
        self.has("runnel_sink.3", "runnel_outcome (*write)(void *sink,")

    @unittest.skipUnless(shutil.which("scdoc"), "there is no scdoc")
    def test_scdoc_takes_them_and_man_has_nothing_to_say(self):
        for name, page in self.pages.items():
            roff = run("scdoc", input=page)
            self.assertIn(".TH", roff)
            if not shutil.which("man"):
                continue
            path = os.path.join(self.folder.name, name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(roff)
            shown = subprocess.run(["man", "--warnings", "-l", path], capture_output=True, text=True,
                                   env={**os.environ, "MANPAGER": "cat", "MANWIDTH": "100"})
            self.assertEqual((shown.returncode, shown.stderr), (0, ""), name)


class Completions(unittest.TestCase):
    CASES = {
        "": {"run", "check", "config", "list", "help", "--version", "--help"},
        "c": {"check", "config"},
        "help ": {"run", "check", "config", "list", "help"},
        "list ": {"sources", "collectors", "encodings", "sinks", "sink"},
        "list sink ": {"stdout", "file", "http", "kafka"},
        "run -": {"--config", "--once"},
        "check -": {"--config"},
    }

    def check(self, complete):
        for line, wanted in self.CASES.items():
            with self.subTest(line=line):
                self.assertLessEqual(wanted, complete(line))
        # What is offered as a command is one.
        for command in complete("help "):
            run(RUNNEL, "help", command)

    @unittest.skipUnless(shutil.which("bash"), "there is no bash")
    def test_bash(self):
        script = """source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _runnel; printf '%s\\n' "${COMPREPLY[@]}" """
        path = os.path.join(SOURCE, "packaging/completions/runnel.bash")
        self.check(lambda line: set(run("bash", "-c", script, "bash", path, RUNNEL, *line.split(" ")).split()))

    @unittest.skipUnless(shutil.which("fish"), "there is no fish")
    def test_fish(self):
        path = os.path.join(SOURCE, "packaging/completions/runnel.fish")
        home = tempfile.TemporaryDirectory()  # where fish makes folders
        self.addCleanup(home.cleanup)
        environment = {**os.environ, "PATH": os.path.dirname(RUNNEL) + ":" + os.environ["PATH"], "HOME": home.name}
        self.check(lambda line: {row.split("\t")[0] for row in run(
            "fish", "--no-config", "-c", f"source {path}; complete -C 'runnel {line}'", env=environment).splitlines()})

    @unittest.skipUnless(shutil.which("zsh"), "there is no zsh")
    def test_zsh(self):
        # The function without the line editor: compadd says what it would offer.
        script = """compadd() { [ "$1" = -a ] && print -l -- $found || print -l -- "$@"; }
            words=(${(s:,:)1} "$2"); CURRENT=${#words}; complete() { source "$0"; }; source "$3" """
        path = os.path.join(SOURCE, "packaging/completions/runnel.zsh")

        def complete(line):
            *before, last = line.split(" ")
            offered = run("zsh", "-f", "-c", script, "zsh", ",".join([RUNNEL, *before]), last, path).split()
            return {word for word in offered if word.startswith(last)}
        self.check(complete)


if __name__ == "__main__":
    main()
