"""From samples to a table and a verdict. Ratios are taken within a round, then their median: what the machine did
to that round, it did to both."""

import statistics
import sys


def ratio(samples, name, base, key):
    """The median of name / base over the rounds, or None."""
    if not samples.get(base) or not samples.get(name):
        return None
    pairs = zip(samples[name], samples[base])
    each = [mine[key] / theirs[key] for mine, theirs in pairs if theirs[key] > 0]
    return statistics.median(each) if each else None


def failures(rounds):
    total = {}
    for sample in rounds:
        for what, count in sample["failures"].items():
            total[what] = total.get(what, 0) + count
    return total


def summarise(scenario, samples):
    key = "per_connection_kib" if scenario == "idle" else "cpu_us"
    summary = {}
    for name, rounds in samples.items():
        numbers = [k for k, v in rounds[0].items() if isinstance(v, (int, float))]
        row = {k: statistics.median(s[k] for s in rounds) for k in numbers}
        row["min"], row["max"] = min(s[key] for s in rounds), max(s[key] for s in rounds)
        row["to_relay"], row["to_nginx"] = (ratio(samples, name, base, key) for base in ("relay", "nginx"))
        row["failures"] = failures(rounds)
        summary[name] = row
    return summary


def table(scenario, summary):
    """A Markdown table that also reads well in a terminal."""
    times = lambda x: "–" if x is None else f"{x:.2f}"  # noqa: E731
    mib = lambda kib: f"{kib / 1024:.1f}"  # noqa: E731
    if scenario == "idle":
        head = ["proxy", "KiB/connection", "min–max", "× relay", "× nginx", "after a burst"]
        head += ["RSS before MiB", "RSS held MiB", "peak MiB"]
        cells = lambda r: [  # noqa: E731
            f"{r['per_connection_kib']:.2f}",
            f"{r['min']:.2f}–{r['max']:.2f}",
            times(r["to_relay"]),
            times(r["to_nginx"]),
            f"{r['after_burst_kib']:.2f}",
            mib(r["before_kib"]),
            mib(r["rss_kib"]),
            mib(r["hwm_kib"]),
        ]
    else:
        head = ["proxy", "CPU µs/request", "min–max", "× relay", "× nginx", "requests/s", "p50 ms", "p99 ms"]
        head += ["RSS MiB", "peak MiB", "core %", "others %"]
        cells = lambda r: [  # noqa: E731
            f"{r['cpu_us']:.2f}",
            f"{r['min']:.2f}–{r['max']:.2f}",
            times(r["to_relay"]),
            times(r["to_nginx"]),
            f"{r['rps']:,.0f}",
            f"{r['p50_us'] / 1000:.2f}",
            f"{r['p99_us'] / 1000:.2f}",
            mib(r["rss_kib"]),
            mib(r["hwm_kib"]),
            f"{r['busy'] * 100:.0f}",
            f"{r['foreign'] * 100:.0f}",
        ]
    rows = [head]
    notes = []
    for name, row in summary.items():
        rows.append([name + (" ✗" if row["failures"] else ""), *cells(row)])
        if row["failures"]:
            notes.append(f"✗ {name} failed: " + ", ".join(f"{n} × {what}" for what, n in row["failures"].items()))
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    pad = lambda r: "| " + " | ".join([r[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(r[1:], widths[1:])]) + " |"  # noqa: E731
    rule = "|" + "|".join(["-" * (widths[0] + 2)] + ["-" * (w + 1) + ":" for w in widths[1:]]) + "|"
    return "\n".join([pad(rows[0]), rule, *map(pad, rows[1:]), *notes])


def gate(samples, judged, limits):
    """0 when `judged` is within every limit and nobody failed a request, else 1."""
    above = False
    for name in (judged, *limits):
        if broken := failures(samples[name]):
            print(f"gate: FAILED, {name} had failures, its numbers say nothing: {broken}", file=sys.stderr)
            above = True
    for base, limit in limits.items():
        found = ratio(samples, judged, base, "cpu_us")
        above = above or found > limit
        verdict = "ok" if found <= limit else "ABOVE"
        print(f"gate: {judged} / {base} = {found:.3f}, limit {limit}: {verdict}", file=sys.stderr)
    return 1 if above else 0
