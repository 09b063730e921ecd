# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# boto3 ↔ an S3 gateway that checks every signature: a changed host, path, query, header or body would be refused.

s3_needs="versitygw @python"

s3_start() {
    mkdir -p "$work/s3-root"
    ROOT_ACCESS_KEY=PEERS ROOT_SECRET_KEY=the-secret start s3 versitygw --port "127.0.0.1:$1" --quiet posix "$work/s3-root"
}

s3_check() {
    run "boto3" "$python" "$here/pairs/s3.py" "$http" "$https" "$ca"
    summary="boto3 ↔ versitygw: $(tail -n 1 "$work/out")"
}
