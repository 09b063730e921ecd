#!/usr/bin/env python3
"""One acceptor that hands sockets to the least loaded worker, against a listening socket per worker (`reuse_port`).

Two workers, an nginx as origin, wrk as client, all on this machine. Prints, for both:
- CPU per request of the proxy when each request comes on a connection of its own (what accepting costs);
- how four long connections share the two workers, as the busier one's share of the CPU: 50 % is even, 100 % is all.

    OUTRIGGER_BIN=target/dist/outrigger benches/peers/accept.py [--rounds 7]
"""
import argparse
import contextlib
import os
import pathlib
import re
import socket
import statistics
import subprocess
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def wait_for(port):
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit(f"nothing listens on port {port}")


def start(stack, work, *command):
    log = open(work / (pathlib.Path(command[0]).name + ".log"), "ab")
    process = subprocess.Popen(command, stdout=log, stderr=log)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    return process


def worker_ticks(pid):
    """CPU ticks of each worker thread, by name."""
    ticks = {}
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        if name.startswith("worker-"):
            fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
            ticks[name] = int(fields[11]) + int(fields[12])
    return ticks


def load(port, connections, seconds, *headers):
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *headers, f"http://127.0.0.1:{port}/"]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        print("   failures:", out)
    return int(re.search(r"(\d+) requests in", out).group(1))


def measured(pid, *arguments):
    before = worker_ticks(pid)
    requests = load(*arguments)
    after = worker_ticks(pid)
    spent = sorted(after[name] - before[name] for name in after)
    return requests, spent


def proxy(stack, work, binary, origin, reuse_port):
    port = free_port()
    config = work / f"{port}.yaml"
    config.write_text(
        f"workers: 2\naccess_log: off\nadmin: {{ probes: off, control: off }}\n"
        f"listeners:\n  inbound: {{ address: 127.0.0.1:{port}, forward: app, reuse_port: {str(reuse_port).lower()} }}\n"
        f"upstreams:\n  app: {{ endpoints: [127.0.0.1:{origin}] }}\n"
    )
    process = start(stack, work, binary, "run", "--config", str(config))
    wait_for(port)
    return process.pid, port


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    binary = os.environ.get("OUTRIGGER_BIN", "target/dist/outrigger")
    with contextlib.ExitStack() as stack:
        work = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        origin = free_port()
        conf = work / "nginx.conf"
        conf.write_text(
            f"daemon off; worker_processes 1; pid {work}/pid; error_log stderr; events {{ worker_connections 4096; }}\n"
            f"http {{ access_log off; keepalive_requests 1000000000; server {{ listen 127.0.0.1:{origin}; "
            f"location / {{ return 200 \"{'x' * 128}\"; }} }} }}\n"
        )
        start(stack, work, "nginx", "-c", str(conf))
        wait_for(origin)
        kinds = {
            "hand-over": proxy(stack, work, binary, origin, False),
            "reuse_port": proxy(stack, work, binary, origin, True),
        }
        cost, share = {kind: [] for kind in kinds}, {kind: [] for kind in kinds}
        for number in range(rounds):
            for kind, (pid, port) in sorted(kinds.items(), reverse=number % 2 == 1):
                requests, spent = measured(pid, port, 32, 2, "-H", "Connection: close")
                cost[kind].append(sum(spent) / TICK / requests * 1e6)
                _, spent = measured(pid, port, 4, 1)
                share[kind].append(max(spent) / max(1, sum(spent)) * 100)
        print("| accept | CPU µs per request on a new connection | min–max | busier worker's share with 4 connections |")
        print("|---|---|---|---|")
        for kind in kinds:
            shares = ", ".join(f"{value:.0f}" for value in sorted(share[kind]))
            print(
                f"| {kind} | {statistics.median(cost[kind]):.1f} | {min(cost[kind]):.1f}–{max(cost[kind]):.1f} "
                f"| {shares} % |"
            )


if __name__ == "__main__":
    main()
