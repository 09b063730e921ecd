#!/usr/bin/env bash
# gRPC through the release binary, with clients and servers that nobody here wrote: grpc-go's interop suite, every case
# of it that needs no account in a cloud, and grpcio. Each pair first talks without the proxy, so that a failure is the
# proxy's.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-grpc.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
: "${PEERS_GRPC_PYTHON:?run \`tests/peers/install.sh ci\` and source the env.sh that it names}"
need curl grpc-interop-client grpc-interop-server openssl python3
peer=$(dirname "${BASH_SOURCE[0]}")/grpc_peer.py

# Of `grpc-interop-client --help`; left out: those with credentials of a cloud, and pick_first_unary, for which grpc-go's
# server tells no server's id: it fails without the proxy, too.
CASES=(empty_unary large_unary client_streaming server_streaming ping_pong empty_stream timeout_on_sleeping_server
    cancel_after_begin cancel_after_first_response status_code_and_message special_status_message custom_metadata
    unimplemented_method unimplemented_service orca_per_rpc orca_oob rpc_soak channel_soak)

# interop WHAT PORT OPTION...: the whole suite.
interop() {
    local what=$1 port=$2 name more
    shift 2
    for name in "${CASES[@]}"; do
        more=()
        # The suite's own balancer hands the load reports over to the case.
        case $name in orca_*) more=(--service_config_json='{"loadBalancingConfig":[{"test_backend_metrics_load_balancer":{}}]}') ;; esac
        timeout 60 grpc-interop-client --server_host=127.0.0.1 --server_port="$port" --test_case="$name" "$@" "${more[@]}" \
            >"$work/interop.log" 2>&1 || {
            show_log "$work/interop.log"
            show_log "$work/proxy.log"
            die "$what: the case $name fails"
        }
    done
    pass "$what: ${#CASES[@]} of ${#CASES[@]} cases"
}

# grpcio WHAT ARGUMENT...: a mode of the Python peer.
grpcio() {
    local what=$1
    shift
    timeout 120 "$PEERS_GRPC_PYTHON" "$peer" "$@" >"$work/grpcio.log" 2>&1 || {
        show_log "$work/grpcio.log"
        show_log "$work/proxy.log"
        die "$what: $(tail -n 1 "$work/grpcio.log")"
    }
    pass "$what: $(paste -sd ';' "$work/grpcio.log" | sed 's/;/; /g')"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A certificate for the name that both sides ask for, by an authority of its own.
certificates() {
    (
        cd "$work"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=peers -keyout tls.key -out tls.csr
        printf 'subjectAltName=DNS:peers.test,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' >ext
        openssl x509 -req -in tls.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out tls.pem
    ) >"$work/openssl.log" 2>&1 || { show_log "$work/openssl.log"; die "openssl makes no certificate"; }
}

start_servers() {
    start go-server grpc-interop-server --port="$go"
    start go-tls-server grpc-interop-server --port="$go_tls" --use_tls --tls_cert_file="$work/tls.pem" --tls_key_file="$work/tls.key"
    start py-server "$PEERS_GRPC_PYTHON" "$peer" server "$py"
    py_server=$started
    # Accepts and never answers.
    start stuck python3 -c 'import socket, sys, time
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(3600)' "$stuck"
    local port
    for port in "$go" "$go_tls" "$py" "$stuck"; do
        wait_until 15 listens "$port" || die "a server should listen on port $port within 15 s"
    done
}

configuration() {
    cat <<END
listeners:
  go: { address: 127.0.0.1:$go_in, forward: go }
  py: { address: 127.0.0.1:$py_in, forward: py }
  tls: { address: 127.0.0.1:$tls_in, forward: tls, tls: { certificates: [{ cert: $work/tls.pem, key: $work/tls.key }] } }
  errors: { address: 127.0.0.1:$errors_in }
routes:
  - { name: dead, listeners: [errors], match: { grpc: { service: dead.Service } }, forward: dead, retry: off }
  - name: stuck
    listeners: [errors]
    match: { grpc: { service: stuck.Service } }
    forward: stuck
    retry: { attempts: 1, per_try_timeout: 300ms }
  - name: limited
    listeners: [errors]
    match: { grpc: { service: peers.Echo } }
    forward: py
    rate_limit: { requests: 1, per: 1h }
upstreams:
  go: { endpoints: [127.0.0.1:$go], protocol: http2 }
  py: { endpoints: [127.0.0.1:$py], protocol: http2, health_check: { grpc: { service: "" }, interval: 1s } }
  down: { endpoints: [127.0.0.1:$py], protocol: http2, health_check: { grpc: down, interval: 1s } }
  strange: { endpoints: [127.0.0.1:$py], protocol: http2, health_check: { grpc: not.There, interval: 1s } }
  without: { endpoints: [127.0.0.1:$go], protocol: http2, health_check: { grpc: {}, interval: 1s } }
  tls: { endpoints: [127.0.0.1:$go_tls], protocol: http2, tls: { ca: $work/ca.pem, server_name: peers.test } }
  dead: { endpoints: [127.0.0.1:$dead], protocol: http2 }
  stuck: { endpoints: [127.0.0.1:$stuck], protocol: http2 }
admin: { probes: 127.0.0.1:$probes, control: 127.0.0.1:$control }
access_log: { file: $work/access.log }
drain: { timeout: 5s }
END
}

shows() { curl --silent --noproxy '*' --max-time 2 "http://127.0.0.1:$control/upstreams" | grep -qF "$1"; }

health_checks() {
    local words
    for words in "it says NOT_SERVING" "its health service does not know \`not.There\`" "it has no health service"; do
        wait_until 10 shows "$words" || {
            curl --silent --noproxy '*' "http://127.0.0.1:$control/upstreams" >&2
            die "health checks: nothing says: $words"
        }
    done
    pass "health checks by gRPC: SERVING, NOT_SERVING, unknown service, no service"
}

ports go go_tls py stuck dead go_in py_in tls_in errors_in probes control
certificates
start_servers
interop "interop, directly" "$go"
grpcio "grpcio, directly" client "$py"
tls_options=(--use_tls --use_test_ca --ca_file="$work/ca.pem" --server_host_override=peers.test)
interop "interop over TLS, directly" "$go_tls" "${tls_options[@]}"

configuration >"$work/outrigger.yaml"
start_proxy "$work/outrigger.yaml" "$probes"
interop "interop through the proxy" "$go_in"
interop "interop through the proxy, TLS on both sides" "$tls_in" "${tls_options[@]}"
grpcio "grpcio through the proxy" client "$py_in"
grpcio "the proxy's own errors" errors "$errors_in"
health_checks
grpcio "through the proxy" broken "$py_in" "$py_server"
stop_proxy
