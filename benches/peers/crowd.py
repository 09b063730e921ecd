#!/usr/bin/env python3
"""A crowd before outrigger: 10,000 idle connections, 1,000 slow clients and a flood of HTTP/2 resets, all at once.

    benches/peers/crowd.py [--idle 10000] [--slow 1000] [--floods 4] [--seconds 10] [--gate]

Polite requests go on meanwhile, at a fixed rate. Told are their p50 and p99 before and in the crowd, and memory and open
files of the proxy before, in, and after it. With --gate the exit code is 1 when a polite request failed, p99 grew fivefold,
memory went above its limit or files stayed open.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import struct
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import proc  # noqa: E402
from peers import BODY, Bench, get  # noqa: E402
from proc import BenchError  # noqa: E402

RATE = 200  # polite requests a second
PATIENCE = 20  # seconds until all is as before
TURNS = 100  # parts of a second in which slow clients send


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--idle", type=int, default=10_000, help="connections that made one request (10000)")
    p.add_argument("--slow", type=int, default=1_000, help="clients that drip a head or a body (1000)")
    p.add_argument("--floods", type=int, default=4, help="connections that open and reset streams (4)")
    p.add_argument("--seconds", type=int, default=10, help="how long each is measured (10)")
    p.add_argument("--mib-per-thousand", type=float, default=16, help="gate: growth of RSS per 1,000 connections, MiB (16)")
    p.add_argument("--cores", default="0,1", metavar="PROXY,LOAD")
    p.add_argument("--gate", action="store_true")
    return p.parse_args()


def polite(port, seconds):
    """Requests on four kept connections at a fixed rate; a late answer does not make the next one late (the wait
    counts from when it should have been sent). Latencies in µs, and failures."""
    conns, taken, failures = [], [], 0
    begin = time.monotonic()
    for number in range(RATE * seconds):
        due = begin + number / RATE
        time.sleep(max(0.0, due - time.monotonic()))
        slot = number % 4
        try:
            if slot >= len(conns):
                conns.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            if get(conns[slot]) != (200, len(BODY)):
                failures += 1
        except (OSError, BenchError, ValueError):
            failures += 1
            conns[slot : slot + 1] = [socket.create_connection(("127.0.0.1", port), timeout=10)]
        taken.append((time.monotonic() - due) * 1e6)
    taken.sort()
    return {"p50": taken[len(taken) // 2], "p99": taken[len(taken) * 99 // 100], "failures": failures}


def step_back():
    """Takes what the polite client and the app leave of the core that all of them share, which is nearly all of it: their
    waiting for this process is not to be taken for the proxy's."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def crowd(port, idle, slow, ready, stop):
    """Idle connections, and slow ones that begin again when they are cut off."""
    step_back()
    held = []
    for _ in range(idle):
        held.append(socket.create_connection(("127.0.0.1", port), timeout=30))
        get(held[-1])
    dripping = [drip_begin(port, number) for number in range(slow)]
    ready.set()
    cut = 0
    turn = 0
    while not stop.is_set():
        # Each once a second, but not all at once: slow clients know nothing of one another.
        for index in range(turn % TURNS, slow, TURNS):
            try:
                dripping[index].sendall(b"a")
            except OSError:
                cut += 1
                dripping[index].close()
                dripping[index] = drip_begin(port, index)
        turn += 1
        stop.wait(1 / TURNS)
    alive = 0
    for sock in held:
        try:
            sock.setblocking(False)
            alive += sock.recv(1) != b""
        except BlockingIOError:
            alive += 1
        except OSError:
            pass
    print(json.dumps({"idle": alive, "cut": cut}), flush=True)
    for sock in held + dripping:
        sock.close()


def drip_begin(port, number):
    sock = socket.create_connection(("127.0.0.1", port), timeout=30)
    if number % 2:
        sock.sendall(b"GET /slow HTTP/1.1\r\nhost: bench\r\nx-drip: ")
    else:
        sock.sendall(b"POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: 1000000\r\n\r\n")
    return sock


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def flood(port, stop, counts):
    """Rapid reset: HEADERS and RST_STREAM, again and again, on a new connection when the old one is closed."""
    step_back()
    # :method GET, :scheme http, :path / from the static table; :authority a.
    head = b"\x82\x86\x84\x41\x01a"
    while not stop.is_set():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                counts[0] += 1
                sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
                stream = 1
                sock.settimeout(0.5)
                while not stop.is_set():
                    burst = b"".join(
                        frame(1, 5, n, head) + frame(3, 0, n, b"\0\0\0\x08") for n in range(stream, stream + 200, 2)
                    )
                    stream += 200
                    sock.sendall(burst)
                    counts[1] += 100
                    drain(sock)
        except OSError:
            stop.wait(0.01)


def drain(sock):
    try:
        while sock.recv(65536, socket.MSG_DONTWAIT):
            pass
        raise ConnectionError("closed")
    except BlockingIOError:
        pass


def open_files(process):
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in proc.tree(process.popen.pid))


def state(process):
    return {"rss_mib": round(process.rss()[0] / 1024, 1), "files": open_files(process)}


def settled(process, before):
    """Waits, while polite requests go on, until files and memory are as before, or patience ends."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        polite(process.port, 1)
        now = state(process)
        if now["files"] <= before["files"] + 4 and now["rss_mib"] < 2 * before["rss_mib"]:
            break
    return state(process) | {"seconds": round(time.monotonic() - end + PATIENCE)}


def run(a, bench):
    bench.start_origin()
    process = bench.start("outrigger-crowd")
    polite(process.port, 2)
    before, alone = state(process), polite(process.port, a.seconds)
    context = multiprocessing.get_context("fork")
    ready, stop, counts = context.Event(), context.Event(), context.Array("q", 2, lock=False)
    helpers = [context.Process(target=crowd, args=(process.port, a.idle, a.slow, ready, stop))]
    helpers += [context.Process(target=flood, args=(process.port, stop, counts)) for _ in range(a.floods)]
    for helper in helpers[:1]:
        helper.start()
    if not ready.wait(120):
        raise BenchError("the crowd did not gather within two minutes")
    for helper in helpers[1:]:
        helper.start()
    time.sleep(1)
    among = polite(process.port, a.seconds)
    during = state(process)
    stop.set()
    for helper in helpers:
        helper.join(30)
    result = {"before": before, "alone": alone, "among": among, "during": during, "after": settled(process, before)}
    result |= {"flood": {"connections": counts[0], "resets": counts[1]}, "seconds": a.seconds}
    result["again"] = polite(process.port, 2)
    if not process.alive():
        raise BenchError(f"outrigger ended:\n{process.tail()}")
    return result


def judge(a, r):
    limit = a.mib_per_thousand * (a.idle + a.slow) / 1000
    findings = {
        "a polite request failed": r["alone"]["failures"] + r["among"]["failures"] + r["again"]["failures"] > 0,
        "p99 grew more than fivefold": r["among"]["p99"] > 5 * r["alone"]["p99"],
        f"memory grew more than {limit:.0f} MiB": r["during"]["rss_mib"] - r["before"]["rss_mib"] > limit,
        "files stayed open": r["after"]["files"] > r["before"]["files"] + 4,
        "memory stayed": r["after"]["rss_mib"] > r["before"]["rss_mib"] + limit / 2,
    }
    return [what for what, found in findings.items() if found]


def main():
    a = arguments()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < a.idle + a.slow + 1000:
        print(f"crowd: {hard} open files are too few for {a.idle} + {a.slow} connections", file=sys.stderr)
        return 2
    proxy_core, load_core = (int(x) for x in a.cores.split(","))
    os.sched_setaffinity(0, {load_core})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    directory = tempfile.mkdtemp(prefix="outrigger-crowd-")
    try:
        result = run(a, Bench(directory, proxy_core, load_core))
    except BenchError as e:
        print(f"crowd: {e}", file=sys.stderr)
        return 2
    finally:
        proc.stop_all()
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(result, indent=1))
    found = judge(a, result)
    for what in found:
        print(f"crowd: {what}", file=sys.stderr)
    return 1 if a.gate and found else 0


if __name__ == "__main__":
    sys.exit(main())
