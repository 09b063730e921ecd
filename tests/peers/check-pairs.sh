#!/usr/bin/env bash
# Clients and servers that were written for each other, with the release binary between them: nobody of them may notice.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-pairs.sh [PAIR...]
#
# A pair is a file in `pairs/`: `NAME_needs` lists its programs, `NAME_start PORT` starts the server, `NAME_check` runs the
# client. It finds the proxy at $http and $https, compares what arrives with what was sent, byte for byte, and shows that the
# habit for which the pair was chosen did occur. At the end each pair's requests must be in the access log, and in none of
# them may the proxy have answered itself. Whoever lacks a pair's programs is told so, once for each; in CI that is a failure.
# shellcheck disable=SC2034 # `http`, `https`, `python` and `modules` are for the pairs
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=${PEERS_PAIRS_PYTHON:-}
modules=${PEERS_PAIRS_NODE:-}
probes='' summary=''
PATH=$PATH:/usr/sbin # where Debian has servers

wanted=(downloads git hg svn pypi npm registry restic s3 etcd prometheus socketio)
[ $# = 0 ] || wanted=(downloads git hg svn pypi npm registry restic s3 etcd prometheus socketio)
pairs=()
declare -A server plain secure

# What the one who runs this has set for authorities, proxies and homes says nothing here.
own_environment() {
    unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
    unset SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE REQUESTS_CA_BUNDLE AWS_CA_BUNDLE GIT_SSL_CAINFO NODE_EXTRA_CA_CERTS
    export no_proxy='*' NO_PROXY='*' HOME="$work/home" XDG_CONFIG_HOME="$work/home/.config" LC_ALL=C.UTF-8
    chmod 755 "$work" # servers that leave root must get at their files
    mkdir "$work/home"
}

# The programs of a pair that are not here. `@python` and `@node` stand for what install.sh puts beside each other.
lacks() {
    local program needs="$1_needs"
    for program in ${!needs}; do
        case $program in
            @python) [ -x "$python" ] || printf ' PEERS_PAIRS_PYTHON' ;;
            @node) [ -d "$modules" ] || printf ' PEERS_PAIRS_NODE' ;;
            *) command -v "$program" >/dev/null || printf ' %s' "$program" ;;
        esac
    done
}

load_pairs() {
    local pair missing
    for pair in "${wanted[@]}"; do
        [ -e "$here/pairs/$pair.sh" ] || die "there is no pair \`$pair\`; there are: ${wanted[*]}"
        # shellcheck disable=SC1090 # each is checked on its own
        . "$here/pairs/$pair.sh"
        missing=$(lacks "$pair")
        if [ -z "$missing" ]; then pairs+=("$pair"); else without "$pair" "$missing"; fi
    done
    [ ${#pairs[@]} -gt 0 ] || die "not one pair can be run; \`tests/peers/install.sh ci\` installs what they need"
}

without() {
    local hint="run \`tests/peers/install.sh ci\` and source the env.sh that it names"
    [ -z "${OUTRIGGER_CI:-}" ] || die "$1: not there:$2; $hint"
    printf '%s: SKIPPED: %s: not there:%s; %s\n' "$peers_name" "$1" "$2" "$hint" >&2
}

# One certificate for all listeners with TLS; it is its own authority.
make_certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
        -addext keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign -keyout "$work/tls.key" -out "$work/tls.crt" \
        2>"$work/openssl.log" || { show_log "$work/openssl.log"; die "openssl makes no certificate"; }
    ca=$work/tls.crt
}

# Each pair has a listener in the clear and one with TLS, and else all is as the proxy has it by itself.
write_config() {
    local pair
    {
        printf 'listeners:\n'
        for pair in "${pairs[@]}"; do
            printf '  %s: { address: 127.0.0.1:%s, forward: %s }\n' "$pair" "${plain[$pair]}" "$pair"
            printf '  %s-tls: { address: 127.0.0.1:%s, forward: %s, tls: { certificates: [{ cert: tls.crt, key: tls.key }] } }\n' \
                "$pair" "${secure[$pair]}" "$pair"
        done
        printf 'upstreams:\n'
        for pair in "${pairs[@]}"; do printf '  %s: { endpoints: [127.0.0.1:%s] }\n' "$pair" "${server[$pair]}"; done
        printf 'admin: { probes: 127.0.0.1:%s, control: off }\n' "$probes"
        printf 'access_log: { file: %s }\n' "$work/access.log"
        printf 'drain: { timeout: 5s }\n'
    } >"$work/outrigger.yaml"
}

start_all() {
    local pair names=()
    for pair in "${pairs[@]}"; do names+=("server[$pair]" "plain[$pair]" "secure[$pair]"); done
    ports probes "${names[@]}"
    make_certificate
    write_config
    for pair in "${pairs[@]}"; do "${pair}_start" "${server[$pair]}"; done
    start_proxy "$work/outrigger.yaml" "$probes"
}

# blob FILE BYTES: content that compresses to nothing less, and that is nowhere else.
blob() { head -c "$2" /dev/urandom >"$1"; }

# same WHAT SENT RECEIVED
same() {
    [ -e "$3" ] || die "$1: nothing came"
    cmp -s "$2" "$3" || die "$1: $(wc -c <"$3") bytes came that are not the $(wc -c <"$2") that were sent"
}

# same_tree WHAT SENT RECEIVED
same_tree() { diff -r "$2" "$3" >"$work/out" 2>&1 || { show_log "$work/out"; die "$1: other files came than were sent"; }; }

# run WHAT COMMAND...: must succeed within a minute; its output is in $work/out.
run() {
    local what=$1
    shift
    timeout 60 "$@" >"$work/out" 2>&1 </dev/null || { show_log "$work/out"; show_log "$work/proxy.log"; die "$what fails"; }
}

# fetch WHAT URL OPTION...: an answer that must succeed; head in $work/head, body in $work/body.
fetch() {
    local what=$1
    run "$what" curl --silent --show-error --fail-with-body --max-time 30 --cacert "$ca" --dump-header "$work/head" --output "$work/body" "${@:2}"
}

# shows WHAT FILE PATTERN: the habit did occur.
shows() { grep -aEqi -- "$3" "$2" || { show_log "$2"; die "$1: nothing like \`$3\` in it, so this did not test what it should"; }; }

# logged LISTENER PATTERN COUNT: so many lines of it are in the access log, which is written a moment after the answer.
logged() { wait_until 5 has_lines "$1" "$2" "${3:-1}" || die "$1: fewer than ${3:-1} requests like \`$2\`, so this did not test what it should"; }
has_lines() { [ "$(grep -E "\"listener\":\"$1\"" "$work/access.log" | grep -Ec -- "$2")" -ge "$3" ]; }

# reaches HOST PORT: somebody listens.
reaches() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }

# awaits PAIR: its server is there.
awaits() { wait_until 30 reaches 127.0.0.1 "${server[$1]}" || { show_log "$work/$1.log"; die "$1: its server does not listen"; }; }

check_pair() {
    local pair=$1 began=${EPOCHREALTIME/[.,]/} tenths
    http=http://127.0.0.1:${plain[$pair]}
    https=https://localhost:${secure[$pair]}
    awaits "$pair"
    mkdir "$work/$pair"
    cd "$work/$pair"
    "${pair}_check"
    cd "$here"
    tenths=$(((${EPOCHREALTIME/[.,]/} - began) / 100000))
    pass "$pair: $summary; $((tenths / 10)).$((tenths % 10)) s"
}

# Every pair has been seen, in the clear and with TLS, and the proxy has answered nobody itself. Clients may leave: watches end so.
check_log() {
    python3 - "$work/access.log" "${pairs[@]}" <<'PY' || die "the access log tells of a request that the proxy did not just pass on"
import collections, json, sys
log, *pairs = sys.argv[1:]
CLIENT_LEFT = ("client_gone", "client_body_aborted")
seen = collections.Counter()
for line in open(log):
    entry = json.loads(line)
    seen[entry["listener"]] += 1
    if entry.get("reason", CLIENT_LEFT[0]) not in CLIENT_LEFT:
        sys.exit(f"the proxy itself answered, or broke off: {line}")
for listener in [pair + kind for pair in pairs for kind in ("", "-tls")]:
    if not seen[listener]:
        sys.exit(f"{listener}: no request went through the proxy")
print(sum(seen.values()), "requests, none answered or broken off by the proxy itself")
PY
}

own_environment
load_pairs
need openssl python3 curl
start_all
for pair in "${pairs[@]}"; do check_pair "$pair"; done
stop_proxy
said=$(check_log)
pass "access log: $said"
pass "${#pairs[@]} of ${#wanted[@]} pairs in $SECONDS s"
