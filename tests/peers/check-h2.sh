#!/usr/bin/env bash
# HTTP/2 frame by frame, with the `h2` library of Python as client: in cleartext and with TLS, an app of HTTP/1.1 behind.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-h2.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
: "${PEERS_H2_PYTHON:?run \`tests/peers/install.sh ci\` and source the env.sh that it names}"
need curl node openssl python3
peer=$(dirname "${BASH_SOURCE[0]}")/h2_peer.py

# talk WHAT ARGUMENT...: the peer with these arguments.
talk() {
    local what=$1
    shift
    timeout 120 "$PEERS_H2_PYTHON" "$peer" "$@" >"$work/talk.log" 2>&1 || {
        show_log "$work/talk.log"
        show_log "$work/proxy.log"
        die "$what: $(tail -n 1 "$work/talk.log")"
    }
    pass "$what: $(paste -sd ',' "$work/talk.log" | sed 's/,/, /g')"
}

# A head of several frames has more than the 16 KiB that Node.js takes by default.
export NODE_OPTIONS=--max-http-header-size=65536
ports app plain secure probes control
start_app "$app"
make_certificate
cat >"$work/outrigger.yaml" <<END
listeners:
  plain: { address: 127.0.0.1:$plain, forward: app }
  secure: { address: 127.0.0.1:$secure, forward: app, tls: { certificates: [{ cert: tls.pem, key: tls.key }] } }
upstreams:
  app: { endpoints: [127.0.0.1:$app] }
admin: { probes: 127.0.0.1:$probes, control: 127.0.0.1:$control }
access_log: { file: $work/access.log }
END
start_proxy "$work/outrigger.yaml" "$probes"
talk "cleartext" "$plain"
talk "TLS" "$secure" --tls
stop_proxy
