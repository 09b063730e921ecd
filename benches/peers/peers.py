"""The proxies: which there are, how each is started, and when it is ready."""

import glob
import os
import random
import resource
import shutil
import socket
import ssl
import subprocess
import time

from proc import BenchError, Proc

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BODY = "x" * 128
BIG = 1024 * 1024

# name → (template, arguments after the program)
PROXIES = {
    "relay": (None, ["@PORT@", "@ORIGIN@"]),
    "nginx": ("nginx.conf", ["-e", "stderr", "-p", "@DIR@", "-c", "@CONF@"]),
    "nginx-alike": ("nginx-alike.conf", ["-e", "stderr", "-p", "@DIR@", "-c", "@CONF@"]),
    "nginx-full": ("nginx-full.conf", ["-e", "stderr", "-p", "@DIR@", "-c", "@CONF@"]),
    "haproxy": ("haproxy.cfg", ["-db", "-f", "@CONF@"]),
    "haproxy-alike": ("haproxy-alike.cfg", ["-db", "-f", "@CONF@"]),
    "envoy": ("envoy.yaml", ["-c", "@CONF@", "--concurrency", "1", "--disable-hot-restart", "-l", "error"]),
    "envoy-full": ("envoy-full.yaml", ["-c", "@CONF@", "--concurrency", "1", "--disable-hot-restart", "-l", "error"]),
    "outrigger": ("outrigger.yaml", ["run", "--config", "@CONF@"]),
    "outrigger-bare": ("outrigger-bare.yaml", ["run", "--config", "@CONF@"]),
    "outrigger-policies": ("outrigger-policies.yaml", ["run", "--config", "@CONF@"]),
    "outrigger-full": ("outrigger-full.yaml", ["run", "--config", "@CONF@"]),
    "outrigger-crowd": ("outrigger-crowd.yaml", ["run", "--config", "@CONF@"]),
    "outrigger-strangers": ("outrigger-strangers.yaml", ["run", "--config", "@CONF@"]),
    "outrigger-observed": ("outrigger-observed.yaml", ["run", "--config", "@CONF@"]),
}
# The same, bare, with TLS towards the client: scenario `tls`.
TLS = {"nginx": "nginx-tls.conf", "haproxy": "haproxy-tls.cfg", "envoy": "envoy-tls.yaml", "outrigger": "outrigger-tls.yaml"}


def find_program(name):
    """The path of a proxy's program, or a `BenchError` that says how to get it."""
    kind = name.split("-")[0]
    if kind == "outrigger":
        named = os.environ.get("OUTRIGGER_BIN")
        tried = [named] if named else [os.path.join(ROOT, "target", p, "outrigger") for p in ("dist", "release")]
        for path in tried:
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return os.path.abspath(path)
        shown = [named] if named else ["target/dist/outrigger", "target/release/outrigger"]
        raise BenchError(f"no outrigger at {' or '.join(shown)}: build it or set OUTRIGGER_BIN")
    if kind == "envoy":
        cache = os.environ.get("OUTRIGGER_PEERS") or os.path.expanduser("~/.cache/outrigger-peers")
        found = glob.glob(os.path.join(cache, "venv-bench/lib/python3*/site-packages/envoy/_bin/envoy"))
        if found:
            return found[0]
        raise BenchError("no Envoy in the bench's virtual environment: run benches/peers/install.sh")
    return tool(kind)


def tool(name):
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not path:
        raise BenchError(f"{name} is not installed: run benches/peers/install.sh")
    return path


def make_certificate(directory):
    """A P-256 key and its certificate: PEM files apart, and in one for HAProxy."""
    key, cert = (os.path.join(directory, name) for name in ("tls.key", "tls.crt"))
    what = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([tool("openssl"), *what, *names, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=60)
    with open(os.path.join(directory, "tls.pem"), "w") as both:
        both.writelines(open(path).read() for path in (cert, key))


def build_relay(directory):
    out = os.path.join(directory, "relay")
    subprocess.run([tool("cc"), "-O2", "-o", out, os.path.join(HERE, "relay.c")], check=True, timeout=60)
    return out


class Ports:
    """Free loopback ports below the range that outgoing connections take theirs from."""

    def __init__(self):
        self.next = random.randrange(20000, 28000)

    def take(self):
        for port in range(self.next, 32000):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind(("127.0.0.1", port))
                except OSError:
                    continue
            self.next = port + 1
            return port
        raise BenchError("no free port between 20000 and 32000")


class Bench:
    """The temporary directory, the origin, and the proxies in front of it."""

    def __init__(self, directory, proxy_core, load_core, tls=False):
        self.dir, self.proxy_core, self.load_core, self.tls = directory, proxy_core, load_core, tls
        if tls:
            make_certificate(directory)
        self.ports = Ports()
        self.starts = 0
        os.makedirs(os.path.join(directory, "www"))
        with open(os.path.join(directory, "www", "1m"), "wb") as f:
            f.write(b"x" * BIG)
        self.vars = {
            "DIR": directory,
            "BODY": BODY,
            "USER": "user root;" if os.geteuid() == 0 else "",
            "NOFILE": str(min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 65536)),
            "ORIGIN": str(self.ports.take()),
            "ORIGIN2": str(self.ports.take()),
        }

    def _fill(self, text, more):
        for key, value in {**self.vars, **more}.items():
            text = text.replace(f"@{key}@", value)
        return text

    def _config(self, template, name, more):
        path = os.path.join(self.dir, f"{name}-{template}")
        with open(os.path.join(HERE, "conf", template)) as f, open(path, "w") as out:
            out.write(self._fill(f.read(), more))
        return path

    def start_origin(self):
        conf = self._config("origin.conf", "origin", {})
        argv = [tool("nginx"), "-e", "stderr", "-p", self.dir, "-c", conf]
        origin = Proc("origin", argv, self.load_core, os.path.join(self.dir, "origin.out"))
        for port in ("ORIGIN", "ORIGIN2"):
            wait_ready(origin, int(self.vars[port]))
        return origin

    def start(self, name):
        """Starts a proxy on the proxy core and waits until it answers."""
        self.starts += 1
        template, arguments = PROXIES[name]
        if self.tls:
            template = TLS[name]
        more = {key: str(self.ports.take()) for key in ("PORT", "H2_PORT", "PROBES", "CONTROL")}
        more["NAME"] = f"{name}-{self.starts}"
        more["LOG"] = os.path.join(self.dir, f"{more['NAME']}.access")
        if template:
            more["CONF"] = self._config(template, more["NAME"], more)
        program = build_relay(self.dir) if name == "relay" else find_program(name)
        argv = [program] + [self._fill(a, more) for a in arguments]
        proc = Proc(name, argv, self.proxy_core, os.path.join(self.dir, f"{more['NAME']}.out"))
        proc.port = int(more["PORT"])
        proc.probes = int(more["PROBES"])
        proc.h2_port = int(more["H2_PORT" if name.startswith("nginx") else "PORT"])
        proc.access_log = more["LOG"] if name.endswith(("-full", "-observed")) else None
        proc.scheme = "https" if self.tls else "http"
        wait_ready(proc, proc.port, tls=self.tls)
        return proc


def get(sock, path="/", keep=True):
    """One request on an open connection: (status, bytes of body)."""
    ask(sock, path, keep)
    return answer(sock)


def ask(sock, path="/", keep=True):
    close = "" if keep else "Connection: close\r\n"
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: bench\r\n{close}\r\n".encode())


def answer(sock):
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    headers = dict(line.lower().split(b":", 1) for line in lines[1:])
    size, length = len(body), int(headers.get(b"content-length", b"-1"))
    if length < 0:
        raise BenchError("an answer without content-length")
    while size < length:
        size += len(_some(sock))
    return int(lines[0].split()[1]), size


def _some(sock):
    chunk = sock.recv(65536)
    if not chunk:
        raise ConnectionError("closed in the middle of an answer")
    return chunk


def connect(port, tls):
    sock = socket.create_connection(("127.0.0.1", port), timeout=2)
    if not tls:
        return sock
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # it is our own, made a moment ago
    return context.wrap_socket(sock, server_hostname="localhost")


def wait_ready(proc, port, patience=15, tls=False):
    """Until both answers come back whole: 128 bytes and 1 MiB."""
    end, why = time.monotonic() + patience, "nothing tried"
    while time.monotonic() < end:
        if not proc.alive():
            raise BenchError(f"{proc.name} ended with {proc.popen.returncode}:\n{proc.tail()}")
        try:
            with connect(port, tls) as sock:
                answers = [get(sock), get(sock, "/1m", keep=False)]
            if answers == [(200, len(BODY)), (200, BIG)]:
                return
            why = f"answers {answers}"
        except (OSError, BenchError, ValueError, IndexError) as e:
            why = str(e)
        time.sleep(0.05)
    raise BenchError(f"{proc.name} was not ready after {patience} s: {why}\n{proc.tail()}")
