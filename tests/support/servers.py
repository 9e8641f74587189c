"""Real servers for tests, each on a free port of loopback, in a folder of its own, ended with the test that started it."""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def need(program, package):
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
    if not path:
        raise unittest.SkipTest(f"{program} is not installed: apt-get install {package} (./dev setup does)")
    return path


def http(url, data=None, timeout=10, method=None):
    """Status and body, whatever the status."""
    request = urllib.request.Request(url, data=data, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=timeout) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def wait_for(check, what, seconds=20.0, step=0.05):
    """Polls until check() is true and returns its value; AssertionError with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"after {seconds:g} s: {what() if callable(what) else what}")
        time.sleep(step)


class Process:
    """A server in the foreground with its output in a file; stop() ends it, by force after 10 s."""

    def __init__(self, command, folder, name, **options):
        self.name = name
        self.output = os.path.join(folder, f"{name}.log")
        with open(self.output, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **options)

    def log(self):
        with open(self.output, "rb") as log:
            return log.read().decode("utf-8", "replace")

    def wait_ready(self, check, seconds=30):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} has ended with {self.process.returncode}:\n{self.log()[-2000:]}")
            try:
                return check()
            except OSError:
                return False
        wait_for(ready, lambda: f"{self.name} is not ready:\n{self.log()[-2000:]}", seconds)

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class Folder(contextlib.AbstractContextManager):
    """A temporary folder and whatever was started in it."""

    def __init__(self):
        self.path = tempfile.mkdtemp(prefix="runnel-test-")
        os.chmod(self.path, 0o755)  # nginx's workers, InfluxDB and hooks may run as another user
        self._exits = contextlib.ExitStack()

    def __exit__(self, *details):
        self._exits.close()
        shutil.rmtree(self.path, ignore_errors=True)

    close = __exit__

    def write(self, name, text, mode=0o644):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, mode)
        return path

    def start(self, command, name, **options):
        process = Process(command, self.path, name, **options)
        self._exits.callback(process.stop)
        return process


class VictoriaMetrics:
    def __init__(self, folder):
        self.url = f"http://127.0.0.1:{free_port()}"
        self.process = folder.start(
            [need("victoria-metrics", "victoria-metrics"), f"-storageDataPath={folder.path}/victoria",
             f"-httpListenAddr={self.url[7:]}", "-retentionPeriod=100y", "-memory.allowedBytes=64MB"], "victoria-metrics")
        self.process.wait_ready(lambda: http(self.url + "/health")[0] == 200)

    def export(self, match):
        """[{"metric": {"__name__": …}, "values": […], "timestamps": […]}, …] of all time."""
        http(self.url + "/internal/force_flush")
        query = urllib.parse.urlencode({"match[]": match, "start": "0"})
        status, body = http(f"{self.url}/api/v1/export?{query}")
        assert status == 200, (status, body)
        return [json.loads(line) for line in body.splitlines() if line]


class InfluxDb:
    def __init__(self, folder, database="runnel"):
        http_port, rpc_port = free_port(), free_port()
        self.database = database
        self.url = f"http://127.0.0.1:{http_port}"
        config = folder.write("influxdb.conf", f"""
reporting-disabled = true
bind-address = "127.0.0.1:{rpc_port}"
[meta]
dir = "{folder.path}/influx/meta"
[data]
dir = "{folder.path}/influx/data"
wal-dir = "{folder.path}/influx/wal"
[http]
bind-address = "127.0.0.1:{http_port}"
log-enabled = false
[monitor]
store-enabled = false
""")
        self.process = folder.start([need("influxd", "influxdb"), "run", "-config", config], "influxd",
                                    env={**os.environ, "HOME": folder.path})
        self.process.wait_ready(lambda: http(self.url + "/ping")[0] == 204)
        status, body = http(self.url + "/query", b"q=" + urllib.parse.quote(f"CREATE DATABASE {database}").encode())
        assert status == 200, (status, body)

    def write_url(self):
        return f"{self.url}/write?db={self.database}"

    def query(self, text):
        """The series of the first result: [{"name", "tags", "columns", "values"}, …]; times in ms."""
        arguments = urllib.parse.urlencode({"db": self.database, "epoch": "ms", "q": text})
        status, body = http(f"{self.url}/query?{arguments}")
        assert status == 200, (status, body)
        result = json.loads(body)["results"][0]
        assert "error" not in result, result
        return result.get("series", [])


def make_certificates(folder):
    """An authority and what it has signed, as paths below folder: ca.pem, other-ca.pem, server.pem/.key (127.0.0.1 and
    localhost), expired.pem, wrong-name.pem, client.pem/.key, stranger.pem/.key (signed by the other authority)."""
    openssl = need("openssl", "openssl")

    def run(*arguments):
        done = subprocess.run([openssl, *arguments], cwd=folder.path, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr.decode()

    def authority(name):
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
            f"/CN=runnel test {name}", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-addext",
            "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        os.makedirs(os.path.join(folder.path, f"{name}.db"))
        folder.write(f"{name}.db/index.txt", "")
        folder.write(f"{name}.cnf", f"""[ca]
default_ca = this
[this]
database = {name}.db/index.txt
new_certs_dir = {name}.db
certificate = {name}.pem
private_key = {name}.key
default_md = sha256
rand_serial = yes
unique_subject = no
copy_extensions = copy
policy = any
[any]
commonName = supplied
""")

    def certificate(name, by, subject, alternative, dates=()):
        run("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={subject}",
            "-addext", f"subjectAltName={alternative}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        run("ca", "-batch", "-notext", "-config", f"{by}.cnf", "-in", f"{name}.csr", "-out", f"{name}.pem",
            *(dates or ("-days", "10")))

    authority("ca")
    authority("other-ca")
    here = "IP:127.0.0.1,DNS:localhost"
    certificate("server", "ca", "server", here)
    certificate("expired", "ca", "expired", here, ("-startdate", "20200101000000Z", "-enddate", "20200201000000Z"))
    certificate("wrong-name", "ca", "wrong", "DNS:elsewhere.invalid")
    certificate("client", "ca", "client", "DNS:client.invalid")
    certificate("stranger", "other-ca", "stranger", "DNS:stranger.invalid")
    return folder.path


class NginxTls:
    """nginx before an upstream: ports by name, all TLS but `plain`: good, expired, wrong_name, mutual (asks for a client
    certificate), tls12 and tls13 (only that version), limited (1 KiB bodies)."""

    NAMES = ("good", "expired", "wrong_name", "mutual", "tls12", "tls13", "limited", "plain")

    def __init__(self, folder, upstream_port):
        self.ports = {name: free_port() for name in self.NAMES}
        special = {
            "mutual": "ssl_verify_client on; ssl_client_certificate ca.pem;",
            "tls12": "ssl_protocols TLSv1.2;",
            "tls13": "ssl_protocols TLSv1.3;",
            "limited": "client_max_body_size 1k;",
        }
        certificate = {"expired": "expired", "wrong_name": "wrong-name"}
        servers = ""
        for name, port in self.ports.items():
            tls = "" if name == "plain" else f"""ssl_certificate {certificate.get(name, "server")}.pem;
    ssl_certificate_key {certificate.get(name, "server")}.key;
    {"" if name.startswith("tls") else "ssl_protocols TLSv1.2 TLSv1.3;"}"""
            listen = f"127.0.0.1:{port}" + ("" if name == "plain" else " ssl http2")
            servers += f"""
  server {{
    listen {listen};
    {tls}
    {special.get(name, "")}
    location / {{
      proxy_pass http://127.0.0.1:{upstream_port};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Tls $ssl_protocol;
      proxy_set_header X-Http $server_protocol;
      proxy_set_header X-Client $ssl_client_s_dn;
      add_header X-Proxy nginx;
    }}
  }}"""
        user = "user root;" if os.geteuid() == 0 else ""
        # Relative names are below the prefix; temporary folders too, or nginx would use the system's.
        temporary = "".join(f"  {kind}_temp_path {folder.path}/nginx-{kind};\n"
                            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        config = folder.write("nginx.conf", f"""{user}
daemon off; master_process off; pid {folder.path}/nginx.pid; error_log stderr warn; worker_processes 1;
events {{ worker_connections 128; }}
http {{
  access_log off;
  client_max_body_size 16m;
{temporary}{servers}
}}
""")
        self.process = folder.start([need("nginx", "nginx-light"), "-p", folder.path, "-c", config, "-e", "stderr"], "nginx")

        def answers():
            with socket.create_connection(("127.0.0.1", self.ports["good"]), timeout=5):
                return True
        self.process.wait_ready(answers)

    def url(self, name, path="/"):
        return f"http{'' if name == 'plain' else 's'}://127.0.0.1:{self.ports[name]}{path}"


def main():
    """For the C++ tests: the scripted server behind nginx, `NAME VALUE` lines, until standard input ends."""
    from support.http_server import Server
    with Folder() as folder:
        make_certificates(folder)
        server = Server(lambda request: print(request.line(), flush=True))
        nginx = NginxTls(folder, server.port)
        print("folder", folder.path, flush=True)
        for name, port in nginx.ports.items():
            print(name, port, flush=True)
        print("listening", server.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
