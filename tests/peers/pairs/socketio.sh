# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# socket.io's client ↔ socket.io's server: long polling first, then an upgrade in the middle of the session.

socketio_needs="node @node"

socketio_start() {
    start socketio env NODE_PATH="$modules" node "$here/pairs/socketio.js" serve "$1"
}

socketio_check() {
    run "socket.io" env NODE_PATH="$modules" NODE_EXTRA_CA_CERTS="$ca" node "$here/pairs/socketio.js" connect "$http" "$https"
    logged socketio '"status":101' 2
    summary="socket.io ↔ socket.io: $(tail -n 1 "$work/out")"
}
