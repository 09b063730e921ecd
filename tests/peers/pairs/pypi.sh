# shellcheck shell=bash disable=SC2154,SC2034 # sourced by check-pairs.sh
# twine and pip ↔ pypiserver: a form of several parts with a file in it, basic authentication, wheels read by ranges.

pypi_needs="@python"

pypi_start() {
    mkdir -p "$work/pypi-root"
    start pypi "$(dirname "$python")/pypi-server" run --interface 127.0.0.1 --port "$1" --passwords . --authenticate . "$work/pypi-root"
}

# A wheel with a large file, which `fast-deps` has no need to read.
pypi_wheel() {
    python3 - "$1" <<'PY'
import base64, hashlib, os, sys, zipfile
files = {"peers_large/__init__.py": b"", "peers_large/large.bin": os.urandom(6_000_000),
         "peers_large-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: peers-large\nVersion: 1.0\nSummary: large\n",
         "peers_large-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: peers\nRoot-Is-Purelib: true\nTag: py3-none-any\n"}
record = "".join(f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n" for name, data in files.items())
files["peers_large-1.0.dist-info/RECORD"] = (record + "peers_large-1.0.dist-info/RECORD,,\n").encode()
with zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED) as wheel:
    for name, data in files.items():
        wheel.writestr(name, data)
PY
}

pypi_pip() { run "pip $1" env -u PIP_FIND_LINKS -u PIP_CERT "$python" -m pip --isolated --disable-pip-version-check --no-input --cert "$ca" "$@"; }

pypi_check() {
    local wheel=peers_large-1.0-py3-none-any.whl
    pypi_wheel $wheel
    run "twine upload" "$python" -m twine upload --config-file /dev/null --non-interactive --disable-progress-bar --repository-url "$http/" \
        --username peer --password peer --cert "$ca" $wheel
    same "twine upload" $wheel "$work/pypi-root/$wheel"
    mkdir plain secure
    pypi_pip --no-cache-dir download --no-deps --index-url "$http/simple/" --dest plain peers-large
    same "pip download" $wheel plain/$wheel
    pypi_pip --no-cache-dir --use-feature=fast-deps download --index-url "$https/simple/" --dest secure peers-large
    same "pip download, TLS" $wheel secure/$wheel
    logged pypi-tls '"status":206'
    summary="twine, pip ↔ pypiserver: a multipart upload of 6 MB, metadata of a wheel by ranges"
}
