# The image is one static binary on nothing: no shell, no libc, no package to patch.
#
#   docker build -t outrigger .
#   docker run --rm --read-only -v "$PWD/config:/etc/outrigger:ro" -p 8080:8080 outrigger run --config /etc/outrigger/sidecar.yaml

FROM rust:1.95-slim-bookworm AS build
ARG TARGET=x86_64-unknown-linux-musl
# jemalloc is C: it wants make and a compiler for musl. LLVM's libc has faster copies than musl. The rest puts a first binary
# to work, so that the second one is built for it: see benches/pgo.
RUN apt-get update \
 && apt-get install -y --no-install-recommends make musl-tools curl nghttp2-client openssl python3 wrk \
    $(case $TARGET in x86_64-*-musl) echo libllvmlibc-19-dev ;; esac) \
 && rm -rf /var/lib/apt/lists/* \
 && rustup target add "$TARGET" \
 && rustup component add llvm-tools
WORKDIR /src
COPY . .
# The caches outlive the layer, so a change of our code does not build the dependencies again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    benches/pgo/build.sh "$TARGET" \
 && install -D -m 755 "target/$TARGET/dist/outrigger" /out/outrigger

FROM scratch
ARG VERSION=dev
LABEL org.opencontainers.image.title="outrigger" \
      org.opencontainers.image.description="A language-agnostic sidecar proxy: one small binary, one YAML file, a reason for every decision" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /out/outrigger /outrigger
# By number: Kubernetes can prove `runAsNonRoot` only so.
USER 65532:65532
# inbound traffic; probes and metrics. Control (9901) stays on loopback.
EXPOSE 8080 9900
ENTRYPOINT ["/outrigger"]
CMD ["run", "--config", "/etc/outrigger/outrigger.yaml"]
