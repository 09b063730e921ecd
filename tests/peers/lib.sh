# shellcheck shell=bash
# What the checks with real programs share: ports, processes, bounded waiting, cleaning up. To be sourced.
#
# A script that sources this gets `$work`, a folder of its own that goes when it ends, and ends every process that it
# started with `start`. Nothing waits without a limit, and whoever fails says what was expected and what came.

peers_name=$(basename "${BASH_SOURCE[-1]}" .sh)
work=$(mktemp -d "${TMPDIR:-/tmp}/outrigger-$peers_name.XXXXXX")
peers_cleanups=()

die() {
    printf '%s: error: %s\n' "$peers_name" "$*" >&2
    exit 1
}

pass() { printf '%s: ok: %s\n' "$peers_name" "$*"; }

# Registers a command line for the end of the script; the last one registered runs first.
on_exit() { peers_cleanups+=("$1"); }

peers_finish() {
    local status=$? index
    trap - EXIT
    set +e
    for ((index = ${#peers_cleanups[@]} - 1; index >= 0; index--)); do eval "${peers_cleanups[index]}"; done
    rm -rf "$work"
    exit $status
}
trap peers_finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Every named command must be there. A check that cannot run has failed; it is never skipped.
need() {
    local command missing=()
    for command in "$@"; do command -v "$command" >/dev/null || missing+=("$command"); done
    [ ${#missing[@]} = 0 ] ||
        die "not installed: ${missing[*]}; run \`tests/peers/install.sh ci\` and source the env.sh that it names"
}

# Sets each named variable to a free port of loopback, all different.
ports() {
    local numbers
    numbers=$(python3 - $# <<'END'
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))
END
    ) || die "no free ports"
    # shellcheck disable=SC2229
    read -r "$@" <<<"$numbers"
}

# wait_until SECONDS COMMAND...: repeats the command until it succeeds; false when the time is over.
wait_until() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}

http_status() { curl --silent --noproxy '*' --max-time 2 --output /dev/null --write-out '%{http_code}' "$1" 2>/dev/null; }
status_is() { [ "$(http_status "$1")" = "$2" ]; }

# wait_http URL STATUS SECONDS [LOG]: fails the script, with the log's end, unless the URL gets to answer so.
wait_http() {
    wait_until "$3" status_is "$1" "$2" || {
        show_log "${4:-}"
        die "$1 should answer $2 within $3 s; it says $(http_status "$1" || true)"
    }
}

process_is_gone() { ! kill -0 "$1" 2>/dev/null; }

# wait_gone PID SECONDS [LOG]: fails the script unless the process ends in time.
wait_gone() {
    wait_until "$2" process_is_gone "$1" || {
        show_log "${3:-}"
        die "process $1 should have ended within $2 s"
    }
}

show_log() {
    [ -n "$1" ] && [ -s "$1" ] || return 0
    printf -- '--- the end of %s\n' "$(basename "$1")" >&2
    tail -n 30 "$1" >&2
    printf -- '---\n' >&2
}

# start NAME COMMAND...: runs it in the background, output in $work/NAME.log, its process in $started; ends with the script.
# shellcheck disable=SC2034 # `started` is for the caller
start() {
    local name=$1
    shift
    "$@" >"$work/$name.log" 2>&1 </dev/null &
    started=$!
    on_exit "stop $started"
}

# Ends a process that this script started: asks first, insists after 5 s.
stop() {
    kill -TERM "$1" 2>/dev/null || return 0
    wait_until 5 process_is_gone "$1" || kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null || true # it was killed, which `set -e` would take for a failure
}

# A certificate for localhost that nobody has signed: $work/tls.pem and its key, $work/tls.key.
make_certificate() {
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
        -keyout "$work/tls.key" -out "$work/tls.pem") >"$work/openssl.log" 2>&1 || {
        show_log "$work/openssl.log"
        die "openssl makes no certificate"
    }
}

# start_app PORT: the small Node.js app beside this file.
start_app() {
    start app node "$(dirname "${BASH_SOURCE[0]}")/app.js" "$1"
    wait_http "http://127.0.0.1:$1/" 200 10 "$work/app.log"
}

# start_nginx PORT: serves `/` (a short text) and `/big` (1 MiB).
start_nginx() {
    mkdir -p "$work/nginx/files"
    chmod 755 "$work" "$work/nginx" "$work/nginx/files"
    printf 'hello from nginx\n' >"$work/nginx/files/index.html"
    head -c 1048576 /dev/urandom >"$work/nginx/files/big"
    cat >"$work/nginx/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $work/nginx/pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_requests 1000000;
    client_body_temp_path $work/nginx/body;
    proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi;
    uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    server {
        listen 127.0.0.1:$1 backlog=1024;
        root $work/nginx/files;
    }
}
END
    start nginx nginx -p "$work/nginx" -e stderr -c "$work/nginx/nginx.conf"
    wait_http "http://127.0.0.1:$1/" 200 10 "$work/nginx.log"
}

# start_proxy CONFIG PROBES_PORT: runs $OUTRIGGER_BIN and waits until it says that it is ready; its process in $proxy.
start_proxy() {
    "$OUTRIGGER_BIN" check "$1" >"$work/check.log" 2>&1 ||
        { show_log "$work/check.log"; die "\`outrigger check\` refuses the configuration of this check"; }
    start proxy "$OUTRIGGER_BIN" run --config "$1"
    proxy=$started
    wait_http "http://127.0.0.1:$2/ready" 200 10 "$work/proxy.log"
}

# Stops the proxy as an orchestrator does; it must leave with 0 and must not have panicked.
stop_proxy() {
    local status=0
    kill -TERM "$proxy"
    wait_gone "$proxy" 40 "$work/proxy.log"
    wait "$proxy" || status=$?
    [ $status = 0 ] || { show_log "$work/proxy.log"; die "the proxy left with $status after SIGTERM, not 0"; }
    ! grep -q 'panicked at' "$work/proxy.log" || { grep -A3 'panicked at' "$work/proxy.log" >&2; die "the proxy panicked"; }
    pass "SIGTERM: the proxy drained and left with 0"
}
