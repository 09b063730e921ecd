# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# Prometheus ↔ Prometheus: remote write and remote read, protobuf packed by snappy, the latter as a stream of chunks.

prometheus_needs="prometheus promtool"

# The server that is written to; one that writes to it; one that has nothing itself and reads there.
prometheus_start() {
    printf 'global: { scrape_interval: 1s }\n' >"$work/prometheus-sink.yaml"
    prometheus_run prometheus "$1" sink --web.enable-remote-write-receiver
}

prometheus_run() {
    start "$1" prometheus --config.file="$work/prometheus-$3.yaml" --storage.tsdb.path="$work/tsdb-$3" --log.level=warn --web.listen-address="127.0.0.1:$2" "${@:4}"
}

# prometheus_ask PORT QUERY: the values, sorted.
prometheus_ask() {
    curl --silent --max-time 5 --get "http://127.0.0.1:$1/api/v1/query" --data-urlencode "query=$2" |
        python3 -c 'import json, sys; print(*sorted(repr((sorted(s["metric"].items()), s.get("values", s.get("value")))) for s in json.load(sys.stdin)["data"]["result"]), sep="\n")'
}

prometheus_has() { [ "$(prometheus_ask "$1" "$2" 2>/dev/null | grep -c .)" -ge "$3" ]; }

prometheus_check() {
    local writer reader sink=${server[prometheus]} at query
    ports writer reader
    cat >"$work/prometheus-writer.yaml" <<CONF
global: { scrape_interval: 1s, external_labels: { from: writer } }
scrape_configs: [{ job_name: self, static_configs: [{ targets: [127.0.0.1:$writer, 127.0.0.1:$probes] }] }]
remote_write: [{ url: $http/api/v1/write, queue_config: { batch_send_deadline: 200ms } }]
CONF
    cat >"$work/prometheus-reader.yaml" <<CONF
remote_read: [{ url: $https/api/v1/read, read_recent: true, tls_config: { ca_file: $ca } }]
CONF
    prometheus_run writer "$writer" writer
    prometheus_run reader "$reader" reader
    wait_until 20 prometheus_has "$sink" 'count_over_time(up{from="writer"}[1m]) >= 4' 2 || { show_log "$work/writer.log"; die "remote write: nothing arrives"; }
    wait_until 20 prometheus_has "$reader" 'up' 2 || { show_log "$work/reader.log"; die "remote read: nothing arrives"; }
    at=$(($(date +%s) - 1))
    query="{job=\"self\"}[3s] @ $at"
    prometheus_ask "$sink" "$query" >direct
    prometheus_ask "$reader" "$query" >through
    prometheus_ask "$writer" "$query" | grep -c . >written
    [ "$(wc -l <through)" -gt 500 ] || { show_log "$work/reader.log"; die "remote read: only $(wc -l <through) series"; }
    cmp -s direct through || die "remote read: the series are not those of the server"
    [ "$(cat written)" -le "$(($(wc -l <through) + 0))" ] || die "remote write: $(cat written) series were written, $(wc -l <through) arrived"
    run "promtool query" promtool query instant "$http" 'sum(up{from="writer"})'
    shows "promtool query" "$work/out" '=> 2 @'
    summary="prometheus ↔ prometheus: remote write, remote read over TLS with $(wc -l <through) series the same, promtool"
}
