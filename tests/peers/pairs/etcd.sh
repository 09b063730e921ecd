# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# etcd's clients ↔ etcd: watches that answer as long as somebody asks; over gRPC, and over JSON through its gateway.

etcd_needs="etcd etcdctl"

etcd_start() {
    local peer
    ports peer
    start etcd etcd --data-dir "$work/etcd-root" --log-level warn --listen-client-urls "http://127.0.0.1:$1" --advertise-client-urls "http://127.0.0.1:$1" \
        --listen-peer-urls "http://127.0.0.1:$peer" --initial-advertise-peer-urls "http://127.0.0.1:$peer" --initial-cluster "default=http://127.0.0.1:$peer"
}

etcd_check() {
    wait_http "$http/health" 200 20 "$work/etcd.log"
    etcd_json
    etcd_grpc plain "$http"
    etcd_grpc secure "$https" --cacert "$ca"
    summary="etcdctl, curl ↔ etcd: watches over gRPC and JSON, each event told before the next is put, transaction, lease, snapshot"
}

base64_of() { base64 --wrap=0; }

etcd_tells() { [ "$(grep -c "$2" "$1")" = 1 ]; }

# etcd_await FILE TEXT: the watch has told it, and told it once.
etcd_await() { wait_until 10 etcd_tells "$1" "$2" || { show_log "$1"; die "etcd: the watch does not tell \`$2\`"; }; }

etcd_json() {
    local i watcher
    : >events
    start watch curl --silent --show-error --no-buffer --max-time 60 --cacert "$ca" --output events --http2 \
        --json "{\"create_request\":{\"key\":\"$(printf json | base64_of)\"}}" "$https/v3/watch"
    watcher=$started
    etcd_await events '"created":true'
    for i in {1..10}; do
        fetch "a put" --json "{\"key\":\"$(printf json | base64_of)\",\"value\":\"$(printf 'value %s' "$i" | base64_of)\"}" "$http/v3/kv/put"
        # The next is put only when this one has been told.
        etcd_await events "\"value\":\"$(printf 'value %s' "$i" | base64_of)\""
    done
    stop "$watcher"
    blob value 1000000
    printf '{"key":"%s","value":"%s"}' "$(printf large | base64_of)" "$(base64_of <value)" >put.json
    fetch "a large put" --json @put.json "$http/v3/kv/put"
    fetch "a large range" --json "{\"key\":\"$(printf large | base64_of)\"}" "$http/v3/kv/range"
    python3 -c 'import base64, json, sys; sys.stdout.buffer.write(base64.b64decode(json.load(sys.stdin)["kvs"][0]["value"]))' <"$work/body" >back
    same "a large range" value back
}

# etcd_grpc NAME URL OPTION...
etcd_grpc() {
    local name=$1 watcher i ctl=(env ETCDCTL_API=3 etcdctl --endpoints "${@:2}")
    start "ctl-$name" "${ctl[@]}" watch --prefix "$name/"
    watcher=$started
    # A watch does not say that it stands: what is put until then, it does not tell.
    wait_until 10 etcd_watch_stands "$name" || { show_log "$work/ctl-$name.log"; die "etcdctl: the watch tells nothing"; }
    for i in {1..5}; do
        run "etcdctl put" "${ctl[@]}" put "$name/one" "event $i."
        etcd_await "$work/ctl-$name.log" "event $i\\."
    done
    { printf '\n'; for i in {1..100}; do printf 'put %s/%s value-%s.\n' "$name" "$i" "$i"; done; printf '\n\n'; } >transaction
    timeout 30 "${ctl[@]}" txn <transaction >"$work/out" 2>&1 || { show_log "$work/out"; die "etcdctl txn fails"; }
    etcd_await "$work/ctl-$name.log" 'value-100\.'
    run "etcdctl get" "${ctl[@]}" get --print-value-only large
    head -c 1000000 "$work/out" | cmp -s - value || die "etcdctl get: another value"
    etcd_lease
    run "etcdctl snapshot" "${ctl[@]}" snapshot save "$name.db"
    run "etcdctl snapshot status" "${ctl[@]}" snapshot status "$name.db"
    stop "$watcher"
}

# Kept alive, a lease outlives its second; that is a stream both ways.
etcd_lease() {
    local lease keeper
    run "etcdctl lease grant" "${ctl[@]}" lease grant 1
    lease=$(awk '{ print $2 }' "$work/out")
    run "etcdctl put" "${ctl[@]}" put --lease "$lease" "leased/$name" kept
    start "keep-$name" "${ctl[@]}" lease keep-alive "$lease"
    keeper=$started
    sleep 3
    run "etcdctl get" "${ctl[@]}" get --print-value-only "leased/$name"
    [ "$(cat "$work/out")" = kept ] || { show_log "$work/keep-$name.log"; die "etcdctl lease keep-alive: the lease ended"; }
    stop "$keeper"
}

etcd_watch_stands() {
    "${ctl[@]}" put "$1/first" begins >/dev/null && grep -q begins "$work/ctl-$1.log"
}
