#!/usr/bin/env python3
"""Side by side: outrigger, nginx, HAProxy, Envoy and a raw relay under the same load, in the same minutes.

    benches/peers/run.py --help

The README beside this file says what is measured and how to read it.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import sys
import tempfile

sys.dont_write_bytecode = True

import load  # noqa: E402
import proc  # noqa: E402
from peers import PROXIES, TLS, Bench, find_program  # noqa: E402
from proc import BenchError  # noqa: E402
import report  # noqa: E402

BARE = ["relay", "nginx", "haproxy", "envoy", "outrigger"]
LIMITS = ["relay", "haproxy", "haproxy-alike", "nginx", "nginx-alike", "nginx-full", "envoy-full"]
DEFAULT = {"h1": [name for name in PROXIES if name != "outrigger-crowd"], "h2c": BARE[1:], "tls": list(TLS)}


def arguments():
    p = argparse.ArgumentParser(description="Side by side with the peers: proxy CPU per request, latency, memory.")
    p.add_argument("--scenario", choices=load.SCENARIOS, default="h1")
    p.add_argument("--only", metavar="A,B", help=f"some of {', '.join(PROXIES)}")
    p.add_argument("--rounds", type=int, default=5, help="each visits every proxy once, in rotated order (5)")
    p.add_argument("--seconds", type=int, default=3, help="measured load per visit (3)")
    p.add_argument("--warmup", type=int, default=1, help="seconds of load before it (1)")
    p.add_argument("--connections", type=int, help="instead of the scenario's own number")
    p.add_argument("--rate", type=int, help="`half` only: requests/s, the same for every proxy, instead of closed loop")
    p.add_argument("--cores", default="0,1", metavar="PROXY,LOAD", help="proxy core and load+origin core (0,1)")
    p.add_argument("--json", metavar="FILE", help="every sample and the summary")
    p.add_argument("--gate", action="store_true", help="exit 1 if the judged is above a limit or had failures")
    p.add_argument("--judge", choices=["outrigger", "outrigger-bare", "outrigger-full"], default="outrigger", help="gate: whom (outrigger)")
    for peer in LIMITS:
        p.add_argument(f"--max-{peer}", type=float, metavar="RATIO", help=f"gate: limit of CPU per request / {peer}'s")
    a = p.parse_args()
    a.limits = {k: v for k in LIMITS if (v := getattr(a, f"max_{k.replace('-', '_')}")) is not None}
    if a.gate and not a.limits:
        p.error("--gate needs a limit, such as --max-relay 1.45")
    if a.limits and not a.gate:
        p.error("limits are only looked at with --gate")
    if a.gate and a.scenario == "idle":
        p.error("--gate compares CPU per request; `idle` measures memory")
    if a.gate and "relay" in a.limits and a.scenario == "h2c":
        p.error("the relay does not speak HTTP/2")
    if a.rate and a.scenario != "half":
        p.error("--rate goes with --scenario half")
    if min(a.rounds, a.seconds) < 1 or a.warmup < 0:
        p.error("--rounds and --seconds start at 1, --warmup at 0")
    try:
        a.proxy_core, a.load_core = (int(x) for x in a.cores.split(","))
    except ValueError:
        p.error("--cores wants two numbers: 0,1")
    a.names = list(dict.fromkeys(n for n in (a.only or "").split(",") if n))
    if unknown := [n for n in a.names if n not in PROXIES]:
        p.error(f"unknown: {', '.join(unknown)}; there are {', '.join(PROXIES)}")
    if a.scenario == "h2c" and "relay" in a.names:
        p.error("the relay does not speak HTTP/2")
    if a.scenario == "tls" and (without := [n for n in a.names if n not in TLS]):
        p.error(f"no TLS for {', '.join(without)}; there are {', '.join(TLS)}")
    if not a.names:
        a.names = [] if a.gate else list(DEFAULT.get(a.scenario, BARE))
    if a.gate:
        wanted = set(a.names) | set(a.limits) | {a.judge}
        a.names = [n for n in PROXIES if n in wanted]
    a.options = dict(load.SCENARIOS[a.scenario])
    if a.connections:
        a.options["connections"] = a.connections
    return a


def present(names, gate):
    """Those whose program is there; a missing one is said loudly, and is an error where it was to be judged."""
    found = []
    for name in names:
        try:
            if name != "relay":
                find_program(name)
            found.append(name)
        except BenchError as e:
            if gate:
                raise
            print(f"SKIPPED {name}: {e}", file=sys.stderr)
    if not found:
        raise BenchError("nothing to measure")
    return found


def measure(a, bench):
    """name → its samples, one a round."""
    origin = bench.start_origin()
    running = {} if a.scenario == "idle" else {n: bench.start(n) for n in a.names}
    samples = {n: [] for n in a.names}
    for number in range(a.rounds):
        turn = number % len(a.names)
        for name in a.names[turn:] + a.names[:turn]:
            if a.scenario == "idle":  # a fresh process each time, so that memory starts where it starts
                fresh = bench.start(name)
                sample = load.idle(a.options, fresh)
                fresh.stop()
                told = f"{sample['per_connection_kib']:.2f} KiB/connection"
            else:
                sample = load.visit(a.scenario, a.options, running[name], bench, a.seconds, a.warmup, a.rate)
                told = f"{sample['cpu_us']:.2f} µs/request, {sample['rps']:.0f} requests/s"
            failed = f"  FAILURES {sample['failures']}" if sample["failures"] else ""
            print(f"round {number + 1}/{a.rounds}  {name:<15} {told}{failed}", file=sys.stderr)
            samples[name].append(sample)
        for one in [origin, *running.values()]:
            if not one.alive():
                raise BenchError(f"{one.name} ended during the bench:\n{one.tail()}")
    return samples


def interrupted(number, _frame):
    what = "took too long" if number == signal.SIGALRM else "interrupted"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the cleaning up is bounded; let it finish
    raise BenchError(what)


def main():
    a = arguments()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, interrupted)
    signal.alarm(60 + a.rounds * len(a.names) * (a.seconds + a.warmup + 15))
    directory = None
    try:
        if missing := {a.proxy_core, a.load_core} - os.sched_getaffinity(0):
            raise BenchError(f"core {missing.pop()} is not ours to use: the bench needs two, see --cores")
        if a.proxy_core == a.load_core:
            raise BenchError("proxy and load need a core each")
        os.sched_setaffinity(0, {a.load_core})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        a.names = present(a.names, a.gate)
        shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        directory = tempfile.mkdtemp(prefix="outrigger-peers-", dir=shm)
        samples = measure(a, Bench(directory, a.proxy_core, a.load_core, tls=a.scenario == "tls"))
    except BenchError as e:
        print(f"bench: {e}", file=sys.stderr)
        return 2
    finally:
        proc.stop_all()
        if directory:
            shutil.rmtree(directory, ignore_errors=True)
        signal.alarm(0)
    summary = report.summarise(a.scenario, samples)
    print(report.table(a.scenario, summary))
    if a.json:
        about = {"scenario": a.scenario, "rounds": a.rounds, "seconds": a.seconds, "warmup": a.warmup}
        about |= {"options": a.options, "rate": a.rate, "kernel": platform.release(), "cores": os.cpu_count()}
        with open(a.json, "w") as f:
            json.dump({"about": about, "summary": summary, "samples": samples}, f, indent=1)
    return report.gate(samples, a.judge, a.limits) if a.gate else 0


if __name__ == "__main__":
    sys.exit(main())
