"""Reads the dashboard with Grafana's own types and writes it again: what is lost on the way, Grafana does not know.

Called by check-prometheus.sh. Prints every mistake.
"""

import json
import pathlib
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

DASHBOARD = pathlib.Path(__file__).resolve().parents[2] / "helm/outrigger/dashboards/outrigger.json"

# The Prometheus data source's own, which the types of dashboards leave open.
OF_THE_DATASOURCE = {"definition", "step", "titleFormat", "textFormat", "useValueForTime"}


def lost(written, read, path):
    """The places of `written` that `read` does not have, or has otherwise."""
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            if key in read:
                yield from lost(value, read[key], f"{path}.{key}")
            elif key not in OF_THE_DATASOURCE:
                yield f"{path}.{key}"
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        for index, pair in enumerate(zip(written, read)):
            yield from lost(*pair, f"{path}[{index}]")
    elif written != read:
        yield f"{path}: {written!r} was read as {read!r}"


def main():
    register_default_plugins()
    written = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    read = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(written)))
    places = list(lost(written, read, "dashboard"))
    for place in places:
        print(f"Grafana does not know {place}", file=sys.stderr)
    sys.exit(1 if places else 0)


main()
