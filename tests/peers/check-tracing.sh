#!/usr/bin/env bash
# Sends spans of the release binary to a collector that nobody here wrote (rotel), over HTTP and over gRPC, and reads there
# what arrived: who is whose parent, what failed, and that a collector that is away costs no request.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-tracing.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
need curl node python3 rotel-agent
TRACE=0af7651916cd43dd8448eb211c80319c
CALLER=b7ad6b7169203331

collector_listens() { (exec 3<>"/dev/tcp/127.0.0.1/$otlp_http" && exec 4<>"/dev/tcp/127.0.0.1/$otlp_grpc") 2>/dev/null; }

# start_collector NAME: it writes every span that it gets into $work/NAME.log.
start_collector() {
    start "$1" rotel-agent start --otlp-http-endpoint "127.0.0.1:$otlp_http" --otlp-grpc-endpoint "127.0.0.1:$otlp_grpc" \
        --exporter blackhole --debug-log traces --debug-log-verbosity detailed --traces-batch-timeout 100ms
    collector=$started
    wait_until 10 collector_listens || { show_log "$work/$1.log"; die "the collector does not listen"; }
}

# The first endpoint refuses, so half of the requests take two attempts.
write_config() {
    cat >"$work/outrigger.yaml" <<END
listeners:
  inbound: { address: 127.0.0.1:$front, forward: app }
upstreams:
  app: { endpoints: [127.0.0.1:$dead, 127.0.0.1:$app], retry_budget: off }
admin: { probes: 127.0.0.1:$probes, control: off }
tracing: { otlp: "http://127.0.0.1:$2", protocol: $1, sample: 100% }
drain: { timeout: 5s }
END
}

answered() { [ "$(curl --silent --noproxy '*' --max-time 10 --output /dev/null --write-out '%{http_code}' "$@" "http://127.0.0.1:$front/")" = 200 ]; }

# check_tree LOG: what the log of a collector holds must be a tree of requests and their attempts.
check_tree() {
    python3 - "$1" $TRACE $CALLER <<'END'
import re, sys
text, trace, caller = open(sys.argv[1]).read(), sys.argv[2], sys.argv[3]
spans = []
for part in re.split(r"^Span #\d+$", text, flags=re.M)[1:]:
    field = lambda name: (re.search(rf"^\s+{name}\s*: ?(.*)$", part, re.M) or [None, ""])[1].strip()
    attributes = dict(re.findall(r"-> ([\w.]+): \w+\((.*)\)$", part, re.M))
    spans.append({"trace": field("Trace ID"), "parent": field("Parent ID"), "id": field("ID"), "kind": field("Kind"),
                  "status": field("Status code"), "attributes": attributes})
ours = [span for span in spans if span["trace"] == trace]
servers = [span for span in ours if span["kind"] == "SPAN_KIND_SERVER"]
clients = [span for span in ours if span["kind"] == "SPAN_KIND_CLIENT"]
if not servers: sys.exit("no span of the request has arrived yet")
by_id = {span["id"]: span for span in servers}
def demand(holds, what):
    if not holds: sys.exit(f"{what}: {ours}")
demand(all(span["parent"] == caller for span in servers), "the caller's span is not the parent of the request's")
demand(all(span["parent"] in by_id for span in clients), "an attempt has no request as its parent")
demand(len(clients) > len(servers), "no request had two attempts")
failed = [span for span in clients if span["status"] == "STATUS_CODE_ERROR"]
demand(failed and all(span["attributes"].get("error.type") == "connect_refused" for span in failed), "a failed attempt does not say why")
demand(all(span["attributes"].get("http.response.status_code") == "200" for span in servers), "a request's status is missing")
print(f"{len(servers)} requests with {len(clients)} attempts")
END
}

tree_is_there() { check_tree "$work/$1.log" >"$work/tree" 2>&1; }

metric() { curl --silent --fail --noproxy '*' --max-time 5 "http://127.0.0.1:$probes/metrics" | sed -n "s/^$1 //p"; }
metric_is_over() { [ "$(metric "$1")" -gt "$2" ]; }

# check_protocol NAME: traced calls of a client arrive as a tree.
check_protocol() {
    local i
    for ((i = 0; i < 6; i++)); do
        answered --header "traceparent: 00-$TRACE-$CALLER-01" || die "a request failed while spans go out over $1"
    done
    wait_until 10 tree_is_there "collector-$1" || { show_log "$work/collector-$1.log"; die "$(cat "$work/tree")"; }
    pass "a collector got over $1: $(cat "$work/tree")"
}

check_absence() {
    local i
    stop "$collector"
    for ((i = 0; i < 50; i++)); do answered || die "a request failed because the collector is away"; done
    wait_until 15 metric_is_over 'outrigger_trace_spans_exported_total{result="failed"}' 0 || die "spans that did not arrive are not counted"
    start_collector collector-again
    for ((i = 0; i < 2; i++)); do answered --header "traceparent: 00-$TRACE-$CALLER-01" || die "a request failed"; done
    wait_until 15 tree_is_there collector-again || die "no spans after the collector came back: $(cat "$work/tree")"
    pass "a collector that is away costs spans, which are counted, and no request"
}

ports front dead app probes otlp_http otlp_grpc
start_app "$app"
start_collector collector-http
write_config http "$otlp_http"
start_proxy "$work/outrigger.yaml" "$probes"
check_protocol http
check_absence
stop "$collector"
stop_proxy
start_collector collector-grpc
write_config grpc "$otlp_grpc"
start_proxy "$work/outrigger.yaml" "$probes"
check_protocol grpc
stop_proxy
