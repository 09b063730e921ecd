#!/usr/bin/env bash
# The binary that is shipped: built, put to work, and built again with what was seen (profile-guided optimisation). It costs
# about a tenth less per request than the first one. Takes two builds and half a minute.
#
#   benches/pgo/build.sh [TARGET]      default: x86_64-unknown-linux-musl; the binary is target/TARGET/dist/outrigger
#
# Wants curl, h2load, openssl, python3 and wrk for the work, Debian's `libllvmlibc-19-dev` for musl on x86_64, and rustup's
# component `llvm-tools`, which is installed.
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

# musl's functions for memory begin with `rep movsq` on x86_64, which is for long copies: one of the seventy short ones that
# a request takes needs 29 ns with it, and 3 with those of LLVM's libc, which stand before musl's when the binary is linked.
memory_functions() {
    case $TARGET in x86_64-*-musl) ;; *) return 0 ;; esac
    local archive folder=$counts/memory
    archive=$(find /usr/lib/llvm-*/lib -name libllvmlibc.a 2>/dev/null | sort -V | tail -1)
    [ -n "$archive" ] || { echo "$0: there is no libllvmlibc.a: install Debian's libllvmlibc-19-dev" >&2; return 1; }
    mkdir "$folder"
    (cd "$folder" && ar x "$archive" {bcmp,memcmp,memcpy,memmove,memset}.cpp.o && ar rcs libmemory.a ./*.o)
    link=(-L "native=$folder" -l static=memory)
}

link=()
build() {
    RUSTFLAGS=$1 cargo rustc --profile dist --locked --target "$TARGET" --bin outrigger "${@:2}" -- "${link[@]}"
}

rm -rf "$counts"
mkdir -p "$counts"
memory_functions
# In a folder of its own: the flags are another build for cargo, and neither is to throw the other one away.
build "-Cprofile-generate=$counts" --target-dir "$target/pgo-build"
benches/pgo/train.sh "$target/pgo-build/$TARGET/dist/outrigger" "$counts"
profdata merge --output="$counts/outrigger.profdata" "$counts"/*.profraw
build "-Cprofile-use=$counts/outrigger.profdata"
