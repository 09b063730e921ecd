#!/usr/bin/env bash
# The chart's dashboard and alerts against what the release binary emits: a real Prometheus scrapes it while everything
# happens that they show, and then runs each of their expressions.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-prometheus.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PEERS_PYTHON:-}
need curl node openssl prometheus promtool python3
for program in "$python" "${PEERS_GRAFANA_PYTHON:-}"; do
    [ -x "$program" ] || die "PEERS_PYTHON or PEERS_GRAFANA_PYTHON is not set: run \`tests/peers/install.sh ci\` and source the env.sh that it names"
done

rules="$root/helm/outrigger/rules/outrigger.yaml"

check_files() {
    python3 "$root/helm/dashboard.py" --check || die "the dashboard is out of date"
    "$PEERS_GRAFANA_PYTHON" "$here/grafana.py" || die "Grafana's types do not take the dashboard"
    pass "Grafana's own types take the dashboard"
    promtool check rules --lint=all --lint-fatal "$rules" >"$work/rules.log" 2>&1 || { show_log "$work/rules.log"; die "promtool objects to the rules"; }
    promtool test rules "$here/rules-test.yaml" >"$work/rules.log" 2>&1 || { show_log "$work/rules.log"; die "a case of the rules fails"; }
    said=$("$python" "$here/prometheus.py" cases) || die "an alert is without a case or a section in docs/alerts.md"
    pass "$said"
}

# An app that always fails is a listener of the proxy itself. `dead` and `dns` are ports where nobody listens.
write_config() {
    cat >"$work/outrigger.yaml" <<END
listeners:
  inbound: { address: 127.0.0.1:$inbound }
  broken: { address: 127.0.0.1:$broken, direction: outbound }
  secure: { address: 127.0.0.1:$secure, forward: app, tls: { certificates: [{ cert: $work/tls.pem, key: $work/tls.key }] } }
routes:
  - { name: broken, listeners: [broken], respond: { status: 503 } }
  - name: limited
    listeners: [inbound]
    match: { path: /limited }
    rewrite: { path: { full: / } }
    rate_limit: { requests: 1, per: 10s, key: { header: x-user }, max_keys: 2 }
    forward: app
  - name: queued
    listeners: [inbound]
    match: { path: /events }
    limits: { in_flight: 1, pending: 1, pending_wait: 200ms }
    forward: app
  - { name: mirrored, listeners: [inbound], match: { path: /echo }, forward: app, mirror: catalog }
  - { name: flaky, listeners: [inbound], match: { path: /flaky }, rewrite: { path: { full: / } }, forward: flaky }
  - { name: dead, listeners: [inbound], match: { path: /dead }, forward: dead }
  - { name: sick, listeners: [inbound], match: { path: /sick }, forward: sick }
  - { name: app, listeners: [inbound], match: { path: { exact: / } }, forward: app }
upstreams:
  app: { endpoints: [127.0.0.1:$app], health_check: { http: /, interval: 500ms, timeout: 400ms } }
  flaky:
    endpoints: [127.0.0.1:$app, 127.0.0.1:$broken]
    outlier: { consecutive_failures: 2, eject_for: 2s, max_eject_for: 2s }
  dead:
    endpoints: [127.0.0.1:$dead]
    circuit_breaker: { consecutive_failures: 2, open_for: 1s }
    retry_budget: { percent: 0%, min_per_second: 0 }
  sick:
    endpoints: [127.0.0.1:$broken]
    health_check: { http: /, interval: 500ms, timeout: 400ms, fall: 1 }
    panic_threshold: off
  catalog: { discovery: { file: endpoints.yaml } }
  nowhere: { endpoints: [nowhere.invalid:80] }
dns: { servers: [127.0.0.1:$dns], timeout: 100ms }
admin: { probes: 127.0.0.1:$probes, control: 127.0.0.1:$control }
access_log: { file: $work/access.log }
drain: { timeout: 2s }
END
    printf -- '- 127.0.0.1:%s\n' "$app" >"$work/endpoints.yaml"
}

# Valid for longer than any alert looks ahead.
make_certificate() {
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj /CN=localhost \
        -keyout "$work/tls.key" -out "$work/tls.pem") >"$work/openssl.log" 2>&1 || { show_log "$work/openssl.log"; die "openssl makes no certificate"; }
}

# Labels as the Prometheus operator sets them, of which the chart's ServiceMonitor drops `endpoint`.
start_prometheus() {
    cat >"$work/prometheus.yaml" <<END
global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }
rule_files: [$rules]
scrape_configs:
  - job_name: outrigger
    static_configs:
      - targets: [127.0.0.1:$probes]
        labels: { namespace: apps, pod: demo-0, service: demo-metrics, container: outrigger, endpoint: metrics }
    relabel_configs: [{ action: labeldrop, regex: endpoint }]
END
    start prometheus prometheus --config.file="$work/prometheus.yaml" --storage.tsdb.path="$work/tsdb" \
        --web.listen-address="127.0.0.1:$web" --log.level=warn
    wait_http "http://127.0.0.1:$web/-/ready" 200 20 "$work/prometheus.log"
}

scrapes() {
    curl --silent --noproxy '*' --max-time 2 --get "http://127.0.0.1:$web/api/v1/query" \
        --data-urlencode "query=count_over_time(outrigger_build_info[1m]) >= $1" | grep -q '"value":'
}

reload() { curl --silent --noproxy '*' --max-time 5 --output /dev/null --request POST "http://127.0.0.1:$control/reload"; }

# A file with a mistake, then a good one that differs.
reloads() {
    cp "$work/outrigger.yaml" "$work/good.yaml"
    printf 'wrokers: 2\n' >>"$work/outrigger.yaml"
    reload
    sed 's/drain: { timeout: 2s }/drain: { timeout: 3s }/' "$work/good.yaml" >"$work/outrigger.yaml"
    reload
}

# send PATH OPTION...: whatever the answer.
send() { curl --silent --noproxy '*' --output /dev/null --max-time 3 "${@:2}" "http://127.0.0.1:$inbound$1" || true; }

# What there is to see, again and again until the script ends.
traffic() {
    local round
    for ((round = 0; ; round++)); do
        for _ in 1 2 3; do send /events & done # one under way, one waits, one is refused
        send /events --max-time 0.1 &          # and one client leaves
        send /; send /; send /dead; send /sick; send /no-such-route; send /flaky; send /flaky
        send /echo --data text
        send /dead --request DELETE --data text
        curl --silent --noproxy '*' --output /dev/null --max-time 3 --insecure "https://127.0.0.1:$secure/" || true
        for user in a b c "$round"; do send /limited --header "x-user: $user"; send /limited --header "x-user: $user"; done
        sleep 0.3
        [ $((round % 4)) -ne 0 ] || wait
    done
}

# Answers of the proxy's own, a line each; while the traffic runs, /events is full and /dead is sometimes not called.
answers() {
    local path
    for path in /dead /dead /dead /dead /sick /no-such-route /limited /limited /events /events /events /events; do ask "$path"; done
    ask / --request CONNECT
}

ask() {
    curl --silent --noproxy '*' --max-time 3 "${@:2}" "http://127.0.0.1:$inbound$1" >"$work/answer" || return 0
    grep '^{"code"' "$work/answer" >>"$work/answers" || true
}

check_files
ports app inbound broken secure dead dns probes control web
start_app "$app"
make_certificate
write_config
start_proxy "$work/outrigger.yaml" "$probes"
start_prometheus
wait_until 20 scrapes 2 || { show_log "$work/prometheus.log"; die "Prometheus does not scrape the proxy"; }
start traffic traffic
traffic=$started
reloads
wait_until 20 scrapes 10 || die "Prometheus scrapes the proxy no more"
said=$("$python" "$here/prometheus.py" expressions "http://127.0.0.1:$web") || die "the dashboard or the rules do not fit what is scraped"
pass "Prometheus runs the dashboard and the rules: $said"
said=$("$python" "$here/prometheus.py" alerts "http://127.0.0.1:$web") || die "the alerts are not as they should be"
pass "$said"
answers
said=$("$python" "$here/prometheus.py" sides "$work/answers") || die "the dashboard shows errors on the wrong side"
pass "$said"
stop "$traffic"
stop_proxy
