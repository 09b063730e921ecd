#!/usr/bin/env python3
"""A million requests of which no two are alike: random paths, hosts, methods, header names and values, trace ids.

    benches/peers/strangers.py [--requests 1000000] [--gate]

Told are the size of /metrics, its series, and the proxy's memory: after a tenth of the requests, and at the end. With --gate the
exit code is 1 when /metrics is larger than 1 MB, has grown after the first tenth, or memory has grown by more than 4 MiB.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import urllib.request

sys.dont_write_bytecode = True

import proc  # noqa: E402
from peers import Bench  # noqa: E402
from proc import BenchError  # noqa: E402

BATCH = 50  # requests sent before their answers are read
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--requests", type=int, default=1_000_000)
    p.add_argument("--cores", default="0,1", metavar="PROXY,LOAD")
    p.add_argument("--gate", action="store_true")
    return p.parse_args()


def request(rng):
    """One request; nothing in it was ever sent before, except now and then by chance."""
    word = f"{rng.getrandbits(64):016x}"
    path = "/" + rng.choice(("a/", "b/", "c/", "")) + word
    host = word + rng.choice((".example.com", ".org", ""))
    method = rng.choice(METHODS) if rng.random() < 0.5 else word[:8].upper()
    return (
        f"{method} {path}?{word[:4]}={word} HTTP/1.1\r\nhost: {host}\r\nx-user: {word}\r\nuser-agent: {word}\r\n"
        f"x-{word[:6]}: {word}\r\nx-request-id: {word}\r\ntraceparent: 00-{word}{word}-{word}-0{rng.getrandbits(1)}\r\n"
        "content-length: 0\r\n\r\n"
    )


def send(port, count, rng):
    """Sends so many, on connections that end when the proxy says so. How many were answered."""
    answered, sock = 0, None
    while answered < count:
        if sock is None:
            sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        batch = min(BATCH, count - answered)
        sock.sendall("".join(request(rng) for _ in range(batch)).encode())
        got = answers(sock, batch)
        answered += got
        if got < batch:
            sock.close()
            sock = None
    sock.close()
    return answered


def answers(sock, expected):
    """Counts the heads of answers, until so many have come or the connection ends."""
    got, rest = 0, b""
    while got < expected:
        data = sock.recv(262144)
        if not data:
            break
        text = rest + data
        got += text.count(b"HTTP/1.1 ")
        rest = text[-8:] if not text.endswith(b"HTTP/1.1 ") else b""
    return got


def look(process):
    with urllib.request.urlopen(f"http://127.0.0.1:{process.probes}/metrics", timeout=10) as answer:
        text = answer.read()
    lines = [line for line in text.splitlines() if not line.startswith(b"#")]
    return {"metrics_bytes": len(text), "series": len(lines), "rss_mib": round(process.rss()[0] / 1024, 1)}


def run(a, bench):
    bench.start_origin()
    process = bench.start("outrigger-strangers")
    rng = random.Random(7)
    first = a.requests // 10
    send(process.port, first, rng)
    early = look(process)
    sent = first + send(process.port, a.requests - first, rng)
    late = look(process)
    if not process.alive():
        raise BenchError(f"outrigger ended:\n{process.tail()}")
    return {"requests": sent, "after_a_tenth": early, "at_the_end": late}


def judge(r):
    early, late = r["after_a_tenth"], r["at_the_end"]
    findings = {
        "/metrics is larger than 1 MB": late["metrics_bytes"] > 1_000_000,
        "/metrics has grown": late["series"] > early["series"] + 20,
        "memory has grown by more than 4 MiB": late["rss_mib"] > early["rss_mib"] + 4,
    }
    return [what for what, found in findings.items() if found]


def main():
    a = arguments()
    proxy_core, load_core = (int(x) for x in a.cores.split(","))
    os.sched_setaffinity(0, {load_core})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    directory = tempfile.mkdtemp(prefix="outrigger-strangers-")
    try:
        result = run(a, Bench(directory, proxy_core, load_core))
    except BenchError as e:
        print(f"strangers: {e}", file=sys.stderr)
        return 2
    finally:
        proc.stop_all()
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(result, indent=1))
    found = judge(result)
    for what in found:
        print(f"strangers: {what}", file=sys.stderr)
    return 1 if a.gate and found else 0


if __name__ == "__main__":
    sys.exit(main())
