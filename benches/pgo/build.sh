#!/usr/bin/env bash
# The binary that is shipped: built, put to work, and built again with what was seen (profile-guided optimisation). It costs
# about a tenth less per request than the first one. Takes two builds and half a minute.
#
#   benches/pgo/build.sh [TARGET]      default: x86_64-unknown-linux-musl; the binary is target/TARGET/dist/outrigger
#
# Wants curl, h2load, openssl, python3 and wrk for the work, and rustup's component `llvm-tools`, which is installed.
# https://doc.rust-lang.org/rustc/profile-guided-optimization.html
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

TARGET=${1:-x86_64-unknown-linux-musl}
target=${CARGO_TARGET_DIR:-target}
counts=$(mkdir -p "$target" && cd "$target" && pwd)/pgo

# Of this very toolchain: the counts are of no use to another one's.
profdata() {
    local tool
    tool=$(find "$(rustc --print sysroot)" -name llvm-profdata -print -quit)
    if [ -z "$tool" ]; then
        rustup component add llvm-tools >&2
        tool=$(find "$(rustc --print sysroot)" -name llvm-profdata -print -quit)
    fi
    "$tool" "$@"
}

build() { RUSTFLAGS=$1 cargo build --profile dist --locked --target "$TARGET" --bin outrigger "${@:2}"; }

rm -rf "$counts"
mkdir -p "$counts"
# In a folder of its own: the flags are another build for cargo, and neither is to throw the other one away.
build "-Cprofile-generate=$counts" --target-dir "$target/pgo-build"
benches/pgo/train.sh "$target/pgo-build/$TARGET/dist/outrigger" "$counts"
profdata merge --output="$counts/outrigger.profdata" "$counts"/*.profraw
build "-Cprofile-use=$counts/outrigger.profdata"
