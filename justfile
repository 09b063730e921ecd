# Short names for what people run often. `just` alone lists them. CI runs .ci/run, which is `check` and more.

peers := env("OUTRIGGER_PEERS", env("HOME") / ".cache/outrigger-peers")
musl := "x86_64-unknown-linux-musl"

_list:
    @just --list

# Format, lints, tests, documentation: before every push
check:
    cargo fmt --all -- --check
    cargo clippy --all-targets --locked -- -D warnings
    cargo test --locked
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

# The tests; arguments go to cargo: `just test --test it drain`
test *ARGS:
    cargo test --locked {{ ARGS }}

# All that CI runs, in its order
ci:
    bash .ci/run

# Licences, advisories and sources of the dependencies; needs cargo-deny and the network
deny:
    cargo deny check

# The decisions in nanoseconds; arguments go to criterion
bench *ARGS:
    cargo bench --locked --bench decisions -- {{ ARGS }}

# The static binary, and the image around it
image:
    tests/peers/install.sh ci
    . {{ peers }}/env.sh && benches/pgo/build.sh {{ musl }}
    . {{ peers }}/env.sh && .ci/image target/{{ musl }}/dist/outrigger

# The Helm chart, rendered and validated
helm:
    tests/peers/install.sh ci
    . {{ peers }}/env.sh && .ci/helm

# See it work: three small apps behind the proxy
demo:
    cargo run --release --locked -- demo

# Accept what the tests print now as what they should print; read the diff before you commit it
bless:
    BLESS=1 cargo test --locked
