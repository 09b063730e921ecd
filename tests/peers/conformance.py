#!/usr/bin/env python3
"""Sends malformed and odd requests to outrigger and its peers, and tells what each answered and what reached the app.

  tests/peers/conformance.py --bin target/debug/outrigger --write docs/conformance.md     all four, the table
  tests/peers/conformance.py --bin target/debug/outrigger --check                         outrigger only, against
                                                                                          conformance.expected
  ... --bless   writes that file

Only Python's own library. nginx and haproxy are Debian's; Envoy is found as `envoy` or by `--envoy`.
"""

import argparse
import concurrent.futures
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import conformance_cases as cases  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
CONF = HERE.parent.parent / "benches" / "peers" / "conf"
EXPECTED = HERE / "conformance.expected"
NOTES = HERE / "conformance.notes.md"
SILENCE = 0.7  # no answer for so long: it waits for more
QUIET = 0.15  # nothing more for so long: that was it


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    return [s.getsockname()[1] for s in held]


class Origin:
    """Answers 200 to whatever looks like a request to it, and remembers it as it came."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.seen = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        data = b""
        try:
            while True:
                while b"\r\n\r\n" not in data:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    data += piece
                head, _, data = data.partition(b"\r\n\r\n")
                entry = [head, b""]
                self.seen.append(entry)
                lower = head.lower()
                if b"\r\ntransfer-encoding:" in lower:
                    while not (entry[1] == b"" and data.startswith(b"0\r\n\r\n")) and b"\r\n0\r\n" not in data:
                        piece = connection.recv(65536)
                        if not piece:
                            return
                        data += piece
                    entry[1], data = data, b""
                elif b"\r\ncontent-length:" in lower:
                    length = int(lower.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
                    while len(data) < length:
                        piece = connection.recv(65536)
                        if not piece:
                            entry[1] = data
                            return
                        data += piece
                    entry[1], data = data[:length], data[length:]
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except OSError:
            pass

    def take(self):
        seen, self.seen = self.seen, []
        return [describe(head, body) for head, body in seen]


def describe(head, body):
    """`POST / (length 3)`: the request line without its version, and how the body is framed."""
    lines = head.split(b"\r\n")
    line = lines[0].rsplit(b" ", 1)[0].decode("latin-1")
    names = [part.split(b":")[0].strip().lower() for part in lines[1:]]
    framing = []
    if b"transfer-encoding" in names:
        framing.append("chunked")
    for part in lines[1:]:
        name, _, value = part.partition(b":")
        if name.strip().lower() == b"content-length":
            framing.append("length " + value.strip().decode("latin-1"))
    hosts = [part.partition(b":")[2].strip().decode("latin-1") for part in lines[1:] if part.lower().startswith(b"host:")]
    text = line if len(line) < 40 else line[:37] + "..."
    if any(host not in ("a", "") and not host.startswith(("127.0.0.1", "app")) for host in hosts):
        framing.append("host " + ", ".join(hosts))
    return text + (f" ({', '.join(framing)})" if framing else "")


class Peer:
    def __init__(self, name, port, h2_port, origin, process):
        self.name, self.port, self.h2_port, self.origin, self.process = name, port, h2_port, origin, process

    def run(self, case):
        _, _, what = case
        self.origin.take()
        if isinstance(what, bytes):
            answer = ask(self.port, what, statuses)
        else:
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + cases.frame(4, 0, 0)
            answer = ask(self.h2_port, preface + b"".join(what), statuses_h2)
        time.sleep(0.06)
        return answer, self.origin.take()


def ask(port, data, read):
    client = socket.create_connection(("127.0.0.1", port))
    answer, end = b"", "stays"
    try:
        client.sendall(data)
    except OSError:
        pass
    begun = time.monotonic()
    while True:
        found, final = read(answer)
        client.settimeout(QUIET if final else max(0.01, SILENCE - (time.monotonic() - begun)))
        try:
            piece = client.recv(65536)
        except TimeoutError:
            break
        except OSError:
            end = "closes"
            break
        if not piece:
            end = "closes"
            break
        answer += piece
    client.close()
    found, _ = read(answer)
    if not found:
        return "closes" if end == "closes" else "waits"
    return " ".join(found) + (", closes" if end == "closes" else "")


def statuses(answer):
    """The final statuses in it. What a peer answers with is well formed: a length, or the end."""
    found, rest = [], answer
    while rest.startswith(b"HTTP/1."):
        head, split, body = rest.partition(b"\r\n\r\n")
        if not split:
            break
        status = head.split(b" ")[1].decode()
        if not status.startswith("1"):
            found.append(status)
        lower = head.lower()
        if b"content-length:" in lower:
            body = body[int(lower.split(b"content-length:")[1].split(b"\r\n")[0]) :]
        elif b"transfer-encoding:" in lower:
            body = body.partition(b"\r\n0\r\n\r\n")[2] if not body.startswith(b"0\r\n\r\n") else body[5:]
        rest = body
    if answer and not found and not answer.startswith(b"HTTP/"):
        found.append("no HTTP/1.1")
    return found, bool(found)


KNOWN = {0x88: "200", 0x89: "204", 0x8A: "206", 0x8B: "304", 0x8C: "400", 0x8D: "404", 0x8E: "500"}


def statuses_h2(answer):
    found = []
    while len(answer) >= 9:
        length = int.from_bytes(answer[:3], "big")
        kind, stream, payload = answer[3], int.from_bytes(answer[5:9], "big"), answer[9 : 9 + length]
        answer = answer[9 + length :]
        if kind == 1 and stream == 1 and not found and payload:
            while payload and payload[0] & 0xE0 == 0x20:
                payload = payload[1:]
            found.append(KNOWN.get(payload[0]) or literal(payload))
        elif kind == 3 and not found:
            found.append("RST")
        elif kind == 7 and payload[4:8] != bytes(4):
            found.append("GOAWAY")
    return found, bool(found)


def literal(payload):
    """A status behind an index of `:status`, in plain digits or in Huffman code (RFC 7541, appendix B)."""
    length, coded = payload[1] & 0x7F, payload[1] & 0x80
    text = payload[2 : 2 + length]
    if not coded:
        return text.decode("latin-1")
    bits, digits = "".join(f"{byte:08b}" for byte in text), ""
    while len(digits) < 3 and len(bits) >= 5:
        five = int(bits[:5], 2)
        if five <= 2:
            digits, bits = digits + str(five), bits[5:]
        else:
            digits, bits = digits + str(int(bits[:6], 2) - 0b011001 + 3), bits[6:]
    return digits


def fill(template, values):
    text = (CONF / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def start(name, arguments, work):
    origin = Origin()
    port, h2_port, probes, control = free_ports(4)
    values = {
        "PORT": port, "H2_PORT": h2_port, "ORIGIN": origin.port, "PROBES": probes, "CONTROL": control,
        "NAME": name, "DIR": work, "USER": "user root;", "NOFILE": 4096,
    }  # fmt: skip
    if name == "nginx":
        (work / "nginx.conf").write_text(fill("nginx.conf", values))
        command = [shutil.which("nginx") or "/usr/sbin/nginx", "-p", str(work), "-c", str(work / "nginx.conf")]
    elif name == "haproxy":
        (work / "haproxy.cfg").write_text(fill("haproxy.cfg", values))
        command = [shutil.which("haproxy") or "/usr/sbin/haproxy", "-f", str(work / "haproxy.cfg")]
    elif name == "envoy":
        (work / "envoy.yaml").write_text(fill("envoy.yaml", values))
        command = [arguments.envoy, "-c", str(work / "envoy.yaml"), "--concurrency", "1", "--use-dynamic-base-id"]
    else:
        (work / "outrigger.yaml").write_text(fill("outrigger.yaml", values))
        command = [arguments.bin, "run", "--config", str(work / "outrigger.yaml")]
    log = (work / f"{name}.log").open("wb")
    process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    wait_for(port, process, work / f"{name}.log")
    return Peer(name, port, h2_port if name == "nginx" else port, origin, process)


def wait_for(port, process, log):
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{process.args[0]} does not listen:\n{log.read_text(errors='replace')}")


def cell(outcome):
    answer, reached = outcome
    if not reached:
        return answer
    return answer + " ← " + "; ".join(f"`{it}`" for it in reached).replace("|", "\\|")


def line(case, outcome):
    return f"{case[0]}: {case[1]}: {cell(outcome)}"


def check(all_cases, outcomes, bless):
    lines = [line(case, outcome) for case, outcome in zip(all_cases, outcomes)]
    if bless:
        EXPECTED.write_text("\n".join(lines) + "\n")
        return 0
    expected = EXPECTED.read_text().splitlines()
    wrong = 0
    for was, now in zip(expected, lines):
        if was != now:
            wrong += 1
            print(f"expected  {was}\nbut came  {now}")
    if len(expected) != len(lines):
        wrong += 1
        print(f"{len(lines)} cases, but {len(expected)} expectations")
    print(f"conformance: {len(lines) - wrong} of {len(lines)} inputs were answered as expected")
    return 1 if wrong else 0


def write(path, all_cases, table, names, versions):
    out = [
        "# Malformed and odd input, side by side", "",
        "Written by `tests/peers/conformance.py`; do not edit, run it again. Each input went to each proxy on a connection",
        "of its own, in front of an app that records what reaches it. A cell says what the client was answered, whether the",
        "connection was closed, and behind the arrow what the app got: its request line and how the body was framed.",
        "*waits*: no answer within 0.7 s. All proxies run with the settings of `benches/peers/conf`, which are their",
        "defaults but for keepalive.", "",
        "Versions: " + ", ".join(f"{name} {versions[name]}" for name in names) + ".", "",
        NOTES.read_text().strip() if NOTES.exists() else "", "",
    ]  # fmt: skip
    group = None
    for index, case in enumerate(all_cases):
        if case[0] != group:
            group = case[0]
            out += ["", f"## {group}", "", "| input | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
        cells = [cell(table[name][index]) for name in names]
        out.append("| " + " | ".join([case[1].replace("|", "\\|")] + cells) + " |")
    pathlib.Path(path).write_text("\n".join(out) + "\n")


def version(name, arguments):
    command = {
        "outrigger": [arguments.bin, "--version"], "nginx": ["/usr/sbin/nginx", "-v"],
        "haproxy": ["/usr/sbin/haproxy", "-v"], "envoy": [arguments.envoy, "--version"],
    }[name]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    words = (result.stdout + result.stderr).replace("/", " ").split()
    return next((word for word in words if word[:1].isdigit() and "." in word), "?")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--envoy", default=shutil.which("envoy") or str(pathlib.Path.home() / ".cache/outrigger-peers/bin/envoy"))
    parser.add_argument("--write", metavar="FILE")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--bless", action="store_true")
    arguments = parser.parse_args()
    names = ["outrigger", "nginx", "haproxy", "envoy"] if arguments.write else ["outrigger"]
    all_cases = cases.HTTP1 + cases.HTTP2
    with tempfile.TemporaryDirectory() as directory:
        peers = []
        try:
            for name in names:
                peers.append(start(name, arguments, pathlib.Path(directory)))
            with concurrent.futures.ThreadPoolExecutor() as pool:
                runs = pool.map(lambda peer: [peer.run(case) for case in all_cases], peers)
                table = dict(zip(names, runs))
            dead = [peer.name for peer in peers if peer.process.poll() is not None]
        finally:
            for peer in peers:
                peer.process.terminate()
            for peer in peers:
                try:
                    peer.process.wait(timeout=5)
                except subprocess.TimeoutExpired:
                    peer.process.kill()
    if dead:
        sys.exit(f"ended under the test: {', '.join(dead)}")
    if arguments.write:
        write(arguments.write, all_cases, table, names, {name: version(name, arguments) for name in names})
        print(f"{len(all_cases)} inputs, {len(names)} proxies: {arguments.write}")
    if arguments.check or arguments.bless:
        return check(all_cases, table["outrigger"], arguments.bless)
    return 0


if __name__ == "__main__":
    sys.exit(main())
