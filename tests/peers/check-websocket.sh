#!/usr/bin/env bash
# WebSocket through the release binary, with the `websockets` library of Python on both sides: fragments, 64 MiB, pings,
# close codes, permessage-deflate, refusals; its own idle time, its metrics, a drain. The pair first talks without the
# proxy, so that a failure is the proxy's.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-websocket.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
: "${PEERS_WEBSOCKETS_PYTHON:?run \`tests/peers/install.sh ci\` and source the env.sh that it names}"
need curl python3
peer=$(dirname "${BASH_SOURCE[0]}")/websocket_peer.py

# talk WHAT ARGUMENT...: a mode of the peer.
talk() {
    local what=$1
    shift
    timeout 180 "$PEERS_WEBSOCKETS_PYTHON" "$peer" "$@" >"$work/talk.log" 2>&1 || {
        show_log "$work/talk.log"
        show_log "$work/server.log"
        show_log "$work/proxy.log"
        die "$what: $(tail -n 1 "$work/talk.log")"
    }
    pass "$what: $(paste -sd ';' "$work/talk.log" | sed 's/;/; /g')"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# metric SERIES: its value.
metric() {
    curl --silent --noproxy '*' --max-time 2 "http://127.0.0.1:$probes/metrics" |
        awk -v series="$1" '$1 == series { print $2 }'
}
none_open() { [ "$(metric 'outrigger_upgraded_connections{upstream="app"}')" = 0 ]; }

ports app inbound short probes control
start server "$PEERS_WEBSOCKETS_PYTHON" "$peer" server "$app"
wait_until 15 listens "$app" || die "the server should listen within 15 s"
cat >"$work/outrigger.yaml" <<END
listeners:
  inbound: { address: 127.0.0.1:$inbound, forward: app, timeouts: { idle: 1s } }
  short: { address: 127.0.0.1:$short, forward: short }
upstreams:
  app: { endpoints: [127.0.0.1:$app], timeouts: { idle: 1s } }
  short: { endpoints: [127.0.0.1:$app], timeouts: { upgraded_idle: 2s } }
admin: { probes: 127.0.0.1:$probes, control: 127.0.0.1:$control }
access_log: { file: $work/access.log }
drain: { timeout: 20s }
END
start_proxy "$work/outrigger.yaml" "$probes"

talk "directly" client "$app"
talk "through the proxy" client "$inbound"
wait_until 10 none_open || die "$(metric 'outrigger_upgraded_connections{upstream="app"}') connections count as open, though all have ended"
down=$(metric 'outrigger_upgraded_bytes_total{upstream="app",way="down"}')
[ "${down%.*}" -gt 67108864 ] || die "$down bytes were counted, less than one message"
pass "metrics: $(metric 'outrigger_upgrades_total{upstream="app"}') upgrades, $down bytes down, none open"
talk "idle time" idle "$short" 2
talk "drain" drain "$inbound" "$proxy"
wait_gone "$proxy" 10 "$work/proxy.log"
wait "$proxy" || die "the proxy left with $? after SIGTERM, not 0"
pass "SIGTERM: the proxy drained and left with 0"
