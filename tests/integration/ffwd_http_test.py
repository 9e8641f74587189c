"""The HTTP input of the FFWD source: what is answered and when, gzip and its bombs, bodies that are too large, too slow, or never
end, connections, reload. ffwd_clients_test.py has the real clients."""
import contextlib
import gzip
import http.client
import json
import os
import signal
import socket
import threading
import time
import zlib

import ffwd_test
from support.riemann import MEASURED
from support.run import main
from support.servers import wait_for

LIMIT = 'max_body = "256KiB"\n'


def body(count=1, **more):
    points = [{"key": f"key-{number}", "value": number, "timestamp": 1700000000000} for number in range(count)]
    return json.dumps({"points": points, **more}).encode()


class Http(ffwd_test.Ffwd):
    def start(self, source="", **options):
        super().start(["http"], source, **options)
        self.connection = self.connect_http()

    def connect_http(self):
        connection = http.client.HTTPConnection(*self.address("http"), timeout=20)
        self.addCleanup(connection.close)
        return connection

    def ask(self, method, path, data=None, connection=None, **headers):
        connection = connection or self.connection
        connection.request(method, path, data, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def post(self, data, path="/v1/batch", **headers):
        return self.ask("POST", path, data, **headers)

    def alive(self):
        """A neighbour is served."""
        self.assertEqual(self.ask("GET", "/ping", connection=self.connect_http()), (200, "pong\n"))


class Answers(Http):
    def test_paths_methods_and_one_connection_for_all(self):
        self.start()
        self.assertEqual(self.ask("GET", "/ping"), (200, "pong\n"))
        local = self.connection.sock.getsockname()
        self.assertEqual(self.post(body()), (200, "ok\n"))
        self.assertEqual(self.post(body(3), "/v2/batch"), (200, "ok\n"))
        self.assertEqual(self.post(b'{"points":[]}'), (200, "ok\n"))
        self.assertEqual(self.ask("GET", "/v1/batch")[0], 405)
        self.assertEqual(self.ask("POST", "/ping", b"")[0], 405)
        self.assertEqual(self.ask("DELETE", "/v2/batch")[0], 405)
        self.assertEqual(self.ask("GET", "/")[0], 404)
        self.assertEqual(self.post(body(), "/v3/batch")[0], 404)
        self.assertEqual(self.connection.sock.getsockname(), local)
        self.assertEqual(sum(map(len, self.received(4).values())), 4)

    def test_a_refused_body_names_its_point_and_takes_nothing(self):
        self.start()
        for data, message in ((b"", "the body: bad_json\n"), (b"{", "the body: bad_json\n"), (b"[]", "the body is no object: bad_json\n"),
                              (b'{"points":[{"key":"a","value":1},{"key":"b"}]}', 'points[1] "b": no_value\n'),
                              (b'{"points":[{"value":1}]}', "points[0]: no_key\n"),
                              (b'{"points":[{"key":"a","value":1,"timestamp":1e18}]}', 'points[0] "a": bad_time\n'),
                              (b'{"commonTags":[],"points":[]}', "commonTags: bad_tags\n")):
            self.assertEqual(self.post(data), (400, message))
        self.assertEqual(self.post(b'{"points":[{"key":"nan","value":"NaN"},{"key":"good","value":1}]}'), (200, "ok\n"))
        found = self.received(10)
        self.assertEqual(list(found), ["good"])
        self.assertEqual((self.count("source.bad", reason="batch_refused"), self.count("source.bad", reason="not_finite")), (1, 1))

    def test_common_tags_and_resource(self):
        self.start(source='tags = { site = "lon", a = "source" }')
        data = {"commonTags": {"a": "common", "b": "common", "host": "web-1"}, "commonResource": {"r": "common"},
                "points": [{"key": "own", "value": {"doubleValue": 1}, "tags": {"b": "own"}, "resource": {"r": "own"}},
                           {"key": "common", "value": 2}]}
        self.assertEqual(self.post(json.dumps(data).encode(), "/v2/batch")[0], 200)
        found = self.received(2)
        for key, b, r in (("own", "own", "own"), ("common", "common", "common")):
            record = found[key][0]
            self.assertEqual((record["host"], record["tags"], record["resource"]),
                             ("web-1", {"a": "common", "b": b, "site": "lon"}, {"r": r}))

    def test_while_the_log_is_full_it_is_503_and_a_client_that_comes_again_loses_nothing(self):
        self.start(more='[journal]\nmax_bytes = "256KiB"\nwhen_full = "block"\n')
        self.refusing = True
        accepted = 0
        big = body(500, commonTags={"filler": "x" * 200})
        most = 1500
        for _ in range(most):
            status, text = self.post(big)
            if status == 503:
                break
            accepted += 1
        self.assertEqual((status, text), (503, "the log is full\n"))
        self.assertLess(accepted, most)
        self.refusing = False
        wait_for(lambda: self.post(big)[0] == 200, "never 200 again", 30)
        refused = self.count("dropped", reason="log_full")
        wait_for(lambda: self.count("dropped", reason="log_full") >= 500, "no drops")
        self.assertEqual(self.agent.stop(), 0, self.agent.log())
        refused = self.count("dropped", reason="log_full")
        self.assertEqual(self.count("source.received"), (accepted + 1) * 500 + refused)
        arrived = sum(len(request.text().splitlines()) for request in self.taken)
        self.assertEqual(arrived, (accepted + 1) * 500)


    def test_while_the_disk_is_ill_it_is_503_and_what_comes_again_is_there_once(self):
        # A series that was refused is not one that comes too often when it comes again.
        self.start('min_interval = "1h"\n', files={"agent.state/journal": "not a folder"})
        for _ in range(3):
            self.assertEqual(self.post(body(5)), (503, "the log could not take it\n"))
        self.assertEqual(self.ask("GET", "/ping"), (200, "pong\n"))
        wait_for(lambda: self.count("dropped", reason="disk_error") == 15, self.agent.log)
        os.unlink(os.path.join(self.folder.path, "agent.state", "journal"))
        refused = 3
        begun = time.monotonic()
        while (status := self.post(body(5))[0]) != 200:
            self.assertEqual(status, 503)
            self.assertLess(time.monotonic() - begun, 15, self.agent.log())
            refused += 1
            time.sleep(0.05)
        found = self.received(5 * (refused + 1))
        self.assertEqual({key: len(records) for key, records in found.items()}, {f"key-{number}": 1 for number in range(5)})
        self.assertEqual((self.count("source.accepted"), self.count("dropped"), self.count("dropped", reason="disk_error")),
                         (5, 5 * refused, 5 * refused))


class Gzip(Http):
    def test_gzip(self):
        self.start(LIMIT)
        two = gzip.compress(body(2)[:30]) + gzip.compress(body(2)[30:])
        for data in (gzip.compress(body(2)), two, gzip.compress(body(2), 0)):
            self.assertEqual(self.post(data, Content_Encoding="gzip"), (200, "ok\n"))
        self.assertEqual(self.post(body(2), Content_Encoding="identity")[0], 200)
        self.assertEqual(len(self.received(8)["key-1"]), 4)

    def test_bad_gzip(self):
        self.start(LIMIT)
        good = gzip.compress(body(50))
        for data in (b"", b"x", body(1), good[:-1], good[:-9] + b"x" + good[-8:], good + b"more", zlib.compress(body(1))):
            self.assertEqual(self.post(data, Content_Encoding="gzip"), (400, "bad_gzip\n"), data[:20])
        for coding in ("deflate", "br", "gzip, gzip"):
            self.assertEqual(self.post(good, connection=self.connect_http(), Content_Encoding=coding), (415, "content_encoding\n"))
        self.assertEqual(self.post(good, Content_Encoding="gzip")[0], 200)
        self.assertEqual(self.count("source.closed"), 0)
        self.received(60)

    def test_bombs(self):
        self.start('max_body = "64MiB"\n', environment=MEASURED)
        before = wait_for(lambda: self.agent.metric("runnel.process.memory"), "no metrics")
        bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
        data = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(200)) + bomb.flush()
        for _ in range(20):
            self.assertEqual(self.post(data, Content_Encoding="gzip"), (413, "gzip_ratio\n"))
        random_ish = gzip.compress(bytes(range(256)) * 400)
        self.assertEqual(self.post(random_ish, Content_Encoding="gzip")[0], 400)  # no bomb, no JSON
        self.alive()
        self.wait_judged(21)
        time.sleep(0.4)
        self.assertLess(self.agent.metric("runnel.process.memory") - before, 32 << 20)


class Hostile(Http):
    def test_bodies_that_are_too_large(self):
        self.start(LIMIT)
        host, port = self.address("http")
        with socket.create_connection((host, port), timeout=20) as raw:
            raw.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1073741824\r\n\r\n")
            self.assertTrue(raw.recv(1000).startswith(b"HTTP/1.1 413 "))
        with socket.create_connection((host, port), timeout=20) as raw:
            raw.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
            sent = 0
            try:
                while sent < 1000:
                    raw.sendall(chunk)
                    sent += 1
            except OSError:
                pass
            self.assertLess(sent, 200, "a body without an end was read on and on")
        # One that ends is told.
        self.assertEqual(self.post(iter([b"x" * 100_000] * 4), connection=self.connect_http()),
                         (413, "body_too_large\n"))
        self.alive()

    def test_common_tags_that_multiply(self):
        """1.5 MB that would be 3 GB: what each point gets counts before it is given."""
        self.start(environment=MEASURED)
        before = wait_for(lambda: self.agent.metric("runnel.process.memory"), "no metrics")
        for common in ({f"k{number}": "v" for number in range(900)}, {"k": "v" * 60_000}):
            for where in ("commonTags", "commonResource"):
                status, text = self.post(body(20_000, **{where: common}))
                self.assertEqual((status, text.split(": ")[1]), (413, "too_much"))
                self.alive()
                self.assertEqual(self.post(body(2, **{where: common})), (200, "ok\n"))
        self.wait_judged(4 * 20_002)
        self.assertEqual((self.count("source.bad", reason="too_much"), self.count("source.accepted")), (4, 8))
        time.sleep(0.4)
        self.assertLess(self.agent.metric("runnel.process.memory") - before, 96 << 20)

    def test_bodies_whose_end_is_not_certain(self):
        """What one server takes for a body is a request for another: nothing behind them is read."""
        self.start()
        data = body()
        cases = {
            b"Content-Length: 5\r\nContent-Length: %d\r\n\r\n" % len(data) + data: b"400",
            b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(data), data): b"400",
            b"Transfer-Encoding: gzip\r\n\r\n" + data: b"501",
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + data: b"400",
        }
        for text, status in cases.items():
            with socket.create_connection(self.address("http"), timeout=20) as raw:
                raw.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\n" + text + b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                try:
                    while part := raw.recv(4096):
                        answer += part
                except ConnectionResetError:
                    pass
                self.assertTrue(answer.startswith(b"HTTP/1.1 " + status), (text, answer))
                self.assertNotIn(b"pong", answer)
        with socket.create_connection(self.address("http"), timeout=20) as raw:
            raw.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        self.wait_judged(5)
        self.assertEqual((self.count("source.bad", reason="bad_request"), self.count("source.bad", reason="transfer_encoding")), (4, 1))
        self.assertEqual(self.post(gzip.compress(data), Content_Encoding="GZip"), (200, "ok\n"))

    def test_slow_requests_and_idle_connections_end_and_neighbours_do_not_wait(self):
        self.start('request_timeout = "600ms"\nidle_timeout = "1500ms"\n')
        address = self.address("http")
        slow, silent, header = (socket.create_connection(address, timeout=20) for _ in range(3))
        for sock in (slow, silent, header):
            self.addCleanup(sock.close)
        slow.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        header.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\n")
        begun = time.monotonic()
        ended = {}
        while len(ended) < 3 and time.monotonic() - begun < 10:
            for name, sock, bytes_ in (("slow", slow, b"{"), ("header", header, b"X-A: b\r\n"), ("silent", silent, b"")):
                if name in ended:
                    continue
                try:
                    sock.send(bytes_)
                    sock.setblocking(False)
                    if sock.recv(1) == b"":
                        ended[name] = time.monotonic() - begun
                except BlockingIOError:
                    pass
                except OSError:
                    ended[name] = time.monotonic() - begun
            self.assertEqual(self.ask("GET", "/ping")[0], 200)
            time.sleep(0.05)
        self.assertEqual(set(ended), {"slow", "header", "silent"})
        wait_for(lambda: (self.count("source.closed", reason="slow_request"), self.count("source.closed", reason="idle")) == (2, 1),
                 self.agent.log)
        self.alive()

    def test_pipelined_requests_without_end_leave_the_loop_to_others(self):
        ffwd_test.Ffwd.start(self, ["http", "udp+json"])
        ending = threading.Event()

        def drain(raw):
            with contextlib.suppress(OSError):
                while raw.recv(1 << 20):
                    pass

        def flood(raw):
            with contextlib.suppress(OSError):
                while not ending.is_set():
                    raw.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)

        floods = [socket.create_connection(self.address("http"), timeout=20) for _ in range(2)]
        threads = [threading.Thread(target=target, args=(raw,), daemon=True) for raw in floods for target in (drain, flood)]
        for thread in threads:
            thread.start()
        try:
            for number in range(5):
                begun = time.monotonic()
                self.alive()
                self.send("udp+json", ffwd_test.line(f"n{number}", 1))
                wait_for(lambda: self.count("source.accepted") > number, self.agent.log, 10)  # told each interval
                self.assertLess(time.monotonic() - begun, 5)
        finally:
            ending.set()
            for raw in floods:
                raw.shutdown(socket.SHUT_RDWR)
                raw.close()
        for thread in threads:
            thread.join(20)
            self.assertFalse(thread.is_alive())
        self.received(5)

    def test_more_connections_than_are_allowed_and_noise(self):
        self.start("max_connections = 3\n")
        self.assertEqual(self.ask("GET", "/ping")[0], 200)
        kept = [socket.create_connection(self.address("http"), timeout=20) for _ in range(2)]
        with socket.create_connection(self.address("http"), timeout=20) as refused:
            self.assertEqual(refused.recv(1), b"")
        for connection in kept:
            connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")
            connection.close()
        wait_for(lambda: self.count("source.connections") <= 1, lambda: str(self.agent.metrics()))
        wait_for(lambda: self.count("source.closed", reason="too_many_connections") == 1, lambda: str(self.agent.metrics()))
        for noise in (b"GET /ping", b"GET  HTTP/9.9\r\n\r\n", b"POST /v1/batch HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"\0" * 40_000):
            with socket.create_connection(self.address("http"), timeout=20) as raw:
                try:
                    raw.sendall(noise)
                except OSError:
                    pass
        self.assertEqual(self.post(body()), (200, "ok\n"))


class Life(Http):
    def maps(self):
        with open(f"/proc/{self.agent.process.pid}/maps", encoding="utf-8") as file:
            return "microhttpd" in file.read()

    def reload(self, listen):
        with open(self.agent.config, encoding="utf-8") as file:
            text = "\n".join(f"listen = {json.dumps(listen)}" if line.startswith("listen = ") else line for line in file.read().split("\n"))
        with open(self.agent.config, "w", encoding="utf-8") as file:
            file.write(text)
        seen = self.agent.log().count("reloaded")
        self.agent.reload()
        wait_for(lambda: self.agent.log().count("reloaded") > seen, self.agent.log)
        self.assertNotIn("not reloaded", self.agent.log())

    def test_the_module_is_loaded_when_it_is_wanted_and_a_reload_leaves_connections(self):
        ffwd_test.Ffwd.start(self, ["udp+json"])
        udp = self.address("udp+json")
        self.assertFalse(self.maps())
        kept = f"udp+json://127.0.0.1:{udp[1]}"
        self.reload([kept, "http://127.0.0.1:0"])
        self.assertTrue(self.maps())
        self.connection = self.connect_http()
        first = self.address("http")
        self.assertEqual(self.post(body()), (200, "ok\n"))
        self.reload([kept, "http://127.0.0.1:0"])  # the same words: the same socket
        self.assertEqual(self.address("http"), first)
        self.reload([kept])
        with self.assertRaises(OSError):
            socket.create_connection(first, timeout=5)
        self.assertEqual(self.post(body()), (200, "ok\n"))  # its listener is gone, it is not
        self.assertEqual(len(self.received(2)["key-0"]), 2)

    def test_what_has_come_before_the_stop_is_answered(self):
        self.start()
        raw = socket.create_connection(self.address("http"), timeout=20)
        self.addCleanup(raw.close)
        self.assertEqual(self.ask("GET", "/ping")[0], 200)
        self.agent.process.send_signal(signal.SIGSTOP)
        self.agent.process.terminate()
        raw.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body()) + body())
        self.agent.process.send_signal(signal.SIGCONT)
        found = self.received(1)
        self.assertTrue(raw.recv(1000).startswith(b"HTTP/1.1 200 "))
        self.assertEqual(len(found["key-0"]), 1)

    def test_stop_in_the_middle_of_a_body(self):
        self.start()
        raw = socket.create_connection(self.address("http"), timeout=20)
        self.addCleanup(raw.close)
        raw.sendall(b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        self.assertEqual(self.post(body()), (200, "ok\n"))
        self.assertEqual(len(self.received(1)["key-0"]), 1)
        self.assertEqual(raw.recv(1000), b"")


if __name__ == "__main__":
    main()
