//! Integration tests over real sockets: one file per behaviour, YAML in, bytes out.

#![allow(
    unreachable_pub,
    missing_docs,
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test binary has no users, its helpers are read where they are called, its clock is the wall's, and a \
              panic is how it fails"
)]

mod support;

mod balancing;
mod cancel;
mod forwarding;
mod headers;
mod hostile;
mod http10;
mod http2;
mod stale_connections;
mod streaming;
mod timeouts;
mod upgrade;
