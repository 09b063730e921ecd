#!/usr/bin/env bash
# h2spec, every case of it, against a listener in cleartext (prior knowledge) and one with TLS (ALPN), in front of a real app.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-h2spec.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
need curl h2spec node openssl python3

# A change of this number is a change of h2spec.
CASES=146

# /read answers when it has read the whole request: an answer that comes before a wrong trailer would hide it.

# spec WHAT OPTION...: all cases pass, none is skipped.
spec() {
    local what=$1 status=0
    shift
    timeout 300 h2spec --strict --host 127.0.0.1 --path /read --timeout 3 "$@" >"$work/h2spec.log" 2>&1 || status=$?
    if [ $status != 0 ] || ! grep -q "^$CASES tests, $CASES passed, 0 skipped, 0 failed" "$work/h2spec.log"; then
        sed -n '/^Failures/,$p' "$work/h2spec.log" >&2
        die "$what: $(grep ' tests, ' "$work/h2spec.log" || echo "h2spec ended with $status")"
    fi
    pass "$what: $(grep ' tests, ' "$work/h2spec.log")"
}

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
spec "cleartext" --port "$plain"
spec "TLS" --port "$secure" --tls --insecure
stop_proxy
