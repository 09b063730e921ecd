#!/usr/bin/env bash
# A page in a real browser, through the proxy: every server-sent event is there while the app is still sending.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-browser.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
need curl node chromium

# The app writes an event each 300 ms: one that is kept back for the next is later than this.
LATE_MS=250

ports app inbound probes control
start_app "$app"
cat >"$work/outrigger.yaml" <<END
listeners:
  inbound: { address: 127.0.0.1:$inbound, forward: app }
upstreams:
  app: { endpoints: [127.0.0.1:$app] }
admin: { probes: 127.0.0.1:$probes, control: 127.0.0.1:$control }
drain: { timeout: 5s }
END
start_proxy "$work/outrigger.yaml" "$probes"

start browser chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --no-proxy-server \
    --user-data-dir="$work/profile" --remote-debugging-port=0 "http://127.0.0.1:$inbound/page"
browser=$started

reported() { grep -q '^report: ' "$work/app.log"; }
wait_until 40 reported || {
    show_log "$work/browser.log"
    die "the page should have reported its events within 40 s"
}
report=$(grep -m1 '^report: ' "$work/app.log")
read -r _ _ events _ slowest _ <<<"$report"
[ "$events" = 5 ] || die "the page should have had 5 events: $report"
[ "$slowest" -lt $LATE_MS ] || die "an event came later than $LATE_MS ms after it was written: $report"
pass "browser: $events events, the slowest $slowest ms after it was written"
stop "$browser"
stop_proxy
