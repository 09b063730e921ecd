# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# restic ↔ rclone's server for it: many uploads at once, HEAD before each, packs read by ranges, deletes.

restic_needs="restic rclone"

restic_start() {
    : >"$work/rclone-server.conf"
    start restic rclone --config "$work/rclone-server.conf" serve restic --addr "127.0.0.1:$1" "$work/restic-root"
}

restic_() { run "restic $*" restic --cacert "$ca" --no-cache "$@"; }

restic_check() {
    local i
    export RESTIC_PASSWORD=peers RESTIC_PROGRESS_FPS=1
    mkdir -p files/many
    blob files/large.bin 20000000
    for i in {1..300}; do printf 'file %s\n' "$i" >"files/many/$i"; done
    restic_ --repo "rest:$http/" init
    restic_ --repo "rest:$http/" backup files
    rm -r files/many && blob files/second.bin 6000000
    restic_ --repo "rest:$https/" backup files
    restic_ --repo "rest:$http/" check --read-data
    restic_ --repo "rest:$https/" restore latest --target back
    same_tree "restic restore" files "$(find back -type d -name files)"
    restic_ --repo "rest:$http/" forget --keep-last 1 --prune
    restic_ --repo "rest:$http/" check --read-data
    logged 'restic(-tls)?' '"status":206'
    summary="restic ↔ rclone serve restic: two backups of 26 MB, all packs read again and checked, restore, prune"
}
