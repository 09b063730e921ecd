"""Writes the chart's Grafana dashboard, outrigger/dashboards/outrigger.json, from the panels that are listed here.

    python3 helm/dashboard.py            write it
    python3 helm/dashboard.py --check    fail if what is there is another

JSON says each panel in eighty lines; here a panel is its title, what to think of it, its unit and its expressions. In an
expression, PROXY, ROUTE and UPSTREAM stand for the selectors that the variables choose, and RATE for the rate's window.
tests/peers/check-prometheus.sh runs every expression in a real Prometheus that scrapes the real program.
"""

import json
import pathlib
import sys

TARGET = pathlib.Path(__file__).parent / "outrigger/dashboards/outrigger.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

PROXY = 'namespace=~"$namespace", job=~"$job", pod=~"$pod", instance=~"$instance"'
# `direction` is what tells outrigger's http_requests_total from that of other programs, hence ".+" for all of them.
ROUTE = PROXY + ', direction=~"$direction", route=~"$route"'
UPSTREAM = PROXY + ', upstream=~"$upstream"'
SAME = "on (namespace, job, pod, instance)"

# Failed as in the alerts: 5xx, or broken off by the endpoint after a good head.
FAILED = 'rate(http_requests_total{ROUTE, code=~"5.."}[RATE]) or rate(outrigger_errors_total{ROUTE, reason="upstream_body_reset"}[RATE])'
DOWNSTREAM_REASONS = "client_.+|bad_request|method_not_allowed|request_header.+|body_too_large"
PROXY_REASONS = "no_route|internal_error|rate_limited|.+_overloaded|queue_timeout|upgraded_idle_timeout"
BY_SIDE = (
    'sum by (side) (label_replace(label_replace(label_replace(rate(outrigger_errors_total{ROUTE}[RATE]), '
    f'"side", "upstream", "", ""), "side", "downstream", "reason", "{DOWNSTREAM_REASONS}"), '
    f'"side", "proxy", "reason", "{PROXY_REASONS}"))'
)

GREEN, YELLOW, ORANGE, RED, BLUE = "green", "yellow", "orange", "red", "blue"
WIDTH = 24


def quantile(q, by=""):
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({q}, sum by ({groups}) (rate(http_request_duration_seconds_bucket{{ROUTE}}[RATE])))"


def share(part, whole, by):
    """A share that is 0, not missing, where there is only a whole."""
    return f"(sum by ({by}) ({part}) or 0 * sum by ({by}) ({whole})) / sum by ({by}) ({whole})"


def expand(expression):
    for name, value in (("ROUTE", ROUTE), ("UPSTREAM", UPSTREAM), ("PROXY", PROXY), ("RATE", "$__rate_interval")):
        expression = expression.replace(name, value)
    return expression


def panel(kind, title, description, unit, *targets, width=8, height=8, **more):
    """`targets` are pairs of expression and legend; `more`: colors, steps, mappings, stack, options, defaults."""
    defaults = {"unit": unit, **more.get("defaults", {})}
    if kind == "timeseries":
        style = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
        if more.get("stack"):
            style |= {"stacking": {"mode": "normal"}, "fillOpacity": 40, "lineWidth": 0}
        defaults = {"min": 0, "custom": style} | defaults
    if "steps" in more:
        first, *rest = more["steps"]
        steps = [{"color": first, "value": None}] + [{"color": color, "value": value} for value, color in rest]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        defaults.setdefault("color", {"mode": "thresholds"})
    if "mappings" in more:
        options = {str(value): {"text": text, "color": color, "index": i} for i, (value, text, color) in enumerate(more["mappings"])}
        defaults["mappings"] = [{"type": "value", "options": options}]
    overrides = [
        {"matcher": {"id": "byRegexp", "options": name}, "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}]}
        for name, color in more.get("colors", {}).items()
    ]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": height},
        "fieldConfig": {"defaults": defaults, "overrides": overrides},
        "options": OPTIONS.get(kind, {}) | more.get("options", {}),
        "targets": [target(i, kind, expression, legend) for i, (expression, legend) in enumerate(targets)],
        **({"transformations": more["transformations"]} if "transformations" in more else {}),
    }


OPTIONS = {
    "timeseries": {
        "tooltip": {"mode": "multi", "sort": "desc"},
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"], "sortBy": "Max", "sortDesc": True},
    },
    "stat": {"colorMode": "value", "graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}},
    "state-timeline": {"mergeValues": True, "showValue": "never", "legend": {"displayMode": "list", "placement": "bottom"}},
    "table": {"showHeader": True, "cellHeight": "sm"},
}


def target(index, kind, expression, legend):
    result = {"refId": chr(ord("A") + index), "datasource": DATASOURCE, "expr": expand(expression), "legendFormat": legend}
    if kind == "table":
        result |= {"format": "table", "instant": True}
    return result


def organize(*columns, **names):
    """A table's columns, from left to right; no others."""
    return {
        "id": "filterFieldsByName",
        "options": {"include": {"names": list(columns)}},
    }, {
        "id": "organize",
        "options": {"indexByName": {name: i for i, name in enumerate(columns)}, "renameByName": names},
    }


def graph(*arguments, **more):
    return panel("timeseries", *arguments, **more)


def stat(*arguments, **more):
    return panel("stat", *arguments, width=4, height=5, **more)


def states(*arguments, **more):
    return panel("state-timeline", *arguments, **more)


OVERVIEW = [
    stat("Requests", "Answered per second.", "reqps", ("sum(rate(http_requests_total{ROUTE}[RATE]))", "requests")),
    stat(
        "Failed",
        "Share of requests that were answered with 5xx, by the app or by the proxy, or broken off by the endpoint.",
        "percentunit",
        (f"(sum({FAILED}) or vector(0)) / sum(rate(http_requests_total{{ROUTE}}[RATE]))", "failed"),
        steps=[GREEN, (0.001, YELLOW), (0.01, RED)],
        defaults={"min": 0, "decimals": 2},
    ),
    stat("Latency p99", "From a request's head to the end of its answer.", "s", (quantile(0.99), "p99")),
    stat("In flight", "Requests under way, to the ends of their answers.", "short", ("sum(http_requests_active{ROUTE})", "in flight")),
    stat(
        "Out of service",
        "Endpoints whose health checks fail, or that are ejected, and circuit breakers that are open, on all proxies together. "
        "Row \"Upstreams\" tells which.",
        "short",
        ('(count(outrigger_endpoint_healthy{UPSTREAM} == 0) or vector(0))', "unhealthy"),
        ('(sum(outrigger_endpoints_ejected{UPSTREAM}) or vector(0))', "ejected"),
        ('(count(outrigger_circuit_breaker_state{UPSTREAM} == 2) or vector(0))', "open"),
        steps=[GREEN, (1, RED)],
        options={"graphMode": "none"},
    ),
    stat(
        "Proxies",
        "How many there are, and how many different configurations they run: more than one for long means that one did not take a change.",
        "short",
        ("count(outrigger_build_info{PROXY})", "proxies"),
        ("count(count by (hash) (outrigger_config_info{PROXY}))", "configurations"),
        options={"graphMode": "none"},
    ),
    panel(
        "table",
        "Alerts",
        "Pending and firing, if the rules are loaded. What each means and what to change: docs/alerts.md.",
        "short",
        ('ALERTS{alertname=~"Outrigger.+", namespace=~"$namespace", job=~"$job"}', "{{alertname}}"),
        width=WIDTH,
        height=6,
        transformations=[*organize("alertname", "alertstate", "severity", "job", "instance", "upstream", "endpoint", "route", "listener")],
    ),
    graph(
        "Requests by status",
        "Whoever answered: the app's own 5xx are here, too. Compare with \"Errors by reason\", where only the proxy's are.",
        "reqps",
        ('sum by (class) (label_replace(rate(http_requests_total{ROUTE}[RATE]), "class", "${1}xx", "code", "(.).."))', "{{class}}"),
        stack=True,
        colors={"1xx|3xx": BLUE, "2xx": GREEN, "4xx": YELLOW, "5xx": RED},
    ),
    graph(
        "Errors by side",
        "Answers that the proxy made itself, and exchanges cut. upstream: the endpoint, or the way to it. downstream: the client. "
        "proxy: a limit, no route, or a defect.",
        "reqps",
        (BY_SIDE, "{{side}}"),
        stack=True,
        colors={"upstream": RED, "downstream": BLUE, "proxy": ORANGE},
    ),
    graph(
        "Errors by reason",
        "The same code stands in the answer's body, in Proxy-Status and in the access line; the answer names the configuration key to change.",
        "reqps",
        ("sum by (reason) (rate(outrigger_errors_total{ROUTE}[RATE]))", "{{reason}}"),
    ),
    graph(
        "Latency",
        "From a request's head to the end of its answer, so long answers count as slow.",
        "s",
        *((quantile(q), name) for q, name in ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))),
        colors={"p50": GREEN, "p95": YELLOW, "p99": RED},
    ),
    graph("In flight", "Requests under way.", "short", ("sum by (direction) (http_requests_active{ROUTE})", "{{direction}}")),
    graph(
        "Requests by proxy",
        "One that gets far more or far fewer than the others is balanced badly, or not ready.",
        "reqps",
        ("sum by (instance) (rate(http_requests_total{ROUTE}[RATE]))", "{{instance}}"),
    ),
]

ROUTES = [
    graph("Requests by route", "(none): no route took them.", "reqps", ("sum by (route) (rate(http_requests_total{ROUTE}[RATE]))", "{{route}}")),
    graph(
        "Failed by route",
        "Share of requests that failed, as in the alerts.",
        "percentunit",
        (share(FAILED, "rate(http_requests_total{ROUTE}[RATE])", "route"), "{{route}}"),
    ),
    graph("Latency p95 by route", "From a request's head to the end of its answer.", "s", (quantile(0.95, "route"), "{{route}}")),
    graph("In flight by route", "Requests under way.", "short", ("sum by (route) (http_requests_active{ROUTE})", "{{route}}")),
    graph(
        "Errors by route and reason",
        "Answers that the proxy made itself, and exchanges cut.",
        "reqps",
        ("sum by (route, reason) (rate(outrigger_errors_total{ROUTE}[RATE]))", "{{route}} {{reason}}"),
    ),
    graph(
        "Mirrored",
        "Copies by what became of them; nobody waits for them. overflow: too many were under way.",
        "reqps",
        ('sum by (route, result) (rate(outrigger_mirror_requests_total{UPSTREAM, route=~"$route"}[RATE]))', "{{route}} {{result}}"),
    ),
]

UPSTREAMS = [
    graph(
        "Attempts by result",
        "One request may have several. response: a head came, whatever its status.",
        "reqps",
        ("sum by (upstream, result) (rate(outrigger_upstream_attempts_total{UPSTREAM}[RATE]))", "{{upstream}} {{result}}"),
    ),
    graph(
        "Failures by reason",
        "Attempts that speak against their endpoint; these feed breakers and ejections. What counts is in `upstreams.NAME.failure`.",
        "reqps",
        ("sum by (upstream, endpoint, reason) (rate(outrigger_upstream_failures_total{UPSTREAM}[RATE])) > 0", "{{upstream}} {{endpoint}} {{reason}}"),
    ),
    graph(
        "Attempts by endpoint",
        "How the load is spread.",
        "reqps",
        ("sum by (upstream, endpoint) (rate(outrigger_upstream_attempts_total{UPSTREAM}[RATE]))", "{{upstream}} {{endpoint}}"),
    ),
    states(
        "Circuit breakers",
        "Worst of all proxies. Without an endpoint: the upstream's own. While one is open, requests get 503 CIRCUIT_OPEN or go elsewhere.",
        "short",
        ("max by (upstream, endpoint) (outrigger_circuit_breaker_state{UPSTREAM})", "{{upstream}} {{endpoint}}"),
        mappings=[(0, "closed", GREEN), (1, "half-open", YELLOW), (2, "open", RED)],
    ),
    states(
        "Health",
        "What health checks say, worst of all proxies. GET /upstreams on the control port has the last error.",
        "short",
        ("min by (upstream, endpoint) (outrigger_endpoint_healthy{UPSTREAM})", "{{upstream}} {{endpoint}}"),
        mappings=[(0, "unhealthy", RED), (1, "healthy", GREEN)],
    ),
    graph(
        "Endpoints",
        "Known and ejected, mean of all proxies. panic: 1 while too few are in service, so that all of them are used.",
        "short",
        ("avg by (upstream) (outrigger_upstream_endpoints{UPSTREAM})", "{{upstream}} known"),
        ("avg by (upstream) (outrigger_endpoints_ejected{UPSTREAM})", "{{upstream}} ejected"),
        ("max by (upstream) (outrigger_upstream_panic{UPSTREAM})", "{{upstream}} panic"),
        colors={".* ejected": ORANGE, ".* panic": RED},
    ),
    graph(
        "Ejections",
        "Endpoints taken out because of their requests, by cause, in the last five minutes.",
        "short",
        ("sum by (upstream, endpoint, cause) (increase(outrigger_endpoint_ejections_total{UPSTREAM}[5m]))", "{{upstream}} {{endpoint}} {{cause}}"),
    ),
    graph(
        "Refused by circuit breakers",
        "With mode observe: what would have been refused.",
        "reqps",
        ("sum by (upstream, mode) (rate(outrigger_circuit_breaker_rejected_total{UPSTREAM}[RATE]))", "{{upstream}} {{mode}}"),
    ),
    graph(
        "Health checks",
        "Passed and failed.",
        "ops",
        ("sum by (upstream, result) (rate(outrigger_health_checks_total{UPSTREAM}[RATE]))", "{{upstream}} {{result}}"),
        colors={".* failed": RED},
    ),
    graph(
        "Retries",
        "Attempts that followed a failed one, and their share of all attempts. The share is bounded by `retry_budget`, 20 % by default.",
        "reqps",
        ("sum by (upstream) (rate(outrigger_retries_total{UPSTREAM}[RATE]))", "{{upstream}}"),
        (
            "sum by (upstream) (rate(outrigger_retries_total{UPSTREAM}[RATE])) / "
            "sum by (upstream) (rate(outrigger_upstream_attempts_total{UPSTREAM}[RATE]))",
            "{{upstream}} share",
        ),
    ),
    graph(
        "Why not retried",
        "budget: too many retries already. attempts: as often as allowed. deadline: no time left. unsafe_method: a POST that may have "
        "arrived. response_started: too late. off: this outcome is not in `retry.on`.",
        "reqps",
        ("sum by (upstream, reason) (rate(outrigger_not_retried_total{UPSTREAM}[RATE])) > 0", "{{upstream}} {{reason}}"),
    ),
    graph(
        "Connects",
        "Connections opened to endpoints. Many while requests are few: connections are not reused.",
        "ops",
        ("sum by (upstream, result) (rate(outrigger_upstream_connects_total{UPSTREAM}[RATE]))", "{{upstream}} {{result}}"),
        colors={".* failed": RED},
    ),
    graph(
        "Pool",
        "Idle connections kept, of all workers and proxies.",
        "short",
        ("sum by (upstream) (outrigger_pool_idle{UPSTREAM})", "{{upstream}} idle"),
    ),
    graph(
        "Reused and replayed",
        "Share of attempts on a connection that had served before. Replays: the pooled one had just been closed; many mean that the app "
        "closes idle connections before `pool.idle_timeout`.",
        "percentunit",
        (
            "sum by (upstream) (rate(outrigger_pool_reused_total{UPSTREAM}[RATE])) / "
            "sum by (upstream) (rate(outrigger_upstream_attempts_total{UPSTREAM}[RATE]))",
            "{{upstream}} reused",
        ),
        (
            "sum by (upstream) (rate(outrigger_pool_stale_replays_total{UPSTREAM}[RATE])) / "
            "sum by (upstream) (rate(outrigger_upstream_attempts_total{UPSTREAM}[RATE]))",
            "{{upstream}} replayed",
        ),
    ),
    graph(
        "Discovery",
        "Lookups of names and reads of endpoints files, by result. When they fail, the last list stays in use.",
        "ops",
        ("sum by (upstream, result) (rate(outrigger_dns_lookups_total{UPSTREAM}[RATE]))", "{{upstream}} DNS {{result}}"),
        ("sum by (upstream, result) (rate(outrigger_endpoints_file_reads_total{UPSTREAM}[RATE]))", "{{upstream}} file {{result}}"),
    ),
]

LIMITS = [
    graph(
        "Rate limits",
        "Decisions of all rules. would_limit: only observed.",
        "reqps",
        ('sum by (route, rule, result) (rate(outrigger_rate_limit_total{PROXY, route=~"$route"}[RATE]))', "{{route}} {{rule}} {{result}}"),
        colors={".* limited": RED, ".* would_limit": ORANGE},
    ),
    graph(
        "Rate limit keys",
        "Clients remembered, the most of one proxy, and keys forgotten per second to make room (`max_keys`).",
        "short",
        ('max by (route, rule) (outrigger_rate_limit_keys{PROXY, route=~"$route"})', "{{route}} {{rule}} keys"),
        ('sum by (route, rule) (rate(outrigger_rate_limit_evictions_total{PROXY, route=~"$route"}[RATE]))', "{{route}} {{rule}} forgotten"),
        colors={".* forgotten": RED},
    ),
    graph(
        "Refused because too many were under way",
        "full: no place to wait. timeout: waited as long as one may. The scope is whose limit it was; an endpoint's stands under its upstream.",
        "reqps",
        ("sum by (scope, name, result) (rate(outrigger_limit_rejected_total{PROXY}[RATE]))", "{{scope}} {{name}} {{result}}"),
    ),
    graph(
        "Under way where limited",
        "The most of one proxy: limits are each proxy's own.",
        "short",
        ("max by (scope, name) (outrigger_in_flight{PROXY})", "{{scope}} {{name}}"),
    ),
    graph(
        "Waiting for their turn",
        "The most of one proxy. Always some: `limits.in_flight` is too low, or answers are slow.",
        "short",
        ("max by (scope, name) (outrigger_pending{PROXY})", "{{scope}} {{name}}"),
    ),
    graph(
        "Memory",
        "As limited: the cgroup's or the process's. No line for the limit: there is none.",
        "bytes",
        ("outrigger_memory_bytes{PROXY}", "{{instance}}"),
        ("max(outrigger_memory_limit_bytes{PROXY} > 0)", "limit"),
        colors={"limit": RED},
    ),
    states(
        "Memory level",
        "What is given up for want of memory.",
        "short",
        ("outrigger_memory_level{PROXY}", "{{instance}}"),
        mappings=[(0, "nothing", GREEN), (1, "replays", YELLOW), (2, "new requests", RED)],
        width=24,
        height=5,
    ),
]

PROCESS = [
    panel(
        "table",
        "Configurations in force",
        "Which one, since when, as in the log and in access lines. All proxies of a job should have the same hash.",
        "dateTimeAsIso",
        (f"1000 * outrigger_config_last_success_timestamp_seconds{{PROXY}} * {SAME} group_right () outrigger_config_info{{PROXY}}", "{{hash}}"),
        width=16,
        transformations=[*organize("namespace", "job", "pod", "instance", "version", "hash", "Value", Value="since")],
    ),
    graph(
        "Reloads",
        "Configurations read in the last five minutes, by result. refused: the log has each mistake with its line.",
        "short",
        ("sum by (result) (increase(outrigger_config_reloads_total{PROXY}[5m]))", "{{result}}"),
        colors={"refused": RED, "applied": GREEN, "unchanged": BLUE},
    ),
    graph(
        "Connections",
        "Open downstream connections, the most of one proxy: `limits.connections` is each listener's own.",
        "short",
        ('max by (listener) (outrigger_connections_active{PROXY, direction=~"$direction"})', "{{listener}}"),
    ),
    graph(
        "Connections accepted",
        "Per second. About as many as requests: clients do not reuse theirs.",
        "cps",
        ('sum by (listener) (rate(outrigger_connections_total{PROXY, direction=~"$direction"}[RATE]))', "{{listener}}"),
    ),
    graph(
        "Connections closed by a timer",
        "idle_timeout: nothing came, or the peer stopped reading. request_header_timeout: a head that was never complete.",
        "cps",
        (
            'sum by (listener, reason) (rate(outrigger_connections_closed_total{PROXY, direction=~"$direction"}[RATE]))',
            "{{listener}} {{reason}}",
        ),
    ),
    graph(
        "TLS handshakes",
        "With clients, by how they ended.",
        "cps",
        (
            'sum by (listener, result) (rate(outrigger_tls_handshakes_total{PROXY, direction=~"$direction"}[RATE]))',
            "{{listener}} {{result}}",
        ),
        colors={".* ok": GREEN},
    ),
    graph(
        "Certificates",
        "Time left of the certificate that ends first.",
        "s",
        ("min by (direction, name) (outrigger_tls_cert_expiry_seconds{PROXY} - time())", "{{direction}} {{name}}"),
    ),
    graph(
        "Lost telemetry",
        "Access lines and spans that their output did not take; series beyond the cap, counted as `other`. Requests go on.",
        "ops",
        ("sum(rate(outrigger_access_log_dropped_total{PROXY}[RATE]))", "access lines"),
        ("sum(rate(outrigger_trace_spans_dropped_total{PROXY}[RATE]))", "spans"),
        ("sum(rate(outrigger_metrics_series_dropped_total{PROXY}[RATE]))", "series"),
    ),
    graph(
        "CPU",
        "Cores in use.",
        "short",
        (f"rate(process_cpu_seconds_total{{PROXY}}[RATE]) and {SAME} outrigger_build_info", "{{instance}}"),
    ),
    graph(
        "Resident memory",
        "Of the process.",
        "bytes",
        (f"process_resident_memory_bytes{{PROXY}} and {SAME} outrigger_build_info", "{{instance}}"),
    ),
    graph(
        "File descriptors",
        "Share of those allowed. At 100 % no connection can be accepted or opened.",
        "percentunit",
        (f"process_open_fds{{PROXY}} / process_max_fds and {SAME} outrigger_build_info", "{{instance}}"),
    ),
]

ROWS = [("Overview", OVERVIEW), ("Routes", ROUTES), ("Upstreams", UPSTREAMS), ("Limits", LIMITS), ("Process", PROCESS)]


def variable(name, label, query, every=".*"):
    return {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": DATASOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": every,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def variables():
    build = "outrigger_build_info"
    return [
        {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "current": {}},
        variable("namespace", "Namespace", f"label_values({build}, namespace)"),
        variable("job", "Job", f'label_values({build}{{namespace=~"$namespace"}}, job)'),
        variable("pod", "Pod", f'label_values({build}{{namespace=~"$namespace", job=~"$job"}}, pod)'),
        variable("instance", "Instance", f'label_values({build}{{namespace=~"$namespace", job=~"$job", pod=~"$pod"}}, instance)'),
        variable("direction", "Direction", expand("label_values(http_requests_active{PROXY}, direction)"), every=".+"),
        variable("route", "Route", expand('label_values(http_requests_active{PROXY, direction=~"$direction"}, route)')),
        variable("upstream", "Upstream", expand("label_values(outrigger_upstream_endpoints{PROXY}, upstream)")),
    ]


def annotation(name, color, expression, **more):
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": color,
        "expr": expand(expression),
        "step": "15s",
        "titleFormat": name,
        "textFormat": "{{instance}}",
        **more,
    }


def annotations():
    applied = "1000 * outrigger_config_last_success_timestamp_seconds{PROXY}"
    refused = 'increase(outrigger_config_reloads_total{PROXY, result="refused"}[1m]) > 0'
    return [
        annotation("Configuration applied", BLUE, applied, useValueForTime=True),
        annotation("Configuration refused", RED, refused),
    ]


def lay_out(rows):
    """Rows of panels from left to right, each as high as its highest."""
    panels, y = [], 0
    for title, row in rows:
        panels.append({"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1}})
        x, height, y = 0, 0, y + 1
        for item in row:
            size = item["gridPos"]
            if x + size["w"] > WIDTH:
                x, height, y = 0, 0, y + height
            item["gridPos"] = {"x": x, "y": y, **size}
            x, height = x + size["w"], max(height, size["h"])
            panels.append(item)
        y += height
    return [{"id": number, **item} for number, item in enumerate(panels, 1)]


def dashboard():
    return {
        "uid": "outrigger",
        "title": "outrigger",
        "description": "Who failed, where, why, and what to change.",
        "tags": ["outrigger", "proxy"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": {"from": "now-1h", "to": "now"},
        "refresh": "30s",
        "templating": {"list": variables()},
        "annotations": {"list": annotations()},
        "panels": lay_out(ROWS),
    }


def main():
    text = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not TARGET.exists() or TARGET.read_text(encoding="utf-8") != text:
            sys.exit(f"{TARGET} is not what helm/dashboard.py makes: run `python3 helm/dashboard.py`")
    else:
        TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
