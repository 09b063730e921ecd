#!/usr/bin/env bash
# Lets Prometheus' own tool read /metrics of the release binary, after some traffic of every kind.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-promtool.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
need curl node promtool python3
REQUESTS=20

start_all() {
    local app dead control
    ports app app_in dead dead_in probes control
    start_app "$app"
    cat >"$work/outrigger.yaml" <<END
listeners:
  inbound: { address: 127.0.0.1:$app_in, forward: app }
  outbound: { address: 127.0.0.1:$dead_in, forward: dead }
upstreams:
  app: { endpoints: [127.0.0.1:$app] }
  dead: { endpoints: [127.0.0.1:$dead] }
admin: { probes: 127.0.0.1:$probes, control: 127.0.0.1:$control }
drain: { timeout: 5s }
END
    start_proxy "$work/outrigger.yaml" "$probes"
}

# send URL CURL-OPTION...: whatever the answer.
send() { curl --silent --noproxy '*' --max-time 10 --output /dev/null "$@" || die "no answer to: $*"; }

traffic() {
    local i
    for ((i = 0; i < REQUESTS; i++)); do send "http://127.0.0.1:$app_in/"; done
    send --http2-prior-knowledge "http://127.0.0.1:$app_in/"
    send --data text "http://127.0.0.1:$app_in/echo"
    send "http://127.0.0.1:$app_in/stranger-in-the-path?stranger-in-the-query"
    send --header 'Host: stranger-in-the-host' "http://127.0.0.1:$app_in/"
    send --request STRANGER "http://127.0.0.1:$app_in/"
    send "http://127.0.0.1:$dead_in/" # an answer of the proxy's own
}

scrape() {
    curl --silent --show-error --fail --noproxy '*' --max-time 5 --dump-header "$work/head" --output "$work/metrics" \
        "http://127.0.0.1:$probes/metrics"
}

# Sum of a counter's series that hold every given text: total NAME TEXT...
total() {
    python3 - "$work/metrics" "$@" <<'END'
import sys
path, name, *texts = sys.argv[1:]
lines = [line for line in open(path) if line.startswith((name + "{", name + " "))]
print(int(sum(float(line.split()[-1]) for line in lines if all(text in line for text in texts))))
END
}

# A request is counted when its last byte is gone, which may be after curl has it.
has_counted() { scrape && [ "$(total http_requests_total 'code="200"' 'method="GET"')" -ge $((REQUESTS + 2)) ]; }

check_values() {
    local name
    wait_until 5 has_counted ||
        { grep '^http_requests_total' "$work/metrics" >&2 || true; die "http_requests_total does not count the $((REQUESTS + 2)) GETs that were answered with 200"; }
    for name in http_requests_total http_request_duration_seconds_bucket http_request_duration_seconds_sum \
        http_request_duration_seconds_count http_requests_active; do
        grep -q "^${name}[{ ]" "$work/metrics" || die "/metrics has no series of $name"
    done
    for name in direction route method code; do
        grep -q "^http_requests_total{.*$name=\"" "$work/metrics" || die "http_requests_total has no label \`$name\`"
    done
    [ "$(total http_requests_total 'code="404"')" -ge 1 ] || die "the app's 404 is not counted"
    [ "$(total http_requests_total 'direction="outbound"')" -ge 1 ] || die "the request that no endpoint could take is not counted"
    pass "/metrics counts what was sent"
}

# What a stranger sends must not become a series.
check_labels() {
    ! grep -i stranger "$work/metrics" >"$work/strangers" || { show_log "$work/strangers"; die "/metrics shows what a client sent"; }
    grep -q '^http_requests_total{.*method="other"' "$work/metrics" || die "an unknown method is not counted as \`other\`"
    pass "/metrics shows nothing that a client chose"
}

check_format() {
    grep -iq '^content-type: text/plain; *version=0.0.4' "$work/head" || die "the content type is $(grep -i '^content-type' "$work/head")"
    promtool check metrics <"$work/metrics" >"$work/promtool.log" 2>&1 || { show_log "$work/promtool.log"; die "promtool objects to /metrics"; }
    pass "promtool accepts $(grep -c '^[a-z]' "$work/metrics") series"
}

start_all
traffic
check_values
check_labels
check_format
stop_proxy
