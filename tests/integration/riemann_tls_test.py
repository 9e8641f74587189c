"""The Riemann source over TLS: who is let in, what is said of the others while an honest client is served, new certificates
on SIGHUP, closing, limits, Debian's riemann-client, and what is mapped where no listener wants TLS."""
import json
import os
import shutil
import socket
import ssl
import subprocess
import time
import unittest

from support.agent import RUNNEL, Agent
from support.http_server import Server
from support.riemann import MEASURED, OK, Connection, event, frame, msg
from support.run import main
from support.servers import Folder, make_certificates, need, wait_for

CONFIG = """
[source.riemann]
listen = [{listen}]
{source}

[output.main]
sink   = "http"
batch  = {{ max_age = "50ms" }}
filter = 'not key ~ ^runnel'
url    = "{url}"
"""
TLS = """
tls_ca   = "{path}/ca.pem"
tls_cert = "{path}/mine.pem"
tls_key  = "{path}/mine.key"
"""
ONE = msg(event(service="x", double=1))


class TlsConnection(Connection):
    """A Connection whose socket speaks TLS."""

    def __init__(self, address, context):
        super().__init__(address)
        try:
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1", suppress_ragged_eofs=False)
        except BaseException:
            self.socket.close()
            raise


class Tls(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Folder()
        cls.addClassCleanup(cls.folder.close)
        cls.path = make_certificates(cls.folder)
        for name in os.listdir(cls.path):
            if name.endswith(".key"):
                os.chmod(os.path.join(cls.path, name), 0o600)

    def use(self, name):
        for kind in ("pem", "key"):
            shutil.copy(f"{self.path}/{name}.{kind}", f"{self.path}/mine.{kind}")

    def start(self, source="", listen='"tls://127.0.0.1:0"'):
        self.use("server")
        self.server = Server()
        self.addCleanup(self.server.close)
        source = TLS.format(path=self.path) + source if "tls://" in listen else source
        self.agent = Agent(self.folder, CONFIG.format(listen=listen, source=source, url=self.server.url),
                           agent='interval = "500ms"', environment=MEASURED, name=self.id().rsplit(".", 1)[-1])
        self.addCleanup(self.agent.kill)
        port = self.agent.wait_log(r"riemann: listening on t\w+://127.0.0.1:(\d+)").group(1)
        self.address = ("127.0.0.1", int(port))

    def context(self, certificate="client", versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(f"{self.path}/ca.pem")
        context.minimum_version, context.maximum_version = versions
        if certificate:
            context.load_cert_chain(f"{self.path}/{certificate}.pem", f"{self.path}/{certificate}.key")
        return context

    def connect(self, certificate="client", **options):
        connection = TlsConnection(self.address, self.context(certificate, **options))
        self.addCleanup(connection.close)
        return connection

    def ask(self, connection):
        connection.send(ONE)
        self.assertEqual(connection.answer(), OK)

    def refused(self, certificate, **options):
        """Whether the server has turned a client away: in the handshake, or (TLS 1.3) at the first answer."""
        try:
            with TlsConnection(self.address, self.context(certificate, **options)) as c:
                c.send(ONE)
                return c.answer() != OK
        except OSError:  # ssl.SSLError is one
            return True

    def closed(self, reason):
        return int(self.agent.metric("runnel.source.closed", source="riemann", reason=reason))

    def maps(self):
        with open(f"/proc/{self.agent.process.pid}/maps", encoding="utf-8") as file:
            return file.read()

    def finish(self, accepted):
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        self.assertEqual(self.agent.residual("main"), 0)
        self.assertEqual(self.agent.metric("runnel.source.accepted", source="riemann"), accepted)


class Mapped(Tls):
    def test_no_openssl_without_a_tls_listener(self):
        for listen, wanted in (('"tcp://127.0.0.1:0", "udp://127.0.0.1:0"', False), ('"tls://127.0.0.1:0"', True)):
            self.start(listen=listen)
            self.agent.kill()
            # The http sink brings OpenSSL along with libcurl: a sink without it shows what the source maps.
            config = CONFIG.format(listen=listen, source=TLS.format(path=self.path) if wanted else "", url="")
            config = config[:config.index("[output.main]")] + '[output.main]\nsink = "stdout"\n'
            with Agent(self.folder, config, name=f"mapped-{wanted}") as self.agent:
                for library in ("libssl", "libcrypto", "runnel/tls.so"):
                    self.assertEqual(library in self.maps(), wanted, library)


class Clients(Tls):
    def test_who_is_not_let_in_while_an_honest_client_is(self):
        self.start('handshake_timeout = "2s"')
        honest = self.connect()
        self.ask(honest)
        old = dict(versions=(ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1))

        def raw(*pieces):
            with socket.create_connection(self.address, 20) as s:
                for piece in pieces:
                    s.sendall(piece)
                while s.recv(4096):
                    pass

        def vanish():
            with socket.create_connection(self.address, 20) as s:
                s.sendall(b"\x16\x03\x01\x02\x00")

        both = {"1.2": (ssl.TLSVersion.TLSv1_2,) * 2, "1.3": (ssl.TLSVersion.TLSv1_3,) * 2}
        rows = [(reason, lambda c=certificate, v=v: self.assertTrue(self.refused(c, versions=v)))
                for certificate, reason in ((None, "no_certificate"), ("expired", "certificate_expired"),
                                            ("stranger", "certificate_untrusted"))
                for v in both.values()]
        rows += [("tls_too_old", lambda: self.too_old(old)),
                 ("not_tls", lambda: raw(b"GET / HTTP/1.1\r\n\r\n")),
                 ("not_tls", lambda: raw(frame(ONE))),
                 ("handshake_cut_off", vanish),
                 ("handshake_timeout", lambda: raw(b"\x16\x03\x01\x02\x00\x01"))]
        wanted = {}
        for reason, attack in rows:
            with self.subTest(reason):
                attack()
                wanted[reason] = wanted.get(reason, 0) + 1
                wait_for(lambda: self.closed(reason) == wanted[reason],
                         lambda: f"{reason}: {self.closed(reason)}\n{self.agent.log()}")
                self.ask(honest)
        # What is wrong with our certificate is the client's word.
        strict = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        strict.load_verify_locations(f"{self.path}/other-ca.pem")
        with self.assertRaises(ssl.SSLError):
            TlsConnection(self.address, strict)
        wait_for(lambda: self.closed("refused_by_client") == 1, self.agent.log)
        self.agent.wait_log(r'connection closed reason=certificate_expired from=tls://127.0.0.1:\d+ '
                            r'detail="certificate has expired subject=CN=expired"')
        self.agent.wait_log(r"reason=no_certificate from=tls://127.0.0.1:\d+ detail=")
        self.ask(honest)
        self.finish(2 + len(rows))

    def too_old(self, options):
        context = self.context("client", **options)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with self.assertRaises(OSError):
            TlsConnection(self.address, context)

    def test_a_certificate_may_be_shown_or_is_not_asked_for(self):
        for mode, stranger in (("request", True), ("none", False)):
            with self.subTest(mode):
                self.start(f'client_auth = "{mode}"')
                for certificate in (None, "client"):
                    self.ask(self.connect(certificate))
                self.assertEqual(self.refused("stranger"), stranger)
                self.agent.kill()

    def test_no_renegotiation_and_no_session_to_resume(self):
        self.start()
        done = subprocess.run(
            [need("openssl", "openssl"), "s_client", "-tls1_2", "-connect", f"127.0.0.1:{self.address[1]}", "-CAfile", "ca.pem",
             "-cert", "client.pem", "-key", "client.key", "-verify_return_error"], cwd=self.path, input=b"R\n",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
        self.assertIn(b"no renegotiation", done.stdout)
        with self.connect() as c:
            self.ask(c)
            self.assertFalse(c.socket.session is not None and c.socket.session.has_ticket)

    def test_riemann_c_client(self):
        self.start()
        # GnuTLS shows no certificate where none is from an authority that the server names.
        for certificate, reason in (("client", ""), ("stranger", "no_certificate"), ("expired", "certificate_expired")):
            done = subprocess.run(
                [need("riemann-client", "riemann-c-client"), "send", "-G", "-o", f"cafile={self.path}/ca.pem", "-o",
                 f"certfile={self.path}/{certificate}.pem", "-o", f"keyfile={self.path}/{certificate}.key", "-S", "disk", "-s",
                 "ok", "-d", "3.5", "-h", "web-1", "127.0.0.1", str(self.address[1])], stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            self.assertEqual(done.returncode == 0, not reason, done.stdout)
            if reason:
                wait_for(lambda: self.closed(reason) == 1, self.agent.log)
        self.finish(1)
        records = [json.loads(line) for request in self.server.requests for line in request.text().splitlines()]
        self.assertEqual(sorted((r["type"], r["key"], r["host"], r["value"]) for r in records),
                         [("event", "disk", "web-1", 3.5), ("metric", "disk", "web-1", 3.5)])


class Bytes(Tls):
    def test_pieces_pipelines_and_large_messages(self):
        self.start()
        # A byte of ciphertext at a time.
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        slow = self.context().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        with socket.create_connection(self.address, 20) as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def call(what):
                while True:
                    try:
                        return what()
                    except ssl.SSLWantReadError:
                        for byte in outgoing.read():
                            s.sendall(bytes([byte]))
                        incoming.write(s.recv(65536))
            call(slow.do_handshake)
            slow.write(frame(ONE) * 2)
            answers = b""
            while len(answers) < 12:
                answers += call(lambda: slow.read(100))
            self.assertEqual(answers, OK * 2)
        with self.connect() as c:
            c.send(*[ONE] * 5000)
            for _ in range(5000):
                self.assertEqual(c.answer(), OK)
            big = msg(*(event(service=f"big {i}", double=i, description="d" * 200) for i in range(3000)))
            self.assertGreater(len(big), 600_000)
            c.send(big)
            self.assertEqual(c.answer(), OK)
        self.finish(2 + 5000 + 3000)

    def test_both_sides_end_with_close_notify(self):
        self.start('idle_timeout = "2s"')
        # Ours: unwrap() sends close_notify and waits for the server's.
        with self.connect() as c:
            c.send(ONE)
            plain = c.socket.unwrap() if c.answer() == OK else None
            self.assertEqual(plain.recv(1), b"")
            plain.close()
        # The agent's, when it closes: without one, SSLEOFError is raised (suppress_ragged_eofs=False).
        idle, wrong = self.connect(), self.connect()
        wrong.socket.sendall(frame(ONE) + b"\0\0\0\0")
        self.assertEqual(wrong.answer(), OK)
        self.assertEqual(wrong.socket.recv(1), b"")
        self.ask(idle)
        self.assertEqual(idle.socket.recv(1), b"")
        end = self.connect()
        self.ask(end)
        self.assertEqual(self.agent.stop(), 0)
        self.assertEqual(end.socket.recv(1), b"")

    def test_who_does_not_read_is_not_read(self):
        self.start()
        before = self.memory()
        silent = [self.connect() for _ in range(20)]
        for c in silent:
            c.socket.setblocking(False)
        flood = frame(msg(event(service="", double=1))) * 2000  # its answer is longer than itself
        full = [0] * len(silent)
        end = time.monotonic() + 60
        while min(full) < 20 and time.monotonic() < end:
            for i, c in enumerate(silent):
                try:
                    c.socket.send(flood)
                    full[i] = 0
                except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    full[i] += 1
            time.sleep(0.01)
        self.assertGreaterEqual(min(full), 20, "the agent reads on")
        self.ask(self.connect())
        self.assertLess(self.memory() - before, 64 << 20)
        self.assertEqual(self.agent.metric("runnel.source.closed", source="riemann"), 0)

    def memory(self):
        with open(f"/proc/{self.agent.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @unittest.skipIf("asan" in os.environ.get("RUNNEL_BUILD", ""), "a sanitizer pads every allocation")
    def test_memory_of_a_connection_at_rest(self):
        self.start()
        for c in [self.connect() for _ in range(20)]:
            self.ask(c)
            c.close()
        before = self.memory()
        for _ in range(200):
            self.ask(self.connect())
        each = (self.memory() - before) / 200
        print(f"an idle TLS connection: {each / 1024:.1f} KiB", flush=True)
        self.assertLess(each, 48 << 10)


class Reload(Tls):
    def served_by(self, connection):
        return dict(pair[0] for pair in connection.socket.getpeercert()["subject"])["commonName"]

    def reload(self, outcome):
        count = self.agent.log().count(outcome)
        self.agent.reload()
        wait_for(lambda: self.agent.log().count(outcome) > count, self.agent.log)

    def test_certificates_change_and_connections_stay(self):
        self.start()
        with self.connect() as kept:
            self.ask(kept)
            self.assertEqual(self.served_by(kept), "server")
            # Another certificate for 127.0.0.1; nothing in the configuration has changed.
            subprocess.run(["sh", "-c", """
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=renewed \
  -addext subjectAltName=IP:127.0.0.1 -keyout renewed.key -out renewed.csr &&
openssl ca -batch -notext -config ca.cnf -in renewed.csr -out renewed.pem -days 10"""], cwd=self.path, check=True,
                           timeout=60, capture_output=True)
            self.use("renewed")
            self.reload("agent: reloaded")
            self.ask(kept)
            with self.connect() as new:
                self.ask(new)
                self.assertEqual(self.served_by(new), "renewed")
            # Bad ones: the old stays, and the log says why.
            for spoil, says in ((lambda: shutil.copy(f"{self.path}/server.pem", f"{self.path}/mine.pem"), "does not belong"),
                                (lambda: self.folder.write("mine.pem", "nonsense"), "no certificate in PEM"),
                                (lambda: os.remove(f"{self.path}/mine.key"), "No such file")):
                spoil()
                self.reload("agent: not reloaded")
                self.assertIn(says, self.agent.log())
                self.ask(kept)
                with self.connect() as new:
                    self.ask(new)
                    self.assertEqual(self.served_by(new), "renewed")
            self.use("server")
            self.reload("agent: reloaded")
            with self.connect() as new:
                self.assertEqual(self.served_by(new), "server")
            self.ask(kept)
        self.assertEqual(self.agent.metric("runnel.source.closed", source="riemann"), 0)
        self.finish(2 + 1 + 3 * 2 + 1)


    def test_a_port_changes_to_tls_and_back(self):
        """Who is connected stays, each as he came; OpenSSL is loaded when it is wanted for the first time."""
        self.start(listen='"tcp://127.0.0.1:0"')
        plain = Connection(self.address)
        self.addCleanup(plain.close)
        self.ask(plain)
        self.assertNotIn("runnel/tls.so", self.maps())
        for _ in range(2):
            self.listen(f'"tls://127.0.0.1:{self.address[1]}"', TLS.format(path=self.path))
            self.assertIn("runnel/tls.so", self.maps())
            secure = self.connect()
            self.ask(secure)
            self.listen(f'"tcp://127.0.0.1:{self.address[1]}"', "")
            with Connection(self.address) as again:
                self.ask(again)
            self.ask(secure)
            self.ask(plain)
        self.assertEqual(self.agent.metric("runnel.source.closed", source="riemann"), 0)
        self.finish(1 + 2 * 4)

    def listen(self, urls, more):
        with open(self.agent.config, encoding="utf-8") as file:
            text = file.read()
        start, end = text.index("[source.riemann]"), text.index("[output.main]")
        self.folder.write(os.path.basename(self.agent.config),
                          f"{text[:start]}[source.riemann]\nlisten = [{urls}]\n{more}\n{text[end:]}")
        self.reload("agent: reloaded")


class Check(Tls):
    def test_what_is_wrong_is_named_with_its_place(self):
        self.use("server")
        write = self.folder.write
        openssl = need("openssl", "openssl")
        subprocess.run([openssl, "pkey", "-in", "server.key", "-aes128", "-passout", "pass:x", "-out", "locked.key"],
                       cwd=self.path, check=True, timeout=60, stderr=subprocess.DEVNULL)
        shutil.copyfile(f"{self.path}/server.key", f"{self.path}/open.key")
        os.chmod(f"{self.path}/open.key", 0o644)
        os.mkfifo(f"{self.path}/pipe.pem")
        p = self.path
        rows = [  # ca, certificate, key, more, exit status, what is said
            ("ca.pem", "server.pem", "server.key", "", 0, []),
            ("ca.pem", "expired.pem", "expired.key", "", 0, ["7:12: warning: source.riemann.tls_cert: " + p + "/expired.pem: expired on Feb  1"]),
            ("ca.pem", "server.pem", "open.key", "", 0, ["8:12: warning: source.riemann.tls_key: " + p + "/open.key can be read by everybody"]),
            ("ca.pem", "server.pem", "client.key", "", 2, [f"8:12: error: source.riemann.tls_key: {p}/client.key: does not belong to the certificate in {p}/server.pem"]),
            ("ca.pem", "server.pem", "locked.key", "", 2, [f"8:12: error: source.riemann.tls_key: {p}/locked.key: has a passphrase"]),
            ("no.pem", "no.pem", "no.key", "", 2, [f"6:12: error: source.riemann.tls_ca: {p}/no.pem: No such file", f"7:12: error: source.riemann.tls_cert: {p}/no.pem: No such", f"8:12: error: source.riemann.tls_key: {p}/no.key: No such"]),
            ("server.key", "server.key", "server.pem", "", 2, [f"6:12: error: source.riemann.tls_ca: {p}/server.key: has no certificate in PEM", "7:12: error: source.riemann.tls_cert", f"8:12: error: source.riemann.tls_key: {p}/server.pem: has no key in PEM"]),
            ("pipe.pem", "server.pem", "server.key", "", 2, ["6:12: error: source.riemann.tls_ca: " + p + "/pipe.pem: is not a file"]),
            (".", "server.pem", "server.key", "", 2, ["6:12: error: source.riemann.tls_ca"]),
            ("ca.pem", "server.pem", "server.key", 'client_auth = "none"', 0, ["6:12: warning: source.riemann.tls_ca has no effect with client_auth"]),
            ("ca.pem", "server.pem", "server.key", 'client_auth = "maybe"', 2, ['one of require, request, none']),
            (None, "server.pem", "server.key", "", 2, ["3:1: error: source.riemann.tls_ca is missing"]),
            (None, "server.pem", "server.key", 'client_auth = "none"', 0, []),
            (None, None, None, "", 2, ["tls_ca is missing", "tls_cert is missing", "tls_key is missing"]),
            (None, None, None, "enabled = false", 0, []),
        ]
        for ca, certificate, key, more, status, says in rows:
            with self.subTest(str((ca, certificate, key, more))):
                lines = [f'{name} = "{p}/{file}"' if file else "" for name, file in
                         (("tls_ca  ", ca), ("tls_cert", certificate), ("tls_key ", key))]
                config = write("check.toml", "\n\n[source.riemann]\n" + 'listen = ["tls://127.0.0.1:0"]\n' +
                               "\n".join([more, *lines]) + '\n[output.o]\nsink = "stdout"\n')
                done = subprocess.run([RUNNEL, "check", "--config", config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      text=True, timeout=60, stdin=subprocess.DEVNULL)
                self.assertEqual(done.returncode, status, done.stdout)
                for text in says:
                    self.assertIn(text, done.stdout)
                if not says:
                    self.assertEqual(done.stdout, f"{config}: ok\n")

    def test_without_tls_the_options_have_no_effect(self):
        config = self.folder.write("plain.toml", '[source.riemann]\nlisten = ["tcp://127.0.0.1:0"]\ntls_cert = "/nowhere"\n'
                                   '[output.o]\nsink = "stdout"\n')
        done = subprocess.run([RUNNEL, "check", "--config", config], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("3:12: warning: source.riemann.tls_cert has no effect without a tls:// address", done.stdout)


if __name__ == "__main__":
    main()
