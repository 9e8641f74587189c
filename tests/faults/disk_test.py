"""The disk is full, read-only, gone, damaged or used by another agent: the agent always starts, goes on from memory,
never acknowledges what is not safe, and writes again within 5 s of the disk being well. Tests that mount something do so
in a mount namespace of this program."""
import contextlib
import http.client
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse

from support.faults import Rig, rounds
from support.run import main
from support.servers import need, wait_for

SHORT = 'shutdown_timeout = "200ms"'
HERE = "RUNNEL_TEST_NAMESPACE"


def enter_namespace():
    """Runs this program again where its mounts are its own; without that the tests that mount are skipped."""
    if HERE in os.environ:
        return
    for options in (["-m"], ["-rm"]):
        command = ["unshare", *options, "--propagation", "private"]
        with contextlib.suppress(OSError):
            if subprocess.run([*command, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, timeout=30).returncode == 0:
                os.environ[HERE] = "1"
                os.execvp(command[0], [*command, sys.executable, *sys.argv])
    os.environ[HERE] = ""


def mount(*arguments):
    if not os.environ.get(HERE):
        raise unittest.SkipTest("no mount namespace: needs root, or user namespaces")
    subprocess.run(["mount", *arguments], check=True, timeout=30)


def unmount(path):
    subprocess.run(["umount", "-l", path], check=False, timeout=30, stderr=subprocess.DEVNULL)


class Poster(threading.Thread):
    """An HTTP client of FFWD's that sends each body until it is taken, over one connection."""
    PER_BODY = 5

    def __init__(self, host, port, numbers):
        super().__init__(daemon=True)
        self.connection = http.client.HTTPConnection(host, port, timeout=20)
        self.numbers = numbers
        self.acked, self.refused, self.answers, self.reasons = set(), 0, 0, set()
        self.ending = threading.Event()
        self.start()

    def run(self):
        while not self.ending.is_set():
            body = [next(self.numbers) for _ in range(self.PER_BODY)]
            points = [{"key": "ev", "tags": {"number": str(number)}, "value": number, "timestamp": 1700000000000} for number in body]
            status = 0
            while status != 200:
                self.connection.request("POST", "/v1/batch", json.dumps({"points": points}).encode())
                answer = self.connection.getresponse()
                status, text = answer.status, answer.read().decode()
                self.answers += 1
                if status != 200:
                    self.refused += 1
                    self.reasons.add(text)
                    time.sleep(0.05)
            self.acked.update(body)

    def stop(self):
        self.ending.set()
        self.join(40)
        assert not self.is_alive(), "an HTTP client gets no 200"
        self.connection.close()


class Disk(unittest.TestCase):
    def on_disk(self, rig):
        return rig.agent.metrics().get(("runnel_journal_on_disk", frozenset()))  # None: no file yet

    def wait_on_disk(self, rig, value, seconds=20):
        wait_for(lambda: self.on_disk(rig) == value, lambda: rig.account() + "\n" + rig.agent.log()[-3000:], seconds, 0.02)

    def statsd_goes_on(self, rig, name):
        with rig.agent.statsd() as statsd:
            statsd.send(f"{name}:1|g")
        wait_for(lambda: name in rig.main.counts(), lambda: rig.account() + "\n" + rig.agent.log()[-3000:])

    def acked_again(self, rig):
        """Seconds until a sender is told ok=true."""
        began = time.monotonic()
        wait_for(lambda: set(rig.send(1, expect=None)) & rig.acked, lambda: rig.agent.log()[-3000:], 15, 0.05)
        return time.monotonic() - began

    def ill_and_well(self, rig, break_it, mend_it, name="st", again=False):
        """The disk fails under load and is mended: who waits is refused, others go on, and soon all is as before. With
        `again`, break_it is repeated: the agent frees space of its own. Seconds until it acknowledged again."""
        rig.load(1, per_frame=5, pause=0.002)
        time.sleep(0.3)
        break_it()
        self.wait_on_disk(rig, 0)
        self.assertIsNone(rig.agent.process.poll())
        rig.balance()
        self.statsd_goes_on(rig, f"{name}.ill")
        wait_for(lambda: (again and break_it(), set(rig.send(1, expect=None)) & rig.acked)[1] == set(), "never refused")
        sender = rig.senders[-1]
        wait_for(lambda: sender.refused, "the sender was not refused")
        self.assertGreater(rig.agent.metric("runnel.journal.refused"), 0)
        mend_it()
        took = self.acked_again(rig)
        self.assertLess(took, 5)
        self.wait_on_disk(rig, 1)
        self.statsd_goes_on(rig, f"{name}.well")
        sender.stop()
        return took


class Full(Disk):
    """Fault 8."""

    def rig(self, min_free, **options):
        rig = Rig(self, journal=f'max_bytes = "1MiB"\nmin_free = "{min_free}"', agent=SHORT, statsd=True, **options)
        self.state = os.path.join(rig.folder.path, "agent.state")
        os.mkdir(self.state, 0o755)
        mount("-t", "tmpfs", "-o", "size=4m,mode=755", "none", self.state)
        self.addCleanup(unmount, self.state)
        return rig

    def fill(self, leave=0):
        with open(os.path.join(self.state, "ballast"), "ab", buffering=0) as file, contextlib.suppress(OSError):
            space = os.statvfs(self.state)
            for _ in range(max(0, space.f_bavail * space.f_frsize - leave) // 4096):
                file.write(b"x" * 4096)

    def free(self):
        os.unlink(os.path.join(self.state, "ballast"))

    def test_until_space_returns(self):
        for min_free in ("0%", "5%"):
            with self.subTest(min_free):
                rig = self.rig(min_free)
                rig.start()
                for turn in range(rounds(2)):
                    took = self.ill_and_well(rig, self.fill, self.free, f"st.{turn}", True)
                    print(f"min_free={min_free}: acknowledged again after {took:.2f} s", flush=True)
                rig.settle(twice=None)
                self.assertEqual(rig.dropped(), 0)

    def test_with_a_backlog_that_cannot_grow(self):
        """The back end is away as well: what was acknowledged before stays, the rest is refused or in memory."""
        rig = self.rig("0%")
        rig.main.leave()
        rig.start()
        rig.send(200)
        self.fill()
        # The page that a segment ends in may have room.
        wait_for(lambda: not set(rig.send(1, expect=None, padding=2000)) & rig.acked, "never refused")
        self.wait_on_disk(rig, 0)
        rig.balance()
        self.assertEqual(rig.agent.stop(), 0)
        rig.balance()
        rig.start()  # still full
        rig.send(3, expect=False)
        self.free()
        self.assertLess(self.acked_again(rig), 5)
        rig.main.come_back()
        rig.agent.reload()
        rig.settle(twice=None)

    def test_killed_while_it_is_full(self):
        rig = self.rig("0%")
        rig.main.leave()
        rig.start()
        rig.load(1, per_frame=5, padding=100, pause=0.01)  # what was kept has room in max_bytes
        time.sleep(0.3)
        self.fill()
        self.wait_on_disk(rig, 0)
        rig.agent.kill()
        rig.start()
        time.sleep(0.2)
        rig.agent.kill()
        self.free()
        rig.main.come_back()
        rig.start()
        rig.stop_load()
        self.assertTrue(rig.senders[0].refused)
        rig.settle(twice=None)


    def test_http_clients_of_ffwd_that_come_again(self):
        """Each body is sent until it is 200: all of it arrives. Twice comes only what was in the log when the disk failed. The guard
        against series that come too often does not take the second time for one."""
        rig = self.rig("0%", sources='[source.ffwd]\nlisten = ["http://127.0.0.1:0"]\nmin_interval = "1h"\n')
        rig.start()
        address = urllib.parse.urlsplit(rig.agent.wait_log(r"ffwd: listening on (http://\S+)").group(1))
        poster = Poster(address.hostname, address.port, rig.numbers)
        self.addCleanup(poster.stop)
        wait_for(lambda: len(poster.acked) > 100, "nothing is taken")
        wait_for(lambda: (self.fill(), poster.refused)[1] > 3, lambda: rig.agent.log()[-3000:], step=0.02)
        self.assertEqual(poster.reasons, {"the log could not take it\n"})
        self.free()
        before = len(poster.acked)
        wait_for(lambda: len(poster.acked) > before + 100, lambda: rig.agent.log()[-3000:], 15)
        poster.stop()
        rig.wait_arrived(poster.acked)
        self.assertEqual(rig.agent.stop(), 0, rig.agent.log()[-3000:])
        rig.balance()
        counted = lambda what, **labels: int(rig.agent.metric(f"runnel.{what}", source="ffwd", **labels))
        at_once = counted("dropped", reason="disk_error")
        self.assertGreater(at_once, 0)
        self.assertEqual(counted("dropped"), at_once)
        self.assertEqual((counted("source.received"), counted("source.received")),
                         ((poster.answers) * poster.PER_BODY, counted("source.accepted") + at_once))
        counts = rig.main.counts()
        self.assertEqual(counts.keys(), poster.acked)
        late = poster.refused * poster.PER_BODY - at_once
        self.assertLessEqual(sum(counts.values()) - len(counts), late)
        print(f"{len(counts)} points, {poster.refused} bodies were 503, of {late} points the log had taken already", flush=True)


class Gone(Disk):
    def test_folder_removed_while_running(self):
        rig = Rig(self, {"main": "", "away": ""}, statsd=True)
        rig.back["away"].leave()
        rig.start()
        for _ in range(rounds(2)):
            rig.send(50)
            shutil.rmtree(rig.journal_folder())
            rig.load(1, per_frame=5, pause=0.005)
            wait_for(rig.files, lambda: rig.agent.log()[-3000:])
            rig.stop_load()
            rig.senders[-1].join()
        rig.balance()
        self.wait_on_disk(rig, 1)
        rig.back["away"].come_back()
        rig.agent.reload()
        rig.settle(twice=None)

    def test_removed_and_killed_later(self):
        rig = Rig(self)
        rig.start()
        rig.send(50)
        rig.wait_arrived(rig.acked)
        shutil.rmtree(rig.journal_folder())
        wait_for(lambda: rig.send(1) and rig.files(), lambda: rig.agent.log()[-3000:], step=0.2)
        rig.main.leave()
        rig.send(50)
        rig.agent.kill()
        rig.main.come_back()
        rig.start()
        rig.settle(twice=None)

    def test_mounted_over_read_only(self):
        rig = Rig(self, statsd=True)
        rig.start()
        rig.send(10)
        folder = rig.journal_folder()
        self.addCleanup(unmount, folder)
        self.ill_and_well(rig, lambda: mount("-t", "tmpfs", "-o", "ro", "none", folder), lambda: unmount(folder))
        rig.settle(twice=None)

    def test_read_only_from_the_start(self):
        rig = Rig(self, statsd=True)
        folder = rig.journal_folder()
        os.makedirs(folder)
        self.addCleanup(unmount, folder)
        mount("--bind", folder, folder)
        mount("-o", "remount,bind,ro", folder)
        rig.start()
        self.assertEqual(rig.agent.log().count("ERROR journal:"), 1)
        rig.send(3, expect=False)
        self.statsd_goes_on(rig, "st.ill")
        rig.balance()
        unmount(folder)
        self.assertLess(self.acked_again(rig), 5)
        rig.settle(twice=None)

    def test_a_file_in_place_of_the_folder(self):
        rig = Rig(self, statsd=True)
        folder = rig.journal_folder()
        rig.folder.write("agent.state/journal", "not a folder")
        rig.start()
        rig.send(3, expect=False)
        self.statsd_goes_on(rig, "st.ill")
        rig.balance()
        os.unlink(folder)
        self.assertLess(self.acked_again(rig), 5)
        rig.settle(twice=None)

    def test_no_permission(self):
        with open("/proc/self/uid_map", encoding="ascii") as file:
            real = int(file.read().split()[2]) > 65534
        if os.geteuid() != 0 or not real:
            self.skipTest("needs root, to start the agent as somebody else")
        user = [need("setpriv", "util-linux"), "--reuid=65534", "--regid=65534", "--clear-groups"]
        rig = Rig(self, statsd=True)
        os.chmod(rig.folder.path, 0o777)
        folder = rig.journal_folder()
        os.makedirs(folder)
        os.chown(os.path.dirname(folder), 65534, 65534)
        os.chown(folder, 65534, 65534)
        os.chmod(folder, 0)
        rig.start(wrapper=user)
        rig.send(3, expect=False)
        self.statsd_goes_on(rig, "st.ill")
        os.chmod(folder, 0o755)
        self.assertLess(self.acked_again(rig), 5)
        rig.settle(twice=None)


class Damaged(Disk):
    """Faults 4 and 6: damage costs the records that it has hit."""

    def prepare(self, count=600):
        rig = Rig(self, journal='max_bytes = "1MiB"\nmin_free = "0%"', agent=SHORT)
        rig.main.leave()
        rig.start()
        rig.send(count, padding=600)
        self.assertEqual(rig.agent.stop(), 0)
        rig.balance()
        rig.main.come_back()
        return rig

    def records(self, path):
        """(offset, end, first, records) of each record of a segment: FORMAT.md."""
        with open(path, "rb") as file:
            data = file.read()
        found, at = [], 64
        while at + 56 <= len(data):
            self.assertEqual(data[at:at + 4], b"rnR1")
            stored, _, count, first = struct.unpack_from("<IIIQ", data, at + 4)
            found.append((at, at + 56 + stored, first, count))
            at += 56 + stored
        return found

    def finish(self, rig, lost, damage=True):
        """`lost`: sequence numbers; here an event's number, as nothing else was in the log."""
        rig.start()
        rig.settle(lost=lost, twice=0 if damage is not None else None)
        missing = rig.all_acked() - rig.main.counts().keys()
        self.assertEqual(missing, set(lost))
        if damage:
            self.assertGreaterEqual(rig.agent.metric("runnel.journal.damaged"), 1, rig.agent.log())
        self.assertRegex(rig.agent.log(), "journal")

    def segment(self, rig, index=1):
        return os.path.join(rig.journal_folder(), rig.files()[index])

    def test_bytes_flipped(self):
        rig = self.prepare()
        path = self.segment(rig)
        records = self.records(path)
        hit = records[3], records[20], records[-1]
        with open(path, "r+b") as file:
            for at, end, *_ in hit:
                file.seek((at + 56 + end) // 2)
                byte = file.read(1)
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte[0] ^ 0x40]))
        self.finish(rig, {number for _, _, first, count in hit for number in range(first, first + count)})

    def test_a_head_flipped(self):
        rig = self.prepare()
        path = self.segment(rig)
        at, _, first, count = self.records(path)[5]
        with open(path, "r+b") as file:
            file.seek(at + 5)
            file.write(b"\xff")
        self.finish(rig, set(range(first, first + count)))

    def test_head_of_a_segment_zeroed(self):
        rig = self.prepare()
        with open(self.segment(rig), "r+b") as file:
            file.write(bytes(64))
        self.finish(rig, set())

    def test_truncated(self):
        for index in (1, -1):
            with self.subTest(index):
                rig = self.prepare()
                path = self.segment(rig, index)
                records = self.records(path)
                at, end, _, _ = records[-4]
                os.truncate(path, (at + end) // 2)
                gone = {number for _, _, first, count in records[-4:] for number in range(first, first + count)}
                self.finish(rig, gone)

    def test_zeroed(self):
        rig = self.prepare()
        path = self.segment(rig)
        records = self.records(path)
        with open(path, "r+b") as file:
            file.seek(records[4][0])
            file.write(bytes(records[9][1] - records[4][0]))
        self.finish(rig, {number for _, _, first, count in records[4:10] for number in range(first, first + count)})

    def test_a_whole_segment_zeroed_or_removed(self):
        for remove in (False, True):
            with self.subTest(remove=remove):
                rig = self.prepare()
                path = self.segment(rig)
                gone = {number for _, _, first, count in self.records(path) for number in range(first, first + count)}
                size = os.path.getsize(path)
                os.unlink(path)
                if not remove:
                    with open(path, "wb") as file:
                        file.write(bytes(size))
                self.finish(rig, gone, damage=not remove)

    def test_duplicated(self):
        rig = self.prepare()
        path = self.segment(rig)
        for number in (900, 17):
            shutil.copy(path, os.path.join(rig.journal_folder(), f"{number:020}.seg"))
        self.finish(rig, set(), damage=False)

    def test_garbage_and_what_is_not_a_file(self):
        rig = self.prepare()
        folder = rig.journal_folder()
        for name, text in (("notes", b"hello"), ("00000000000000000800.seg", os.urandom(50_000)), ("x.seg", b""),
                           ("00000000000000000801.seg", b""), ("00000000000000000000.seg", b"RUNNELJ1"),
                           ("main.cursor.tmp", b"x"), (".cursor", b"x"), ("nobody.cursor", os.urandom(5000))):
            with open(os.path.join(folder, name), "wb") as file:
                file.write(text)
        os.mkdir(os.path.join(folder, "00000000000000000802.seg"))
        os.mkfifo(os.path.join(folder, "00000000000000000803.seg"))
        os.symlink("/etc/passwd", os.path.join(folder, "00000000000000000804.seg"))
        os.mkdir(os.path.join(folder, "gone.cursor"))
        os.mkfifo(os.path.join(folder, "pipe.cursor"))
        # The next number is taken, by a folder.
        self.finish(rig, set(), damage=False)
        self.assertTrue(os.path.exists(os.path.join(folder, "notes")))

    def test_a_cursor_damaged_or_gone_or_a_folder(self):
        for how in ("flipped", "truncated", "zeroed", "removed", "folder", "fifo"):
            with self.subTest(how):
                rig = Rig(self, agent=SHORT)
                rig.start()
                rig.send(300)
                rig.wait_arrived(rig.acked)
                rig.main.leave()
                rig.send(100)
                self.assertEqual(rig.agent.stop(), 0)
                path = os.path.join(rig.journal_folder(), "main.cursor")
                size = os.path.getsize(path)
                if how == "flipped":
                    with open(path, "r+b") as file:
                        for at in (30, 4096 + 30):
                            file.seek(at)
                            file.write(b"\xfe\xff")
                elif how == "truncated":
                    os.truncate(path, 100)
                elif how == "zeroed":
                    with open(path, "wb") as file:
                        file.write(bytes(size))
                else:
                    os.unlink(path)
                    if how == "folder":
                        os.mkdir(path)
                    elif how == "fifo":
                        os.mkfifo(path)
                rig.main.come_back()
                rig.start()
                rig.fresh()
                rig.wait_arrived(rig.acked)  # some of it twice: losing a cursor costs no data
                self.assertEqual(rig.agent.stop(), 0)
                rig.balance()

    def test_one_slot_of_a_cursor_torn_costs_nothing(self):
        rig = Rig(self, agent=SHORT)
        rig.start()
        rig.send(300)
        rig.wait_arrived(rig.acked)
        time.sleep(0.3)
        rig.agent.kill()
        path = os.path.join(rig.journal_folder(), "main.cursor")
        with open(path, "r+b") as file:
            newer = max((0, 4096), key=lambda at: (file.seek(at), file.read(512))[1][16:24][::-1])
            file.seek(newer + 100)
            file.write(b"\x77" * 100)
        rig.start()
        rig.settle(twice=200)


class TwoAgents(Disk):
    def test_the_second_waits_and_takes_over(self):
        rig = Rig(self, statsd=True)
        rig.start()
        rig.send(20)
        other = Rig(self, statsd=True, state=os.path.join(rig.folder.path, "agent.state"))
        other.numbers = iter(range(1_000_000, 2_000_000))
        other.start()
        other.agent.wait_log(r"ERROR journal: .*another agent uses it")
        other.send(3, expect=False)
        self.statsd_goes_on(other, "st.ill")
        self.assertEqual(self.on_disk(other), 0)
        rig.fresh()
        # The first is killed with a backlog: the second delivers it, and writes.
        rig.main.leave()
        left = rig.send(20)
        rig.agent.kill()
        self.assertLess(self.acked_again(other), 5)
        self.wait_on_disk(other, 1)
        other.sent |= rig.all_sent()
        other.wait_arrived(left)
        other.settle(twice=None)
        other.start()
        other.settle(twice=None)


class Injected(Disk):
    """Faults 1 and 7: the n-th call of the real program fails or is its last, for a sample of n."""

    def strace(self, rig, *injections):
        path = os.path.join(rig.folder.path, "strace.out")
        probe = subprocess.run([need("strace", "strace"), "-o", path, "true"], capture_output=True, timeout=30)
        if probe.returncode != 0:
            self.skipTest(f"strace: {probe.stderr.decode().strip()}")
        folder = rig.journal_folder()
        calls = ",".join(sorted({text.split(":")[0] for text in injections}))
        paths = [word for number in range(1, 40) for word in ("-P", f"{folder}/{number:020}.seg")]
        for name in rig.outputs:
            paths += ["-P", f"{folder}/{name}.cursor"]
        command = ["strace", "-f", "-D", "-o", path, "-e", f"trace={calls}", *paths]
        for text in injections:
            command += ["-e", f"inject={text}"]
        return command

    def attempt(self, *injections, dies=False):
        rig = Rig(self, journal='max_bytes = "64KiB"\nmin_free = "0%"', agent=SHORT, statsd=True)
        rig.start(wrapper=self.strace(rig, *injections))
        rig.load(1, per_frame=3, padding=300, limit=900)
        if dies:
            wait_for(lambda: rig.agent.process.poll() is not None or not rig.senders[0].is_alive(), "it does not end", 60)
            died = rig.agent.process.poll() == -signal.SIGKILL
            rig.agent.kill()
            rig.start()
        wait_for(lambda: not rig.senders[0].is_alive(), lambda: rig.agent.log()[-3000:], 60)
        self.acked_again(rig)
        self.wait_on_disk(rig, 1)
        self.statsd_goes_on(rig, "st.well")
        rig.settle(twice=None)
        if dies:
            return died
        return rig.agent.metric("runnel.journal.errors") > 0

    def sample(self, call, what, numbers, dies=False):
        hit = 0
        for number in numbers:
            with self.subTest(call=call, what=what, n=number):
                hit += self.attempt(f"{call}:{what}:when={number}", dies=dies)
        print(f"{call}:{what}: {hit} of {len(numbers)} hit", flush=True)
        self.assertGreater(hit, 0)

    def test_errors(self):
        wide = rounds(0) > 0
        self.sample("fdatasync", "error=EIO", range(1, 30, 3) if wide else [2])
        self.sample("write", "error=EIO", range(1, 30, 3) if wide else [3])
        self.sample("write", "error=ENOSPC", range(1, 30, 3) if wide else [2])
        self.sample("pwrite64", "error=EIO", range(1, 30, 3) if wide else [2])

    def test_errors_for_a_while(self):
        self.sample("fdatasync", "error=EIO", ["2..4"])

    def test_killed(self):
        wide = rounds(0) > 0
        for call, few in (("fdatasync", [4]), ("write", [5]), ("pwrite64", [3]), ("unlink", [1])):
            self.sample(call, "signal=KILL", range(1, 30, 2) if wide else few, dies=True)


if __name__ == "__main__":
    enter_namespace()
    main()
