#!/usr/bin/env bash
# Sends the release binary what people send it: curl, ab, wrk and h2load in front, nginx and a Node.js app behind.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-tools.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
need curl ab wrk h2load nginx node python3 cmp

start_all() {
    local nginx app control
    ports nginx app app_in files_in probes control
    start_nginx "$nginx"
    start_app "$app"
    cat >"$work/outrigger.yaml" <<END
listeners:
  app: { address: 127.0.0.1:$app_in, forward: app }
  files: { address: 127.0.0.1:$files_in, forward: files }
upstreams:
  app: { endpoints: [127.0.0.1:$app] }
  files: { endpoints: [127.0.0.1:$nginx] }
admin: { probes: 127.0.0.1:$probes, control: 127.0.0.1:$control }
drain: { timeout: 5s }
END
    start_proxy "$work/outrigger.yaml" "$probes"
    to_app=http://127.0.0.1:$app_in
    to_files=http://127.0.0.1:$files_in
    head -c 3000000 /dev/urandom >"$work/upload"
}

# ask WHAT CURL-OPTION...: one request that must succeed with 200; head in $work/head, body in $work/body, the talk in $work/talk.
ask() {
    local what=$1 status
    shift
    rm -f "$work/head" "$work/body"
    status=$(curl --silent --show-error --noproxy '*' --max-time 15 --verbose --dump-header "$work/head" --output "$work/body" \
        --write-out '%{http_code}' "$@" 2>"$work/talk") || { show_log "$work/talk"; show_log "$work/proxy.log"; die "$what: curl fails"; }
    [ "$status" = 200 ] || { show_log "$work/body"; die "$what: answered with $status, not 200"; }
    touch "$work/body"
}

same() { cmp -s "$2" "$3" || die "$1: $(wc -c <"$3") bytes came, not the $(wc -c <"$2") that were sent"; }

# header NAME: its value in the last answer's final head.
header() { tr -d '\r' <"$work/head" | awk -v name="$1:" 'BEGIN { RS = "\n" } tolower($1) == name { sub(/^[^:]*: */, ""); print }' | tail -n 1; }

curl_gets() {
    ask "GET" "$to_app/"
    [ "$(cat "$work/body")" = "hello from the app" ] || die "GET: the body is \`$(cat "$work/body")\`"
    ask "GET of 1 MiB" "$to_files/big"
    same "GET of 1 MiB" "$work/nginx/files/big" "$work/body"
    ask "HEAD" --head "$to_files/big"
    [ "$(header content-length)" = 1048576 ] || die "HEAD: content-length is \`$(header content-length)\`, not 1048576"
    pass "curl: GET, HEAD"
}

curl_posts() {
    local protocol
    for protocol in --http1.1 --http2-prior-knowledge; do
        ask "POST $protocol" $protocol --data-binary "@$work/upload" -H 'Expect:' "$to_app/echo"
        same "POST $protocol" "$work/upload" "$work/body"
        [ "$(header x-method)" = POST ] || die "POST $protocol: the app saw the method \`$(header x-method)\`"
    done
    ask "chunked POST" --data-binary "@$work/upload" -H 'Expect:' -H 'Transfer-Encoding: chunked' "$to_app/echo"
    same "chunked POST" "$work/upload" "$work/body"
    ask "empty POST" --request POST --data '' "$to_app/echo"
    [ "$(header x-bytes)" = 0 ] || die "empty POST: the app saw $(header x-bytes) bytes"
    pass "curl: POST over HTTP/1.1 and HTTP/2, with a length, chunked, empty"
}

# curl would wait 30 s for the 100 and is stopped after 15 s: a proxy that never sends it fails here.
curl_expects() {
    ask "Expect: 100-continue" --http1.1 --expect100-timeout 30 -H 'Expect: 100-continue' --upload-file "$work/upload" "$to_app/echo"
    same "Expect: 100-continue" "$work/upload" "$work/body"
    grep -q '^< HTTP/1.1 100' "$work/talk" || die "Expect: 100-continue: no 100 came before the answer"
    [ "$(header x-method)" = PUT ] || die "Expect: 100-continue: the app saw the method \`$(header x-method)\`"
    pass "curl: upload after 100 Continue"
}

curl_http10() {
    ask "HTTP/1.0 GET" --http1.0 "$to_app/"
    [ "$(cat "$work/body")" = "hello from the app" ] || die "HTTP/1.0 GET: the body is \`$(cat "$work/body")\`"
    ask "HTTP/1.0 GET without a length" --http1.0 "$to_app/events"
    [ -z "$(header transfer-encoding)" ] || die "HTTP/1.0: the answer is $(header transfer-encoding), which HTTP/1.0 does not know"
    [ "$(grep -c '^data: ' "$work/body")" = 5 ] || die "HTTP/1.0 GET without a length: the body is not whole"
    pass "curl: HTTP/1.0"
}

curl_http2() {
    ask "HTTP/2" --http2-prior-knowledge "$to_files/big"
    same "HTTP/2" "$work/nginx/files/big" "$work/body"
    head -n 1 "$work/head" | grep -q '^HTTP/2 200' || die "HTTP/2: the answer is $(head -n 1 "$work/head")"
    pass "curl: HTTP/2 without TLS, by prior knowledge"
}

# Each event tells when the app wrote it; here each line gets the time at which it arrived.
sse() {
    local protocol line first last
    for protocol in --http1.1 --http2-prior-knowledge; do
        curl --silent --no-buffer --noproxy '*' --max-time 15 $protocol "$to_app/events" |
            while IFS= read -r line; do printf '%s %s\n' "$((${EPOCHREALTIME/[.,]/} / 1000))" "$line"; done >"$work/events" ||
            die "events $protocol: curl fails"
        [ "$(grep -c ' data: ' "$work/events")" = 5 ] || { cat "$work/events" >&2; die "events $protocol: not all five came"; }
        first=$(awk '/ data: / { print $1; exit }' "$work/events")
        last=$(awk '/ data: / { sent = $3 } END { print sent }' "$work/events")
        [ "$first" -lt "$last" ] ||
            die "events $protocol: the first arrived $((first - last)) ms after the last was written: the proxy holds them back"
    done
    pass "events: each arrives before the last is written, over HTTP/1.1 and HTTP/2"
}

# holds NAME REPORT PATTERN...: each pattern must be in a load tool's report.
holds() {
    local name=$1 report=$2 pattern
    shift 2
    for pattern in "$@"; do
        grep -Eq "$pattern" "$report" || { show_log "$report"; die "$name: its report has no line like \`$pattern\`"; }
    done
}

# lacks NAME REPORT PATTERN: no line of the report may be like this.
lacks() { ! grep -E "$3" "$2" >&2 || die "$1: not every request succeeded"; }

# ab speaks HTTP/1.0.
run_ab() {
    local name=$1
    shift
    timeout 60 ab -q -n 2000 -c 20 "$@" "$to_files/" >"$work/ab.log" 2>&1 || { show_log "$work/ab.log"; die "$name fails"; }
    holds "$name" "$work/ab.log" '^Complete requests: +2000$' '^Failed requests: +0$'
    lacks "$name" "$work/ab.log" '^Non-2xx'
}

load_ab() {
    run_ab "ab"
    run_ab "ab -k" -k
    holds "ab -k" "$work/ab.log" '^Keep-Alive requests: +[1-9]'
    pass "ab: 2 × 2000 requests over HTTP/1.0, $(awk '/^Keep-Alive requests/ { print $3 }' "$work/ab.log") of the second half on kept connections"
}

load_wrk() {
    timeout 30 wrk -t1 -c16 -d2s "$to_files/" >"$work/wrk.log" 2>&1 || { show_log "$work/wrk.log"; die "wrk fails"; }
    holds "wrk" "$work/wrk.log" '[1-9][0-9]* requests in'
    lacks "wrk" "$work/wrk.log" 'Non-2xx|Socket errors'
    pass "wrk: $(awk '/ requests in / { print $1 }' "$work/wrk.log") requests on 16 connections"
}

load_h2load() {
    timeout 60 h2load -n 2000 -c 4 -m 10 "$to_files/" >"$work/h2load.log" 2>&1 || { show_log "$work/h2load.log"; die "h2load fails"; }
    holds "h2load" "$work/h2load.log" '2000 succeeded, 0 failed, 0 errored, 0 timeout' '^status codes: 2000 2xx'
    pass "h2load: 2000 requests, 4 connections of 10 streams"
}

start_all
curl_gets
curl_posts
curl_expects
curl_http10
curl_http2
sse
load_ab
load_wrk
load_h2load
stop_proxy
