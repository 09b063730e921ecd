"""Asks a running Prometheus whether the chart's dashboard and alerts fit what the program emits.

    prometheus.py expressions URL    every expression parses, names only what is scraped, and shows something
    prometheus.py alerts URL         the rules run; the alerts that should be active are, with their texts, and no others
    prometheus.py sides FILE         the dashboard takes each reason for the side that the answers (a line each) name
    prometheus.py cases              each alert has a case that fires, one that does not, and a section in docs/alerts.md

Called by check-prometheus.sh, whose proxy has met everything that the dashboard shows. Prints every mistake.
"""

import json
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "helm/outrigger/dashboards/outrigger.json"
RULES = ROOT / "helm/outrigger/rules/outrigger.yaml"
CASES = ROOT / "tests/peers/rules-test.yaml"
RUNBOOK = ROOT / "docs/alerts.md"
REASONS = ROOT / "docs/reasons.md"

# Series that this check's proxy does not have, and why. Nothing else may be missing.
ABSENT = {
    "outrigger_tls_handshakes_total": "no listener of this check has TLS",
    "outrigger_tls_cert_expiry_seconds": "no certificate is configured",
    "outrigger_tls_loads_total": "no files of `tls` are configured",
    "outrigger_upstream_tls_unverified": "no upstream of this check has TLS",
    "outrigger_metrics_series_dropped_total": "comes with the cap on series",
}

# Targets that are rightly empty: the dashboard's title and legend.
EMPTY = {("Memory", "limit"): "the proxy of this check has no limit"}

# What the check's proxy goes through, and what it does not.
ACTIVE = {
    "OutriggerErrorBudgetBurn",
    "OutriggerNoHealthyEndpoint",
    "OutriggerCircuitBreakerOpen",
    "OutriggerEndpointsEjected",
    "OutriggerRetryBudgetExhausted",
    "OutriggerRequestsRejected",
    "OutriggerRateLimitKeysEvicted",
    "OutriggerDiscoveryFails",
    "OutriggerConfigRefused",
}

# What Grafana puts in. The window is four scrapes, as Grafana takes it, and some for a busy machine.
VARIABLES = {
    "$__rate_interval": "10s",
    "$namespace": ".*",
    "$job": ".*",
    "$pod": ".*",
    "$instance": ".*",
    "$direction": ".+",
    "$route": ".*",
    "$upstream": ".*",
}

PATIENCE_S = 15
# Of the target, and of PromQL.
COMMON_LABELS = {"namespace", "job", "pod", "instance", "le", "alertname", "alertstate"}
KEYWORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right", "inf", "nan"}
GROUPING = r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)"

mistakes = []


def mistake(where, text):
    mistakes.append(f"{where}: {text}")


def ask(base, path, **parameters):
    """The `data` of an answer, or the error's text as an exception."""
    url = f"{base}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(json.load(error).get("error", "no reason given")) from error


def scraped(base):
    """The labels of each metric's series."""
    labels = {}
    for series in ask(base, "series", **{"match[]": '{job="outrigger"}', "start": time.time() - 3600, "end": time.time()}):
        labels.setdefault(series["__name__"], set()).update(series)
    return labels


def names(expression):
    """The metrics that an expression names, without a parser: what is left without texts, labels and functions."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    bare = re.sub(GROUPING, " ", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", bare)
    bare = re.sub(r"\b\d+(?:\.\d+)?(?:ms|[smhdwy])?\b", " ", bare)
    words = re.findall(r"[a-zA-Z_:][\w:]*(?!\w*\s*\()", bare)
    return {word for word in words if word.lower() not in KEYWORDS}


def used_labels(expression):
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)
    grouped = [label.strip() for group in re.findall(GROUPING, bare) for label in group.split(",")]
    matched = re.findall(r'([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)\s*"', bare)
    made = re.findall(r'label_replace\(.*?,\s*"(\w+)",\s*"[^"]*",\s*"\w*",', expression)
    return {label for label in grouped + matched if label} - set(made)


def check_names(where, expression, known):
    """Whether all metrics are scraped; those that are excused count as unknown, too."""
    unknown = names(expression) - known.keys()
    for name in sorted(unknown - ABSENT.keys()):
        mistake(where, f"`{name}` is not among what is scraped")
    if unknown:
        return False
    labels = set().union(COMMON_LABELS, *(known[name] for name in names(expression)))
    made = set(re.findall(r'"(side|class)"', expression))
    for label in sorted(used_labels(expression) - labels - made):
        mistake(where, f"no metric of this expression has the label `{label}`: {expression}")
    return True


def query(base, where, expression):
    try:
        return ask(base, "query", query=expression)["result"]
    except ValueError as error:
        mistake(where, f"{error}: {expression}")
        return None


def substitute(expression):
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    return expression


def dashboard_targets():
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["legendFormat"], substitute(target["expr"])
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["textFormat"], substitute(annotation["expr"])


def variable_queries():
    """Each variable's selector and the label whose values it lists."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
            yield variable["name"], substitute(selector), label


def check_legend(where, legend, result):
    has = {label for series in result for label in series["metric"]}
    for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", legend):
        if label not in has:
            mistake(where, f"the legend shows `{label}`, which the result does not have: {sorted(has)}")


def check_target(base, where, legend, expression, deadline):
    """The expression shows something, at the latest when the patience is over."""
    while True:
        result = query(base, where, expression)
        if result is None:
            return
        if result:
            check_legend(where, legend, result)
            return
        if time.monotonic() > deadline:
            mistake(where, f"shows nothing: {expression}")
            return
        time.sleep(0.5)


def expressions(base):
    known = scraped(base)
    if len(known) < 30:
        sys.exit(f"only {len(known)} metrics are scraped: {sorted(known)}")
    count, deadline = 0, time.monotonic() + PATIENCE_S
    for title, legend, expression in dashboard_targets():
        count += 1
        where = f"dashboard, {title}"
        if "$__" in expression or re.search(r"\$[a-z]", expression):
            mistake(where, f"has a variable that nobody sets: {expression}")
        if not check_names(where, expression, known) or (title, legend) in EMPTY:
            query(base, where, expression)  # it must still parse
            continue
        check_target(base, where, legend, expression, deadline)
    for name, selector, label in variable_queries():
        if check_names(f"variable {name}", selector, known):
            if not any(label in series for series in ask(base, "series", **{"match[]": selector})):
                mistake(f"variable {name}", f"`{selector}` has no label `{label}`")
    count += rule_expressions(base, known)
    return f"{count} expressions, {len(known)} metrics"


def rule_expressions(base, known):
    groups = [rule for group in ask(base, "rules")["groups"] for rule in group["rules"]]
    known = known | {rule["name"]: COMMON_LABELS | {"direction"} for rule in groups if rule["type"] == "recording"}
    for rule in groups:
        where = f"rule {rule['name']}"
        fits = check_names(where, rule["query"], known)
        query(base, where, rule["query"])
        if fits and rule["type"] == "alerting":
            check_texts(where, rule, known)
    return len(groups)


def check_texts(where, rule, known):
    """A label that a text shows is one of the metrics'; else it would be an empty word."""
    labels = set().union(COMMON_LABELS, *(known[name] for name in names(rule["query"])))
    for text in rule["annotations"].values():
        for label in re.findall(r"\$labels\.(\w+)", text):
            if label not in labels:
                mistake(where, f"shows the label `{label}`, which no metric of it has")


def active_alerts(base):
    groups = ask(base, "rules")["groups"]
    for rule in (rule for group in groups for rule in group["rules"]):
        if rule["health"] == "err":
            mistake(f"rule {rule['name']}", rule["lastError"])
    return ask(base, "alerts")["alerts"]


def alerts(base):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        mistakes.clear()
        found = active_alerts(base)
        missing = ACTIVE - {alert["labels"]["alertname"] for alert in found}
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    for name in sorted(missing):
        mistake(name, "should be pending or firing after what this proxy has met")
    for alert in found:
        name = alert["labels"]["alertname"]
        if name not in ACTIVE:
            mistake(name, f"should not be active: {alert['annotations'].get('summary')}")
        for key, text in alert["annotations"].items():
            if re.search(r"\{\{|<error|<no value>|``|\.\.", text):
                mistake(name, f"its {key} reads: {text}")
    return f"{len(ACTIVE)} alerts are active, no other"


def sides(path):
    """The dashboard guesses the side from the reason; the answers know it."""
    expression = next(expression for title, _, expression in dashboard_targets() if title == "Errors by side")
    guesses = re.findall(r'"side", "(\w+)", "reason", "([^"]+)"', expression)
    (rest,) = re.findall(r'"side", "(\w+)", "", ""', expression)
    seen = {}
    if REASONS.exists():  # all reasons there are, in a table
        seen.update(re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| (\w+) \|", REASONS.read_text(encoding="utf-8"), re.MULTILINE))
        if not seen:
            sys.exit(f"{REASONS} has no table of reasons and sides")
    for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
        answer = json.loads(line)
        seen[answer["code"].lower()] = answer["details"]["side"]
    for reason, side in seen.items():
        guess = next((guess for guess, pattern in guesses if re.fullmatch(pattern, reason)), rest)
        if guess != side:
            mistake("dashboard, Errors by side", f"`{reason}` is taken for {guess}; it is {side}")
    if set(seen.values()) != {"downstream", "upstream", "proxy"}:
        sys.exit(f"the answers should be of all three sides: {seen}")
    return f"the dashboard knows the sides of {len(seen)} reasons"


def cases():
    import yaml

    rules = [r for g in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for r in g["rules"] if "alert" in r]
    asked = [e for t in yaml.safe_load(CASES.read_text(encoding="utf-8"))["tests"] for e in t["promql_expr_test"]]
    sections = re.findall(r"^## (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    for rule in rules:
        name = rule["alert"]
        of_it = [e for e in asked if f'"{name}"' in e["expr"] and f'long="{rule["labels"].get("long")}"' in e["expr"] + 'long="None"']
        if not any(e["exp_samples"] for e in of_it):
            mistake(name, f"has no case in {CASES.name} that fires")
        if not any(f'"{name}"' in e["expr"] and not e["exp_samples"] for e in asked):
            mistake(name, f"has no case in {CASES.name} that does not fire")
        for key in ("summary", "description", "runbook_url"):
            if not rule["annotations"].get(key):
                mistake(name, f"has no {key}")
        if rule["annotations"]["runbook_url"] != f"docs/alerts.md#{name.lower()}" or name not in sections:
            mistake(name, "docs/alerts.md has no section that its runbook_url leads to")
        if rule["labels"].get("severity") not in ("critical", "warning"):
            mistake(name, f"has the severity {rule['labels'].get('severity')!r}")
    for name in sorted(set(sections) - {rule["alert"] for rule in rules}):
        mistake("docs/alerts.md", f"there is no alert {name}")
    return f"{len(rules)} alerts have a case that fires, one that does not, and a section in the docs"


def main():
    commands = {"expressions": expressions, "alerts": alerts, "sides": sides, "cases": cases}
    result = commands[sys.argv[1]](*sys.argv[2:])
    for text in mistakes:
        print(text, file=sys.stderr)
    if mistakes:
        sys.exit(1)
    print(result)


main()
