"""The load: wrk, h2load or a crowd of idle connections against one proxy, and what it did to the proxy."""

import os
import re
import signal
import socket
import subprocess
import time

from peers import BODY, answer, ask, get, tool
from proc import LIBC, PR_SET_PDEATHSIG, BenchError, core_busy

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}

# path: what is asked for; connections: how many at once
SCENARIOS = {
    "h1": {"path": "/", "connections": 64},
    "h1-1m": {"path": "/1m", "connections": 16},
    "tls": {"path": "/", "connections": 64},
    "h2c": {"path": "/", "connections": 8, "streams": 8},
    "short": {"path": "/", "connections": 64},
    "half": {"path": "/", "connections": 8},
    "idle": {"path": "/", "connections": 1000},
}


def _run(argv, core, seconds):
    """A load generator's output; it is killed when it overstays or the bench is interrupted."""

    def prepare():
        os.sched_setaffinity(0, {core})
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=prepare, timeout=seconds + 20
    )
    if done.returncode:
        raise BenchError(f"{os.path.basename(argv[0])} failed: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def _micros(text):
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text).groups()
    return float(number) * UNITS[unit]


def wrk(proc, core, seconds, options, close=False):
    argv = [tool("wrk"), "-t1", f"-c{options['connections']}", f"-d{seconds}s", "--latency"]
    argv += ["-H", "Connection: close"] if close else []
    out = _run(argv + [f"{proc.scheme}://127.0.0.1:{proc.port}{options['path']}"], core, seconds)
    requests, took = re.search(r"(\d+) requests in ([\d.]+\w+)", out).groups()
    percentile = {p: _micros(v) for p, v in re.findall(r"^\s+(50|99)%\s+(\S+)$", out, re.M)}
    failures = {}
    if found := re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out):
        failures.update(zip(("connect", "read", "write", "timeout"), map(int, found.groups())))
    if found := re.search(r"Non-2xx or 3xx responses: (\d+)", out):
        failures["status"] = int(found[1])
    return {
        "requests": int(requests),
        "seconds": _micros(took) / 1e6,
        "p50_us": percentile.get("50", 0.0),
        "p99_us": percentile.get("99", 0.0),
        "failures": {k: v for k, v in failures.items() if v},
    }


def h2load(port, core, seconds, options, directory, rate=None):
    """HTTP/2 without TLS, or HTTP/1.1 at a fixed rate. Percentiles come from its log of every request."""
    log = os.path.join(directory, "h2load.log")
    if os.path.exists(log):
        os.unlink(log)
    clients = options["connections"]
    argv = [tool("h2load"), "-t1", f"-c{clients}", f"-D{seconds}", f"--log-file={log}"]
    argv += ["--h1", f"--rps={rate / clients:.3f}"] if rate else [f"-m{options['streams']}"]
    out = _run(argv + [f"http://127.0.0.1:{port}{options['path']}"], core, seconds)
    names = ("done", "succeeded", "failed", "errored", "timeout")
    found = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
    count = dict(zip(names, map(int, found.groups())))
    ok = int(re.search(r"status codes: (\d+) 2xx", out)[1])
    failures = {k: count[k] for k in ("failed", "errored", "timeout")} | {"status": count["done"] - ok}
    with open(log) as f:
        latencies = sorted(int(line.rsplit("\t", 1)[1]) for line in f)
    return {
        "requests": ok,
        "seconds": float(seconds),
        "p50_us": float(_percentile(latencies, 50)),
        "p99_us": float(_percentile(latencies, 99)),
        "failures": {k: v for k, v in failures.items() if v > 0},
    }


def _percentile(ordered, p):
    return ordered[min(len(ordered) - 1, len(ordered) * p // 100)] if ordered else 0


def fire(scenario, options, proc, core, seconds, directory, rate=None):
    if scenario == "h2c":
        return h2load(proc.h2_port, core, seconds, options, directory)
    if rate:
        return h2load(proc.port, core, seconds, options, directory, rate)
    return wrk(proc, core, seconds, options, close=scenario == "short")


def visit(scenario, options, proc, bench, seconds, warmup, rate=None):
    """One visit to one proxy: warm up, then measure what `seconds` of load cost it."""
    core = bench.load_core
    if warmup:
        fire(scenario, options, proc, core, warmup, bench.dir, rate)
    if proc.access_log:
        time.sleep(1.2)  # let the log of the warm-up reach the file
        _drain_log(proc.access_log)
    busy, cpu, start = core_busy(bench.proxy_core), proc.cpu(), time.monotonic()
    sample = fire(scenario, options, proc, core, seconds, bench.dir, rate)
    cpu, wall = proc.cpu() - cpu, time.monotonic() - start
    busy = core_busy(bench.proxy_core) - busy
    if not sample["requests"]:
        raise BenchError(f"{proc.name} served no request in {seconds} s: {sample['failures']}\n{proc.tail()}")
    sample["cpu_us"] = cpu * 1e6 / sample["requests"]
    sample["rps"] = sample["requests"] / sample["seconds"]
    if rate and sample["rps"] < 0.95 * rate:
        sample["failures"]["below the rate"] = int(rate * seconds - sample["requests"])
    sample["busy"] = cpu / wall
    sample["foreign"] = max(0.0, busy - cpu) / wall
    sample["rss_kib"], sample["hwm_kib"] = proc.rss()
    if proc.access_log:
        time.sleep(1.2)
        lines = _drain_log(proc.access_log)
        if lines < 0.99 * sample["requests"]:
            sample["failures"]["log lines missing"] = sample["requests"] - lines
    return sample


def _drain_log(path):
    """Counts the lines of an access log and empties it, so that /dev/shm holds one visit's at most."""
    if not os.path.exists(path):
        return 0
    count = 0
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            count += chunk.count(b"\n")
    os.truncate(path, 0)
    return count


def idle(options, proc):
    """Opens many keepalive connections that each make one request, holds them, and sees how the proxy has grown:
    first one request after the other (a single upstream connection serves them all), then all at once (what a burst
    leaves behind, on both sides)."""
    count = options["connections"]
    for _ in range(20):  # what the first requests cost once is not the connections' doing
        with socket.create_connection(("127.0.0.1", proc.port), timeout=5) as sock:
            for _ in range(20):
                get(sock)
    time.sleep(0.3)
    before, _ = proc.rss()
    held, bad, dropped = [], 0, 0
    try:
        for _ in range(count):
            held.append(socket.create_connection(("127.0.0.1", proc.port), timeout=5))
            bad += get(held[-1]) != (200, len(BODY))
        time.sleep(0.5)
        after, _ = proc.rss()
        alive = []
        for sock in held:
            try:
                ask(sock)
                alive.append(sock)
            except OSError:
                dropped += 1
        for sock in alive:
            try:
                bad += answer(sock) != (200, len(BODY))
            except OSError:
                dropped += 1
        time.sleep(0.5)
        burst, peak = proc.rss()
    finally:
        for sock in held:
            sock.close()
    failures = {"status": bad, "dropped": dropped}
    return {
        "per_connection_kib": (after - before) / count,
        "after_burst_kib": (burst - before) / count,
        "before_kib": before,
        "rss_kib": after,
        "hwm_kib": peak,
        "failures": {k: v for k, v in failures.items() if v},
    }
