"""An HTTP/1.1 server on loopback whose answers are scripted, the unpleasant ones too.

The path says what is answered: /do/STEP/STEP/… gives one step for each request to that path, the last one for all that
follow. Steps:

    200, 503, …        that status; `503~7` adds `Retry-After: 7`, `503~+30` a date 30 s from now, `503~-30` one in the
                       past, `503~text` anything else; the body is `body of 503`
    reset              a whole 200 with a body that is not finished, then RST
    close              the connection ends without an answer
    half               200, Content-Length 100, ten bytes, then the end
    stuck              the same, but the connection stays open until the client goes
    silent             no answer at all until the client goes
    drip               200, then one byte a second
    redirect           302 to /do/200 of this server
    huge               200 with 4 MiB of body
    hugeerror          503 with 4 MiB of body
    chunked            200 with a chunked body
    html               400 with an HTML page as nginx makes them
    echo               500 whose body is the Authorization header that was sent
    auth:VALUE         204 where the Authorization header is VALUE, else 401

Other paths are answered with 204, and a function that is given to Server may name the step for any request. Used as a module by the Python tests and as a program by the C++ tests: it prints
`listening PORT`, then one line a request, and ends with its standard input.
"""
import email.utils
import gzip
import http.server
import os
import socket
import struct
import sys
import threading
import time
import urllib.parse

LIMIT = 60  # seconds that anything here lasts at most


class Request:
    def __init__(self, connection, method, path, headers, body):
        self.connection = connection  # number of the connection, from 1
        self.method, self.path, self.headers, self.body = method, path, headers, body

    def text(self):
        body = gzip.decompress(self.body) if self.headers.get("Content-Encoding") == "gzip" else self.body
        return body.decode("utf-8", "replace")

    def line(self):
        headers = " ".join(f"{name.lower()}={urllib.parse.quote(value, safe=' /:;,')!r}" for name, value in self.headers.items())
        return f"request {self.method} {self.path} connection={self.connection} length={len(self.body)} {headers} body={self.body[:200]!r}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = LIMIT
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        with self.server.lock:
            self.server.connections += 1
            self.number = self.server.connections

    def log_message(self, *_):
        pass

    def send(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def wait_until_gone(self):
        self.connection.settimeout(LIMIT)
        try:
            self.connection.recv(1)
        except OSError:
            pass
        self.close_connection = True

    def reset(self):
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def handle_request(self):
        body = self.read_body()
        request = Request(self.number, self.command, self.path, self.headers, body)
        step = self.server.record(request)
        try:
            self.answer(step)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_POST = do_PUT = do_GET = handle_request

    def answer(self, step):
        name, _, argument = step.partition("~")
        if name.isdigit():
            headers = []
            if argument:
                if argument[0] in "+-" and argument[1:].isdigit():
                    argument = email.utils.formatdate(time.time() + int(argument), usegmt=True)
                headers.append(("Retry-After", urllib.parse.unquote(argument)))
            self.send(int(name), b"body of " + name.encode() + b"\nsecond line\n", headers)
        elif name == "reset":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes!")
            self.reset()
        elif name == "close":
            self.close_connection = True
        elif name in ("half", "stuck", "silent"):
            if name != "silent":
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes!")
                self.wfile.flush()
            self.close_connection = True
            if name != "half":
                self.wait_until_gone()
        elif name == "drip":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(LIMIT):
                self.wfile.write(b".")
                self.wfile.flush()
                time.sleep(1)
            self.close_connection = True
        elif name == "redirect":
            self.send(302, b"moved", [("Location", f"http://127.0.0.1:{self.server.port}/do/200?token=abc")])
        elif name in ("huge", "hugeerror"):
            self.send(200 if name == "huge" else 503, b"a first line\n" + b"x" * (4 << 20))
        elif name == "chunked":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        elif name == "html":
            self.send(400, b"<html>\r\n<head><title>400 Bad Request</title></head>\r\n<body>no</body></html>\r\n")
        elif name == "echo":
            self.send(500, ("you sent " + self.headers.get("Authorization", "nothing")).encode())
        elif name.startswith("auth:"):
            wanted = urllib.parse.unquote(name[5:])
            self.send(204 if self.headers.get("Authorization") == wanted else 401, b"who are you")
        else:
            self.send(204)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, on_request=None, port=0):
        super().__init__(("127.0.0.1", port), Handler)
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.lock = threading.Lock()
        self.connections = 0
        self.requests = []
        self.on_request = on_request
        self._counts = {}
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def record(self, request):
        steps = request.path.split("?")[0].split("/")[2:] if request.path.startswith("/do/") else [""]
        with self.lock:
            self.requests.append(request)
            count = self._counts.get(request.path, 0)
            self._counts[request.path] = count + 1
            wanted = self.on_request(request) if self.on_request else None
        return wanted or steps[min(count, len(steps) - 1)]

    def handle_error(self, *_):
        pass  # a client that goes away is what many tests are about

    def close(self):
        self.shutdown()
        self.server_close()


def main():
    def show(request):
        print(request.line(), flush=True)

    server = Server(show)
    print(f"listening {server.port}", flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
