#!/usr/bin/env bash
# Puts a binary that counts what it does to the work that outrigger is there for, for about half a minute.
#
#   benches/pgo/train.sh BINARY FOLDER      the counts are in FOLDER then
#
# One process is proxy and app: the app is a listener that answers by itself. Two configurations, one after the other:
# `bare.yaml` and `full.yaml`. HTTP/1.1, HTTP/2 and TLS from the client, uploads, large answers, refusals and failures.
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/peers/lib.sh
. "$here/../../tests/peers/lib.sh"

binary=${1:?usage: benches/pgo/train.sh BINARY FOLDER}
export LLVM_PROFILE_FILE=${2:?usage: benches/pgo/train.sh BINARY FOLDER}/%p-%m.profraw
need curl h2load openssl python3 wrk

make_files() {
    make_certificate
    head -c 500000 /dev/zero | tr '\0' a >"$work/large.txt"
    printf 'wrk.method = "POST"\nwrk.body = string.rep("a", 1500)\nwrk.headers["content-type"] = "application/json"\n' >"$work/upload.lua"
    cp "$here"/*.yaml "$work/"
}

# load SECONDS CONNECTIONS URL [OPTION...]: HTTP/1.1, as fast as it goes.
load() {
    local seconds=$1 connections=$2 url=$3
    shift 3
    wrk --threads 1 --connections "$connections" --duration "${seconds}s" "$@" "$url" >>"$work/load.log"
}

# streams SECONDS URL: HTTP/2.
streams() { h2load --clients 8 --max-concurrent-streams 8 --duration "$1" "$2" >>"$work/load.log"; }

# work CONFIG: the same for both, but for what only the second one has.
work() {
    WORK=$work INBOUND=$inbound SECURE=$secure APP=$app PROBES=$probes start "$1" "$binary" run --config "$work/$1.yaml"
    local proxy=$started
    wait_http "http://127.0.0.1:$probes/ready" 200 20 "$work/$1.log"
    load 4 64 "http://127.0.0.1:$inbound/item?id=7"
    load 2 16 "http://127.0.0.1:$inbound/item" --header "user-agent: a browser with a long name" --header "accept: text/html" \
        --header "accept-encoding: gzip" --header "cookie: session=0123456789" --header "x-request-id: 0123456789"
    load 2 16 "http://127.0.0.1:$inbound/upload" --script "$work/upload.lua"
    load 1 4 "http://127.0.0.1:$inbound/large"
    streams 2 "http://127.0.0.1:$inbound/item"
    load 2 16 "https://127.0.0.1:$secure/item"
    streams 1 "https://127.0.0.1:$secure/item"
    if [ "$1" = full ]; then
        load 1 8 "http://127.0.0.1:$inbound/streams"
        load 1 8 "http://127.0.0.1:$inbound/scarce"
        load 1 8 "http://127.0.0.1:$inbound/dead"
    fi
    curl --silent --fail --noproxy '*' --output /dev/null "http://127.0.0.1:$probes/metrics"
    kill -TERM "$proxy"
    wait_gone "$proxy" 40 "$work/$1.log"
}

make_files
ports inbound secure app probes
work bare
work full
pass "$(grep -c . "$work/load.log") lines of load; counts in $2"
