#!/usr/bin/env bash
# TLS of the release binary, both sides, with programs that nobody here wrote: openssl, curl and testssl.sh as clients,
# nginx as an app with TLS. No finding of testssl.sh may be above its level LOW.
#
#   OUTRIGGER_BIN=target/release/outrigger tests/peers/check-tls.sh
# shellcheck disable=SC2154 # `ports` sets the ports
set -euo pipefail
# shellcheck source=tests/peers/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

: "${OUTRIGGER_BIN:?set it to the binary under test}"
need curl nginx openssl python3 testssl

# authority NAME: NAME.pem and NAME.key.
authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -subj "/CN=$1" -keyout "$work/$1.key" \
        -out "$work/$1.pem" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}

# certificate NAME AUTHORITY NAMES: NAME.pem and NAME.key, for NAMES as openssl writes them.
certificate() {
    # testssl.sh wants to know where a certificate would be revoked.
    printf 'subjectAltName=%s\nkeyUsage=critical,digitalSignature\ncrlDistributionPoints=URI:http://crl.peers.test/\n' "$3" \
        >"$work/ext"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$work/$1.key" -out "$work/csr"
    openssl x509 -req -in "$work/csr" -CA "$work/$2.pem" -CAkey "$work/$2.key" -CAcreateserial -days 90 \
        -extfile "$work/ext" -out "$work/$1.pem"
}

certificates() {
    {
        authority ca
        authority other
        certificate first ca DNS:localhost,IP:127.0.0.1
        certificate second ca DNS:second.test
        certificate renewed ca DNS:localhost,IP:127.0.0.1
        certificate app ca DNS:app.internal
        certificate sidecar ca DNS:sidecar.internal
        certificate client ca URI:spiffe://peers.test/ns/shop/sa/web
        certificate stranger ca URI:spiffe://peers.test/ns/other/sa/web
        certificate foreign other URI:spiffe://peers.test/ns/shop/sa/web
    } >"$work/openssl.log" 2>&1 || { show_log "$work/openssl.log"; die "openssl makes no certificates"; }
    # As Kubernetes mounts a secret.
    mkdir "$work/mount" "$work/mount/..1" "$work/mount/..2"
    local version
    for version in 1:first 2:renewed; do
        cp "$work/${version#*:}.pem" "$work/mount/..${version%:*}/tls.crt"
        cp "$work/${version#*:}.key" "$work/mount/..${version%:*}/tls.key"
    done
    ln -s ..1 "$work/mount/..data"
    ln -s ..data/tls.crt "$work/mount/tls.crt"
    ln -s ..data/tls.key "$work/mount/tls.key"
}

# An app that shows `app` and wants to be shown a certificate of `ca`.
start_nginx_with_tls() {
    mkdir -p "$work/nginx"
    chmod 755 "$work" "$work/nginx"
    cat >"$work/nginx/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $work/nginx/pid;
error_log stderr warn;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $work/nginx/body;
    proxy_temp_path $work/nginx/proxy;
    fastcgi_temp_path $work/nginx/fastcgi;
    uwsgi_temp_path $work/nginx/uwsgi;
    scgi_temp_path $work/nginx/scgi;
    server {
        listen 127.0.0.1:$1 ssl http2;
        ssl_certificate $work/app.pem;
        ssl_certificate_key $work/app.key;
        ssl_client_certificate $work/ca.pem;
        ssl_verify_client optional;
        return 200 "name=\$ssl_server_name client=\$ssl_client_s_dn verify=\$ssl_client_verify by=\$server_protocol identity=<\$http_x_client_identity>\n";
    }
}
END
    start nginx nginx -p "$work/nginx" -e stderr -c "$work/nginx/nginx.conf"
    wait_until 10 listens "$1" || { show_log "$work/nginx.log"; die "nginx should listen on port $1 within 10 s"; }
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

configuration() {
    local pair="{ cert: $work/mount/tls.crt, key: $work/mount/tls.key }"
    cat <<END
listeners:
  open:
    address: 127.0.0.1:$open
    tls: { certificates: [$pair, { cert: $work/second.pem, key: $work/second.key }] }
  mutual:
    address: 127.0.0.1:$mutual
    tls:
      certificates: [$pair]
      client: { ca: $work/ca.pem, allow: ["spiffe://peers.test/ns/shop/*"], identity_header: x-client-identity }
routes:
  - { name: hello, match: { path: /hello }, respond: { body: hello, headers: { # what a browser's app would say
      strict-transport-security: max-age=31536000, x-content-type-options: nosniff, x-frame-options: DENY } } }
  - { name: root, match: { path: { exact: / } }, respond: { body: hello, headers: {
      strict-transport-security: max-age=31536000, x-content-type-options: nosniff, x-frame-options: DENY } } }
  - { name: http2, match: { path: /http2 }, forward: http2, retry: off }
  - { name: wrong, match: { path: /wrong }, forward: wrong, retry: off }
  - { name: foreign, match: { path: /foreign }, forward: foreign, retry: off }
  - { name: app, forward: app, retry: off }
upstreams:
  app: { endpoints: [127.0.0.1:$app], tls: { ca: $work/ca.pem, server_name: app.internal,
    certificate: { cert: $work/sidecar.pem, key: $work/sidecar.key } }, health_check: { http: /, interval: 1s } }
  http2: { endpoints: [127.0.0.1:$app], protocol: http2, tls: { ca: $work/ca.pem, server_name: app.internal } }
  wrong: { endpoints: [127.0.0.1:$app], tls: { ca: $work/ca.pem } }
  foreign: { endpoints: [127.0.0.1:$app], tls: { ca: $work/other.pem, server_name: app.internal } }
admin: { probes: 127.0.0.1:$probes, control: 127.0.0.1:$control }
access_log: { file: $work/access.log }
drain: { timeout: 5s }
END
}

# ask PORT PATH OPTION...: what curl gets, who believes `ca`.
ask() {
    local port=$1 path=$2
    shift 2
    curl --silent --show-error --noproxy '*' --max-time 10 --cacert "$work/ca.pem" "$@" "https://localhost:$port$path"
}

# answers WHAT WORDS PORT PATH OPTION...
answers() {
    local what=$1 words=$2 answer
    shift 2
    answer=$(ask "$@" 2>&1) || { show_log "$work/proxy.log"; die "$what: $answer"; }
    [[ $answer == *"$words"* ]] || die "$what should say \`$words\`; it says: $answer"
    pass "$what: $words"
}

# refuses WHAT WORDS PORT OPTION...: no answer comes, and curl says why.
refuses() {
    local what=$1 words=$2 port=$3 said
    shift 3
    if said=$(ask "$port" / "$@" 2>&1); then die "$what: an answer came: $said"; fi
    [[ $said == *"$words"* ]] || die "$what should be told \`$words\`; it says: $said"
    pass "$what: $words"
}

# handshake PORT OPTION...: what openssl says about one.
handshake() {
    local port=$1
    shift
    timeout 10 openssl s_client -connect "127.0.0.1:$port" -CAfile "$work/ca.pem" "$@" </dev/null 2>&1 | tr -d '\0' || true
}

# shakes WHAT WORDS PORT OPTION...
shakes() {
    local what=$1 words=$2 said
    shift 2
    said=$(handshake "$@")
    grep -qE -- "$words" <<<"$said" || { printf '%s\n' "$said" | tail -n 40 >&2; die "$what: openssl should say \`$words\`"; }
    pass "$what"
}

by_openssl() {
    shakes "openssl: TLS 1.3, verified" 'Verification: OK' "$open" -tls1_3 -servername localhost -verify_hostname localhost
    shakes "openssl: TLS 1.2, verified" 'Verification: OK' "$open" -tls1_2 -servername localhost -verify_hostname localhost
    shakes "openssl: TLS 1.1 is refused" 'alert protocol version|no protocols available|Cipher is \(NONE\)' "$open" -tls1_1
    shakes "openssl: the name chooses the certificate" 'subject=CN = second' "$open" -servername second.test
    shakes "openssl: HTTP/2 by ALPN" 'ALPN protocol: h2' "$open" -alpn h2,http/1.1
    shakes "openssl: HTTP/1.1 by ALPN" 'ALPN protocol: http/1.1' "$open" -alpn http/1.1
    shakes "openssl: an unknown protocol is refused" 'alert no application protocol' "$open" -alpn smtp
    shakes "openssl: a session is resumed" 'Reused, TLSv1.2' "$open" -tls1_2 -reconnect
    shakes "openssl: the authority is named to clients" 'CN = ca' "$mutual"
}

by_curl() {
    local client=(--cert "$work/client.pem" --key "$work/client.key") identity=spiffe://peers.test/ns/shop/sa/web
    answers "curl by HTTP/1.1" hello "$open" /hello --http1.1
    answers "curl by HTTP/2" hello "$open" /hello --http2
    answers "nginx, shown a certificate" 'name=app.internal client=CN=sidecar verify=SUCCESS by=HTTP/1.1' "$open" /app
    answers "nginx by HTTP/2" 'name=app.internal client= verify=NONE by=HTTP/2.0' "$open" /http2
    answers "nginx, asked for another name" 'its certificate is for app.internal, not for 127.0.0.1' "$open" /wrong
    answers "nginx, of another authority" 'from an authority that is not believed' "$open" /foreign
    answers "a client's identity" "identity=<$identity>" "$mutual" /identity "${client[@]}" --header 'x-client-identity: forged'
    answers "no identity without a certificate" "identity=<>" "$open" /identity --header 'x-client-identity: forged'
    refuses "a client without a certificate" "certificate required" "$mutual"
    refuses "a client that is not on the list" "access denied" "$mutual" --cert "$work/stranger.pem" --key "$work/stranger.key"
    refuses "a client of another authority" "unknown ca" "$mutual" --cert "$work/foreign.pem" --key "$work/foreign.key"
    curl --silent --noproxy '*' --max-time 5 "http://localhost:$open/" | grep -q PLAIN_HTTP ||
        die "a client that speaks HTTP without TLS should be told so"
    pass "a client that speaks HTTP without TLS is told so"
}

is_shown() { handshake "$open" -servername localhost | grep -qF "subject=CN = $1"; }

renewal() {
    ln -s ..2 "$work/mount/..new"
    mv -T "$work/mount/..new" "$work/mount/..data"
    wait_until 10 is_shown renewed || { show_log "$work/proxy.log"; die "the renewed certificate is not shown within 10 s"; }
    grep -q 'tls files renewed' "$work/proxy.log" || die "the log should say that files were renewed"
    pass "a renewed secret is used without a reload"
}

by_testssl() {
    local status=0
    timeout 400 testssl --quiet --color 0 --warnings off --add-ca "$work/ca.pem" --jsonfile "$work/testssl.json" \
        "localhost:$1" >"$work/testssl.log" 2>&1 || status=$?
    python3 - "$work/testssl.json" <<'END' || { show_log "$work/testssl.log"; die "testssl.sh ($2; it left with $status) has findings above LOW"; }
import json, sys
findings = json.load(open(sys.argv[1]))
# What testssl.sh says about itself, not about whom it looks at.
own = {"engine_problem", "scanTime"}
bad = [f for f in findings if f["severity"] not in ("OK", "INFO", "LOW") and f["id"] not in own]
for finding in bad:
    print(f'{finding["severity"]} {finding["id"]}: {finding["finding"]}', file=sys.stderr)
tested = {finding["id"] for finding in findings}
missing = {"TLS1_2", "TLS1_3", "cipher_order", "heartbleed", "ROBOT", "cert_chain_of_trust"} - tested
if missing:
    print("not tested:", *sorted(missing), file=sys.stderr)
sys.exit(bool(bad or missing))
END
    pass "testssl.sh ($2): $(grep -c '"id"' "$work/testssl.json") findings, none above LOW"
}

ports open mutual app probes control
certificates
start_nginx_with_tls "$app"
configuration >"$work/outrigger.yaml"
start_proxy "$work/outrigger.yaml" "$probes"
by_openssl
by_curl
renewal
by_testssl "$open" "a listener for everybody"
stop_proxy
