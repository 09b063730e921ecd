# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# Download managers ↔ nginx: ranges side by side, and transfers that go on where they were cut.

downloads_needs="nginx aria2c wget"

downloads_start() {
    start_nginx "$1"
    blob "$work/nginx/files/large" 24000000
}

downloads_check() {
    local large="$work/nginx/files/large"
    run "aria2c" aria2c --allow-overwrite=true --split=8 --max-connection-per-server=8 --min-split-size=1M --file-allocation=none \
        --no-conf --dir=. --out=by-aria "$http/large"
    same "aria2c" "$large" by-aria
    logged downloads '"status":206' 8
    head -c 7000001 "$large" >by-wget
    run "wget -c" wget --continue --no-config --output-document=by-wget "$http/large"
    same "wget -c" "$large" by-wget
    shows "wget -c" "$work/out" '206 Partial'
    head -c 11000003 "$large" >by-curl
    run "curl -C -" curl --silent --show-error --fail --cacert "$ca" --http2 --continue-at - --output by-curl "$https/large"
    same "curl -C -" "$large" by-curl
    fetch "several ranges" --range 0-99,1000000-1000099 "$http/large"
    shows "several ranges" "$work/head" 'content-type: multipart/byteranges'
    fetch "If-Modified-Since" --time-cond "$large" "$http/large"
    head -n 1 "$work/head" | grep -q 304 || die "If-Modified-Since: not 304 but $(head -n 1 "$work/head")"
    summary="aria2, wget, curl ↔ nginx: 8 ranges at once, resumption, multipart/byteranges, 304"
}
